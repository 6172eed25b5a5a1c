//! The crate `bitmap-allocator`: a tree of 16-bit words, searched linearly for runs.

use core::fmt;

use bitmap_allocator::{BitAlloc, BitAlloc1M};
use pagelab_allocator::units::{Order, Pfn};

use crate::{FRAMES, Frame, Peer, pages};

/// One bit a frame.
pub struct BitmapAllocator(Box<BitAlloc1M>);

impl fmt::Debug for BitmapAllocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAME)
    }
}

impl Peer for BitmapAllocator {
    const NAME: &'static str = "bitmap-allocator";

    type Block = Frame;

    fn new() -> Self {
        let mut bits = Box::new(BitAlloc1M::DEFAULT);
        bits.insert(0..Frame::from(Pfn::new(FRAMES)).index());
        Self(bits)
    }

    #[inline(always)]
    fn alloc(&mut self, order: Order) -> Option<Frame> {
        let found = match order {
            Order::ZERO => self.0.alloc(),
            _ => self.0.alloc_contiguous(None, pages(order), order.index()),
        };
        found.map(Frame::at)
    }

    #[inline(always)]
    fn free(&mut self, block: Frame, order: Order) {
        match order {
            Order::ZERO => self.0.dealloc(block.index()),
            _ => self.0.dealloc_contiguous(block.index(), pages(order)),
        };
    }

    #[inline(always)]
    fn alloc_at(&mut self, start: Pfn, order: Order) -> Option<Frame> {
        let base = Some(Frame::from(start).index());
        self.0.alloc_contiguous(base, pages(order), order.index()).map(Frame::at)
    }

    fn start(block: &Frame) -> Pfn {
        block.pfn()
    }
}
