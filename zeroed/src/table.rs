//! The table, and what its entries lie in.

use core::fmt::{self, Debug, Formatter};
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::slice;

use bytemuck::Zeroable;
use memmap2::MmapMut;

/// Bytes of a huge page.
const HUGE: usize = 2 << 20;

/// What the entries lie in.
enum Memory {
    /// Words that are aligned for everything that a table is made of.
    Heap(Vec<u128>),
    /// Whole huge pages.
    Mapped(MmapMut),
}

impl Memory {
    /// Zeros, none of which is touched. A mapping of less than half a huge page would waste most
    /// of it.
    fn new(bytes: usize) -> Self {
        let mapped = if bytes < HUGE / 2 { None } else { map(bytes.next_multiple_of(HUGE)) };
        mapped.map_or_else(|| Self::Heap(vec![0; bytes.div_ceil(size_of::<u128>())]), Self::Mapped)
    }

    fn start(&mut self) -> *mut u8 {
        match self {
            Self::Heap(words) => words.as_mut_ptr().cast(),
            Self::Mapped(map) => map.as_mut_ptr(),
        }
    }
}

/// A mapping for huge pages, which the kernel aligns if it has that length.
#[cfg(all(target_os = "linux", not(miri)))]
fn map(bytes: usize) -> Option<MmapMut> {
    let map = MmapMut::map_anon(bytes).ok()?;
    // Where there are none, small pages serve as well.
    let _advised = map.advise(memmap2::Advice::HugePage);
    Some(map)
}

#[cfg(not(all(target_os = "linux", not(miri))))]
fn map(_bytes: usize) -> Option<MmapMut> {
    None
}

/// A table of a fixed length whose entries are zeros until they are written. Dereferences to a
/// slice. Its entries are not dropped with it, so they must not need it.
pub struct Zeroed<T> {
    /// The first of `len` entries, in `memory`.
    first: NonNull<T>,
    len: usize,
    memory: Memory,
}

// SAFETY: the table owns its entries, and nobody else points to them.
unsafe impl<T: Send> Send for Zeroed<T> {}
// SAFETY: a shared table hands out nothing but shared entries.
unsafe impl<T: Sync> Sync for Zeroed<T> {}

impl<T: Zeroable> Zeroed<T> {
    /// A table of `len` entries, none of which is touched.
    ///
    /// # Panics
    ///
    /// Panics when the table is larger than the address space. Where the system has no memory for
    /// it, the process ends, as when any allocation fails.
    #[must_use]
    pub fn new(len: usize) -> Self {
        Self::skewed(len, 0)
    }

    /// A table of `len` entries, the first of which is as many as `skew` behind the start of its
    /// memory, which of a large table is the start of a page. Entries whose numbers are a little
    /// less than a cache line apart then have lines of their own. A clone has no skew.
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new) for `skew` entries more.
    #[must_use]
    pub fn skewed(len: usize, skew: usize) -> Self {
        const {
            assert!(!core::mem::needs_drop::<T>());
            assert!(align_of::<T>() <= align_of::<u128>());
        }
        let all = len.checked_add(skew).and_then(|all| all.checked_mul(size_of::<T>()));
        let bytes = all.filter(|&bytes| bytes <= isize::MAX as usize);
        let mut memory = Memory::new(bytes.expect("a table fits into the address space"));
        let first = memory.start().cast::<T>().wrapping_add(skew);
        let first = NonNull::new(first).expect("memory has an address");
        Self { first, len, memory }
    }
}

impl<T> Deref for Zeroed<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: `skewed` has made the memory for `len` entries from the first one on and aligned
        // it for them; zeros are entries, by `Zeroable`; and it stays where it is as long as the
        // table is there, since `memory` is never changed.
        unsafe { slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Zeroed<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and whoever has the table alone has its entries alone.
        unsafe { slice::from_raw_parts_mut(self.first.as_ptr(), self.len) }
    }
}

impl<T: Zeroable + Copy> Clone for Zeroed<T> {
    fn clone(&self) -> Self {
        let mut table = Self::new(self.len);
        table.copy_from_slice(self);
        table
    }
}

impl<T> Debug for Zeroed<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let is_mapped = matches!(self.memory, Memory::Mapped(_));
        f.debug_struct("Zeroed").field("len", &self.len).field("is_mapped", &is_mapped).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_mapped<T>(table: &Zeroed<T>) -> bool {
        matches!(table.memory, Memory::Mapped(_))
    }

    /// Lengths on both sides of the border between heap and mapping, and what they are aligned for.
    #[test]
    fn entries_are_zeros_until_they_are_written() {
        let lens = [0, 1, 7, 512, (HUGE / 2 - 1) / 8, HUGE / 16, HUGE / 8 + 1];
        // Miri has no mappings, and would take minutes for the long ones.
        for len in lens.into_iter().take(if cfg!(miri) { 4 } else { 7 }) {
            let mut table = Zeroed::<[u32; 2]>::new(len);
            assert!(table.iter().all(|entry| *entry == [0, 0]), "{len}");
            (0..).zip(table.iter_mut()).for_each(|(nth, entry)| *entry = [nth, !nth]);
            let moved = table;
            assert_eq!(moved.len(), len);
            assert!((0..).zip(moved.iter()).all(|(nth, entry)| *entry == [nth, !nth]), "{len}");
            assert!(moved.as_ptr().is_aligned());
        }
        assert_eq!(size_of_val::<[u128]>(&Zeroed::new(3)), 48);
    }

    #[test]
    fn large_tables_are_mappings_of_whole_huge_pages() {
        let [small, large] = [HUGE / 2 - 1, HUGE / 2].map(Zeroed::<u8>::new);
        let maps = cfg!(all(target_os = "linux", not(miri)));
        assert_eq!((is_mapped(&small), is_mapped(&large)), (false, maps));
        if let Memory::Mapped(map) = &large.memory {
            assert_eq!(map.len(), HUGE);
        }
    }

    #[test]
    fn entries_of_a_skewed_table_lie_behind_the_start_of_a_page() {
        for len in [3, HUGE / 4] {
            let mut table = Zeroed::<u32>::skewed(len, 9);
            assert_eq!((table.len(), table[len - 1]), (len, 0));
            table[len - 1] = 7;
            let start = table.memory.start().addr();
            assert_eq!(table.as_ptr().addr() - start, 36);
        }
    }

    #[test]
    fn a_clone_is_another_table() {
        let mut table = Zeroed::<u16>::new(9);
        table[3] = 5;
        let clone = table.clone();
        table[3] = 6;
        assert_eq!((clone[3], clone.len(), table[3]), (5, 9, 6));
    }

    #[test]
    #[should_panic(expected = "address space")]
    fn a_table_that_fits_nowhere_is_refused() {
        let _table = Zeroed::<u64>::new(usize::MAX / 8);
    }
}
