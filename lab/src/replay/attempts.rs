//! What requests of several attempts are part of, and turns of the reclaimer in between.
//!
//! Only the emulator's own cases have these events, and several nodes. What a recorded kernel tried
//! in vain is unknown; there the attempt that succeeded is all there is.

use pagelab_allocator::event::Sink;
use pagelab_allocator::gfp::{AllocFlags, GfpFlags, ZoneType};
use pagelab_allocator::page_alloc::{AllocRequest, PageAllocator};
use pagelab_allocator::units::{NodeId, Order, PageCount};
use pagelab_allocator::zone::Zone;

use crate::trace::TraceEvent;

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

impl Attempts {
    /// Notes an event, if it is one of these; says whether that was all to be done about it.
    pub(super) fn note<S: Sink>(
        &mut self,
        alloc: &mut PageAllocator<S>,
        event: &TraceEvent,
    ) -> bool {
        match *event {
            TraceEvent::TermsEnter { order, gfp, granted, barred } => {
                self.terms.push(Changed { request: (order, gfp), granted, barred });
            }
            TraceEvent::TermsExit => {
                self.terms.pop();
            }
            TraceEvent::BalanceEnter { highest } => self.begin_turn(alloc, highest),
            TraceEvent::BalanceExit => self.end_turn(alloc),
            TraceEvent::ContigEnter { range, .. } => {
                self.claim = alloc.zone_of(range.start()).map(Zone::node);
                return false;
            }
            TraceEvent::ContigExit { .. } => {
                self.claim = None;
                return false;
            }
            _ => return false,
        }
        true
    }

    /// A request as it is made now. Linux: the node is that of `alloc_migration_target()`.
    pub(super) fn changed(
        &self,
        request: AllocRequest,
        order: Order,
        gfp: GfpFlags,
    ) -> AllocRequest {
        let mut request = request;
        if let Some(changed) = self.terms.last()
            && changed.request == (order, gfp)
        {
            request = request.granting(changed.granted).barring(changed.barred);
        }
        let moves = gfp.contains(GfpFlags::MOVABLE) && !request.gfp.contains(GfpFlags::THISNODE);
        match self.claim.filter(|_| moves) {
            Some(node) => AllocRequest { node, ..request },
            None => request,
        }
    }

    /// The fast path had no page for a request.
    pub(super) fn begin_slow(&mut self, order: Order, gfp: GfpFlags) {
        self.slow.push((order, gfp));
    }

    /// A request ends: whether it was past the fast path.
    pub(super) fn end_slow(&mut self, order: Order, gfp: GfpFlags) -> bool {
        self.slow.pop_if(|request| *request == (order, gfp)).is_some()
    }

    fn begin_turn<S: Sink>(&mut self, alloc: &mut PageAllocator<S>, highest: ZoneType) {
        let zones = alloc.zones().iter().enumerate();
        let zones = zones.filter(|(_, zone)| zone.kind() <= highest).map(|(at, _)| at);
        let zones: Vec<_> = zones.collect();
        self.turn = zones.into_iter().map(|at| (at, alloc.begin_reclaim(at))).collect();
    }

    fn end_turn<S: Sink>(&mut self, alloc: &mut PageAllocator<S>) {
        for (at, boost) in core::mem::take(&mut self.turn) {
            alloc.end_reclaim(at, boost);
        }
    }
}
