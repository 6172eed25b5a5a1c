//! The slow path of an allocation: compaction, retries, and why it failed.
//!
//! A request that may wait reclaims before it fails; what there is to reclaim is on the LRU lists
//! of [`crate::reclaim`]. kswapd is asked for a turn, which the owner of the machine gives it.

use pagelab_allocator::event::{Event, Sink};
use pagelab_allocator::gfp::{AllocFlags, GfpFlags};
use pagelab_allocator::highatomic::Unreserve;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::page_alloc::{AllocRequest, Pages};
use pagelab_allocator::units::{Order, PageCount};
use pagelab_allocator::watermark::Mark;

use crate::compact::{CompactPriority, CompactResult, has_room};
use crate::mover::Mover;
use crate::note::Note;

/// A request that failed for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("page allocation failure: order:{order}, {cause}")]
pub struct AllocFailure {
    /// The order asked for.
    pub order: Order,
    /// Why.
    pub cause: FailureCause,
}

/// What was missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FailureCause {
    /// No list can ever hold such a block.
    #[error("larger than the largest order {0}")]
    OrderTooLarge(Order),
    /// Every zone that the request may use is at its watermark.
    #[error("not enough free memory")]
    NoMemory,
    /// Free memory that the request must not use (CMA, METADATA) would have sufficed.
    #[error("the only free memory is lent out and barred to the request")]
    OnlyCmaFree,
    /// Enough is free, but not in one piece.
    #[error("no free block is large enough")]
    NoContiguity,
}

/// Rounds of reclaim without a page before it gives up. Linux: `MAX_RECLAIM_RETRIES`.
const MAX_IDLE_ROUNDS: u32 = 16;
/// Rounds of the slow path at all; Linux has no such bound, and may go on as long as reclaim frees
/// pages that others take.
const MAX_ROUNDS: u32 = 64;
/// Compaction successes without a block before the priority rises.
/// Linux: `MAX_COMPACT_RETRIES`.
const MAX_COMPACT_RETRIES: u32 = 16;

/// How hard the request has tried so far.
struct Effort {
    priority: CompactPriority,
    retries: u32,
    /// Rounds of reclaim without a page.
    idle: u32,
}

impl Effort {
    /// Linux: the end of `should_compact_retry()`.
    fn raise(&mut self, order: Order) -> bool {
        let raised = match self.priority {
            CompactPriority::Async => CompactPriority::SyncLight,
            CompactPriority::SyncLight if order <= Order::COSTLY => CompactPriority::SyncFull,
            CompactPriority::SyncLight | CompactPriority::SyncFull => return false,
        };
        (self.priority, self.retries) = (raised, 0);
        true
    }
}

