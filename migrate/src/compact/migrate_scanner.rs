//! The migration scanner: upwards through a zone, taking movable folios aside.

use pagelab_allocator::event::{Event, Isolation, Sink};
use pagelab_allocator::frame::Frame;
use pagelab_allocator::gfp::{AllocFlags, GfpFlags};
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::profile::CompactionTargets;
use pagelab_allocator::units::{Order, PageCount, Pfn, PfnRange};

use crate::compact::control::{CLUSTER_MAX, CompactControl, Hints, Purpose};
use crate::folio::{FolioId, FolioKind};
use crate::mover::Mover;

/// What the scanner does with the frame it stands on; counts are frames to the next one.
enum Step {
    /// Nothing to move.
    Pass(u64),
    /// Something that stays: no large block can come into being here.
    Stays(u64),
    /// A folio to move.
    Take(FolioId, u64),
}

/// State of one walk through (a part of) a pageblock.
struct Walk {
    low: Pfn,
    end: Pfn,
    scanned: u64,
    isolated: PageCount,
    /// The walk began at the pageblock's first frame, so its skip bit is ours to judge and set.
    owns_hint: bool,
    /// End of the aligned block that a failure gives up; `None` when failures do not matter.
    give_up_at: Option<Pfn>,
}

const ONE: PageCount = PageCount::new(1);

