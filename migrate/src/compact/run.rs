//! One compaction run over one zone.

use pagelab_allocator::event::{Event, Sink};
use pagelab_allocator::frame::Frame;
use pagelab_allocator::gfp::AllocFlags;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::page_alloc::AllocRequest;
use pagelab_allocator::profile::AfterFailure;
use pagelab_allocator::units::{Order, PageCount, Pfn, PfnRange};
use pagelab_allocator::watermark::Mark;

use crate::compact::CompactResult;
use crate::compact::control::{CompactControl, Extent, Hints};
use crate::compact::state::{Scanners, SkipFlush, last_block};
use crate::compact::suitable::{Suitability, suitability};
use crate::migrate::{MigrateError, MigrateMode, MigrateReason, MigrateResult, Target};
use crate::mover::Mover;

/// Frames between two looks at a pageblock when skip hints are cleared.
const SAMPLE: PageCount = Order::COSTLY.pages();

/// State of a run that outlives one step.
struct Progress {
    /// Start of the last pageblock from which folios were taken; cleared when a drain would not
    /// complete the block. Linux: `last_migrated_pfn`.
    last_migrated: Option<Pfn>,
    /// Nothing was taken aside so far, and both kinds of runs started at the same place.
    update_cached: bool,
}

impl<S: Sink> Mover<'_, S> {
    /// Runs the scanners until a block exists, they meet, or targets run out.
    /// Linux: `compact_zone()`.
    pub(crate) fn compact_zone(&mut self, cc: &mut CompactControl) -> CompactResult {
        let order = cc.order().unwrap_or_default();
        let zone = &self.page_alloc.zones()[cc.zone];
        match suitability(zone, order, cc.flags, cc.highest) {
            Suitability::NotNeeded => return CompactResult::Success,
            Suitability::Hopeless => return CompactResult::Skipped,
            Suitability::Suitable => {}
        }
        if self.compaction.zone(cc.zone).deferral.is_restarting(order) {
            self.reset_skip_hints(cc.zone);
        }
        self.place_scanners(cc);
        self.page_alloc.sink_mut().emit(Event::CompactionBegin(cc.scan()));
        let state = self.compaction.zone(cc.zone);
        let update_cached = cc.mode == MigrateMode::Async && state.starts_agree();
        let mut progress = Progress { last_migrated: None, update_cached };
        let result = loop {
            if let Some(result) = self.compact_finished(cc) {
                break result;
            }
            if let Some(result) = self.compact_step(cc, &mut progress) {
                break result;
            }
        };
        self.release_freepages(cc);
        let (scan, status) = (cc.scan(), result.word());
        self.page_alloc.sink_mut().emit(Event::CompactionEnd { scan, status });
        result
    }

    fn place_scanners(&mut self, cc: &mut CompactControl) {
        let pageblock = self.page_alloc.geometry().pageblock_order();
        let start = match cc.extent {
            Extent::Whole => {
                Scanners { migrate: cc.span.start(), free: last_block(cc.span, pageblock) }
            }
            Extent::Cached => self.compaction.zone(cc.zone).start(cc.span, pageblock, cc.mode),
        };
        (cc.migrate_pfn, cc.free_pfn) = (start.migrate, start.free);
        if self.compaction.zone(cc.zone).starts_over(start.migrate) {
            cc.extent = Extent::Whole;
        }
    }

    /// Takes folios aside and moves them; twice over a pageblock that kept some.
    fn compact_step(
        &mut self,
        cc: &mut CompactControl,
        progress: &mut Progress,
    ) -> Option<CompactResult> {
        let pageblock = self.page_alloc.geometry().pageblock_order();
        let here = cc.migrate_pfn.align_down(pageblock);
        cc.finish_pageblock =
            progress.last_migrated.map(|pfn| pfn.align_down(pageblock)) == Some(here);
        loop {
            self.isolate_migratepages(cc);
            if cc.migratepages.is_empty() {
                if progress.update_cached {
                    self.compaction.zone(cc.zone).sync_follows_async();
                }
                break;
            }
            progress.update_cached = false;
            let last = cc.migrate_pfn - Order::ZERO.pages();
            progress.last_migrated = Some(last.align_down(pageblock).max(cc.span.start()));
            let list = cc.take_migratepages();
            let mode = cc.mode;
            let result =
                self.migrate_pages(list, Target::Compaction(cc), mode, MigrateReason::Compaction);
            cc.nr_migratepages = PageCount::ZERO;
            match self.after_migration(cc, progress, &result) {
                After::GoOn => break,
                After::ScanAgain => {}
                After::OutOfTargets => return Some(CompactResult::Contended),
            }
        }
        self.drain_after_block(cc, progress);
        None
    }

    fn after_migration(
        &mut self,
        cc: &mut CompactControl,
        progress: &mut Progress,
        result: &MigrateResult,
    ) -> After {
        if result.failed.is_empty() {
            return After::GoOn;
        }
        self.putback(&result.failed);
        let pageblock = self.page_alloc.geometry().pageblock_order();
        if result.error == Some(MigrateError::NoMemory) && !cc.scanners_met(pageblock) {
            return After::OutOfTargets;
        }
        match self.page_alloc.profile().rules().after_failure {
            AfterFailure::SkipBlock => {
                if let (true, Some(order)) = (cc.is_direct_async(), cc.order()) {
                    let last = cc.migrate_pfn - Order::ZERO.pages();
                    cc.migrate_pfn = last.align_down(order) + order.pages();
                    progress.last_migrated = None;
                }
                After::GoOn
            }
            AfterFailure::FinishPageblock => {
                let unfinished = !cc.migrate_pfn.is_aligned(pageblock) && !cc.finish_pageblock;
                if !unfinished || cc.hints == Hints::Ignore || cc.mode == MigrateMode::Sync {
                    return After::GoOn;
                }
                cc.finish_pageblock = true;
                if cc.order() == Some(pageblock) {
                    progress.last_migrated = None;
                }
                After::ScanAgain
            }
        }
    }

    /// Freed pages of a block that was just completed must not wait on per-CPU lists.
    /// Linux: `lru_add_drain_cpu_zone()`.
    fn drain_after_block(&mut self, cc: &CompactControl, progress: &mut Progress) {
        let (Some(order), Some(last)) = (cc.order(), progress.last_migrated) else { return };
        if last < cc.migrate_pfn.align_down(order) {
            self.page_alloc.drain_cpu(self.cpu, cc.zone);
            progress.last_migrated = None;
        }
    }

    /// Whether the run is over. Linux: `compact_finished()`.
    fn compact_finished(&mut self, cc: &CompactControl) -> Option<CompactResult> {
        let pageblock = self.page_alloc.geometry().pageblock_order();
        if cc.scanners_met(pageblock) {
            let state = self.compaction.zone(cc.zone);
            state.reset(cc.span, pageblock);
            state.flush = SkipFlush::Flush;
            return Some(match cc.extent {
                Extent::Whole => CompactResult::Complete,
                Extent::Cached => CompactResult::PartialSkipped,
            });
        }
        if !cc.migrate_pfn.is_aligned(pageblock) {
            return None;
        }
        self.has_suitable_block(cc).then_some(CompactResult::Success)
    }

    /// A block of at least the wanted order is free where the request may take it. Free CMA blocks
    /// count for every movable request, as in Linux, even if it may not use them; METADATA blocks
    /// (RFC v1) only for those that may.
    fn has_suitable_block(&self, cc: &CompactControl) -> bool {
        let zone = &self.page_alloc.zones()[cc.zone];
        let wanted = cc.order().unwrap_or_default();
        let has = |order, mt| !zone.buddy().is_list_empty(order, mt);
        wanted.to(self.page_alloc.geometry().max_order()).any(|order| {
            has(order, cc.migratetype)
                || cc.migratetype == MigrateType::Movable && has(order, MigrateType::Cma)
                || cc.flags.contains(AllocFlags::METADATA) && has(order, MigrateType::Metadata)
                || zone.could_claim(order, cc.migratetype)
        })
    }

    /// Returns unused targets to the free lists. Linux: `release_freepages()`.
    fn release_freepages(&mut self, cc: &mut CompactControl) {
        let mut highest = None;
        let unused: Vec<_> = cc.freepages.drain().collect();
        for block in unused {
            highest = highest.max(Some(block.pfn()));
            self.page_alloc.free_pages(self.cpu, block);
        }
        if let Some(pfn) = highest {
            let pageblock = self.page_alloc.geometry().pageblock_order();
            self.compaction.zone(cc.zone).raise_cached_free(pfn.align_down(pageblock));
        }
    }

    /// kswapd goes back to sleep if a zone of the zonelist is balanced, and then forgets what
    /// complete runs learnt. There is no kswapd; every request that would wake it gets this much of
    /// its work. Linux: `kswapd_try_to_sleep()`, `reset_isolation_suitable()`.
    pub(crate) fn put_kswapd_to_sleep(&mut self, request: &AllocRequest) {
        let highest = request.gfp.highest_zone();
        let zones: Vec<_> = self.page_alloc.zonelist(request).collect();
        let none = AllocFlags::empty();
        let balanced = zones.iter().any(|&at| {
            self.page_alloc.zones()[at].watermark_ok(Order::ZERO, Mark::High, highest, none)
        });
        if balanced {
            zones.into_iter().for_each(|at| self.reset_skip_hints(at));
        }
    }

    /// Forgets a zone's skip hints, if a complete run asked for it.
    /// Linux: `__reset_isolation_suitable()`.
    fn reset_skip_hints(&mut self, at: usize) {
        let span = self.page_alloc.zones()[at].span();
        let state = self.compaction.zone(at);
        if state.flush == SkipFlush::Keep {
            return;
        }
        state.flush = SkipFlush::Keep;
        let pageblock = self.page_alloc.geometry().pageblock_order();
        let blocks: Vec<_> = span
            .blocks(pageblock)
            .filter_map(|start| PfnRange::block(start, pageblock).intersect(span))
            .filter(|block| !self.is_absent(*block))
            .collect();
        let source = blocks.iter().find(|block| self.was_source(at, **block));
        let target = blocks.iter().rev().find(|block| self.was_target(at, **block));
        if let (Some(source), Some(target)) = (source, target)
            && source.start() < target.start()
        {
            let free = target.start().align_down(pageblock);
            self.compaction.zone(at).restart(Scanners { migrate: source.start(), free });
        }
        self.page_alloc.clear_skips(at);
    }

    fn was_source(&self, at: usize, block: PfnRange) -> bool {
        !self.page_alloc.zones()[at].is_skipped(block.start())
            || samples(block)
                .any(|pfn| self.rmap.folio_at(pfn).is_some_and(|id| self.folios[id].is_movable()))
    }

    fn was_target(&self, at: usize, block: PfnRange) -> bool {
        if !self.page_alloc.zones()[at].is_skipped(block.start()) {
            return true;
        }
        self.page_alloc.pageblock_type(block.start()) == Some(MigrateType::Movable)
            && samples(block).any(
                |pfn| matches!(self.page_alloc.frame(pfn), Frame::Free { head, .. } if head == pfn),
            )
    }
}

/// Linux: `__reset_isolation_pfn()` looks at every eighth page.
fn samples(block: PfnRange) -> impl Iterator<Item = Pfn> {
    let step = usize::try_from(SAMPLE.get()).expect("eight");
    block.iter().step_by(step)
}

/// What follows a batch of moves.
enum After {
    GoOn,
    ScanAgain,
    OutOfTargets,
}
