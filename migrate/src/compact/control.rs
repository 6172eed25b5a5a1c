//! The state of one compaction run, and of one range that is being emptied.

use pagelab_allocator::event::CompactionScan;
use pagelab_allocator::gfp::{AllocFlags, GfpFlags, ZoneType};
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::page_alloc::{AllocRequest, Pages};
use pagelab_allocator::units::{Order, PageCount, Pfn, PfnRange};

use crate::compact::CompactPriority;
use crate::compact::free_pages::FreePages;
use crate::folio::FolioId;
use crate::migrate::MigrateMode;

/// Most pages that a scanner takes aside at a time. Linux: `COMPACT_CLUSTER_MAX`.
pub(crate) const CLUSTER_MAX: PageCount = PageCount::new(32);

/// What the run is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// A request waits for a block of this order. Linux: `cc->direct_compaction`.
    Direct(Order),
    /// A range is being emptied, large folios and all. Linux: `cc->alloc_contig`.
    Contig,
}

/// Whether the scanners respect what earlier runs learnt about pageblocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hints {
    /// Skipped pageblocks stay skipped. Linux: neither `ignore_skip_hint` nor
    /// `ignore_block_suitable`.
    Respect,
    /// Every pageblock counts, whatever its type.
    Ignore,
}

/// Whether a run started at the zone's ends. Linux: `cc->whole_zone`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Extent {
    /// From one end to the other.
    Whole,
    /// From where earlier runs stopped.
    Cached,
}

/// Linux: `struct compact_control`.
#[derive(Debug)]
pub struct CompactControl {
    /// Index of the zone.
    pub(crate) zone: usize,
    /// The zone's frames.
    pub(crate) span: PfnRange,
    pub(crate) purpose: Purpose,
    pub(crate) gfp: GfpFlags,
    pub(crate) migratetype: MigrateType,
    pub(crate) mode: MigrateMode,
    pub(crate) flags: AllocFlags,
    pub(crate) highest: ZoneType,
    pub(crate) hints: Hints,
    pub(crate) extent: Extent,
    /// Where the migration scanner is.
    pub(crate) migrate_pfn: Pfn,
    /// Where the free scanner is.
    pub(crate) free_pfn: Pfn,
    /// The pageblock is scanned to its end, however many pages that isolates.
    /// Linux: `cc->finish_pageblock`, `cc->rescan` in 6.1.
    pub(crate) finish_pageblock: bool,
    /// Folios to move, the last isolated last; Linux's list has them the other way round.
    pub(crate) migratepages: Vec<FolioId>,
    /// Pages still to be moved. Linux: `cc->nr_migratepages`.
    pub(crate) nr_migratepages: PageCount,
    /// Frames to move them to.
    pub(crate) freepages: FreePages,
    /// The order whose list the next fast search starts with. Linux: `cc->search_order`.
    pub(crate) search_order: Option<Order>,
    /// Fast searches in a row that found nothing. Linux: `cc->fast_search_fail`.
    pub(crate) fast_search_fail: u32,
    /// Lowest frame that fast searches found.
    pub(crate) fast_start: FastStart,
}

/// Where a linear scan starts once fast searches fail. Linux: `cc->fast_start_pfn`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FastStart {
    /// Nothing found yet.
    Unset,
    /// The lowest find.
    At(Pfn),
    /// Used up.
    Spent,
}

impl CompactControl {
    /// A run on behalf of a request. Linux: `compact_zone_order()`.
    pub(crate) fn direct(
        zone: usize,
        span: PfnRange,
        request: &AllocRequest,
        priority: CompactPriority,
    ) -> Self {
        let full = priority == CompactPriority::SyncFull;
        Self {
            purpose: Purpose::Direct(request.order),
            gfp: request.gfp,
            migratetype: request.gfp.migratetype(),
            mode: match priority {
                CompactPriority::Async => MigrateMode::Async,
                CompactPriority::SyncLight | CompactPriority::SyncFull => MigrateMode::SyncLight,
            },
            flags: request.slow_flags(),
            highest: request.gfp.highest_zone(),
            hints: if full { Hints::Ignore } else { Hints::Respect },
            extent: if full { Extent::Whole } else { Extent::Cached },
            search_order: Some(request.order),
            ..Self::contig(zone, span, request.gfp)
        }
    }

    /// A range of the zone is being emptied. Linux: the `cc` of `alloc_contig_range()`.
    pub(crate) fn contig(zone: usize, span: PfnRange, gfp: GfpFlags) -> Self {
        Self {
            zone,
            span,
            purpose: Purpose::Contig,
            gfp,
            migratetype: MigrateType::Movable,
            mode: MigrateMode::Sync,
            flags: AllocFlags::empty(),
            highest: ZoneType::Movable,
            hints: Hints::Ignore,
            extent: Extent::Whole,
            migrate_pfn: span.start(),
            free_pfn: span.end(),
            finish_pageblock: false,
            migratepages: Vec::new(),
            nr_migratepages: PageCount::ZERO,
            freepages: FreePages::default(),
            search_order: None,
            fast_search_fail: 0,
            fast_start: FastStart::Unset,
        }
    }

    /// The order that the run works for, if a request waits. Linux: `cc->order`, or -1.
    pub(crate) const fn order(&self) -> Option<Order> {
        match self.purpose {
            Purpose::Direct(order) => Some(order),
            Purpose::Contig => None,
        }
    }

    /// Where the scanners are, as the tracepoints say it.
    pub(crate) fn scan(&self) -> CompactionScan {
        CompactionScan {
            zone: self.span,
            migrate: self.migrate_pfn,
            free: self.free_pfn,
            mode: if self.mode == MigrateMode::Async { "async" } else { "sync" },
        }
    }

    /// Whether the caller neither waits nor has been told to try hard.
    pub(crate) fn is_direct_async(&self) -> bool {
        matches!(self.purpose, Purpose::Direct(_)) && self.mode == MigrateMode::Async
    }

    /// Whether the scanners are in the same pageblock or have crossed.
    /// Linux: `compact_scanners_met()`.
    pub(crate) fn scanners_met(&self, pageblock: Order) -> bool {
        self.free_pfn.align_down(pageblock) <= self.migrate_pfn.align_down(pageblock)
    }

    /// The folios to move, in the order of Linux's list: the last isolated first.
    pub(crate) fn take_migratepages(&mut self) -> Vec<FolioId> {
        let mut list = core::mem::take(&mut self.migratepages);
        list.reverse();
        list
    }

    /// A target that was not used. Linux: `compaction_free()`.
    pub(crate) fn give_back(&mut self, target: Pages) {
        self.nr_migratepages += target.order().pages();
        self.freepages.give_back(target);
    }
}
