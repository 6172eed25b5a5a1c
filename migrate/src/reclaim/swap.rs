//! Swap in memory: slots, and the pages that hold what was compressed into them.
//! Linux: `struct swap_info_struct` over drivers/block/zram.
//!
//! Contents are not modelled: every page shrinks by the same ratio, and the pool's pages are always
//! full but for one. They are unmovable here; zsmalloc's own migration is left out.

use pagelab_allocator::check::{Violation, same};
use pagelab_allocator::units::PageCount;

use crate::folio::FolioId;
use crate::page_cache::Age;

/// A page of swap. Linux: `swp_entry_t`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SwapSlot(u32);

impl SwapSlot {
    /// Slot number `raw`.
    #[must_use]
    pub const fn new(raw: u32) -> Self {
        Self(raw)
    }

    /// The raw number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    const fn index(self) -> usize {
        self.0 as usize
    }
}

/// How much swap there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SwapSpec {
    /// Pages that can be swapped out, before compression. Linux: zram's `disksize`.
    pub slots: PageCount,
    /// Swapped pages that one page of memory holds.
    pub pages_per_page: u32,
}

/// Why swap cannot be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SwapError {
    /// Slots are numbered with 29 bits.
    #[error("swap of {0} pages is larger than 2^29 pages")]
    TooLarge(PageCount),
    /// Nothing fits into nothing.
    #[error("a page of memory has to hold at least one swapped page")]
    NoRatio,
    /// One swap device is all there is.
    #[error("there is swap already")]
    Twice,
}

/// Slots in page table entries have three bits less than a word.
const MAX_SLOTS: u64 = (1 << 29) - 1;

/// What a slot holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Swapped {
    /// Page table entries that name it. Linux: `swap_map`.
    pub(crate) users: u32,
    /// When it was swapped out.
    pub(crate) age: Age,
    /// Its tags were saved with it. Linux: `mte_save_tags()`.
    pub(crate) tags: SavedTags,
}

/// Whether a slot's page had tags.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum SavedTags {
    #[default]
    None,
    Kept,
}

/// The swap device.
#[derive(Clone, Debug, Default)]
pub struct Swap {
    spec: Option<SwapSpec>,
    slots: Vec<Swapped>,
    free: Vec<SwapSlot>,
    used: u64,
    pool: Vec<FolioId>,
}

impl Swap {
    /// Linux: `swapon()`.
    pub(crate) fn turn_on(&mut self, spec: SwapSpec) -> Result<(), SwapError> {
        if self.spec.is_some() {
            return Err(SwapError::Twice);
        }
        if spec.slots.get() > MAX_SLOTS {
            return Err(SwapError::TooLarge(spec.slots));
        }
        if spec.pages_per_page == 0 {
            return Err(SwapError::NoRatio);
        }
        self.spec = Some(spec);
        Ok(())
    }

    /// Slots in use.
    #[must_use]
    pub const fn used(&self) -> PageCount {
        PageCount::new(self.used)
    }

    /// Slots that could be used. Linux: `get_nr_swap_pages()`.
    #[must_use]
    pub fn free_slots(&self) -> PageCount {
        let all = self.spec.map_or(PageCount::ZERO, |spec| spec.slots);
        all.saturating_sub(self.used())
    }

    /// Pages of memory that hold the slots' contents.
    #[must_use]
    pub fn pool(&self) -> &[FolioId] {
        &self.pool
    }

    /// Pages that the pool needs for `used` slots.
    fn needed(&self, used: u64) -> usize {
        let ratio = u64::from(self.spec.map_or(1, |spec| spec.pages_per_page));
        usize::try_from(used.div_ceil(ratio)).expect("fewer slots than an address space")
    }

    /// Whether one more slot takes one more page of memory.
    pub(crate) fn lacks_page(&self) -> bool {
        self.pool.len() < self.needed(self.used + 1)
    }

    pub(crate) fn add_page(&mut self, id: FolioId) {
        self.pool.push(id);
    }

    /// A page that the pool does not need any more.
    pub(crate) fn surplus_page(&mut self) -> Option<FolioId> {
        if self.pool.len() > self.needed(self.used) { self.pool.pop() } else { None }
    }

