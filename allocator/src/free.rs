//! The doors by which pages come back, and what the allocator says about a frame.

use crate::event::{Isolator, Sink};
use crate::frame::{Frame, Movability};
use crate::geometry::Geometry;
use crate::migratetype::{MigrateType, TypeSet};
use crate::page_alloc::{NotAllocated, PageAllocator, Pages};
use crate::profile::KernelProfile;
use crate::units::{CpuId, Order, Pfn, PfnRange};
use crate::vm_stat::VmStat;
use crate::zone::{Sharing, Zone};

impl<S: Sink> PageAllocator<S> {
    /// Frees a block: to the per-CPU lists of `cpu` if its order has one, else to the buddy lists.
    /// Linux: `__free_pages()`.
    ///
    /// # Panics
    ///
    /// Panics when the block is not allocated as this handle says (a forged handle), or the machine
    /// has no such CPU.
    #[inline(always)]
    pub fn free_pages(&mut self, cpu: CpuId, pages: Pages) {
        let (pfn, order) = pages.into_raw();
        self.stats.pgfree += order.pages().get();
        let at = self.zone_index(pfn).expect("the block of a handle lies in a zone");
        self.zones[at].free(cpu, pfn, order, &mut self.sink);
    }

    /// Frees a block straight to the tail of its buddy list: a page that a design refused, the tail
    /// of `alloc_pages_exact()`. Linux: `__free_pages_ok(.., FPI_TO_TAIL)`.
    ///
    /// # Panics
    ///
    /// Panics when the block is not allocated.
    pub fn free_to_tail(&mut self, pages: Pages) {
        let (pfn, order) = pages.into_raw();
        self.stats.pgfree += order.pages().get();
        let at = self.zone_index(pfn).expect("the block of a handle lies in a zone");
        self.zones[at].free_to_tail(pfn, order, &mut self.sink);
    }

    /// Frees a part of what is allocated, whatever the shape it was allocated in, as the fewest
    /// aligned blocks. Linux: `split_page()` and the tail rule of `__free_pages()`.
    ///
    /// # Errors
    ///
    /// [`NotAllocated`] names the first frame that is not allocated; nothing is freed then.
    pub fn free_part(&mut self, cpu: CpuId, range: PfnRange) -> Result<(), NotAllocated> {
        range.iter().try_for_each(|pfn| self.check_allocated(pfn))?;
        for (pfn, order) in self.chunks_in_zones(range) {
            let pages = self.reclaim(pfn, order)?;
            self.free_pages(cpu, pages);
        }
        Ok(())
    }

    /// The checked door from raw numbers to a handle. The block may have been allocated in any
    /// shape: larger blocks are split, smaller neighbours joined.
    ///
    /// # Errors
    ///
    /// [`NotAllocated`] names the frame that is free, reserved or unknown, or the misfit.
    pub fn reclaim(&mut self, pfn: Pfn, order: Order) -> Result<Pages, NotAllocated> {
        // Most blocks still have the shape in which they were allocated.
        let whole = |zone: &Zone| {
            let index = zone.buddy.map.index(pfn);
            index.is_some_and(|index| zone.buddy.map.is_allocated_block(index, order))
        };
        if self.zone_of(pfn).is_some_and(whole) {
            return Ok(Pages::new(pfn, order));
        }
        self.reclaim_reshaped(pfn, order)
    }

    /// [`reclaim`](Self::reclaim) of what is perhaps no block yet.
    fn reclaim_reshaped(&mut self, pfn: Pfn, order: Order) -> Result<Pages, NotAllocated> {
        let max = self.geometry.max_order();
        if order > max {
            return Err(NotAllocated::OrderTooLarge(order, max));
        }
        if !pfn.is_aligned(order) {
            return Err(NotAllocated::Misaligned(pfn, order));
        }
        // Frames of a zone first: a block at the end of all numbers has no end.
        self.check_allocated(pfn)?;
        let block = PfnRange::block(pfn, order);
        block.iter().try_for_each(|pfn| self.check_allocated(pfn))?;
        let at = self.zone_of_range(block).ok_or(NotAllocated::CrossesZones(pfn, order))?;
        self.zones[at].reshape(pfn, order);
        Ok(Pages::new(pfn, order))
    }

    fn check_allocated(&self, pfn: Pfn) -> Result<(), NotAllocated> {
        let Some(at) = self.zone_index(pfn) else { return Err(NotAllocated::NoSuchFrame(pfn)) };
        match self.zones[at].buddy.frame(pfn) {
            Frame::Allocated { .. } => Ok(()),
            Frame::Free { .. } | Frame::PerCpu { .. } => Err(NotAllocated::Free(pfn)),
            Frame::Reserved => Err(NotAllocated::Reserved(pfn)),
        }
    }

    /// Splits an allocated block into blocks of `into`, to be freed one by one.
    /// Linux: `split_page()`.
    ///
    /// # Panics
    ///
    /// Panics when `into` is larger than the block.
    pub fn split(&mut self, pages: Pages, into: Order) -> Vec<Pages> {
        let (pfn, order) = pages.into_raw();
        assert!(into <= order, "split into larger blocks");
        let at = self.zone_index(pfn).expect("the block of a handle lies in a zone");
        let parts: Vec<_> = PfnRange::block(pfn, order).blocks(into).collect();
        for &part in &parts {
            self.zones[at].reshape(part, into);
        }
        parts.into_iter().map(|part| Pages::new(part, into)).collect()
    }