impl<S: Sink> Mover<'_, S> {
    /// Allocates a block. Linux: `__alloc_pages()`.
    ///
    /// # Errors
    ///
    /// [`AllocFailure`] with the cause.
    pub fn alloc_pages(&mut self, request: &AllocRequest) -> Result<Pages, AllocFailure> {
        match self.page_alloc.alloc_pages_fast(self.cpu, request) {
            Some(pages) => Ok(pages),
            None => self.alloc_pages_slowpath(request),
        }
    }

    /// Allocates a block after the fast path failed. Linux: `__alloc_pages_slowpath()`.
    ///
    /// # Errors
    ///
    /// [`AllocFailure`] with the cause.
    pub fn alloc_pages_slowpath(&mut self, request: &AllocRequest) -> Result<Pages, AllocFailure> {
        let order = request.order;
        let max = self.page_alloc.geometry().max_order();
        let pages = if order > max { None } else { self.try_everything(request) };
        pages.ok_or_else(|| {
            self.page_alloc.note_failure(request);
            let cause = match order > max {
                true => FailureCause::OrderTooLarge(max),
                false => self.failure_cause(request),
            };
            let failure = AllocFailure { order, cause };
            self.page_alloc.sink_mut().note(|| Note::Failed(failure));
            failure
        })
    }

    fn try_everything(&mut self, request: &AllocRequest) -> Option<Pages> {
        if request.gfp.contains(GfpFlags::KSWAPD_RECLAIM) {
            self.put_kswapd_to_sleep(request);
            self.wake_kswapd(request);
        }
        let waits = request.gfp.contains(GfpFlags::DIRECT_RECLAIM)
            && !request.slow_flags().contains(AllocFlags::NO_WATERMARKS);
        self.page_alloc.alloc_pages_slow(self.cpu, request).or_else(|| {
            let pages = if waits { self.wait_for_block(request) } else { None };
            let desperate = request.gfp.contains(GfpFlags::NOFAIL);
            pages.or_else(|| {
                let reserves = AllocFlags::NO_WATERMARKS;
                let last = desperate.then_some(request.granting(reserves))?;
                let (order, gfp) = (last.order, last.gfp);
                let (granted, barred) = (reserves, AllocFlags::empty());
                self.page_alloc.sink_mut().emit(Event::TermsEnter { order, gfp, granted, barred });
                let pages = self.page_alloc.alloc_pages_slow(self.cpu, &last);
                self.page_alloc.sink_mut().emit(Event::TermsExit);
                pages
            })
        })
    }

    /// Compaction first, where a block is all that is missing; then rounds of reclaiming, giving up
    /// reserves and compacting.
    fn wait_for_block(&mut self, request: &AllocRequest) -> Option<Pages> {
        let order = request.order;
        let (costly, hasty) = (order > Order::COSTLY, request.gfp.contains(GfpFlags::NORETRY));
        let mut effort = Effort { priority: CompactPriority::SyncLight, retries: 0, idle: 0 };
        let immovable = request.gfp.migratetype() != MigrateType::Movable;
        if costly || order > Order::ZERO && immovable {
            let (pages, result) = self.direct_compact(request, CompactPriority::Async);
            if pages.is_some() {
                return pages;
            }
            if costly && hasty {
                if matches!(result, CompactResult::Skipped | CompactResult::Deferred) {
                    return None;
                }
                effort.priority = CompactPriority::Async;
            }
        }
        for _ in 0..MAX_ROUNDS {
            let mut pages = self.page_alloc.alloc_pages_slow(self.cpu, request);
            let mut result = CompactResult::Skipped;
            let mut progress = PageCount::ZERO;
            if pages.is_none() {
                (pages, progress) = self.reclaim_for(request);
            }
            if pages.is_none() && order > Order::ZERO {
                (pages, result) = self.direct_compact(request, effort.priority);
            }
            let gives_up = hasty || costly && !request.gfp.contains(GfpFlags::RETRY_MAYFAIL);
            if pages.is_some() || gives_up {
                return pages;
            }
            let retries = self.should_reclaim_retry(request, progress, &mut effort)
                || self.should_compact_retry(request, result, &mut effort);
            if !retries {
                return None;
            }
        }
        None
    }

    /// Reclaims, and tries again; says how much was gained. Linux:
    /// `__alloc_pages_direct_reclaim()`.
    fn reclaim_for(&mut self, request: &AllocRequest) -> (Option<Pages>, PageCount) {
        let progress = self.direct_reclaim(request);
        self.page_alloc.sink_mut().note(|| Note::Reclaimed(progress));
        if progress > PageCount::ZERO {
            let pages = self.page_alloc.alloc_pages_slow(self.cpu, request);
            if pages.is_some() {
                return (pages, progress);
            }
        }
        (self.give_up_reserves(request), progress)
    }

    /// Linux: `should_reclaim_retry()`.
    fn should_reclaim_retry(
        &mut self,
        request: &AllocRequest,
        progress: PageCount,
        effort: &mut Effort,
    ) -> bool {
        let counts = progress > PageCount::ZERO && request.order <= Order::COSTLY;
        effort.idle = if counts { 0 } else { effort.idle + 1 };
        effort.idle <= MAX_IDLE_ROUNDS && self.reclaim_would_do(request)
            || self.page_alloc.unreserve_highatomic(request, Unreserve::All)
    }

    /// Linux: the end of `__alloc_pages_direct_reclaim()`.
    fn give_up_reserves(&mut self, request: &AllocRequest) -> Option<Pages> {
        self.page_alloc.unreserve_highatomic(request, Unreserve::Surplus);
        self.page_alloc.drain_all();
        self.page_alloc.alloc_pages_slow(self.cpu, request)
    }

    /// Linux: `should_compact_retry()`.
    fn should_compact_retry(
        &self,
        request: &AllocRequest,
        result: CompactResult,
        effort: &mut Effort,
    ) -> bool {
        let order = request.order;
        if order == Order::ZERO {
            return false;
        }
        match result {
            CompactResult::Skipped => {
                let highest = request.gfp.highest_zone();
                let zones = self.page_alloc.zones();
                self.page_alloc.zonelist(request).any(|at| has_room(&zones[at], order, highest))
            }
            CompactResult::Success => {
                effort.retries += 1;
                let most = match order > Order::COSTLY {
                    true => MAX_COMPACT_RETRIES / 4,
                    false => MAX_COMPACT_RETRIES,
                };
                effort.retries <= most || effort.raise(order)
            }
            _ => effort.raise(order),
        }
    }

    /// Why the zones could not serve the request, judged by the watermarks.
    fn failure_cause(&self, request: &AllocRequest) -> FailureCause {
        let highest = request.gfp.highest_zone();
        let flags = request.slow_flags();
        let lent = AllocFlags::CMA | AllocFlags::METADATA;
        let passes = |order, flags| {
            let mut zones =
                self.page_alloc.zonelist(request).map(|at| &self.page_alloc.zones()[at]);
            zones.any(|zone| zone.watermark_ok(order, Mark::Min, highest, flags))
        };
        if !flags.contains(lent) && passes(request.order, flags | lent) {
            FailureCause::OnlyCmaFree
        } else if request.order > Order::ZERO && passes(Order::ZERO, flags) {
            FailureCause::NoContiguity
        } else {
            FailureCause::NoMemory
        }
    }
}
