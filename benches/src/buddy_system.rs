//! The crate `buddy_system_allocator`: a buddy allocator with one B-tree of free blocks an order.

use core::fmt;

use buddy_system_allocator::FrameAllocator;
use pagelab_allocator::units::{Order, Pfn};

use crate::{FRAMES, MAX_ORDER, Peer, index, pages, pfn};

const ORDERS: usize = MAX_ORDER.index() + 1;

/// Free lists that are sets of frame numbers.
pub struct BuddySystem(FrameAllocator<ORDERS>);

impl fmt::Debug for BuddySystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAME)
    }
}

impl Peer for BuddySystem {
    const NAME: &'static str = "buddy_system_allocator";

    type Block = Pfn;

    fn new() -> Self {
        let mut frames = FrameAllocator::new();
        frames.insert(0..index(Pfn::new(FRAMES)));
        Self(frames)
    }

    fn alloc(&mut self, order: Order) -> Option<Pfn> {
        self.0.alloc(pages(order)).map(pfn)
    }

    fn free(&mut self, pfn: Pfn, order: Order) {
        self.0.dealloc(index(pfn), pages(order));
    }

    fn start(block: &Pfn) -> Pfn {
        *block
    }
}
