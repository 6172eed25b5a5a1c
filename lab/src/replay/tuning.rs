//! The live mark of the per-CPU lists (6.12), corrected where the recording shows it to be wrong.

use pagelab_allocator::event::Sink;
use pagelab_allocator::page_alloc::PageAllocator;
use pagelab_allocator::restore::ZoneState;
use pagelab_allocator::units::CpuId;

/// What a drain that was predicted wrongly says about the mark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    /// No drain happened: it is higher than what is on the lists, halfway to the most it can be.
    Higher,
    /// A drain happened: what is on the lists has just reached it.
    Reached,
}

/// Sets the mark of a zone's lists. Linux: `pcp->high`.
pub fn correct<S: Sink>(alloc: &mut PageAllocator<S>, zone: usize, mark: Mark) {
    let mut hand = alloc.by_hand(zone, CpuId::BOOT);
    let (sizes, mut counters) = (hand.pcp_sizes(), hand.pcp_counters());
    let count = u32::try_from(hand.pcp_count().get()).unwrap_or(u32::MAX);
    counters.high = match mark {
        Mark::Higher => count.max(counters.high).midpoint(sizes.high_max.max(count)),
        Mark::Reached => count,
    };
    counters.high = counters.high.max(sizes.high_min).min(sizes.high_max.max(sizes.high_min));
    hand.set_pcp_counters(counters);
}

/// Takes sizes and tuning of every zone from a dump; says whether any was different.
pub fn take_over<S: Sink>(alloc: &mut PageAllocator<S>, dumped: &[ZoneState]) -> bool {
    let mut differed = false;
    for state in dumped {
        let zones = alloc.zones();
        let at = zones.iter().position(|zone| zone.kind() == state.spec.kind);
        let (Some(at), Some(pcp)) = (at, state.pcp.first()) else { continue };
        let mut hand = alloc.by_hand(at, CpuId::BOOT);
        if (hand.pcp_sizes(), hand.pcp_counters()) != (pcp.sizes, pcp.counters) {
            hand.set_pcp_sizes(pcp.sizes);
            hand.set_pcp_counters(pcp.counters);
            differed = true;
        }
    }
    differed
}
