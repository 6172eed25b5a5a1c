//! Taking blocks of tag storage from the allocator. Linux (RFC v3): `reserve_tag_storage()`.
//!
//! Blocks of one pageblock are taken together: it is isolated once for all of them. Pageblocks are
//! claimed side by side at first, as if by as many reservers: the CPUs' lists are emptied once, and
//! what lies there moves in one go.

use pagelab_allocator::isolate::IsolateMode;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::smp::{Cpu, Exclusive, SharedClaim, Steps};
use pagelab_allocator::units::{Order, Pfn, PfnRange};

use crate::smp::moving::Moving;
use crate::smp::step::Step;
use crate::smp::tag_blocks::{Region, ReserveError, SharedTagBlocks};
use crate::smp::{Placement, SharedMemory};
use crate::tag_storage::map::TagBlockId;

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
    block: TagBlockId,
    /// Pages that the block does not count yet.
    pages: u32,
}

impl Demand {
    /// For one page.
    pub(crate) const fn new(block: TagBlockId) -> Self {
        Self { block, pages: 1 }
    }

    /// For one more.
    pub(crate) const fn add_page(&mut self) {
        self.pages += 1;
    }

    /// Whether the block counts its pages by now.
    pub(crate) const fn is_met(&self) -> bool {
        self.pages == 0
    }

    /// Counts its pages if its block is reserved.
    fn try_meet(&mut self, tags: &SharedTagBlocks) {
        if tags.try_get(self.block, self.pages) {
            self.pages = 0;
        }
    }

    /// Counts its pages as the first of a block that was just taken from the allocator.
    fn meet_first(&mut self, tags: &SharedTagBlocks, steps: Steps<Step>) {
        tags.get_first(self.block, core::mem::take(&mut self.pages), steps);
    }
}

/// Demands for blocks of one pageblock.
#[derive(Debug)]
struct Group<'a> {
    region: &'a Region,
    demands: &'a mut [Demand],
}

impl<'a> Group<'a> {
    /// Cuts demands for blocks of one region, which ascend, into groups.
    fn each(region: &'a Region, demands: &'a mut [Demand], pageblock: Order) -> Vec<Self> {
        let (mut groups, mut rest) = (Vec::new(), demands);
        while let Some(first) = rest.first() {
            let end = region.range(first.block).start().align_down(pageblock) + pageblock.pages();
            let inside = |demand: &Demand| region.range(demand.block).start() < end;
            let count = rest.partition_point(inside);
            let (demands, others) = rest.split_at_mut(count);
            groups.push(Self { region, demands });
            rest = others;
        }
        groups
    }

    /// Whether all its blocks are taken.
    fn is_met(&self) -> bool {
        self.demands.iter().all(Demand::is_met)
    }

    /// The frames of the blocks that are not taken yet.
    fn lent(&self) -> impl Iterator<Item = PfnRange> {
        let unmet = self.demands.iter().filter(|demand| !demand.is_met());
        unmet.map(|demand| self.region.range(demand.block))
    }

    /// From the first of them to the last, if there are any.
    fn range(&self) -> Option<PfnRange> {
        let unmet = |demand: &&Demand| !demand.is_met();
        let first = self.demands.iter().find(unmet)?;
        let last = self.demands.iter().rfind(unmet)?;
        let range = |demand: &Demand| self.region.range(demand.block);
        Some(PfnRange::new(range(first).start(), range(last).end()))
    }
}

