//! Who holds which tag block: counts and page flags, in step.
//!
//! The ledger is pure bookkeeping. It says which blocks a reservation still lacks, and is told what
//! became of them; whoever drives it finds the frames.

use pagelab_allocator::check::{Violation, same};
use pagelab_allocator::units::{Order, PageCount, Pfn, PfnRange};

use super::blocks::{Dropped, TagBlocks};
use super::formula::Formula;
use super::map::{NoTagStorage, Share, TagBlockId, TagMap};
use super::page_set::PageSet;

/// A reservation under way: some of its blocks are referenced, others have to be claimed.
#[derive(Debug)]
#[must_use = "a reservation is finished or rolled back"]
pub struct Pending {
    range: PfnRange,
    held: Vec<Share>,
    missing: Vec<Share>,
}

impl Pending {
    /// The next block whose frames have to be claimed, ascending.
    #[must_use]
    pub fn next_block(&self) -> Option<TagBlockId> {
        self.missing.last().map(|share| share.block)
    }

    /// The references taken so far, in their order.
    pub(crate) fn held(&self) -> &[Share] {
        &self.held
    }
}

/// Counts by block and flags by page. Linux (RFC): `tag_blocks_reserved`, the reference counts of
/// blocks, and `PG_tag_storage_reserved`.
///
/// Invariant, checked by [`Ledger::check`]: a reserved block counts one, plus the flagged data
/// pages whose tags it holds.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    map: TagMap,
    blocks: TagBlocks,
    reserved: PageSet,
    unmatched: u64,
}

impl Ledger {
    /// Nothing reserved on the machine of `map`, whose frames are `span`.
    #[must_use]
    pub fn new(map: TagMap, span: PfnRange) -> Self {
        let blocks = TagBlocks::new(map.len());
        Self { map, blocks, reserved: PageSet::new(span), unmatched: 0 }
    }

    /// The regions and their blocks.
    #[must_use]
    pub const fn map(&self) -> &TagMap {
        &self.map
    }

    /// The counts.
    #[must_use]
    pub const fn blocks(&self) -> &TagBlocks {
        &self.blocks
    }

    /// Whether the page may carry tags now. Linux (RFC): `page_tag_storage_reserved()`.
    #[must_use]
    pub fn is_reserved(&self, pfn: Pfn) -> bool {
        self.reserved.contains(pfn)
    }

    /// Pages that may carry tags now.
    #[must_use]
    pub const fn reserved_pages(&self) -> PageCount {
        self.reserved.len()
    }

    /// Drops of references that were never taken; the published formulas cause them when a huge
    /// page is split.
    #[must_use]
    pub const fn unmatched(&self) -> u64 {
        self.unmatched
    }

    /// Begins a reservation: takes references on every block that is reserved already, so that
    /// none of them goes away while the others are claimed. Linux (RFC): the first loop of
    /// `reserve_tag_storage()`.
    ///
    /// `None` when the page is reserved already.
    ///
    /// # Errors
    ///
    /// [`NoTagStorage`] when a page lies outside every data range.
    pub fn begin(&mut self, pfn: Pfn, order: Order) -> Result<Option<Pending>, NoTagStorage> {
        if self.is_reserved(pfn) {
            return Ok(None);
        }
        let shares = self.map.shares(pfn, order)?;
        let (held, mut missing): (Vec<_>, Vec<_>) =
            shares.into_iter().partition(|share| self.blocks.is_reserved(share.block));
        for share in &held {
            self.blocks.add(*share);
        }
        missing.reverse();
        Ok(Some(Pending { range: PfnRange::block(pfn, order), held, missing }))
    }

    /// The frames of [`Pending::next_block`] were claimed.
    ///
    /// # Panics
    ///
    /// Panics when no block was missing.
    pub fn claimed(&mut self, pending: &mut Pending) {
        let share = pending.missing.pop().expect("a block was missing");
        self.blocks.reserve(share.block);
        self.blocks.add(share);
        pending.held.push(share);
    }

    /// Every block is there: the pages may carry tags.
    ///
    /// # Panics
    ///
    /// Panics when a block is still missing.
    pub fn finish(&mut self, pending: Pending) {
        assert!(pending.missing.is_empty(), "a reservation without all of its blocks");
        self.reserved.insert(pending.range);
    }

    /// A block could not be claimed: drops every reference; returns the blocks to give back.
    #[must_use]
    pub fn rollback(&mut self, pending: Pending) -> Vec<TagBlockId> {
        self.drop_shares(&pending.held)
    }

    /// The pages are free or carry tags no more; returns the blocks to give back.
    /// Linux (RFC): `free_tag_storage()`.
    #[must_use]
    pub fn free(&mut self, pfn: Pfn, order: Order) -> Vec<TagBlockId> {
        if !self.is_reserved(pfn) {
            return Vec::new();
        }
        self.reserved.remove(PfnRange::block(pfn, order));
        let shares = self.map.shares(pfn, order).expect("reserved pages have tag storage");
        self.drop_shares(&shares)
    }

    /// Keeps a block reserved for ever, although no page may need it; its frames were claimed
    /// unless it was reserved already.
    pub fn keep(&mut self, block: TagBlockId) {
        if !self.blocks.is_reserved(block) {
            self.blocks.reserve(block);
        }
        self.blocks.keep(block);
    }

