//! The free scanner: downwards through a zone, taking free blocks aside as migration targets.

use pagelab_allocator::event::{Event, Isolation, Isolator, Sink};
use pagelab_allocator::frame::Frame;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::page_alloc::Pages;
use pagelab_allocator::profile::CompactionTargets;
use pagelab_allocator::units::{Order, PageCount, Pfn, PfnRange};

use crate::compact::control::{CLUSTER_MAX, CompactControl, Hints};
use crate::compact::migrate_scanner::may_set_hint;
use crate::migrate::MigrateMode;
use crate::mover::Mover;

impl<S: Sink> Mover<'_, S> {
    /// A migration target of exactly `order`. Linux: `compaction_alloc()`.
    pub(crate) fn compaction_alloc(
        &mut self,
        cc: &mut CompactControl,
        order: Order,
    ) -> Option<Pages> {
        if let Some(target) = self.take_target(cc, order) {
            return Some(target);
        }
        self.isolate_freepages(cc);
        self.take_target(cc, order)
    }

    fn take_target(&mut self, cc: &mut CompactControl, order: Order) -> Option<Pages> {
        let target = cc.freepages.take(self.page_alloc, order)?;
        if self.targets() == CompactionTargets::ByOrder {
            cc.nr_migratepages = cc.nr_migratepages.saturating_sub(order.pages());
        }
        Some(target)
    }

    fn targets(&self) -> CompactionTargets {
        self.page_alloc.profile().rules().compaction_targets
    }

    /// Takes free blocks aside until there are as many pages as there are to move.
    /// Linux: `isolate_freepages()`.
    fn isolate_freepages(&mut self, cc: &mut CompactControl) {
        self.fast_isolate_freepages(cc);
        if cc.freepages.pages() == PageCount::ZERO {
            self.isolate_freepages_downwards(cc);
        }
        cc.freepages.settle(self.page_alloc);
    }

    fn isolate_freepages_downwards(&mut self, cc: &mut CompactControl) {
        let pageblock = self.page_alloc.geometry().pageblock_order();
        let lowest = cc.migrate_pfn.align_down(pageblock) + pageblock.pages();
        let cluster = CLUSTER_MAX.get();
        let mut stride = if cc.mode == MigrateMode::Async { cluster } else { 1 };
        let mut start = cc.free_pfn;
        let mut block = self.block_of(cc, start);
        while block.start() >= lowest {
            let first = block.start();
            let before = Pfn::new(first.get().saturating_sub(pageblock.pages().get()));
            let wanted =
                !self.is_absent(block) && self.is_target(cc, first) && !self.is_skipped(cc, first);
            if wanted {
                let (stop, isolated) =
                    self.isolate_freepages_block(cc, PfnRange::new(start, block.end()), stride);
                let exhausted = stop == block.end();
                if exhausted {
                    self.skip_target(cc, first, before);
                }
                if cc.freepages.pages() >= cc.nr_migratepages || !exhausted {
                    start = if exhausted { before } else { stop };
                    break;
                }
                stride = match isolated {
                    PageCount::ZERO => (2 * stride).min(cluster),
                    _ => 1,
                };
            }
            start = before;
            if before == first {
                break;
            }
            block = PfnRange::new(before, first);
        }
        cc.free_pfn = start;
    }

    /// The part of `pfn`'s pageblock that lies in the zone.
    fn block_of(&self, cc: &CompactControl, pfn: Pfn) -> PfnRange {
        let block = self.page_alloc.geometry().pageblock_range(pfn);
        block.intersect(cc.span).unwrap_or(PfnRange::new(block.start(), block.start()))
    }

    /// Takes free blocks of a part of a pageblock aside; looks at every `stride`-th frame. Returns
    /// where it stopped and how many pages it got. Linux: `isolate_freepages_block()`.
    pub(crate) fn isolate_freepages_block(
        &mut self,
        cc: &mut CompactControl,
        range: PfnRange,
        stride: u64,
    ) -> (Pfn, PageCount) {
        let stride = PageCount::new(stride);
        let (mut at, mut isolated, mut scanned) = (range.start(), PageCount::ZERO, 0);
        while at < range.end() {
            scanned += 1;
            match self.free_block_at(at, range.end()) {
                Look::Other(frames) => {
                    scanned += frames - 1;
                    at = at + PageCount::new(frames - 1) + stride;
                }
                Look::Free => {
                    let Some(block) = self.page_alloc.isolate_free_page(at, Isolator::BlockScan)
                    else {
                        break;
                    };
                    let pages = block.order().pages();
                    scanned += pages.get() - 1;
                    isolated += pages;
                    cc.freepages.add(block);
                    at = at + pages;
                    if cc.nr_migratepages <= cc.freepages.pages() {
                        break;
                    }
                    at = at - PageCount::new(1) + stride;
                }
            }
        }
        self.stats.compact_free_scanned += scanned;
        self.stats.compact_isolated += isolated.get();
        let stop = at.min(range.end());
        let (range, taken) = (PfnRange::new(range.start(), stop), isolated);
        let taken = Isolation { range, scanned, taken };
        self.page_alloc.sink_mut().emit(Event::IsolateFreepages(taken));
        (stop, isolated)
    }

    /// What the free scanner sees at a frame.
    fn free_block_at(&self, pfn: Pfn, end: Pfn) -> Look {
        match self.page_alloc.frame(pfn) {
            Frame::Free { head, .. } if head == pfn => Look::Free,
            Frame::Allocated { head, order, .. }
                if head == pfn && self.is_compound(pfn) && head + order.pages() <= end =>
            {
                Look::Other(order.pages().get())
            }
            _ => Look::Other(1),
        }
    }

    /// Whether `pfn` heads a large folio. Linux: `PageCompound()`.
    fn is_compound(&self, pfn: Pfn) -> bool {
        self.rmap.folio_at(pfn).is_some_and(|id| {
            let folio = &self.folios[id];
            folio.order() > Order::ZERO && folio.is_movable()
        })
    }

    /// Whether free blocks of the pageblock at `pfn` may become targets.
    /// Linux: `suitable_migration_target()`.
    fn is_target(&self, cc: &CompactControl, pfn: Pfn) -> bool {
        let pageblock = self.page_alloc.geometry().pageblock_order();
        let large = match (self.targets(), cc.order()) {
            (CompactionTargets::ByOrder, Some(order)) if order > Order::ZERO => order,
            _ => pageblock,
        };
        if let Frame::Free { head, order } = self.page_alloc.frame(pfn)
            && head == pfn
            && order >= large
        {
            return false;
        }
        cc.hints == Hints::Ignore
            || self.page_alloc.pageblock_type(pfn).is_some_and(MigrateType::is_movable)
    }

    /// The pageblock at `first` is used up. Linux: `update_pageblock_skip()`.
    fn skip_target(&mut self, cc: &CompactControl, first: Pfn, before: Pfn) {
        if may_set_hint(cc) {
            self.page_alloc.set_skip(first);
            self.compaction.zone(cc.zone).lower_cached_free(before);
        }
    }
}

enum Look {
    /// A free block starts here.
    Free,
    /// Something else, so many frames long.
    Other(u64),
}
