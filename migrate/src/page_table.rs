//! The page table of one address space: which folio is behind which virtual page.

use core::fmt;
use core::ops::Range;
use std::collections::BTreeMap;

use pagelab_allocator::check::{Violation, same};

use crate::folio::{FolioId, VirtPage};
use crate::reclaim::swap::SwapSlot;
use crate::vma::VirtRange;

/// Entries per table: one page of 8-byte entries, with 4 KiB pages. Linux: `PTRS_PER_PTE`.
const LEN: usize = 512;

/// Pages that a leaf table maps.
const LEAF_SPAN: u64 = 512;

/// Pages that a middle table maps.
const MIDDLE_SPAN: u64 = 512 * LEAF_SPAN;

/// Every page that there can be.
fn all() -> VirtRange {
    VirtRange::new(VirtPage::new(0), VirtPage::new(u64::MAX))
}

/// One entry: empty, a folio and two restrictions, or a page of swap. Linux: `pte_t`.
///
/// It names the folio, not a frame: migration moves the folio and every entry follows. A folio of
/// `2^n` pages is mapped at a multiple of `2^n`, so the low bits of the virtual page are the page's
/// place within the folio.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Pte(u32);

impl Pte {
    /// Nothing is mapped. Linux: `pte_none()`.
    pub const EMPTY: Self = Self(0);

    const WRITE_PROTECTED: u32 = 1;
    const FAULT_ON_ACCESS: u32 = 2;
    const SWAPPED: u32 = 4;
    const FLAG_BITS: u32 = 3;

    /// An unrestricted entry.
    ///
    /// # Panics
    ///
    /// Panics for folio numbers of 29 bits and more.
    #[must_use]
    pub const fn new(folio: FolioId) -> Self {
        assert!(folio.get() < (1 << (u32::BITS - Self::FLAG_BITS)) - 1, "folio number too large");
        Self((folio.get() + 1) << Self::FLAG_BITS)
    }

    /// The entry of a page that went to swap. Linux: `swp_entry_to_pte()`.
    ///
    /// # Panics
    ///
    /// Panics for slot numbers of 29 bits and more.
    #[must_use]
    pub(crate) const fn swapped(slot: SwapSlot) -> Self {
        Self(Self::new(FolioId::new(slot.get())).0 | Self::SWAPPED)
    }

    /// Where the page is in swap, if it is there. Linux: `pte_to_swp_entry()`.
    #[must_use]
    pub const fn swap_slot(self) -> Option<SwapSlot> {
        match self.0 & Self::SWAPPED {
            0 => None,
            _ => Some(SwapSlot::new((self.0 >> Self::FLAG_BITS) - 1)),
        }
    }

    /// The folio, or `None` when there is none in memory.
    #[must_use]
    pub const fn folio(self) -> Option<FolioId> {
        if self.0 & Self::SWAPPED != 0 {
            return None;
        }
        match self.0 >> Self::FLAG_BITS {
            0 => None,
            n => Some(FolioId::new(n - 1)),
        }
    }

    /// Whether nothing is mapped.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether a write must copy first although the range is writable. Linux: `pte_wrprotect()`.
    #[must_use]
    pub const fn is_write_protected(self) -> bool {
        self.0 & Self::WRITE_PROTECTED != 0
    }

    /// Whether any access must first look for tag storage. Linux (RFC): `PAGE_FAULT_ON_ACCESS`,
    /// a prot-none entry with a software bit.
    #[must_use]
    pub const fn faults_on_access(self) -> bool {
        self.0 & Self::FAULT_ON_ACCESS != 0
    }

    /// The same restrictions on another folio.
    ///
    /// # Panics
    ///
    /// Panics for folio numbers of 29 bits and more.
    #[must_use]
    pub const fn naming(self, folio: FolioId) -> Self {
        let flags = self.0 & ((1 << Self::FLAG_BITS) - 1);
        Self(Self::new(folio).0 | flags)
    }