impl<S: Sink> Mover<'_, S> {
    /// Takes movable folios of `range`, a part of one pageblock, aside; stops at a cluster's worth.
    /// `cc.migrate_pfn` is where it stopped. Linux: `isolate_migratepages_block()`.
    pub(crate) fn isolate_migratepages_block(&mut self, cc: &mut CompactControl, range: PfnRange) {
        let mut walk = Walk {
            low: range.start(),
            end: range.end(),
            scanned: 0,
            isolated: PageCount::ZERO,
            owns_hint: false,
            give_up_at: None,
        };
        if let (true, Some(order)) = (cc.is_direct_async(), cc.order()) {
            walk.give_up_at = Some(walk.low.align_down(order) + order.pages());
        }
        if self.starts_block(cc, walk.low) {
            if self.is_skipped(cc, walk.low) {
                walk.low = walk.end;
            } else {
                walk.owns_hint = true;
            }
        }
        while walk.low < walk.end {
            if self.step(cc, &mut walk) == Go::Stop {
                break;
            }
        }
        walk.low = walk.low.min(walk.end);
        if walk.low == walk.end && (walk.isolated == PageCount::ZERO || cc.finish_pageblock) {
            if walk.owns_hint && may_set_hint(cc) {
                self.page_alloc.set_skip(range.start());
            }
            self.advance_cached_migrate(cc, walk.low);
        }
        self.stats.compact_migrate_scanned += walk.scanned;
        self.stats.compact_isolated += walk.isolated.get();
        self.page_alloc.sink_mut().emit(Event::IsolateMigratepages(Isolation {
            range: PfnRange::new(range.start(), walk.low),
            scanned: walk.scanned,
            taken: walk.isolated,
        }));
        cc.migrate_pfn = walk.low;
    }

    fn step(&mut self, cc: &mut CompactControl, walk: &mut Walk) -> Go {
        if let (Some(end), Some(order)) = (walk.give_up_at, cc.order())
            && walk.low >= end
        {
            if walk.isolated > PageCount::ZERO {
                return Go::Stop;
            }
            walk.give_up_at = Some(walk.low.align_down(order) + order.pages());
        }
        let step = self.look_at(cc, walk.low);
        let (Step::Pass(frames) | Step::Stays(frames) | Step::Take(_, frames)) = step;
        walk.scanned += frames;
        walk.low = walk.low + PageCount::new(frames);
        match step {
            Step::Pass(_) => Go::On,
            Step::Stays(_) => {
                self.give_up_block(cc, walk);
                Go::On
            }
            Step::Take(id, _) => self.take(cc, walk, id),
        }
    }

    fn take(&mut self, cc: &mut CompactControl, walk: &mut Walk, id: FolioId) -> Go {
        if walk.owns_hint && walk.isolated == PageCount::ZERO && may_set_hint(cc) {
            self.page_alloc.set_skip(self.folios[id].pfn());
        }
        let taken = self.isolate(id);
        assert!(taken, "{id} was looked at before");
        let pages = self.folios[id].order().pages();
        cc.migratepages.push(id);
        cc.nr_migratepages += pages;
        walk.isolated += pages;
        let full = cc.nr_migratepages >= CLUSTER_MAX && !cc.finish_pageblock;
        if full { Go::Stop } else { Go::On }
    }

    /// In an asynchronous run one frame that stays spoils the aligned block around it: folios that
    /// were taken from it are let go, and the scan goes on behind it.
    fn give_up_block(&mut self, cc: &mut CompactControl, walk: &mut Walk) {
        let (Some(end), Some(order)) = (walk.give_up_at, cc.order()) else { return };
        if walk.isolated > PageCount::ZERO {
            let taken = core::mem::take(&mut cc.migratepages);
            self.putback(&taken);
            cc.nr_migratepages = PageCount::ZERO;
            walk.isolated = PageCount::ZERO;
        }
        if walk.low <= end {
            walk.low = end;
            walk.give_up_at = Some(end + order.pages());
        }
    }

    fn look_at(&self, cc: &CompactControl, pfn: Pfn) -> Step {
        let Some(id) = self.rmap.folio_at(pfn) else {
            return match self.page_alloc.frame(pfn) {
                Frame::Free { head, order } => Step::Pass((head + order.pages() - pfn).get()),
                Frame::PerCpu { .. } | Frame::Allocated { .. } | Frame::Reserved => Step::Stays(1),
            };
        };
        let folio = &self.folios[id];
        if pfn != folio.pfn() {
            return Step::Stays(1);
        }
        let frames = folio.order().pages().get();
        if folio.order() > Order::ZERO && folio.is_movable() && self.skips_order(cc, folio.order())
        {
            return Step::Stays(frames);
        }
        if !folio.is_movable() || folio.is_isolated() || !self.can_isolate(cc, id) {
            return Step::Stays(1);
        }
        Step::Take(id, frames)
    }

    /// Whether large folios of `order` are left alone. Linux: `skip_isolation_on_order()`.
    fn skips_order(&self, cc: &CompactControl, order: Order) -> bool {
        let Some(wanted) = cc.order() else { return false };
        match self.page_alloc.profile().rules().compaction_targets {
            CompactionTargets::SinglePages => true,
            CompactionTargets::ByOrder => {
                order >= wanted || order >= self.page_alloc.geometry().pageblock_order()
            }
        }
    }

    /// Conditions on a folio of the LRU lists: an anonymous one must not be pinned, and page cache
    /// needs a caller that may enter file systems.
    fn can_isolate(&self, cc: &CompactControl, id: FolioId) -> bool {
        let folio = &self.folios[id];
        match folio.kind() {
            FolioKind::Anon => !folio.is_pinned(),
            FolioKind::Shmem | FolioKind::File => cc.gfp.contains(GfpFlags::FS),
            FolioKind::Kernel => true,
        }
    }

    /// Finds the next pageblock worth scanning and scans it. Linux: `isolate_migratepages()`.
    pub(crate) fn isolate_migratepages(&mut self, cc: &mut CompactControl) {
        let pageblock = self.page_alloc.geometry().pageblock_order();
        let mut low = self.fast_find_migrateblock(cc);
        let mut found_fast = low != cc.migrate_pfn && cc.fast_search_fail == 0;
        let mut end = low.align_down(pageblock) + pageblock.pages();
        while end <= cc.free_pfn {
            let passed_by = self.is_absent(PfnRange::new(low, end))
                || self.starts_block(cc, low) && !found_fast && self.is_skipped(cc, low);
            if !passed_by && self.is_source(cc, low) {
                self.isolate_migratepages_block(cc, PfnRange::new(low, end));
                return;
            }
            if !passed_by {
                self.advance_cached_migrate(cc, end);
            }
            found_fast = false;
            cc.migrate_pfn = end;
            low = end;
            end = end + pageblock.pages();
        }
    }

    /// Scans the pageblocks of a range that is being emptied, until a cluster is full.
    /// Linux: `isolate_migratepages_range()`.
    pub(crate) fn isolate_migratepages_range(&mut self, cc: &mut CompactControl, range: PfnRange) {
        let pageblock = self.page_alloc.geometry().pageblock_order();
        cc.migrate_pfn = range.start();
        for block in range.blocks(pageblock) {
            let block = PfnRange::block(block, pageblock).intersect(range);
            let block = block.expect("blocks of the range touch it");
            self.isolate_migratepages_block(cc, block);
            if cc.nr_migratepages >= CLUSTER_MAX {
                return;
            }
        }
    }

    /// Whether the pageblock of `pfn` may hold folios to move.
    /// Linux: `suitable_migration_source()`.
    fn is_source(&self, cc: &CompactControl, pfn: Pfn) -> bool {
        let pageblock = self.page_alloc.geometry().pageblock_order();
        let filled = self.rmap.folio_at(pfn).is_some_and(|id| {
            let folio = &self.folios[id];
            folio.pfn() == pfn && folio.is_movable() && folio.order() >= pageblock
        });
        if filled {
            return false;
        }
        let mt = self.page_alloc.pageblock_type(pfn);
        // RFC v1: a block in memory that the request may not use would be of no use.
        if mt == Some(MigrateType::Metadata) && !cc.flags.contains(AllocFlags::METADATA) {
            return false;
        }
        if !cc.is_direct_async() {
            return true;
        }
        match cc.migratetype {
            MigrateType::Movable => mt.is_some_and(MigrateType::is_movable),
            wanted => mt == Some(wanted),
        }
    }

    /// Whether `pfn` is the first frame of its pageblock in the zone.
    pub(crate) fn starts_block(&self, cc: &CompactControl, pfn: Pfn) -> bool {
        pfn.is_aligned(self.page_alloc.geometry().pageblock_order()) || pfn == cc.span.start()
    }

    /// Linux: the negation of `isolation_suitable()`.
    pub(crate) fn is_skipped(&self, cc: &CompactControl, pfn: Pfn) -> bool {
        cc.hints == Hints::Respect && self.page_alloc.zones()[cc.zone].is_skipped(pfn)
    }

    /// A hole as large as the pageblock. Linux: `pageblock_pfn_to_page()` finds nothing.
    pub(crate) fn is_absent(&self, block: PfnRange) -> bool {
        let absent = |pfn| matches!(self.page_alloc.frame(pfn), Frame::Reserved);
        absent(block.start()) && absent(block.end() - ONE)
    }

    /// Later runs start behind `pfn`. Linux: `update_cached_migrate()`.
    fn advance_cached_migrate(&mut self, cc: &CompactControl, pfn: Pfn) {
        if may_set_hint(cc) {
            let pageblock = self.page_alloc.geometry().pageblock_order();
            let end = pfn.align_down(pageblock) + pageblock.pages();
            self.compaction.zone(cc.zone).advance_migrate(end, cc.mode);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Go {
    On,
    Stop,
}

/// Linux: `!cc->no_set_skip_hint`.
pub(crate) fn may_set_hint(cc: &CompactControl) -> bool {
    matches!(cc.purpose, Purpose::Direct(_))
}
