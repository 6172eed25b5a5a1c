//! Taking blocks of tag storage from the allocator. Linux (RFC v3): `reserve_tag_storage()`.
//!
//! Blocks of one pageblock are taken together: it is isolated and the CPUs' lists are emptied once
//! for all of them, and what lies there moves in one go.

use pagelab_allocator::isolate::IsolateMode;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::smp::{Cpu, Exclusive, SharedClaim};
use pagelab_allocator::units::{Pfn, PfnRange};

use crate::smp::step::Step;
use crate::smp::tag_blocks::ReserveError;
use crate::smp::{Placement, SharedMemory};
use crate::tag_storage::map::TagBlockId;

/// Claims of a block before a reservation fails. Linux (RFC v3): `tries` of
/// `reserve_tag_storage()`.
const CLAIMS: u32 = 3;
/// Busy pages that may stay where they are before a claim fails. Linux:
/// `__alloc_contig_migrate_range()`.
const TRIES: u32 = 5;

/// Pages that are to get tags, whose tags share a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    pub(crate) block: TagBlockId,
    pub(crate) pages: u32,
    /// Whether the block counts them by now.
    pub(crate) is_met: bool,
}

impl Demand {
    pub(crate) const fn new(block: TagBlockId, pages: u32) -> Self {
        Self { block, pages, is_met: false }
    }
}

impl<P: Exclusive> SharedMemory<P> {
    /// Counts the page in `frame` in its tag block, which is taken from the allocator first if it
    /// is lent out. Linux (RFC v3): `reserve_tag_storage()`.
    ///
    /// # Errors
    ///
    /// [`ReserveError`]; nothing is counted then.
    pub fn reserve_tags(&self, cpu: &mut Cpu<P>, frame: Pfn) -> Result<(), ReserveError> {
        let block = self.tags.map().block_of(frame).ok_or(ReserveError::NoTagStorage)?;
        let mut demand = Demand::new(block, 1);
        self.reserve_blocks(cpu, core::slice::from_mut(&mut demand));
        if demand.is_met { Ok(()) } else { Err(ReserveError::Busy) }
    }

    /// Counts the pages of each demand that can be met. The demands ascend; none is for the block
    /// of another.
    pub(crate) fn reserve_blocks(&self, cpu: &mut Cpu<P>, demands: &mut [Demand]) {
        for demand in &mut *demands {
            demand.is_met = self.tags.try_get(demand.block, demand.pages);
        }
        let same = |a: TagBlockId, b| core::ptr::eq(self.tags.region(a), self.tags.region(b));
        for group in demands.chunk_by_mut(|a, b| same(a.block, b.block)) {
            if group.iter().any(|demand| !demand.is_met) {
                self.reserve_in_region(cpu, group);
            }
        }
    }

    /// Takes the blocks of one region that are not reserved yet, one reserver after the other.
    fn reserve_in_region(&self, cpu: &mut Cpu<P>, demands: &mut [Demand]) {
        let queue = self.steps.has(Step::ReserversQueue);
        let _queue = queue.then(|| self.tags.region(demands[0].block).reservers.lock());
        if self.steps.has(Step::ReserverLooksAgain) {
            for demand in demands.iter_mut().filter(|demand| !demand.is_met) {
                demand.is_met = self.tags.try_get_settled(demand.block, demand.pages);
            }
        }
        for group in demands.chunk_by_mut(|a, b| self.share_claim(a.block, b.block)) {
            self.claim_blocks(cpu, group);
        }
    }

    /// Whether two blocks are taken by one claim: they lie in one pageblock, so that a claim bars
    /// no more memory than the claim of a block does.
    fn share_claim(&self, one: TagBlockId, other: TagBlockId) -> bool {
        let order = self.alloc.geometry().pageblock_order();
        let pageblock = |block| self.tags.map().range(block).start().align_down(order);
        pageblock(one) == pageblock(other)
    }

    /// Claims a pageblock until all blocks are taken from it, or it was claimed often enough.
    /// Linux (RFC v3): the loop around `alloc_contig_range()`.
    fn claim_blocks(&self, cpu: &mut Cpu<P>, demands: &mut [Demand]) {
        let mode = IsolateMode::CmaAlloc(MigrateType::Cma);
        for _ in 0..CLAIMS {
            let mut unmet = demands.iter().filter(|demand| !demand.is_met).map(|d| d.block);
            let Some(first) = unmet.next() else { return };
            let (first, last) = (first, unmet.next_back().unwrap_or(first));
            let map = self.tags.map();
            let range = PfnRange::new(map.range(first).start(), map.range(last).end());
            if let Ok(claim) = SharedClaim::claim(&self.alloc, range, mode) {
                self.take_blocks(cpu, &claim, demands);
            }
        }
    }

    /// Takes the blocks that are free, and those that get free as pages move. No page comes to an
    /// isolated pageblock, so that each time some moved fewer are left.
    /// Linux: `alloc_contig_range()` without its isolation.
    fn take_blocks(&self, cpu: &mut Cpu<P>, claim: &SharedClaim<'_, P>, demands: &mut [Demand]) {
        let mut tries = 0;
        loop {
            let range = |demand: &Demand| self.tags.map().range(demand.block);
            let mut unmet: Vec<_> = demands.iter_mut().filter(|demand| !demand.is_met).collect();
            let parts: Vec<PfnRange> = unmet.iter().map(|demand| range(demand)).collect();
            for (demand, taken) in unmet.iter_mut().zip(claim.take(cpu, &parts)) {
                let Ok(taken) = taken else { continue };
                // The handle is made again when the block is released.
                let _held = taken.into_raw();
                self.tags.get_first(demand.block, demand.pages);
                demand.is_met = true;
            }
            let lent = unmet.iter().filter(|demand| !demand.is_met);
            let lent: Vec<Pfn> = lent.flat_map(|demand| range(demand).iter()).collect();
            if lent.is_empty() || tries == TRIES {
                return;
            }
            if self.migrate_frames(cpu, &lent, Placement::Anywhere) == 0 {
                tries += 1;
            }
        }
    }
}
