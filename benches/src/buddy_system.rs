//! The crate `buddy_system_allocator`: a buddy allocator with one B-tree of free blocks an order.

use core::fmt;

use buddy_system_allocator::FrameAllocator;
use pagelab_allocator::units::{Order, Pfn};

use crate::{FRAMES, Frame, MAX_ORDER, Peer, pages};

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

    type Block = Frame;

    fn new() -> Self {
        let mut frames = FrameAllocator::new();
        frames.insert(0..Frame::from(Pfn::new(FRAMES)).index());
        Self(frames)
    }

    #[inline(always)]
    fn alloc(&mut self, order: Order) -> Option<Frame> {
        self.0.alloc(pages(order)).map(Frame::at)
    }

    #[inline(always)]
    fn free(&mut self, block: Frame, order: Order) {
        self.0.dealloc(block.index(), pages(order));
    }

    #[inline(always)]
    fn alloc_at(&mut self, start: Pfn, order: Order) -> Option<Frame> {
        self.0.alloc_at(Frame::from(start).index(), pages(order)).map(Frame::at)
    }

    fn start(block: &Frame) -> Pfn {
        block.pfn()
    }
}
