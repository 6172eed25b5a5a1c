//! Short cuts: both scanners look at the MOVABLE free lists before they walk.
//!
//! The searches rotate the lists, so that the next one sees other blocks; allocations after a
//! compaction run therefore find the lists in another order.

use pagelab_allocator::event::{Isolator, Sink};
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::profile::AfterFailure;
use pagelab_allocator::units::{Order, PageCount, Pfn};

use crate::compact::control::{CLUSTER_MAX, CompactControl, FastStart, Hints};
use crate::compact::migrate_scanner::may_set_hint;
use crate::mover::Mover;

/// How many blocks a search may look at. Linux: `freelist_scan_limit()`.
fn scan_limit(cc: &CompactControl) -> u64 {
    CLUSTER_MAX.get().checked_shr(cc.fast_search_fail).unwrap_or(0) + 1
}

/// What a look through one free list found.
struct Scan {
    /// Blocks looked at.
    looked_at: u64,
    /// A block in the preferred part of the zone, or the best of the acceptable part.
    hit: Option<Pfn>,
    /// The block from which the list should start next time.
    turn_to: Option<Pfn>,
}

impl<S: Sink> Mover<'_, S> {
    /// A pageblock with free memory in the lower part of what is left to scan, or where the scanner
    /// stands. Linux: `fast_find_migrateblock()`.
    pub(crate) fn fast_find_migrateblock(&mut self, cc: &mut CompactControl) -> Pfn {
        let pageblock = self.page_alloc.geometry().pageblock_order();
        let Some(wanted) = cc.order().filter(|order| *order > Order::COSTLY) else {
            return cc.migrate_pfn;
        };
        if cc.hints == Hints::Ignore
            || cc.finish_pageblock
            || !self.starts_block(cc, cc.migrate_pfn)
            || cc.migratetype != MigrateType::Movable
        {
            return cc.migrate_pfn;
        }
        let limit = scan_limit(cc);
        let high = self.search_end(cc).align_down(pageblock);
        let mut scanned = 0;
        for order in Order::COSTLY.to(wanted).rev().skip(1) {
            if scanned >= limit {
                break;
            }
            if let Some(free) = self.find_source(cc, order, high, (limit, &mut scanned)) {
                self.stats.compact_migrate_scanned += scanned;
                cc.fast_search_fail = 0;
                cc.note_fast_start(free);
                return free.align_down(pageblock).max(cc.span.start());
            }
        }
        self.stats.compact_migrate_scanned += scanned;
        cc.fast_search_fail += 1;
        cc.reinit_migrate_pfn()
    }

    /// The search stays within the first half of what is left, or the first eighth once the scan
    /// is under way.
    fn search_end(&self, cc: &CompactControl) -> Pfn {
        let left = cc.free_pfn.get().saturating_sub(cc.migrate_pfn.get());
        let part = if cc.migrate_pfn == cc.span.start() { left / 2 } else { left / 8 };
        cc.migrate_pfn + PageCount::new(part)
    }

    fn find_source(
        &mut self,
        cc: &CompactControl,
        order: Order,
        high: Pfn,
        (limit, scanned): (u64, &mut u64),
    ) -> Option<Pfn> {
        let scan = self.scan_for_source(cc, order, high, limit - *scanned);
        *scanned += scan.looked_at;
        if let Some(pfn) = scan.turn_to {
            self.page_alloc.rotate_free_list(pfn, MigrateType::Movable);
        }
        let hit = scan.hit?;
        if self.page_alloc.profile().rules().after_failure == AfterFailure::SkipBlock {
            self.page_alloc.set_skip(hit);
        }
        Some(hit)
    }

    /// Looks through one list from its head, at `limit` blocks. What was seen goes to the tail when
    /// the search ends inside the list.
    fn scan_for_source(&self, cc: &CompactControl, order: Order, high: Pfn, limit: u64) -> Scan {
        let zone = &self.page_alloc.zones()[cc.zone];
        let mut scan = Scan { looked_at: 0, hit: None, turn_to: None };
        let mut list = zone.buddy().free_list(order, MigrateType::Movable);
        while let Some(free) = list.next() {
            scan.looked_at += 1;
            let found = free < high && !zone.is_skipped(free);
            if found || scan.looked_at > limit {
                scan.hit = (scan.looked_at <= limit).then_some(free);
                scan.turn_to = list.next();
                return scan;
            }
        }
        scan
    }

    /// Takes a free block near the free scanner aside, and what surrounds it.
    /// Linux: `fast_isolate_freepages()`.
    pub(crate) fn fast_isolate_freepages(&mut self, cc: &mut CompactControl) {
        let pageblock = self.page_alloc.geometry().pageblock_order();
        let Some(wanted) = cc.order().filter(|order| *order > Order::ZERO) else { return };
        let from_the_top = cc.free_pfn >= self.compaction.zone(cc.zone).init_free();
        let mut search = FreeSearch::new(cc, pageblock);
        if from_the_top {
            search.limit = pageblock.pages().get() / 2;
        }
        let found = self.search_free_lists(cc, wanted, &mut search);
        let around = found.or_else(|| {
            cc.fast_search_fail += 1;
            from_the_top.then(|| search.fallback_start()).inspect(|&pfn| cc.free_pfn = pfn)
        });
        if let Some(highest) = search.highest {
            self.compaction.zone(cc.zone).lower_free_below(highest, pageblock);
        }
        self.stats.compact_free_scanned += search.scanned;
        if let Some(pfn) = around {
            self.isolate_around(cc, pfn);
        }
    }

    fn search_free_lists(
        &mut self,
        cc: &mut CompactControl,
        wanted: Order,
        search: &mut FreeSearch,
    ) -> Option<Pfn> {
        let top = wanted.down()?;
        let mut order = cc.search_order.map_or(top, |o| o.min(top));
        cc.search_order = Some(order);
        let mut found = None;
        loop {
            let is_empty = self.page_alloc.zones()[cc.zone].buddy().nr_free(order) == 0;
            if !is_empty {
                let scan = self.scan_for_target(cc, order, search);
                if let Some(pfn) = scan.turn_to {
                    self.page_alloc.rotate_free_list(pfn, MigrateType::Movable);
                }
                if let Some(pfn) = scan.hit {
                    let Some(block) = self.page_alloc.isolate_free_page(pfn, Isolator::FastSearch)
                    else {
                        cc.search_order = Some(cc.search_order?.down().unwrap_or(top));
                        return None;
                    };
                    search.scanned += block.order().pages().get() - 1;
                    self.stats.compact_isolated += block.order().pages().get();
                    cc.freepages.add(block);
                    found = Some(pfn);
                }
                if cc.freepages.pages() >= cc.nr_migratepages {
                    return found;
                }
                if scan.looked_at >= search.limit {
                    search.limit = (search.limit / 2).max(1);
                }
            }
            let next = order.down().unwrap_or(top);
            if Some(next) == cc.search_order {
                cc.search_order = Some(next.down().unwrap_or(top));
                return found;
            }
            if found.is_some() {
                return found;
            }
            order = next;
        }
    }

    /// Looks through one list from its tail. A block in the preferred part ends the search; the
    /// best block of the acceptable part is kept in case there is none.
    fn scan_for_target(
        &self,
        cc: &mut CompactControl,
        order: Order,
        search: &mut FreeSearch,
    ) -> Scan {
        let pageblock = self.page_alloc.geometry().pageblock_order();
        let buddy = self.page_alloc.zones()[cc.zone].buddy();
        let mut scan = Scan { looked_at: 0, hit: None, turn_to: None };
        let mut best = None;
        for pfn in buddy.free_list_back(order, MigrateType::Movable) {
            scan.looked_at += 1;
            search.scanned += 1;
            if search.highest.is_none_or(|highest| pfn >= highest) {
                search.highest = Some(pfn.align_down(pageblock).max(cc.span.start()));
            }
            if pfn >= search.low {
                cc.fast_search_fail = 0;
                cc.search_order = Some(order);
                return Scan { hit: Some(pfn), turn_to: Some(pfn), ..scan };
            }
            if pfn >= search.min && best.is_none_or(|best| pfn > best) {
                best = Some(pfn);
                search.limit /= 2;
            }
            if scan.looked_at >= search.limit {
                scan.turn_to = Some(pfn);
                break;
            }
        }
        scan.hit = best;
        scan.turn_to = best.or(scan.turn_to);
        scan
    }

    /// Linux: `fast_isolate_around()`.
    fn isolate_around(&mut self, cc: &mut CompactControl, pfn: Pfn) {
        if cc.freepages.pages() >= cc.nr_migratepages || cc.is_direct_async() {
            return;
        }
        let block = self.page_alloc.geometry().pageblock_range(pfn);
        let Some(block) = block.intersect(cc.span) else { return };
        if self.is_absent(block) {
            return;
        }
        let (stop, _) = self.isolate_freepages_block(cc, block, 1);
        if stop == block.end() && may_set_hint(cc) {
            self.page_alloc.set_skip(block.start());
        }
    }
}

