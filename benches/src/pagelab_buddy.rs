//! Ours, the buddy lists alone: what a zone does under its lock.

use pagelab_allocator::{
    buddy::{Buddy, Placement},
    geometry::Geometry,
    migratetype::MigrateType,
    profile::KernelProfile,
    units::{Order, PageCount, Pfn, PfnRange},
};

use crate::{FRAMES, MAX_ORDER, Peer};

/// `__rmqueue_smallest()` and `__free_one_page()` on movable pageblocks.
#[derive(Debug)]
pub struct PagelabBuddy(Buddy);

impl Peer for PagelabBuddy {
    const NAME: &'static str = "pagelab-buddy";

    type Block = Pfn;

    fn new() -> Self {
        let span = PfnRange::from_len(Pfn::new(0), PageCount::new(FRAMES));
        let mut buddy = Buddy::new(Geometry::PAGES_4K, KernelProfile::V6_12, span);
        for start in span.blocks(MAX_ORDER) {
            buddy.put(start, MAX_ORDER, MigrateType::Movable, Placement::Tail);
        }
        Self(buddy)
    }

    fn alloc(&mut self, order: Order) -> Option<Pfn> {
        Some(self.0.take_smallest(order, MigrateType::Movable)?.pfn)
    }

    fn free(&mut self, block: Pfn, order: Order) {
        self.0.put(block, order, MigrateType::Movable, Placement::Likely);
    }

    fn start(block: &Pfn) -> Pfn {
        *block
    }
}