    /// The same entry, copying on write.
    #[must_use]
    pub const fn write_protected(self) -> Self {
        Self(self.0 | Self::WRITE_PROTECTED)
    }

    /// The same entry, writable as far as its range is.
    #[must_use]
    pub const fn writable(self) -> Self {
        Self(self.0 & !Self::WRITE_PROTECTED)
    }

    /// The same entry, faulting on any access.
    #[must_use]
    pub const fn faulting(self) -> Self {
        Self(self.0 | Self::FAULT_ON_ACCESS)
    }

    /// The same entry, accessible.
    #[must_use]
    pub const fn accessible(self) -> Self {
        Self(self.0 & !Self::FAULT_ON_ACCESS)
    }
}

impl fmt::Debug for Pte {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.folio() {
            None if self.swap_slot().is_some() => {
                write!(f, "swap slot {}", (self.0 >> Self::FLAG_BITS) - 1)
            }
            None => f.write_str("empty"),
            Some(folio) => {
                let copy = if self.is_write_protected() { ", copy on write" } else { "" };
                let fault = if self.faults_on_access() { ", fault on access" } else { "" };
                write!(f, "{folio}{copy}{fault}")
            }
        }
    }
}

/// A leaf table, freed with its last entry.
#[derive(Clone, Debug)]
struct Leaf {
    entries: [Pte; LEN],
    used: u16,
}

impl Leaf {
    fn new() -> Box<Self> {
        Box::new(Self { entries: [Pte::EMPTY; LEN], used: 0 })
    }
}

/// A table of leaves, freed with its last one. Linux: a page of `pmd_t`.
#[derive(Clone, Debug)]
struct Middle {
    leaves: Box<[Option<Box<Leaf>>; LEN]>,
    used: u16,
}

impl Middle {
    fn new() -> Self {
        Self { leaves: Box::new([const { None }; LEN]), used: 0 }
    }
}

/// All entries of one address space. Linux: `pgd_t *` and everything below.
#[derive(Clone, Debug, Default)]
pub struct PageTable {
    middles: BTreeMap<u64, Middle>,
}

/// Number of the middle table, place of the leaf in there, place within the leaf.
fn locate(page: VirtPage) -> (u64, usize, usize) {
    let place = |n: u64| usize::try_from(n % LEAF_SPAN).expect("below 512");
    (page.get() / MIDDLE_SPAN, place(page.get() / LEAF_SPAN), place(page.get()))
}

/// The places of a table at `base` whose entries, of `unit` pages each, touch `range`.
fn touched(base: u64, unit: u64, range: VirtRange) -> Range<usize> {
    let place = |n: u64| usize::try_from(n).map_or(LEN, |n| n.min(LEN));
    let end = place(range.end().get().saturating_sub(base).div_ceil(unit));
    place(range.start().get().saturating_sub(base) / unit).min(end)..end
}

impl PageTable {
    /// The entry of `page`.
    #[must_use]
    #[inline]
    pub fn get(&self, page: VirtPage) -> Pte {
        let (number, middle, place) = locate(page);
        let leaf = self.middles.get(&number).and_then(|table| table.leaves[middle].as_ref());
        leaf.map_or(Pte::EMPTY, |leaf| leaf.entries[place])
    }

    /// Replaces the entry of `page`; returns what was there. Linux: `set_pte_at()`.
    #[inline]
    pub(crate) fn set(&mut self, page: VirtPage, pte: Pte) -> Pte {
        if pte.is_empty() {
            return self.clear(page);
        }
        let (number, middle, place) = locate(page);
        let Middle { leaves, used } = self.middles.entry(number).or_insert_with(Middle::new);
        let leaf = leaves[middle].get_or_insert_with(|| {
            *used += 1;
            Leaf::new()
        });
        let old = core::mem::replace(&mut leaf.entries[place], pte);
        leaf.used += u16::from(old.is_empty());
        old
    }

