//! Ours, the buddy lists alone: what a zone does under its lock.

use pagelab_allocator::{
    buddy::{Buddy, Placement},
    geometry::Geometry,
    migratetype::MigrateType,
    profile::KernelProfile,
    units::{Order, PageCount, Pfn, PfnRange},
};

use crate::{FRAMES, Frame, MAX_ORDER, Peer};

/// `__rmqueue_smallest()` and `__free_one_page()` on movable pageblocks.
#[derive(Debug)]
pub struct PagelabBuddy(Buddy);

impl Peer for PagelabBuddy {
    const NAME: &'static str = "pagelab-buddy";

    type Block = Frame;

    fn new() -> Self {
        let span = PfnRange::from_len(Pfn::new(0), PageCount::new(FRAMES));
        let mut buddy = Buddy::new(Geometry::PAGES_4K, KernelProfile::V6_12, span);
        for start in span.blocks(MAX_ORDER) {
            buddy.put(start, MAX_ORDER, MigrateType::Movable, Placement::Tail);
        }
        Self(buddy)
    }

    #[inline(always)]
    fn alloc(&mut self, order: Order) -> Option<Frame> {
        Some(self.0.take_smallest(order, MigrateType::Movable)?.pfn.into())
    }

    #[inline(always)]
    fn free(&mut self, block: Frame, order: Order) {
        self.0.put(block.pfn(), order, MigrateType::Movable, Placement::Likely);
    }

    fn start(block: &Frame) -> Pfn {
        block.pfn()
    }
}