    fn drop_shares(&mut self, shares: &[Share]) -> Vec<TagBlockId> {
        let mut unneeded = Vec::new();
        for share in shares {
            if self.map.formula() != Formula::Intent
                && self.blocks.count(share.block) <= share.pages
            {
                self.unmatched += 1;
            } else if self.blocks.sub(*share) == Dropped::Unneeded {
                unneeded.push(share.block);
            }
        }
        unneeded
    }

    /// Recounts every block from the page flags. The published formulas are not held to it.
    ///
    /// # Errors
    ///
    /// The first [`Violation`].
    pub fn check(&self) -> Result<(), Violation> {
        if self.map.formula() != Formula::Intent {
            return Ok(());
        }
        let mut all = 0;
        for block in self.map.ids() {
            let flagged = self.reserved.within(self.map.covered(block)).count();
            all += flagged;
            let count = self.blocks.count(block);
            let pages = u32::try_from(flagged).expect("a block's pages");
            let needed = pages > 0 || self.blocks.is_permanent(block);
            let expected = if needed { 1 + pages } else { 0 };
            same(format_args!("references on tag block {}", block.get()), count, expected)?;
        }
        let all = u64::try_from(all).expect("pages of tag storage");
        same("reserved pages, with tag storage", self.reserved.len().get(), all)
    }
}

#[cfg(test)]
mod tests {
    use pagelab_allocator::geometry::Geometry;

    use super::super::region::TagRegion;
    use super::*;

    fn range(start: u64, len: u64) -> PfnRange {
        PfnRange::from_len(Pfn::new(start), PageCount::new(len))
    }

    fn ledger(block_pages: u64, formula: Formula) -> Ledger {
        let region =
            TagRegion::new(range(0, 0x4000), range(0x4000, 512), PageCount::new(block_pages));
        let map = TagMap::new(vec![region.unwrap()], Geometry::PAGES_4K, formula).unwrap();
        Ledger::new(map, range(0, 0x4200))
    }

    /// Reserves when every claim succeeds; returns how many blocks were claimed.
    fn reserve(ledger: &mut Ledger, pfn: u64, order: u8) -> usize {
        let begun = ledger.begin(Pfn::new(pfn), Order::of(order)).unwrap();
        let Some(mut pending) = begun else { return 0 };
        let mut claims = 0;
        while pending.next_block().is_some() {
            ledger.claimed(&mut pending);
            claims += 1;
        }
        ledger.finish(pending);
        ledger.check().unwrap();
        claims
    }

    fn count(ledger: &Ledger, block: usize) -> u32 {
        ledger.blocks().count(TagBlockId::from_index(block))
    }

    #[test]
    fn pages_of_one_group_share_a_block() {
        let mut ledger = ledger(1, Formula::Intent);
        assert_eq!([0, 5, 31].map(|pfn| reserve(&mut ledger, pfn, 0)), [1, 0, 0]);
        assert_eq!(count(&ledger, 0), 4);
        assert!(ledger.free(Pfn::new(5), Order::ZERO).is_empty());
        assert!(ledger.free(Pfn::new(0), Order::ZERO).is_empty());
        assert_eq!(count(&ledger, 0), 2);
        assert_eq!(ledger.free(Pfn::new(31), Order::ZERO), [TagBlockId::from_index(0)]);
        assert_eq!(count(&ledger, 0), 0);
        ledger.check().unwrap();
    }

    #[test]
    fn a_huge_page_may_be_freed_page_by_page() {
        let mut ledger = ledger(1, Formula::Intent);
        assert_eq!(reserve(&mut ledger, 512, 9), 16);
        assert_eq!((16..32).map(|b| count(&ledger, b)).max(), Some(33));
        for pfn in range(512, 512).iter() {
            let released = ledger.free(pfn, Order::ZERO);
            assert_eq!(!released.is_empty(), pfn.get() % 32 == 31, "{pfn}");
        }
        ledger.check().unwrap();
        assert_eq!(ledger.blocks().reserved(), 0);
    }

    #[test]
    fn rollback_gives_back_what_was_claimed_and_keeps_what_others_need() {
        let mut ledger = ledger(1, Formula::Intent);
        reserve(&mut ledger, 32, 0);
        let mut pending = ledger.begin(Pfn::new(0), Order::of(7)).unwrap().unwrap();
        assert_eq!(count(&ledger, 1), 34);
        assert_eq!(pending.next_block(), Some(TagBlockId::from_index(0)));
        ledger.claimed(&mut pending);
        assert_eq!(pending.next_block(), Some(TagBlockId::from_index(2)));
        assert_eq!(ledger.rollback(pending), [TagBlockId::from_index(0)]);
        assert_eq!((count(&ledger, 1), count(&ledger, 2)), (2, 0));
        ledger.check().unwrap();
    }

    #[test]
    fn a_kept_block_is_never_given_back() {
        let mut ledger = ledger(1, Formula::Intent);
        ledger.keep(TagBlockId::from_index(0));
        assert_eq!(reserve(&mut ledger, 3, 0), 0);
        assert!(ledger.free(Pfn::new(3), Order::ZERO).is_empty());
        assert_eq!(count(&ledger, 0), 1);
        ledger.check().unwrap();
    }

    #[test]
    fn as_coded_a_split_leaks() {
        let mut v2 = ledger(2, Formula::AsCodedV2);
        assert_eq!(reserve(&mut v2, 0, 6), 2);
        for pfn in range(0, 64).iter() {
            let _ = v2.free(pfn, Order::ZERO);
        }
        assert_eq!((count(&v2, 0), count(&v2, 1)), (0, 65));
    }
}
