//! A walk through all of a machine's memory: what lies where, and what that leaves whole.

use std::collections::BTreeSet;

use pagelab_allocator::event::Sink;
use pagelab_allocator::frame::{Frame, Movability};
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::units::{PageCount, Pfn, PfnRange};

use crate::drive::Driver;
use crate::report::census::{Census, RUN_ORDERS};

/// What a pageblock holds.
#[derive(Clone, Copy, Default)]
struct Block {
    free: u64,
    movable: u64,
    unmovable: u64,
    /// Never handed over, or full of tags; more than none, too, when a page is pinned.
    stays: u64,
}

/// Pages since the last multiple of 1 GiB in pageblocks that are free, or could be.
#[derive(Clone, Copy, Default)]
struct Giant {
    free: u64,
    possible: u64,
}

/// What a page is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Free,
    Movable,
    Unmovable,
    Reserved,
}

/// Pages in 1 GiB.
const GIANT: u64 = 1 << (RUN_ORDERS - 1);

/// Walks through `memory`, of which `tags` are tag storage: what is reserved there stays, and is
/// nobody's unmovable page.
#[must_use]
pub fn census<S: Sink>(driver: &Driver<S>, memory: PfnRange, tags: PfnRange) -> Census {
    let alloc = driver.emulator().page_alloc();
    let order = alloc.geometry().pageblock_order();
    let mut walk = Walk::default();
    let mut counts = Vec::new();
    let pinned: BTreeSet<Pfn> = driver.pinned_frames().map(|pfn| pfn.align_down(order)).collect();
    let mut giant = Giant::default();
    for start in memory.blocks(order) {
        let range = PfnRange::block(start, order);
        let mut block = walk.block(driver, range);
        if tags.overlaps(range) {
            block.stays += core::mem::take(&mut block.unmovable);
        }
        block.stays += u64::from(pinned.contains(&start));
        let whole = range.len().get();
        walk.book(alloc.pageblock_type(start), &block);
        let (free, possible) = (block.free == whole, block.unmovable + block.stays == 0);
        walk.census.huge_free += u64::from(free);
        walk.census.huge_possible += u64::from(possible);
        giant.free += if free { whole } else { 0 };
        giant.possible += if possible { whole } else { 0 };
        if range.end().get().is_multiple_of(GIANT) {
            walk.census.giant_free += u64::from(giant.free == GIANT);
            walk.census.giant_possible += u64::from(giant.possible == GIANT);
            giant = Giant::default();
        }
        counts.push(block.unmovable);
    }
    walk.end_run();
    Census { unmovable_gini: gini(counts), ..walk.census }
}

/// A census under way.
#[derive(Default)]
struct Walk {
    census: Census,
    /// Length of the run of free pages that has not ended yet.
    run: u64,
}

impl Walk {
    /// Adds a pageblock of this type.
    fn book(&mut self, migratetype: Option<MigrateType>, block: &Block) {
        let census = &mut self.census;
        census.free_pages += block.free;
        census.unmovable_pages += block.unmovable;
        census.unmovable_blocks += u64::from(block.unmovable > 0);
        match migratetype {
            Some(MigrateType::Movable) => {
                census.movable_blocks += 1;
                census.mixed_blocks += u64::from(block.unmovable > 0);
            }
            Some(MigrateType::Cma) => {
                census.cma_pages += block.free + block.movable + block.unmovable;
                census.cma_movable_pages += block.movable;
            }
            _ => {}
        }
    }

    fn block<S: Sink>(&mut self, driver: &Driver<S>, range: PfnRange) -> Block {
        let mut block = Block::default();
        let mut pfn = range.start();
        while pfn < range.end() {
            let (kind, next) = look(driver, pfn, range.end());
            let pages = (next - pfn).get();
            match kind {
                Kind::Free => block.free += pages,
                Kind::Movable => block.movable += pages,
                Kind::Unmovable => block.unmovable += pages,
                Kind::Reserved => block.stays += pages,
            }
            match kind {
                Kind::Free => self.run += pages,
                _ => self.end_run(),
            }
            pfn = next;
        }
        block
    }

    fn end_run(&mut self) {
        let run = core::mem::take(&mut self.run);
        let longest = run.checked_ilog2().unwrap_or(0) as usize;
        let reached = self.census.free_in_runs.iter_mut().take(longest + 1);
        reached.for_each(|pages| *pages += run);
    }
}

/// What is at `pfn`, and where it ends; looks no further than `end`.
fn look<S: Sink>(driver: &Driver<S>, pfn: Pfn, end: Pfn) -> (Kind, Pfn) {
    match driver.emulator().frame(pfn) {
        Frame::Free { head, order } | Frame::PerCpu { head, order } => {
            (Kind::Free, (head + order.pages()).min(end))
        }
        Frame::Allocated { head, order, movability } => {
            let kind = match movability {
                Movability::Movable => Kind::Movable,
                Movability::Unmovable => Kind::Unmovable,
            };
            (kind, (head + order.pages()).min(end))
        }
        Frame::Reserved => (Kind::Reserved, pfn + PageCount::new(1)),
    }
}

/// The Gini coefficient of `counts`, in thousandths.
fn gini(mut counts: Vec<u64>) -> u64 {
    counts.sort_unstable();
    let n = u64::try_from(counts.len()).unwrap_or(u64::MAX);
    let sum: u64 = counts.iter().sum();
    if sum == 0 {
        return 0;
    }
    let ranked: u128 = (1..).zip(&counts).map(|(rank, count)| rank * u128::from(*count)).sum();
    let (all, n) = (u128::from(sum), u128::from(n));
    u64::try_from((2 * ranked).saturating_sub((n + 1) * all) * 1000 / (n * all)).unwrap_or(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gini_coefficient_of_small_lists() {
        assert_eq!(gini(vec![]), 0);
        assert_eq!(gini(vec![0, 0]), 0);
        assert_eq!(gini(vec![5, 5, 5, 5]), 0);
        // All in one of four: 1 - 1/4.
        assert_eq!(gini(vec![0, 0, 0, 8]), 750);
        // Mean absolute difference of 1, 2, 3 is 8/9, half of it over the mean 2: 2/9.
        assert_eq!(gini(vec![3, 1, 2]), 222);
    }

    #[test]
    fn runs_count_for_every_length_that_they_reach() {
        let mut walk = Walk { run: 5, ..Walk::default() };
        walk.end_run();
        walk.end_run();
        walk.run = 1;
        walk.end_run();
        assert_eq!(walk.census.free_in_runs[..4], [6, 5, 5, 0]);
        walk.run = 1 << 20;
        walk.end_run();
        assert_eq!(walk.census.free_in_runs[RUN_ORDERS - 1], 1 << 20);
    }
}
