//! What compaction remembers of each zone between runs.

use pagelab_allocator::units::{Order, Pfn, PfnRange};

use crate::compact::deferral::{Deferral, DeferralReset};
use crate::migrate::MigrateMode;

/// The memory of all zones, in the order of `PageAllocator::zones`.
#[derive(Clone, Debug)]
pub struct Compaction {
    zones: Vec<ZoneCompaction>,
}

impl Compaction {
    /// Nothing learnt yet about `zones` zones.
    #[must_use]
    pub fn new(zones: usize) -> Self {
        Self { zones: vec![ZoneCompaction::default(); zones] }
    }

    /// What is known of one zone.
    ///
    /// # Panics
    ///
    /// Panics when there is no such zone.
    pub fn zone(&mut self, at: usize) -> &mut ZoneCompaction {
        &mut self.zones[at]
    }

    /// Every zone's part, written down.
    pub fn written(&self) -> impl Iterator<Item = CompactionState> {
        self.zones.iter().map(ZoneCompaction::written)
    }
}

/// What compaction remembers of one zone, with the names that a debugger finds in `struct zone`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompactionState {
    /// Linux: `compact_cached_free_pfn`.
    pub cached_free: Pfn,
    /// Of asynchronous and of synchronous runs. Linux: `compact_cached_migrate_pfn[]`.
    pub cached_migrate: [Pfn; 2],
    /// Linux: `compact_init_free_pfn`.
    pub init_free: Pfn,
    /// Linux: `compact_init_migrate_pfn`.
    pub init_migrate: Pfn,
    /// Linux: `compact_considered`, `compact_defer_shift`, `compact_order_failed`.
    pub deferral: Deferral,
    /// Whether the next run that starts over forgets the skip hints.
    /// Linux: `compact_blockskip_flush`.
    pub blockskip_flush: bool,
}

/// Whether the next run that starts over forgets the skip hints.
/// Linux: `zone->compact_blockskip_flush`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum SkipFlush {
    #[default]
    Keep,
    Flush,
}

/// Where scanners stopped, and how far a zone backs off. Linux: the `compact_*` fields of
/// `struct zone`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ZoneCompaction {
    pub(crate) deferral: Deferral,
    pub(crate) flush: SkipFlush,
    cached_migrate_async: Pfn,
    cached_migrate_sync: Pfn,
    cached_free: Pfn,
    init_migrate: Pfn,
    init_free: Pfn,
}

impl ZoneCompaction {
    fn written(&self) -> CompactionState {
        CompactionState {
            cached_free: self.cached_free,
            cached_migrate: [self.cached_migrate_async, self.cached_migrate_sync],
            init_free: self.init_free,
            init_migrate: self.init_migrate,
            deferral: self.deferral,
            blockskip_flush: self.flush == SkipFlush::Flush,
        }
    }

    /// Where the scanners of a run start; positions outside the zone are repaired.
    pub(crate) fn start(
        &mut self,
        span: PfnRange,
        pageblock: Order,
        mode: MigrateMode,
    ) -> Scanners {
        if !span.contains(self.cached_free) {
            self.cached_free = last_block(span, pageblock);
        }
        let migrate = self.cached_migrate(mode);
        if !span.contains(migrate) {
            self.cached_migrate_async = span.start();
            self.cached_migrate_sync = span.start();
        }
        Scanners { migrate: self.cached_migrate(mode), free: self.cached_free }
    }

    pub(crate) fn cached_migrate(&self, mode: MigrateMode) -> Pfn {
        match mode {
            MigrateMode::Async => self.cached_migrate_async,
            MigrateMode::SyncLight | MigrateMode::Sync => self.cached_migrate_sync,
        }
    }

    /// Whether a run from `pfn` covers everything worth covering.
    pub(crate) fn starts_over(&self, pfn: Pfn) -> bool {
        pfn <= self.init_migrate
    }

    /// Where the free scanner starts when it starts over.
    pub(crate) fn init_free(&self) -> Pfn {
        self.init_free
    }

    /// Whether asynchronous and synchronous runs would start at the same place.
    pub(crate) fn starts_agree(&self) -> bool {
        self.cached_migrate_async == self.cached_migrate_sync
    }

    /// Synchronous runs start where asynchronous ones do.
    pub(crate) fn sync_follows_async(&mut self) {
        self.cached_migrate_sync = self.cached_migrate_async;
    }

    /// Later migration scanners start at `pfn` or behind. Linux: `update_cached_migrate()`.
    pub(crate) fn advance_migrate(&mut self, pfn: Pfn, mode: MigrateMode) {
        self.cached_migrate_async = self.cached_migrate_async.max(pfn);
        if mode != MigrateMode::Async {
            self.cached_migrate_sync = self.cached_migrate_sync.max(pfn);
        }
    }

    /// Later free scanners start at `pfn` or before.
    pub(crate) fn lower_cached_free(&mut self, pfn: Pfn) {
        self.cached_free = self.cached_free.min(pfn);
    }

    /// Free blocks at `pfn` were given back unused: later free scanners look there again.
    pub(crate) fn raise_cached_free(&mut self, pfn: Pfn) {
        self.cached_free = self.cached_free.max(pfn);
    }

    /// The highest free block lies in the pageblock at `highest`: start before it next time.
    pub(crate) fn lower_free_below(&mut self, highest: Pfn, pageblock: Order) {
        if highest >= self.cached_free {
            let before = highest.get().saturating_sub(pageblock.pages().get());
            self.cached_free = Pfn::new(before);
        }
    }

    /// The scanners met. Linux: `reset_cached_positions()`.
    pub(crate) fn reset(&mut self, span: PfnRange, pageblock: Order) {
        self.cached_migrate_async = span.start();
        self.cached_migrate_sync = span.start();
        self.cached_free = last_block(span, pageblock);
    }

    /// Skip hints are gone: start at the first and the last pageblock worth scanning.
    pub(crate) fn restart(&mut self, scanners: Scanners) {
        self.init_migrate = scanners.migrate;
        self.init_free = scanners.free;
        self.cached_migrate_async = scanners.migrate;
        self.cached_migrate_sync = scanners.migrate;
        self.cached_free = scanners.free;
    }

    /// A request got its block after compaction.
    pub(crate) fn note_allocated(&mut self, order: Order) {
        self.flush = SkipFlush::Keep;
        self.deferral.reset(order, DeferralReset::Allocated);
    }
}

/// Positions of both scanners.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Scanners {
    pub(crate) migrate: Pfn,
    pub(crate) free: Pfn,
}

/// Start of the last pageblock of a zone.
pub(crate) fn last_block(span: PfnRange, pageblock: Order) -> Pfn {
    (span.end() - Order::ZERO.pages()).align_down(pageblock)
}