/// A claim of a pageblock, and the demands for blocks in it.
type Claimed<'a, 'b, 'c, P> = (SharedClaim<'a, P>, &'b mut Group<'c>);

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
        let mut demand = Demand::new(block);
        self.reserve_blocks(cpu, core::slice::from_mut(&mut demand));
        if demand.is_met() { Ok(()) } else { Err(ReserveError::Busy) }
    }

    /// Counts the pages of each demand that can be met. The demands ascend; none is for the block
    /// of another.
    pub(crate) fn reserve_blocks(&self, cpu: &mut Cpu<P>, demands: &mut [Demand]) {
        for demand in &mut *demands {
            demand.try_meet(&self.tags);
        }
        let mut rest = demands;
        while let Some(first) = rest.first() {
            let region = self.tags.region(first.block);
            let count = rest.partition_point(|demand| region.has(demand.block));
            let (group, others) = rest.split_at_mut(count);
            if group.iter().any(|demand| !demand.is_met()) {
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
            for demand in demands.iter_mut().filter(|demand| !demand.is_met()) {
                demand.try_meet(&self.tags);
            }
        }
        let order = self.alloc.geometry().pageblock_order();
        let mut groups = Group::each(region, demands, order);
        for several in groups.chunks_mut(SIDE_BY_SIDE) {
            self.claim_blocks(cpu, several);
        }
        // What others had, or what found no room elsewhere while all of it was isolated.
        for _ in 1..CLAIMS {
            groups.retain(|group| !group.is_met());
            groups.chunks_mut(1).for_each(|one| self.claim_blocks(cpu, one));
        }
    }

    /// Claims pageblocks, each from the first block to the last that is not taken yet, and takes
    /// what gets free. Linux (RFC v3): `alloc_contig_range()` in `reserve_tag_storage()`.
    fn claim_blocks(&self, cpu: &mut Cpu<P>, groups: &mut [Group<'_>]) {
        let ranges: Vec<PfnRange> = groups.iter().filter_map(Group::range).collect();
        if ranges.is_empty() {
            return;
        }
        let mode = IsolateMode::CmaAlloc(MigrateType::Cma);
        let claims = SharedClaim::claim_each(&self.alloc, cpu, &ranges, mode);
        let mut groups = groups.iter_mut();
        let claimed = claims.into_iter().filter_map(|claim| {
            let group = groups.find(|group| group.range() == Some(claim.range()))?;
            Some((claim, group))
        });
        self.take_blocks(cpu, &mut claimed.collect::<Vec<_>>());
    }

    /// Takes the blocks that are free once what lies there has moved. No page comes to an isolated
    /// pageblock, so that each time some moved fewer are left.
    /// Linux: `alloc_contig_range()` without its isolation.
    fn take_blocks(&self, cpu: &mut Cpu<P>, claimed: &mut [Claimed<'_, '_, '_, P>]) {
        // Room for all where blocks are single pages: a list that grows is written twice.
        let blocks = claimed.iter().map(|(_, group)| group.demands.len()).sum();
        let (mut tries, mut lent) = (0, Vec::with_capacity(blocks));
        loop {
            if claimed.iter().all(|(_, group)| group.is_met()) || tries == TRIES {
                return;
            }
            lent.clear();
            for block in claimed.iter().flat_map(|(_, group)| group.lent()) {
                lent.extend(block.iter());
            }
            if self.empty_blocks(cpu, claimed, &lent) == 0 {
                tries += 1;
            }
            for (claim, group) in claimed.iter_mut().filter(|(_, group)| !group.is_met()) {
                self.take_free_blocks(cpu, claim, group);
            }
        }
    }

    /// Moves the pages in `lent` elsewhere, as many as can move; says how many did. Blocks of
    /// single pages are taken as they are left: their frames are on no list in between.
    fn empty_blocks(
        &self,
        cpu: &mut Cpu<P>,
        claimed: &mut [Claimed<'_, '_, '_, P>],
        lent: &[Pfn],
    ) -> usize {
        if !claimed.iter().all(|(_, group)| group.region.has_single_pages()) {
            return self.migrate_frames(cpu, lent, Placement::Anywhere);
        }
        self.migrate_batches(cpu, lent, Placement::Anywhere, |cpu, pages| {
            self.take_left_blocks(claimed, pages);
            let stayed = pages.iter().filter(|page| !page.has_moved());
            cpu.free_singles(&stayed.map(Moving::spare).collect::<Vec<_>>());
        })
    }

    /// Takes the blocks that `pages` have left, which ascend; each is a page that some claim of
    /// `claimed` lacks. Linux: the end of `alloc_contig_range()`.
    fn take_left_blocks(&self, claimed: &mut [Claimed<'_, '_, '_, P>], pages: &[Moving]) {
        let moved = pages.iter().filter(|page| page.has_moved());
        let mut left = moved.map(Moving::spare).peekable();
        for (claim, Group { region, demands }) in claimed {
            let here = |frame: &Pfn| *frame < claim.range().end();
            if !left.peek().is_some_and(here) {
                continue;
            }
            let mut demands = demands.iter_mut();
            claim.take_over(core::iter::from_fn(|| left.next_if(here)), |frame| {
                let wants = |demand: &&mut Demand| region.range(demand.block).start() == frame;
                let demand = demands.find(wants).expect("a lent block");
                demand.meet_first(&self.tags, self.steps);
            });
        }
    }

    /// Takes the blocks of one claim that are free.
    fn take_free_blocks(
        &self,
        cpu: &mut Cpu<P>,
        claim: &SharedClaim<'_, P>,
        group: &mut Group<'_>,
    ) {
        let Group { region, demands } = group;
        let unmet = demands.iter_mut().filter(|demand| !demand.is_met());
        claim.take(
            cpu,
            unmet.map(|demand| (region.range(demand.block), demand)),
            |demand, taken| {
                let Ok(taken) = taken else { return };
                // The handle is made again when the block is released.
                let _held = taken.into_raw();
                demand.meet_first(&self.tags, self.steps);
            },
        );
    }
}
