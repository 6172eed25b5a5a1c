//! Blocks by their numbers: handles given up and taken back, and a free block of the caller's
//! choice.

use pagelab_percpu::Exclusive;

use crate::frame::{Head, Movability};
use crate::migratetype::MigrateType;
use crate::page_alloc::Pages;
use crate::smp::Cpu;
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

    /// Takes the block at `pfn` out of whatever free block has it, for a holder that can be
    /// migrated. `None` when some of it is not on the buddy lists, or the pageblock is isolated or
    /// set aside: who has to have it claims it. No watermark is asked. Linux:
    /// `take_page_off_buddy()`, for any order.
    pub fn take_at(&mut self, pfn: Pfn, order: Order) -> Option<Pages> {
        if !pfn.is_aligned(order) || order > self.shared().geometry().max_order() {
            return None;
        }
        let at = self.shared().zone_index(pfn)?;
        let zone = &self.shared().zones[at];
        let mut locked = zone.lock();
        let mt = free_type(&locked.zones[0].buddy, pfn, order)?;
        locked.by_hand(0, CpuId::BOOT).take_at(pfn, order, mt).ok()?;
        zone.posted.hold(zone.posted.index(pfn), order, Movability::Movable);
        Some(Pages::new(pfn, order))
    }
}

/// The type of the list that has the block, if it is free and may be taken.
fn free_type(buddy: &crate::buddy::Buddy, pfn: Pfn, order: Order) -> Option<MigrateType> {
    let index = buddy.map.index(pfn)?;
    let (head, state) = buddy.map.covering(index, buddy.geometry.max_order())?;
    let Head::Free(from) = state else { return None };
    let mt = buddy.migratetype(buddy.map.pfn(head));
    (from >= order && (mt.is_mergeable() || mt == MigrateType::Cma)).then_some(mt)
}
