//! Blocks by their numbers: handles given up and taken back, a free block of the caller's choice,
//! and its way back.

use pagelab_percpu::Exclusive;

use crate::frame::Movability;
use crate::page_alloc::Pages;
use crate::smp::Cpu;
use crate::smp::cpu_zone::CpuZone;
use crate::units::{CpuId, Order, Pfn};

impl<P: Exclusive> Cpu<P> {
    /// Frees a block whose handle was given up by [`Pages::into_raw`]: what a page table, say,
    /// knows of it. Checked as any free is.
    ///
    /// # Panics
    ///
    /// Panics when nobody holds a block of this order there.
    #[inline(always)]
    pub fn free_raw(&mut self, pfn: Pfn, order: Order) {
        self.free_pages(Pages::new(pfn, order));
    }

    /// Takes the block at `pfn` out of the free block that has it, for a holder that can be
    /// migrated. `None` when some of it is not on the buddy lists, a page on a CPU's list among
    /// them, or its pageblock is isolated or set aside: who has to have it claims it. No watermark
    /// is asked, and nothing is counted as allocated. Linux: `take_page_off_buddy()`, for any
    /// order.
    #[inline(always)]
    pub fn take_at(&mut self, pfn: Pfn, order: Order) -> Option<Pages> {
        let taken = self.zones.hot.take_at(self.id, pfn, order).or_else(|| {
            core::hint::cold_path();
            self.take_elsewhere(pfn, order)
        });
        taken.map(|()| Pages::new(pfn, order))
    }

    #[inline(never)]
    fn take_elsewhere(&mut self, pfn: Pfn, order: Order) -> Option<()> {
        self.zones.other(pfn)?.take_at(self.id, pfn, order)
    }

    /// Puts a block back on the buddy lists as [`take_at`](Self::take_at) took it off them: past
    /// the lists of this CPU, by the types of its pageblocks as they are now, isolated ones among
    /// them. Nothing is counted as freed. Linux: `put_page_back_buddy()`, for any order.
    ///
    /// # Panics
    ///
    /// Panics when the block is not allocated as this handle says (a forged handle).
    #[inline]
    pub fn put_back(&mut self, pages: Pages) {
        let (pfn, order) = pages.into_raw();
        self.put_back_raw(pfn, order);
    }

    /// [`put_back`](Self::put_back) of a block whose handle was given up by [`Pages::into_raw`].
    ///
    /// # Panics
    ///
    /// Panics when nobody holds a block of this order there.
    #[inline(always)]
    pub fn put_back_raw(&mut self, pfn: Pfn, order: Order) {
        if !self.zones.hot.put_back(self.id, pfn, order) {
            core::hint::cold_path();
            self.put_back_elsewhere(pfn, order);
        }
    }

    #[inline(never)]
    fn put_back_elsewhere(&mut self, pfn: Pfn, order: Order) {
        let zone = self.zones.of(pfn).expect("the block of a handle lies in a zone");
        let was_held = zone.put_back(self.id, pfn, order);
        assert!(was_held, "block is not allocated with this order");
    }
}

impl<P: Exclusive> CpuZone<P> {
    /// Takes the block at `pfn`, if a free block of the zone has it.
    #[inline(always)]
    fn take_at(&self, id: CpuId, pfn: Pfn, order: Order) -> Option<()> {
        let (index, holding) = self.posted.find(pfn)?;
        // Its line is written last, and the lock is let go of only then.
        self.posted.prefetch(index);
        let mut guarded = self.zone.lock_late();
        guarded.take_at(id, (index, order), &self.posted)?;
        holding.begin(order, Movability::Movable);
        Some(())
    }

    /// Puts the block at `pfn` back, if somebody holds one of this zone there; says whether so.
    #[inline(always)]
    fn put_back(&self, id: CpuId, pfn: Pfn, order: Order) -> bool {
        let Some((index, holding)) = self.posted.find(pfn) else { return false };
        let mut guarded = self.zone.lock_late();
        let is_held = holding.is_of(order);
        if is_held {
            holding.end();
            guarded.put_back(id, (index, order), &self.posted);
        }
        is_held
    }
}
