//! What compaction's scanners ask of a zone: skip hints, list rotation, when a request could be
//! served. The scanners themselves live a crate above.

use crate::event::{Event, Sink};
use crate::frame::Head;
use crate::migratetype::MigrateType;
use crate::page_alloc::PageAllocator;
use crate::units::{CpuId, Order, Pfn};
use crate::zone::Zone;

impl Zone {
    /// Whether a request could claim a pageblock through a free block of `order`.
    /// Linux: `find_suitable_fallback()` with `only_stealable`.
    #[must_use]
    pub fn could_claim(&self, order: Order, mt: MigrateType) -> bool {
        self.buddy.could_claim(order, mt, self.grouping)
    }

    /// Whether a scanner found nothing in the pageblock of `pfn` lately.
    /// Linux: `get_pageblock_skip()`.
    ///
    /// # Panics
    ///
    /// Panics when `pfn` is outside the zone.
    #[must_use]
    pub fn is_skipped(&self, pfn: Pfn) -> bool {
        self.buddy.blocks.is_skipped(self.buddy.index(pfn))
    }
}

impl<S: Sink> PageAllocator<S> {
    /// Tells the scanners to pass the pageblock of `pfn` by. Linux: `set_pageblock_skip()`.
    ///
    /// # Panics
    ///
    /// Panics when no zone has `pfn`.
    pub fn set_skip(&mut self, pfn: Pfn) {
        let at = self.zone_index(pfn).expect("frame of a zone");
        let buddy = &mut self.zones[at].buddy;
        buddy.blocks.set_skip(buddy.index(pfn));
    }

    /// Forgets the skip hints of the zone at `zone` in [`zones`](Self::zones).
    /// Linux: `__reset_isolation_suitable()`.
    ///
    /// # Panics
    ///
    /// Panics when there is no such zone.
    pub fn clear_skips(&mut self, zone: usize) {
        self.zones[zone].buddy.blocks.clear_skips();
    }

    /// Empties the lists that one CPU keeps of one zone. Linux: `lru_add_drain_cpu_zone()`.
    ///
    /// # Panics
    ///
    /// Panics when there is no such zone or CPU.
    pub fn drain_cpu(&mut self, cpu: CpuId, zone: usize) {
        let (zone, sink) = self.zone_mut(zone);
        zone.drain_cpu(cpu, sink);
    }

    /// Turns the list of a free block around so that the block is first, keeping the cyclic order.
    /// Linux: `move_freelist_tail()`, `move_freelist_head()` of compaction's fast searches.
    ///
    /// # Panics
    ///
    /// Panics when no free block starts at `pfn`. With debug assertions also when it is not on the
    /// list of `mt`; the search for it would make the rotation as slow as the list is long.
    pub fn rotate_free_list(&mut self, pfn: Pfn, mt: MigrateType) {
        let at = self.zone_index(pfn).expect("frame of a zone");
        let buddy = &mut self.zones[at].buddy;
        let index = buddy.index(pfn);
        let Some(Head::Free(order)) = buddy.map.head(index) else {
            panic!("no free block starts at {pfn}");
        };
        debug_assert!(buddy.free_list(order, mt).any(|block| block == pfn), "on another list");
        buddy.areas.rotate_to_front(&mut buddy.map, (index, order), mt);
        self.sink.emit(Event::TurnFreeList { pfn, migratetype: mt });
    }
}