    /// Takes a slot. Linux: `folio_alloc_swap()`.
    ///
    /// # Panics
    ///
    /// Panics when none is free.
    pub(crate) fn store(&mut self, content: Swapped) -> SwapSlot {
        assert!(self.free_slots() > PageCount::ZERO, "swap is full");
        self.used += 1;
        if let Some(slot) = self.free.pop() {
            self.slots[slot.index()] = content;
            return slot;
        }
        let slot = SwapSlot(u32::try_from(self.slots.len()).expect("fewer than 2^29 slots"));
        self.slots.push(content);
        slot
    }

    pub(crate) fn get(&self, slot: SwapSlot) -> Swapped {
        self.slots[slot.index()]
    }

    /// One more entry names the slot. Linux: `swap_duplicate()`.
    pub(crate) fn share(&mut self, slot: SwapSlot) {
        self.slots[slot.index()].users += 1;
    }

    /// One entry less names the slot; with the last one it is free. Linux: `swap_free()`.
    ///
    /// # Panics
    ///
    /// Panics when none named it.
    pub(crate) fn put(&mut self, slot: SwapSlot) {
        let content = &mut self.slots[slot.index()];
        assert!(content.users > 0, "swap slot {} is free", slot.get());
        content.users -= 1;
        if content.users == 0 {
            self.used -= 1;
            self.free.push(slot);
        }
    }

    /// Recounts, given how many entries name each slot in use, ascending by slot.
    ///
    /// # Errors
    ///
    /// The first [`Violation`].
    pub(crate) fn check(&self, named: &[(SwapSlot, u32)]) -> Result<(), Violation> {
        for (slot, users) in named {
            let counted = self.slots.get(slot.index()).map_or(0, |content| content.users);
            same(format_args!("users of swap slot {}", slot.get()), counted, *users)?;
        }
        let named = u64::try_from(named.len()).unwrap_or(u64::MAX);
        same("swap slots in use", self.used, named)?;
        same("pages of memory that swap has", self.pool.len(), self.needed(self.used))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn swap(slots: u64, pages_per_page: u32) -> Swap {
        let mut swap = Swap::default();
        swap.turn_on(SwapSpec { slots: PageCount::new(slots), pages_per_page }).unwrap();
        swap
    }

    fn one() -> Swapped {
        Swapped { users: 1, ..Swapped::default() }
    }

    #[test]
    fn impossible_swap_is_refused() {
        let spec =
            |slots, pages_per_page| SwapSpec { slots: PageCount::new(slots), pages_per_page };
        let on = |spec| Swap::default().turn_on(spec);
        assert_eq!(on(spec(1, 0)), Err(SwapError::NoRatio));
        let most = PageCount::new(MAX_SLOTS + 1);
        assert_eq!(on(spec(MAX_SLOTS + 1, 3)), Err(SwapError::TooLarge(most)));
        assert_eq!(on(spec(MAX_SLOTS, 3)), Ok(()));
        assert_eq!(swap(1, 1).turn_on(spec(1, 1)), Err(SwapError::Twice));
    }

    #[test]
    fn slots_are_free_with_their_last_user() {
        let mut swap = swap(2, 3);
        let slot = swap.store(one());
        swap.share(slot);
        swap.put(slot);
        assert_eq!(swap.used(), PageCount::new(1));
        swap.put(slot);
        assert_eq!((swap.used(), swap.free_slots()), (PageCount::ZERO, PageCount::new(2)));
        assert_eq!(swap.store(one()), slot);
    }

    #[test]
    fn the_pool_grows_and_shrinks_with_the_ratio() {
        let mut swap = swap(100, 3);
        for raw in 0..7 {
            if swap.lacks_page() {
                swap.add_page(FolioId::new(raw));
            }
            swap.store(one());
        }
        assert_eq!(swap.pool(), [0, 3, 6].map(FolioId::new));
        swap.put(SwapSlot::new(5));
        assert_eq!(swap.surplus_page(), Some(FolioId::new(6)));
        assert_eq!(swap.surplus_page(), None);
    }

    #[test]
    fn canary_a_slot_that_nobody_names() {
        let mut swap = swap(4, 1);
        swap.add_page(FolioId::new(0));
        let slot = swap.store(one());
        swap.check(&[(slot, 1)]).unwrap();
        let said = |swap: &Swap, named: &[_]| swap.check(named).unwrap_err().to_string();
        assert_eq!(said(&swap, &[]), "swap slots in use: 1 instead of 0");
        assert_eq!(said(&swap, &[(slot, 2)]), "users of swap slot 0: 1 instead of 2");
        swap.pool.clear();
        let lacking = "pages of memory that swap has: 0 instead of 1";
        assert_eq!(said(&swap, &[(slot, 1)]), lacking);
    }
}
