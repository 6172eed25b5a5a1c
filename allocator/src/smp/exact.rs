//! Blocks by their numbers: handles given up and taken back, a free block of the caller's choice,
//! and its way back.

use pagelab_percpu::Exclusive;

use crate::frame::Movability;
use crate::page_alloc::Pages;
use crate::smp::Cpu;
use crate::smp::cpu_zone::CpuZone;
use crate::units::{Order, Pfn};

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
        let id = self.id;
        let CpuZone { zone, posted, .. } = self.zones.of(pfn)?;
        let index = posted.index(pfn);
        // Its line is written last, and the lock is let go of only then.
        posted.prefetch(index);
        let mut guarded = zone.lock_late();
        guarded.take_at(id, (index, order), posted)?;
        posted.hold(index, order, Movability::Movable);
        Some(Pages::new(pfn, order))
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
        let id = self.id;
        let zone = self.zones.of(pfn).expect("the block of a handle lies in a zone");
        let CpuZone { zone, posted, .. } = zone;
        let index = posted.index(pfn);
        let mut guarded = zone.lock_late();
        let holding = posted.holding(index);
        assert!(holding.is_of(order), "block is not allocated with this order");
        holding.end();
        guarded.put_back(id, (index, order), posted);
    }
}