/// One search for targets through the free lists.
struct FreeSearch {
    /// Blocks from here up are taken at once.
    low: Pfn,
    /// Blocks from here up will do.
    min: Pfn,
    /// Blocks to look at in each list.
    limit: u64,
    /// The highest pageblock seen.
    highest: Option<Pfn>,
    scanned: u64,
}

impl FreeSearch {
    fn new(cc: &CompactControl, pageblock: Order) -> Self {
        let distance = cc.free_pfn.get().saturating_sub(cc.migrate_pfn.get());
        let back = |part: u64| (cc.free_pfn - PageCount::new(part)).align_down(pageblock);
        Self {
            low: back(distance / 4),
            min: back(distance / 2),
            limit: (scan_limit(cc) / 2).max(1),
            highest: None,
            scanned: 0,
        }
    }

    /// Where the walk starts when the lists gave nothing: pessimistic for a waiting request.
    fn fallback_start(&self) -> Pfn {
        self.highest.filter(|highest| *highest >= self.min).unwrap_or(self.min)
    }
}

impl CompactControl {
    /// Linux: `update_fast_start_pfn()`.
    fn note_fast_start(&mut self, pfn: Pfn) {
        self.fast_start = match self.fast_start {
            FastStart::Unset => FastStart::At(pfn),
            FastStart::At(low) => FastStart::At(low.min(pfn)),
            FastStart::Spent => FastStart::Spent,
        };
    }

    /// Once, the scan goes back to the lowest block that a fast search found.
    /// Linux: `reinit_migrate_pfn()`.
    fn reinit_migrate_pfn(&mut self) -> Pfn {
        if let FastStart::At(pfn) = self.fast_start {
            self.migrate_pfn = pfn;
            self.fast_start = FastStart::Spent;
        }
        self.migrate_pfn
    }
}