    /// Says that the holder of a block can, or can no longer, be migrated. New blocks of movable
    /// requests are movable. Linux: putting a page on an LRU list, or taking it off for good.
    ///
    /// # Panics
    ///
    /// Panics when the block is not allocated as this handle says.
    pub fn set_movability(&mut self, pages: &Pages, movability: Movability) {
        let at = self.zone_index(pages.pfn()).expect("the block of a handle lies in a zone");
        self.zones[at].allocated(pages.pfn(), pages.order());
        self.zones[at].set_movability(pages.pfn(), pages.order(), movability);
    }

    /// Takes the free block at `pfn` off the lists as a migration target. `None` when no free block
    /// starts there or the zone would run too low. Linux: `__isolate_free_page()`.
    pub fn isolate_free_page(&mut self, pfn: Pfn, isolator: Isolator) -> Option<Pages> {
        let at = self.zone_index(pfn)?;
        let order = self.zones[at].isolate_free_page(pfn, isolator, &mut self.sink)?;
        Some(Pages::new(pfn, order))
    }

    /// Puts a block that [`isolate_free_page`](Self::isolate_free_page) took back to its list's
    /// tail. Linux: `__putback_isolated_page()`.
    ///
    /// # Panics
    ///
    /// Panics when the block is not allocated.
    pub fn putback_isolated_page(&mut self, pages: Pages) {
        let (pfn, order) = pages.into_raw();
        let at = self.zone_index(pfn).expect("the block of a handle lies in a zone");
        self.zones[at].putback_isolated(pfn, order, &mut self.sink);
    }

    /// Position in [`zones`](Self::zones) of the zone that has `pfn`, or had it before it went
    /// offline inside that zone. Linux: `page_zone()`.
    #[inline]
    #[must_use]
    pub fn zone_index(&self, pfn: Pfn) -> Option<usize> {
        let at = self.zones.iter().position(|zone| zone.span().contains(pfn))?;
        match self.zones[at].sharing {
            Sharing::Alone => Some(at),
            Sharing::Shared => Some(self.owner_among(at, pfn)),
        }
    }

    /// The zone that has `pfn`. Linux: `page_zone()`.
    #[must_use]
    pub fn zone_of(&self, pfn: Pfn) -> Option<&Zone> {
        self.zone_index(pfn).map(|at| &self.zones[at])
    }

    /// All zones, by node, then from the lowest kind up.
    #[must_use]
    pub fn zones(&self) -> &[Zone] {
        &self.zones
    }

    /// A zone to change, for the layers that isolate and claim.
    pub(crate) fn zone_mut(&mut self, at: usize) -> (&mut Zone, &mut S) {
        (&mut self.zones[at], &mut self.sink)
    }

    /// What a frame is part of; `Reserved` for frames of no zone.
    #[must_use]
    pub fn frame(&self, pfn: Pfn) -> Frame {
        self.zone_of(pfn).map_or(Frame::Reserved, |zone| zone.buddy.frame(pfn))
    }

    /// The type of the pageblock of `pfn`, ISOLATE while isolated; `None` for frames of no zone.
    /// Linux: `get_pageblock_migratetype()`.
    #[must_use]
    pub fn pageblock_type(&self, pfn: Pfn) -> Option<MigrateType> {
        self.zone_of(pfn).map(|zone| zone.buddy.migratetype(pfn))
    }

    /// Sizes of the machine.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Whose rules are followed.
    #[must_use]
    pub const fn profile(&self) -> KernelProfile {
        self.profile
    }

    /// The migratetypes the kernel was built with.
    #[must_use]
    pub const fn types(&self) -> TypeSet {
        self.types
    }

    /// Number of virtual CPUs.
    #[must_use]
    pub const fn cpus(&self) -> u16 {
        self.cpus
    }

    /// Event counters since boot. Linux: /proc/vmstat.
    #[must_use]
    pub const fn stats(&self) -> &VmStat {
        &self.stats
    }

    /// The receiver of events.
    #[must_use]
    pub const fn sink(&self) -> &S {
        &self.sink
    }

    /// The receiver of events, to empty it.
    pub const fn sink_mut(&mut self) -> &mut S {
        &mut self.sink
    }
}

impl Zone {
    /// Makes the allocated frames of an aligned block one allocated block of `order`: a larger
    /// block around it is split into halves, smaller blocks inside it are joined.
    fn reshape(&mut self, pfn: Pfn, order: Order) {
        let max = self.buddy.geometry.max_order();
        let Frame::Allocated { head, order: mut have, movability } = self.buddy.frame(pfn) else {
            unreachable!("the caller has checked that the frames are allocated");
        };
        let mut head = head;
        while have > order {
            have = have.down().expect("larger than another order");
            let upper = head + have.pages();
            for half in [head, upper] {
                self.set_movability(half, have, movability);
            }
            head = if pfn >= upper { upper } else { head };
        }
        for inner in PfnRange::block(pfn, order.min(max)).iter().skip(1) {
            let index = self.buddy.index(inner);
            self.buddy.map.clear_head(index);
        }
        self.set_movability(pfn, order, movability);
    }
}
