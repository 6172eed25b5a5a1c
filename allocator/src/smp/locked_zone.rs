//! A zone whose lock is held: what is done there, past the lists of CPUs or with them.

use core::ops::{Deref, DerefMut};

use crate::buddy::Placement;
use crate::event::Silent;
use crate::frame::{FrameIndex, Head, Movability};
use crate::migratetype::MigrateType;
use crate::page_alloc::{AllocRequest, PageAllocator, Pages, handed_out};
use crate::pcp::PerCpuPages;
use crate::rmqueue::ZoneRequest;
use crate::smp::guarded::Guarded;
use crate::smp::posted::Posted;
use crate::smp::zone::CpuLists;
use crate::sync::MutexGuard;
use crate::units::{CpuId, Order, Pfn, PfnRange};

/// A zone whose lock is held. What others read without the lock is posted before it is released.
pub(super) struct LockedZone<'a> {
    guarded: MutexGuard<'a, Guarded>,
    pub(super) posted: &'a Posted,
}

impl Deref for LockedZone<'_> {
    type Target = PageAllocator;

    fn deref(&self) -> &PageAllocator {
        self.guarded.alloc()
    }
}

impl DerefMut for LockedZone<'_> {
    fn deref_mut(&mut self) -> &mut PageAllocator {
        self.guarded.alloc_mut()
    }
}

impl Drop for LockedZone<'_> {
    fn drop(&mut self) {
        self.posted.post(&mut self.guarded.alloc_mut().zones[0]);
    }
}

impl<'a> LockedZone<'a> {
    #[inline]
    pub(super) fn new(mut guarded: MutexGuard<'a, Guarded>, posted: &'a Posted) -> Self {
        guarded.settle(posted);
        Self { guarded, posted }
    }

    /// Works with a CPU's lists in their place.
    pub(super) fn with_lists<R>(
        &mut self,
        cpu: CpuId,
        lists: &mut CpuLists,
        work: impl FnOnce(&mut Self) -> R,
    ) -> R {
        lists.with_balance(|pcp| work(Lent::new(self, cpu, pcp).zone))
    }

    /// Empties a CPU's lists, which are in their place. Linux: `drain_pages_zone()`.
    pub(super) fn drain_cpu(&mut self, cpu: CpuId) {
        self.zones[0].drain_cpu(cpu, &mut Silent);
    }

    /// A block for a request, with the CPU's lists in their place or none to serve it.
    /// Linux: the watermark check and `rmqueue()`.
    #[inline(never)]
    pub(super) fn take(
        &mut self,
        cpu: CpuId,
        req: &AllocRequest,
        request: ZoneRequest,
    ) -> Option<Pfn> {
        // While the lock is held, what was posted last is how the zone fares.
        let pfn = match self.posted.mood().is_calm(req.order) {
            true => self.guarded.alloc_mut().take(cpu, 0, req, request.flags)?,
            false => self.try_zone(cpu, 0, req, request.flags)?,
        };
        self.posted.hold(self.posted.index(pfn), req.order, req.movability());
        Some(pfn)
    }

    /// [`take`](Self::take) for a request that no list of a CPU may serve.
    #[inline]
    pub(super) fn take_unlisted(
        &mut self,
        cpu: CpuId,
        req: &AllocRequest,
        request: ZoneRequest,
    ) -> Option<Pfn> {
        if !self.posted.mood().is_calm(req.order) {
            core::hint::cold_path();
            return self.take(cpu, req, request);
        }
        let core = self.guarded.alloc_mut();
        let (zone, stats) = (&mut core.zones[0], &mut core.stats);
        let pfn = zone.alloc_no_list(cpu, request, &mut Silent);
        let pfn = handed_out(zone, stats, req, request, pfn, &mut Silent)?;
        self.posted.hold(self.posted.index(pfn), req.order, req.movability());
        Some(pfn)
    }

    /// Frees a block that a list of the CPU may take, or that the buddy lists get: its pageblock is
    /// isolated, or was a moment ago. Linux: `__free_pages()`.
    pub(super) fn free(&mut self, cpu: CpuId, index: FrameIndex, order: Order) {
        let movability = self.posted.release(index, order);
        let map = &mut self.zones[0].buddy.map;
        map.set_head(index, Head::Allocated(order, movability));
        let pfn = map.pfn(index);
        self.free_pages(cpu, Pages::new(pfn, order));
    }

    /// Frees the pages at the start of `pages` that somebody holds as single pages of isolated
    /// pageblocks of `span`; says how many. No counter of free pages knows of them.
    /// Linux: `free_one_page()`.
    pub(super) fn free_isolated(&mut self, span: PfnRange, pages: &[Pfn]) -> usize {
        let (posted, core) = (self.posted, self.guarded.alloc_mut());
        let mut merging = core.zones[0].buddy.merging(MigrateType::Isolate);
        let mut freed = 0;
        for &pfn in pages.iter().take_while(|pfn| span.contains(**pfn)) {
            let index = posted.index(pfn);
            let holding = posted.holding(index);
            let is_isolated = merging.blocks.migratetype(index) == MigrateType::Isolate;
            if !is_isolated || !holding.is_of(Order::ZERO) {
                break;
            }
            holding.end();
            merging.put(index, Order::ZERO, Placement::Likely);
            freed += 1;
        }
        merging.end();
        core.stats.pgfree += freed as u64;
        freed
    }

    /// Has single pages of isolated pageblocks change hands, and tells `each` of every one: as if
    /// it was freed, taken with the block that it is part of then, and the rest of that freed
    /// again. The lists stay as they are. Linux: see [`SharedClaim::take_over`].
    ///
    /// [`SharedClaim::take_over`]: crate::smp::SharedClaim::take_over
    pub(super) fn take_over(
        &mut self,
        pages: impl Iterator<Item = Pfn>,
        mut each: impl FnMut(Pfn),
    ) {
        let (posted, core) = (self.posted, self.guarded.alloc_mut());
        let buddy = &core.zones[0].buddy;
        for pfn in pages {
            let index = posted.index(pfn);
            assert!(posted.holding(index).is_of(Order::ZERO), "somebody holds the page");
            posted.hold(index, Order::ZERO, Movability::Unmovable);
            core.stats.pgfree += buddy.isolated_order(index).pages().get();
            each(pfn);
        }
    }

    /// Frees a block to the buddy lists. Linux: `free_one_page()`.
    pub(super) fn free_unlisted(&mut self, cpu: CpuId, index: FrameIndex, order: Order) {
        self.posted.release(index, order);
        self.zones[0].free_unlisted(cpu, index, order);
        self.stats.pgfree += order.pages().get();
    }
}

/// A CPU's lists in the hands of a zone; they go back whatever happens, as when a forged handle
/// panics.
struct Lent<'a, 'z> {
    zone: &'a mut LockedZone<'z>,
    cpu: CpuId,
    pcp: &'a mut PerCpuPages,
}

impl<'a, 'z> Lent<'a, 'z> {
    fn new(zone: &'a mut LockedZone<'z>, cpu: CpuId, pcp: &'a mut PerCpuPages) -> Self {
        let mut lent = Self { zone, cpu, pcp };
        lent.swap();
        lent
    }

    #[inline]
    fn swap(&mut self) {
        core::mem::swap(&mut self.zone.zones[0].pcp[self.cpu.index()], self.pcp);
    }
}

impl Drop for Lent<'_, '_> {
    #[inline]
    fn drop(&mut self) {
        self.swap();
    }
}
