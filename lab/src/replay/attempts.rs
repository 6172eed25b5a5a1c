//! Requests that take more than one attempt, and turns of the reclaimer in between.
//!
//! Only the emulator's own cases have these events, and several nodes. What a recorded kernel tried
//! in vain is unknown; there the attempt that succeeded is all there is.

use pagelab_allocator::gfp::{AllocFlags, GfpFlags, ZoneType};
use pagelab_allocator::page_alloc::{AllocRequest, Pages};
use pagelab_allocator::units::{CpuId, NodeId, Order, PageCount};
use pagelab_allocator::zone::Zone;

use super::cause::Cause;
use super::ledger::Ledger;
use super::predicted::Predicted;
use super::tally::Kind;
use crate::trace::{Record, TraceEvent};

/// What requests at hand are part of.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// Requests that are past the fast path, the innermost last: reclaim makes requests of its own.
    slow: Vec<(Order, GfpFlags)>,
    /// Requests whose flags changed, and how, the innermost last.
    terms: Vec<Changed>,
    /// Zones that the reclaimer looks at, and how much they were boosted when it began.
    turn: Vec<(usize, PageCount)>,
    /// While a range is being claimed: the node in which its pages are to stay.
    claim: Option<NodeId>,
}

/// A request with other flags than it began with.
#[derive(Debug)]
struct Changed {
    request: (Order, GfpFlags),
    granted: AllocFlags,
    barred: AllocFlags,
}

impl Predicted {
    /// Carries an event out, if it is one of these; says whether that was all to be done about it.
    pub(super) fn attempt(&mut self, record: &Record, ledger: &mut Ledger) -> bool {
        match record.event {
            TraceEvent::NoPage { order, gfp, flags } => {
                self.no_page(record, (order, gfp), flags, ledger);
            }
            TraceEvent::TermsEnter { order, gfp, granted, barred } => {
                self.attempts.terms.push(Changed { request: (order, gfp), granted, barred });
            }
            TraceEvent::TermsExit => {
                self.attempts.terms.pop();
            }
            TraceEvent::BalanceEnter { highest } => self.begin_turn(highest),
            TraceEvent::BalanceExit => self.end_turn(),
            TraceEvent::ContigEnter { range, .. } => {
                self.attempts.claim = self.alloc.zone_of(range.start()).map(Zone::node);
                return false;
            }
            TraceEvent::ContigExit { .. } => {
                self.attempts.claim = None;
                return false;
            }
            _ => return false,
        }
        true
    }

    /// Makes a request as far as a page; an attempt that failed is not made again.
    pub(super) fn request(&mut self, order: Order, gfp: GfpFlags) -> Option<Pages> {
        let request = self.wanted(order, gfp);
        if !self.ends_slow(order, gfp) {
            let pages = self.alloc.alloc_pages_fast(CpuId::BOOT, &request);
            return pages.or_else(|| self.alloc.alloc_pages_slow(CpuId::BOOT, &request));
        }
        self.alloc.alloc_pages_slow(CpuId::BOOT, &request)
    }

    /// A request with these flags. Linux: the node is that of `alloc_migration_target()`.
    pub(super) fn wanted(&self, order: Order, gfp: GfpFlags) -> AllocRequest {
        let mut request = self.origin.request(order, gfp);
        if let Some(changed) = self.attempts.terms.last()
            && changed.request == (order, gfp)
        {
            request = request.granting(changed.granted).barring(changed.barred);
        }
        let moves = gfp.contains(GfpFlags::MOVABLE) && !request.gfp.contains(GfpFlags::THISNODE);
        match self.attempts.claim.filter(|_| moves) {
            Some(node) => AllocRequest { node, ..request },
            None => request,
        }
    }

    /// A request ends: whether it was past the fast path.
    pub(super) fn ends_slow(&mut self, order: Order, gfp: GfpFlags) -> bool {
        self.attempts.slow.pop_if(|request| *request == (order, gfp)).is_some()
    }

    /// One attempt came to nothing: nor should it here.
    fn no_page(
        &mut self,
        record: &Record,
        (order, gfp): (Order, GfpFlags),
        flags: AllocFlags,
        ledger: &mut Ledger,
    ) {
        let request = self.wanted(order, gfp);
        let pages = if flags.contains(AllocFlags::WMARK_LOW) {
            self.attempts.slow.push((order, gfp));
            self.alloc.alloc_pages_fast(CpuId::BOOT, &request)
        } else {
            let request = request.granting(flags.intersection(AllocFlags::NO_WATERMARKS));
            self.alloc.alloc_pages_slow(CpuId::BOOT, &request)
        };
        self.compare(ledger);
        self.settle(record.line, ledger);
        let Some(pages) = pages else { return ledger.tally.hit(Kind::Allocated) };
        let cause = *self.astray.get_or_insert(Cause::Unexplained);
        let said = (pages.into_raw().0.to_string(), "nothing".to_owned());
        self.differ(Kind::Allocated, cause, record.line, said, ledger);
    }

    fn begin_turn(&mut self, highest: ZoneType) {
        let zones = self.alloc.zones().iter().enumerate();
        let zones = zones.filter(|(_, zone)| zone.kind() <= highest).map(|(at, _)| at);
        let zones: Vec<_> = zones.collect();
        let turn = zones.into_iter().map(|at| (at, self.alloc.begin_reclaim(at)));
        self.attempts.turn = turn.collect();
    }

    fn end_turn(&mut self) {
        for (at, boost) in core::mem::take(&mut self.attempts.turn) {
            self.alloc.end_reclaim(at, boost);
        }
    }
}