    /// Empties the entry of `page`; returns what was there. Linux: `ptep_get_and_clear()`.
    fn clear(&mut self, page: VirtPage) -> Pte {
        let (number, middle, place) = locate(page);
        let Some(table) = self.middles.get_mut(&number) else { return Pte::EMPTY };
        let Some(leaf) = &mut table.leaves[middle] else { return Pte::EMPTY };
        let old = core::mem::take(&mut leaf.entries[place]);
        leaf.used -= u16::from(!old.is_empty());
        if leaf.used == 0 {
            table.leaves[middle] = None;
            table.used -= 1;
            if table.used == 0 {
                self.middles.remove(&number);
            }
        }
        old
    }

    /// Empties all entries of `range`; returns those that were not empty, ascending.
    /// Linux: `zap_pte_range()`.
    pub(crate) fn take(&mut self, range: VirtRange) -> Vec<(VirtPage, Pte)> {
        let taken: Vec<_> = self.entries(range).collect();
        for (page, _) in &taken {
            self.clear(*page);
        }
        taken
    }

    /// Entries of folios, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (VirtPage, Pte)> {
        self.range(all())
    }

    /// Entries of folios in `range`, ascending.
    pub fn range(&self, range: VirtRange) -> impl Iterator<Item = (VirtPage, Pte)> {
        self.entries(range).filter(|(_, pte)| pte.folio().is_some())
    }

    /// Entries of pages in swap in `range`, ascending.
    pub fn swapped(&self, range: VirtRange) -> impl Iterator<Item = (VirtPage, SwapSlot)> {
        self.entries(range).filter_map(|(page, pte)| Some((page, pte.swap_slot()?)))
    }

    /// Entries of pages in swap, ascending.
    pub fn all_swapped(&self) -> impl Iterator<Item = (VirtPage, SwapSlot)> {
        self.swapped(all())
    }

    /// Entries of `range` that are not empty, ascending.
    pub(crate) fn entries(&self, range: VirtRange) -> impl Iterator<Item = (VirtPage, Pte)> {
        self.leaves(range).flat_map(move |(base, leaf)| {
            let places = touched(base, 1, range);
            let first = VirtPage::new(base.max(range.start().get()));
            let entries = (first.get()..).map(VirtPage::new).zip(&leaf.entries[places]);
            entries.map(|(page, pte)| (page, *pte)).filter(|(_, pte)| !pte.is_empty())
        })
    }

    /// Leaves that map pages of `range`, ascending, each with the first page that it maps.
    fn leaves(&self, range: VirtRange) -> impl Iterator<Item = (u64, &Leaf)> {
        let first = range.start().get() / MIDDLE_SPAN;
        let end = range.end().get().div_ceil(MIDDLE_SPAN).max(first);
        self.middles.range(first..end).flat_map(move |(number, middle)| {
            let base = number * MIDDLE_SPAN;
            let places = touched(base, LEAF_SPAN, range);
            let start = base.max(range.start().get() / LEAF_SPAN * LEAF_SPAN);
            let leaves = (0..).map(move |n| start + n * LEAF_SPAN).zip(&middle.leaves[places]);
            leaves.filter_map(|(base, leaf)| Some((base, &**leaf.as_ref()?)))
        })
    }

    /// Number of entries that are not empty: pages in memory or in swap.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.leaves(all()).map(|(_, leaf)| u64::from(leaf.used)).sum()
    }

    /// Whether nothing is mapped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.middles.is_empty()
    }

    /// Recounts the tables.
    ///
    /// # Errors
    ///
    /// The first [`Violation`].
    pub fn check(&self) -> Result<(), Violation> {
        for (number, middle) in &self.middles {
            let used = middle.leaves.iter().flatten().count();
            same(format_args!("leaves of table {number:#x}"), usize::from(middle.used), used)?;
            same(format_args!("table {number:#x} is empty"), used == 0, false)?;
        }
        for (base, leaf) in self.leaves(all()) {
            let used = leaf.entries.iter().filter(|pte| !pte.is_empty()).count();
            same(format_args!("entries of the leaf at {base:#x}"), usize::from(leaf.used), used)?;
            same(format_args!("the leaf at {base:#x} is empty"), used == 0, false)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_folio_are_independent() {
        let pte = Pte::new(FolioId::new(0));
        assert_eq!(pte.folio(), Some(FolioId::new(0)));
        let both = pte.write_protected().faulting();
        assert!(both.is_write_protected() && both.faults_on_access());
        assert_eq!(both.accessible().writable(), pte);
        assert_eq!(format!("{both:?}"), "folio 0, copy on write, fault on access");
        assert_eq!(Pte::EMPTY.folio(), None);
    }

    #[test]
    fn swapped_entries_are_no_folios() {
        let slot = SwapSlot::new(0);
        let pte = Pte::swapped(slot);
        assert_eq!((pte.folio(), pte.swap_slot(), pte.is_empty()), (None, Some(slot), false));
        assert_eq!(Pte::new(FolioId::new(0)).swap_slot(), None);
        let mut table = PageTable::default();
        table.set(VirtPage::new(7), pte);
        table.set(VirtPage::new(8), Pte::new(FolioId::new(1)));
        assert_eq!((table.iter().count(), table.len()), (1, 2));
        assert_eq!(table.all_swapped().collect::<Vec<_>>(), [(VirtPage::new(7), slot)]);
        assert_eq!(format!("{pte:?}"), "swap slot 0");
        table.check().unwrap();
    }

    #[test]
    fn leaves_come_and_go_with_their_entries() {
        let mut table = PageTable::default();
        let page = VirtPage::new;
        assert_eq!(table.set(page(5), Pte::EMPTY), Pte::EMPTY);
        assert!(table.is_empty());
        for n in [511, 512, 3, 2000] {
            table.set(page(n), Pte::new(FolioId::new(7)));
        }
        table.check().unwrap();
        let within = VirtRange::new(page(4), page(2000));
        let found: Vec<_> = table.range(within).map(|(page, _)| page.get()).collect();
        assert_eq!(found, [511, 512]);
        assert_eq!((table.len(), table.iter().count()), (4, 4));
        for n in [511, 512, 3, 2000] {
            assert!(!table.set(page(n), Pte::EMPTY).is_empty());
        }
        assert!(table.is_empty());
    }

    #[test]
    fn ranges_cross_leaves_and_tables() {
        let mut table = PageTable::default();
        let pages = [0, 1, 511, 512, MIDDLE_SPAN - 1, MIDDLE_SPAN, 3 * MIDDLE_SPAN + 700, 1 << 39];
        for n in pages {
            table.set(VirtPage::new(n), Pte::new(FolioId::new(7)));
        }
        table.check().unwrap();
        for (at, &start) in pages.iter().enumerate() {
            for (to, &end) in pages.iter().enumerate().skip(at) {
                let range = VirtRange::new(VirtPage::new(start), VirtPage::new(end));
                let found: Vec<_> = table.range(range).map(|(page, _)| page.get()).collect();
                assert_eq!(found, pages[at..to]);
            }
        }
        let middle = VirtRange::new(VirtPage::new(1), VirtPage::new(MIDDLE_SPAN + 1));
        assert_eq!(table.take(middle).len(), 5);
        assert_eq!((table.len(), table.iter().count()), (3, 3));
        table.check().unwrap();
    }

    #[test]
    fn canaries_of_the_counts() {
        let mut table = PageTable::default();
        table.set(VirtPage::new(5), Pte::new(FolioId::new(7)));
        let mut more = table.clone();
        let middle = more.middles.get_mut(&0).unwrap();
        middle.used = 2;
        let said = more.check().unwrap_err().to_string();
        assert_eq!(said, "leaves of table 0x0: 2 instead of 1");
        let leaf = table.middles.get_mut(&0).unwrap().leaves[0].as_mut().unwrap();
        leaf.used = 3;
        let said = table.check().unwrap_err().to_string();
        assert_eq!(said, "entries of the leaf at 0x0: 3 instead of 1");
    }
}
