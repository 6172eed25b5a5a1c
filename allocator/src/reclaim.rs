//! What the allocator has to know of kswapd: that it is at work, and which boosts it has served.

use crate::event::Sink;
use crate::page_alloc::PageAllocator;
use crate::units::PageCount;

impl<S: Sink> PageAllocator<S> {
    /// kswapd begins to reclaim in zone number `at`: per-CPU lists stay short meanwhile. Says by
    /// how much the marks are boosted. Linux: `ZONE_RECLAIM_ACTIVE`, the start of
    /// `balance_pgdat()`.
    ///
    /// # Panics
    ///
    /// Panics when there is no such zone.
    pub fn begin_reclaim(&mut self, at: usize) -> PageCount {
        let zone = &mut self.zones[at];
        zone.pressure.reclaim_active = true;
        zone.watermarks.boost
    }

    /// kswapd is done in zone number `at`; the boost that it found is taken away.
    /// Linux: the end of `balance_pgdat()`.
    ///
    /// # Panics
    ///
    /// Panics when there is no such zone.
    pub fn end_reclaim(&mut self, at: usize, boost: PageCount) {
        let zone = &mut self.zones[at];
        zone.pressure.reclaim_active = false;
        zone.watermarks.boost = zone.watermarks.boost.saturating_sub(boost);
    }
}
