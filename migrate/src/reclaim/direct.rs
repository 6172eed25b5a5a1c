//! Direct reclaim: a request that finds no memory looks for it itself.

use pagelab_allocator::event::Sink;
use pagelab_allocator::gfp::{AllocFlags, GfpFlags};
use pagelab_allocator::page_alloc::AllocRequest;
use pagelab_allocator::units::PageCount;
use pagelab_allocator::watermark::Mark;

use super::lru::LruList;
use super::shrink::{CLUSTER, Scan, Who};
use super::writeback::AfterWrite;
use crate::mover::Mover;

impl<S: Sink> Mover<'_, S> {
    /// Reclaims a cluster of pages for a request; says how many there were.
    /// Linux: `try_to_free_pages()`.
    pub(crate) fn direct_reclaim(&mut self, request: &AllocRequest) -> PageCount {
        self.reclaim.stats.allocstall += 1;
        let highest = request.gfp.highest_zone();
        let mut scan = Scan::new(Who::Direct, highest, CLUSTER).with_gfp(request.gfp);
        loop {
            self.shrink(&mut scan);
            if scan.reclaimed >= scan.goal || scan.priority == 0 {
                break;
            }
            scan.priority -= 1;
        }
        while scan.reclaimed == 0 && self.wait_for_writes(request) {
            self.shrink(&mut scan);
        }
        self.reclaim.remember_activations();
        if scan.reclaimed > 0 {
            self.kswapd_has_hope();
        }
        PageCount::new(scan.reclaimed)
    }

    /// Waits for some writes, beginning them if need be; `false` when there is nothing to write.
    /// Linux: `reclaim_throttle()` for `VMSCAN_THROTTLE_WRITEBACK`.
    fn wait_for_writes(&mut self, request: &AllocRequest) -> bool {
        if !request.gfp.contains(GfpFlags::IO) {
            return false;
        }
        if self.reclaim.writeback_pages() == 0 {
            self.flush(CLUSTER, AfterWrite::Rotate);
        }
        let ended = self.end_writeback(CLUSTER);
        self.reclaim.stats.writeback_stalls += u64::from(ended > 0);
        ended > 0
    }

    /// Whether the zones would do if all that can be reclaimed were free.
    /// Linux: `should_reclaim_retry()`.
    pub(crate) fn reclaim_would_do(&self, request: &AllocRequest) -> bool {
        let reclaimable = self.reclaimable();
        let (highest, flags) = (request.gfp.highest_zone(), request.slow_flags());
        reclaimable > PageCount::ZERO
            && self.page_alloc.zonelist(request).any(|at| {
                let zone = &self.page_alloc.zones()[at];
                let mark = zone.watermarks().get(Mark::Min);
                let free = zone.counted().all + reclaimable;
                zone.watermark_ok_with(free, request.order, mark, highest, flags)
            })
    }

    /// Linux: `zone_reclaimable_pages()`, for all zones together.
    fn reclaimable(&self) -> PageCount {
        let lru = &self.reclaim.lru;
        let file = lru.pages(LruList::InactiveFile) + lru.pages(LruList::ActiveFile);
        match self.reclaim.swap.free_slots() > PageCount::ZERO {
            true => file + lru.pages(LruList::InactiveAnon) + lru.pages(LruList::ActiveAnon),
            false => file,
        }
    }

    /// Whether a zone of the request's zonelist has its high watermark.
    pub(super) fn is_balanced(&self, request: &AllocRequest) -> bool {
        let (highest, none) = (request.gfp.highest_zone(), AllocFlags::empty());
        self.page_alloc.zonelist(request).any(|at| {
            self.page_alloc.zones()[at].watermark_ok(request.order, Mark::High, highest, none)
        })
    }
}
