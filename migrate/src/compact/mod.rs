//! Direct compaction: two scanners that meet, and when not to start them. Linux: mm/compaction.c.
//!
//! There is no kcompactd and no proactive compaction: a run happens when a request waits for it.

mod control;
mod deferral;
mod fast_search;
mod free_pages;
mod free_scanner;
mod migrate_scanner;
mod run;
mod state;
mod suitable;

pub use control::CompactControl;
pub use deferral::{Deferral, DeferralReset};
use pagelab_allocator::event::Sink;
use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::page_alloc::{AllocRequest, Pages};
pub use state::{Compaction, CompactionState, ZoneCompaction};
pub(crate) use suitable::has_room;

use crate::mover::Mover;
use crate::note::Note;

/// How a run ended, from least to most hopeful. Linux: `enum compact_result`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum CompactResult {
    /// Not started: it could not help, or must not.
    Skipped,
    /// Not started: it failed too often lately.
    Deferred,
    /// The scanners met after a scan of the whole zone.
    Complete,
    /// The scanners met, but part of the zone was left out.
    PartialSkipped,
    /// Stopped, because targets ran out.
    Contended,
    /// A block of the wanted order should exist now.
    Success,
}

impl CompactResult {
    /// The kernel's word in `mm_compaction_end`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Deferred => "deferred",
            Self::Complete => "complete",
            Self::PartialSkipped => "partial_skipped",
            Self::Contended => "contended",
            Self::Success => "success",
        }
    }
}

/// How hard to try, most thorough first. Linux: `enum compact_priority`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum CompactPriority {
    /// Every pageblock, whatever earlier runs learnt. Linux: `COMPACT_PRIO_SYNC_FULL`.
    SyncFull,
    /// Linux: `COMPACT_PRIO_SYNC_LIGHT`, the default.
    SyncLight,
    /// Only what is easy. Linux: `COMPACT_PRIO_ASYNC`.
    Async,
}

impl CompactPriority {
    /// The end of the kernel's name, as its words are spelt.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::SyncFull => "sync_full",
            Self::SyncLight => "sync_light",
            Self::Async => "async",
        }
    }
}

impl<S: Sink> Mover<'_, S> {
    /// Compacts zone after zone of the request's zonelist until one succeeds.
    /// Linux: `try_to_compact_pages()`.
    pub fn try_to_compact_pages(
        &mut self,
        request: &AllocRequest,
        priority: CompactPriority,
    ) -> CompactResult {
        let mut best = CompactResult::Skipped;
        if !request.gfp.contains(GfpFlags::IO) {
            return best;
        }
        let zones: Vec<_> = self.page_alloc.zonelist(request).collect();
        for at in zones {
            let deferred = priority > CompactPriority::SyncFull
                && self.compaction.zone(at).deferral.is_deferred(request.order);
            if deferred {
                best = best.max(CompactResult::Deferred);
                continue;
            }
            let span = self.page_alloc.zones()[at].span();
            let mut cc = CompactControl::direct(at, span, request, priority);
            let result = self.compact_zone(&mut cc);
            best = best.max(result);
            let deferral = &mut self.compaction.zone(at).deferral;
            match result {
                CompactResult::Success => {
                    deferral.reset(request.order, DeferralReset::Expected);
                    return best;
                }
                CompactResult::Complete | CompactResult::PartialSkipped
                    if priority != CompactPriority::Async =>
                {
                    deferral.defer(request.order);
                }
                _ => {}
            }
        }
        best
    }

    /// Compacts for a request and tries to allocate again. Linux: `__alloc_pages_direct_compact()`.
    pub fn direct_compact(
        &mut self,
        request: &AllocRequest,
        priority: CompactPriority,
    ) -> (Option<Pages>, CompactResult) {
        let result = self.try_to_compact_pages(request, priority);
        let order = request.order;
        self.page_alloc.sink_mut().note(|| Note::Compacted { order, priority, result });
        if result == CompactResult::Skipped {
            return (None, result);
        }
        self.stats.compact_stall += 1;
        let pages = self.page_alloc.alloc_pages_slow(self.cpu, request);
        if let Some(pages) = &pages {
            let at = self.page_alloc.zone_index(pages.pfn()).expect("allocated in a zone");
            self.compaction.zone(at).note_allocated(request.order);
            self.stats.compact_success += 1;
        } else {
            self.stats.compact_fail += 1;
        }
        (pages, result)
    }
}

#[cfg(test)]
mod tests;
