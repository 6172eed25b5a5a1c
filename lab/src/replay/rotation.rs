//! How a recorded compaction turned the free lists around.
//!
//! Both scanners first look through the MOVABLE free lists, and put what they have seen where the
//! next search comes to it last. No event says so, but what they found shows: a target that was not
//! isolated by a scan of its pageblock came from a list; a scan that ended at its first page was
//! sent there by a list. What the searches that found nothing did follows from their number, since
//! each looks at half as many blocks as the one before.

use std::collections::BTreeMap;

use pagelab_allocator::event::Sink;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::page_alloc::PageAllocator;
use pagelab_allocator::units::{Order, Pfn, PfnRange};

use crate::trace::{Isolator, Scanned, Scanners};

/// Linux: `COMPACT_CLUSTER_MAX`.
const CLUSTER_MAX: u32 = 32;

/// Whether a run of compaction searches the lists; runs for no particular order do not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Searches {
    /// Nothing seen that tells.
    Unknown,
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// A run of compaction in one zone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CompactionRun {
    /// The zone, by position.
    pub zone: usize,
    searches: Searches,
    /// Scans whose searches are carried out once it is known that there were any.
    waiting: Vec<Scanned>,
    start: Pfn,
    migrate: Pfn,
    free: Pfn,
    /// Linux: `cc->fast_search_fail`.
    failed: u32,
    /// Who compacts.
    pid: u32,
    /// Blocks taken as targets, by first frame.
    targets: BTreeMap<Pfn, Order>,
    /// Pages are being moved: some were taken, and their migration has not ended.
    moving: bool,
}

/// Most scans that wait.
const MOST_WAITING: usize = 4096;

impl CompactionRun {
    /// A run that begins.
    #[must_use]
    pub const fn new(zone: usize, scanners: Scanners, pid: u32) -> Self {
        Self {
            pid,
            targets: BTreeMap::new(),
            moving: false,
            zone,
            searches: Searches::Unknown,
            waiting: Vec::new(),
            start: scanners.zone,
            migrate: scanners.migrate,
            free: scanners.free,
            failed: 0,
        }
    }

    /// The block at `pfn` was isolated as a target.
    pub fn took_target(&mut self, pfn: Pfn, order: Order) {
        self.targets.insert(pfn, order);
    }

    /// The migration of what was taken has ended.
    pub const fn moved(&mut self, pid: u32) {
        if pid == self.pid {
            self.moving = false;
        }
    }

    /// Whether a free is none: the target of a failed migration goes back to the compacting task's
    /// own list, which 6.12 announces as it does a free. Linux: `compaction_free()`.
    #[must_use]
    pub fn is_return(&self, pid: u32, pfn: Pfn) -> bool {
        let below = || self.targets.range(..=pfn).next_back();
        self.moving
            && self.pid == pid
            && below().is_some_and(|(start, order)| PfnRange::block(*start, *order).contains(pfn))
    }

    /// A pageblock was scanned for pages to move.
    pub fn scanned_sources<S: Sink>(&mut self, alloc: &mut PageAllocator<S>, scan: Scanned) {
        self.moving |= scan.taken > 0;
        if found_by_search(alloc, scan) {
            self.decide(alloc, Searches::Yes);
        }
        match self.searches {
            Searches::Yes => self.search_for_source(alloc, scan),
            Searches::Unknown if self.waiting.len() < MOST_WAITING => self.waiting.push(scan),
            _ => {}
        }
    }

    /// A pageblock was scanned for free pages.
    pub fn scanned_targets<S: Sink>(&mut self, alloc: &mut PageAllocator<S>, scan: Scanned) {
        self.decide(alloc, Searches::No);
        self.free = self.free.min(scan.start);
    }

    /// Whether a target says anything new: one that a scan came upon only says that there are no
    /// searches.
    #[must_use]
    pub fn learns_from(&self, caller: Isolator) -> bool {
        caller != Isolator::BlockScan || self.searches == Searches::Unknown
    }

    /// The free block at `pfn` is about to be isolated as a target.
    pub fn found_target<S: Sink>(
        &mut self,
        alloc: &mut PageAllocator<S>,
        pfn: Pfn,
        caller: Isolator,
    ) {
        if caller == Isolator::BlockScan {
            return self.decide(alloc, Searches::No);
        }
        self.decide(alloc, Searches::Yes);
        let left = self.free.get().saturating_sub(self.migrate.get());
        let preferred = Pfn::new(self.free.get() - left / 4);
        if pfn >= preferred.align_down(alloc.geometry().pageblock_order()) {
            self.failed = 0;
        }
        alloc.rotate_free_list(pfn, MigrateType::Movable);
    }

    /// The run ends: the last search found nothing, nor did the scan after it.
    pub fn end<S: Sink>(&mut self, alloc: &mut PageAllocator<S>, scanners: Scanners) {
        if self.searches == Searches::Yes && scanners.migrate > self.migrate {
            self.look_for(alloc, None);
        }
    }

    fn decide<S: Sink>(&mut self, alloc: &mut PageAllocator<S>, searches: Searches) {
        if self.searches != Searches::Unknown {
            return;
        }
        self.searches = searches;
        let waiting = core::mem::take(&mut self.waiting);
        if searches == Searches::Yes {
            for scan in waiting {
                self.search_for_source(alloc, scan);
            }
        }
    }

    /// The search before a scan: it found the scanned pageblock, or nothing.
    fn search_for_source<S: Sink>(&mut self, alloc: &mut PageAllocator<S>, scan: Scanned) {
        let order = alloc.geometry().pageblock_order();
        if self.migrate == self.start || self.migrate.is_aligned(order) {
            let found = found_by_search(alloc, scan).then_some(scan.start);
            self.look_for(alloc, found);
        }
        self.migrate = scan.end;
    }

    /// Goes through the lists as the search did, which found the pageblock `found` or nothing.
    /// Linux: `fast_find_migrateblock()`.
    fn look_for<S: Sink>(&mut self, alloc: &mut PageAllocator<S>, found: Option<Pfn>) {
        let geometry = alloc.geometry();
        let limit = CLUSTER_MAX.checked_shr(self.failed).unwrap_or(0) + 1;
        let wanted = found.map(|pfn| geometry.pageblock_range(pfn));
        let mut seen = 0;
        for order in Order::COSTLY.to(geometry.pageblock_order()).rev().skip(1) {
            if seen >= limit {
                break;
            }
            let mut list = alloc.zones()[self.zone].buddy().free_list(order, MigrateType::Movable);
            let mut hit = false;
            let last = list.find(|pfn| {
                hit = seen < limit && wanted.is_some_and(|block| block.contains(*pfn));
                let over = seen >= limit;
                seen += 1;
                hit || over
            });
            let next = last.and(list.next());
            drop(list);
            if let Some(next) = next {
                alloc.rotate_free_list(next, MigrateType::Movable);
            }
            if hit {
                self.failed = 0;
                return;
            }
        }
        self.failed += 1;
    }
}

/// Whether a scan found the skip hint that the search sets on the pageblock it comes upon (6.1),
/// and so ended at its first page.
fn found_by_search<S: Sink>(alloc: &PageAllocator<S>, scan: Scanned) -> bool {
    let aligned = scan.start.is_aligned(alloc.geometry().pageblock_order());
    aligned && scan.scanned == 1 && scan.taken == 0
}
