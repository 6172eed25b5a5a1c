//! Taking blocks of tag storage from the allocator. Linux (RFC v3): `reserve_tag_storage()`.
//!
//! Blocks of one pageblock are taken together: it is isolated once for all of them. Pageblocks are
//! claimed side by side at first, as if by as many reservers: the CPUs' lists are emptied once, and
//! what lies there moves in one go.

use pagelab_allocator::isolate::IsolateMode;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::smp::{Cpu, Exclusive, SharedClaim};
use pagelab_allocator::units::{Pfn, PfnRange};

use crate::smp::step::Step;
use crate::smp::tag_blocks::{Region, ReserveError};
use crate::smp::{Placement, SharedMemory};
use crate::tag_storage::map::{TagBlockId, TagMap};

/// Claims of a block before a reservation fails. Linux (RFC v3): `tries` of
/// `reserve_tag_storage()`.
const CLAIMS: u32 = 3;
/// Busy pages that may stay where they are before a claim fails. Linux:
/// `__alloc_contig_migrate_range()`.
const TRIES: u32 = 5;

/// Pageblocks that are isolated at the same time: what lies there is barred meanwhile.
const SIDE_BY_SIDE: usize = 16;

/// Pages that are to get tags, whose tags share a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    pub(crate) block: TagBlockId,
    /// The frames of the block.
    tags: PfnRange,
    pub(crate) pages: u32,
    /// Whether the block counts them by now.
    pub(crate) is_met: bool,
}

impl Demand {
    pub(crate) fn new(map: &TagMap, block: TagBlockId) -> Self {
        Self { block, tags: map.range(block), pages: 1, is_met: false }
    }
}

/// A claim of a pageblock, and the demands for blocks in it.
type Claimed<'a, 'b, P> = (SharedClaim<'a, P>, &'b mut [Demand]);

impl<P: Exclusive> SharedMemory<P> {
    /// Counts the page in `frame` in its tag block, which is taken from the allocator first if it
    /// is lent out. Linux (RFC v3): `reserve_tag_storage()`.
    ///
    /// # Errors
    ///
    /// [`ReserveError`]; nothing is counted then.
    pub fn reserve_tags(&self, cpu: &mut Cpu<P>, frame: Pfn) -> Result<(), ReserveError> {
        self.admit(cpu);
        let block = self.tags.map().block_of(frame).ok_or(ReserveError::NoTagStorage)?;
        let mut demand = Demand::new(self.tags.map(), block);
        self.reserve_blocks(cpu, core::slice::from_mut(&mut demand));
        if demand.is_met { Ok(()) } else { Err(ReserveError::Busy) }
    }

    /// Counts the pages of each demand that can be met. The demands ascend; none is for the block
    /// of another.
    pub(crate) fn reserve_blocks(&self, cpu: &mut Cpu<P>, demands: &mut [Demand]) {
        for demand in &mut *demands {
            demand.is_met = self.tags.try_get(demand.block, demand.pages);
        }
        let mut rest = demands;
        while let Some(first) = rest.first() {
            let region = self.tags.region(first.block);
            let count = rest.partition_point(|demand| region.has(demand.block));
            let (group, others) = rest.split_at_mut(count);
            if group.iter().any(|demand| !demand.is_met) {
                self.reserve_in_region(cpu, region, group);
            }
            rest = others;
        }
    }

    /// Takes the blocks of one region that are not reserved yet, one reserver after the other.
    fn reserve_in_region(&self, cpu: &mut Cpu<P>, region: &Region, demands: &mut [Demand]) {
        let queue = self.steps.has(Step::ReserversQueue);
        let _queue = queue.then(|| region.reservers.lock());
        if self.steps.has(Step::ReserverLooksAgain) {
            // No earlier than a release that has begun has ended.
            let _releases = region.releases.lock();
            for demand in demands.iter_mut().filter(|demand| !demand.is_met) {
                demand.is_met = self.tags.try_get(demand.block, demand.pages);
            }
        }
        let order = self.alloc.geometry().pageblock_order();
        let pageblock = |demand: &Demand| demand.tags.start().align_down(order);
        let groups = demands.chunk_by_mut(|a, b| pageblock(a) == pageblock(b));
        let mut groups: Vec<&mut [Demand]> = groups.collect();
        for several in groups.chunks_mut(SIDE_BY_SIDE) {
            self.claim_blocks(cpu, several);
        }
        // What others had, or what found no room elsewhere while all of it was isolated.
        for _ in 1..CLAIMS {
            groups.chunks_mut(1).for_each(|one| self.claim_blocks(cpu, one));
        }
    }

    /// Claims pageblocks, each from the first block to the last that is not taken yet, and takes
    /// what gets free. Linux (RFC v3): `alloc_contig_range()` in `reserve_tag_storage()`.
    fn claim_blocks(&self, cpu: &mut Cpu<P>, groups: &mut [&mut [Demand]]) {
        let range = |group: &&mut [Demand]| {
            let mut unmet = group.iter().filter(|demand| !demand.is_met);
            let first = unmet.next()?;
            let last = unmet.next_back().unwrap_or(first);
            Some(PfnRange::new(first.tags.start(), last.tags.end()))
        };
        let ranges: Vec<PfnRange> = groups.iter().filter_map(range).collect();
        if ranges.is_empty() {
            return;
        }
        let mode = IsolateMode::CmaAlloc(MigrateType::Cma);
        let claims = SharedClaim::claim_each(&self.alloc, &ranges, mode);
        let mut groups = groups.iter_mut();
        let claimed = claims.into_iter().filter_map(|claim| {
            let group = groups.find(|group| range(group) == Some(claim.range()))?;
            Some((claim, &mut **group))
        });
        self.take_blocks(cpu, &mut claimed.collect::<Vec<_>>());
    }

    /// Takes the blocks that are free once what lies there has moved. No page comes to an isolated
    /// pageblock, so that each time some moved fewer are left.
    /// Linux: `alloc_contig_range()` without its isolation.
    fn take_blocks(&self, cpu: &mut Cpu<P>, claimed: &mut [Claimed<'_, '_, P>]) {
        let mut tries = 0;
        loop {
            let demands = claimed.iter().flat_map(|(_, demands)| demands.iter());
            let unmet = demands.filter(|demand| !demand.is_met);
            let lent: Vec<Pfn> = unmet.flat_map(|demand| demand.tags.iter()).collect();
            if lent.is_empty() || tries == TRIES {
                return;
            }
            if self.migrate_frames(cpu, &lent, Placement::Anywhere) == 0 {
                tries += 1;
            }
            for (claim, demands) in &mut *claimed {
                self.take_free_blocks(cpu, claim, demands);
            }
        }
    }

    /// Takes the blocks of one claim that are free.
    fn take_free_blocks(
        &self,
        cpu: &mut Cpu<P>,
        claim: &SharedClaim<'_, P>,
        demands: &mut [Demand],
    ) {
        let mut unmet: Vec<&mut Demand> = demands.iter_mut().filter(|d| !d.is_met).collect();
        let parts: Vec<PfnRange> = unmet.iter().map(|demand| demand.tags).collect();
        for (demand, taken) in unmet.iter_mut().zip(claim.take(cpu, &parts)) {
            let Ok(taken) = taken else { continue };
            // The handle is made again when the block is released.
            let _held = taken.into_raw();
            self.tags.get_first(demand.block, demand.pages, self.steps);
            demand.is_met = true;
        }
    }
}
