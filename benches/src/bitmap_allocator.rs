//! The crate `bitmap-allocator`: a tree of 16-bit words, searched linearly for runs.

use core::fmt;

use bitmap_allocator::{BitAlloc, BitAlloc1M};
use pagelab_allocator::units::{Order, Pfn};

use crate::{FRAMES, Peer, index, pages, pfn};

/// One bit a frame.
pub struct BitmapAllocator(Box<BitAlloc1M>);

impl fmt::Debug for BitmapAllocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAME)
    }
}

impl Peer for BitmapAllocator {
    const NAME: &'static str = "bitmap-allocator";

    type Block = Pfn;

    fn new() -> Self {
        let mut bits = Box::new(BitAlloc1M::DEFAULT);
        bits.insert(0..index(Pfn::new(FRAMES)));
        Self(bits)
    }

    fn alloc(&mut self, order: Order) -> Option<Pfn> {
        let found = match order {
            Order::ZERO => self.0.alloc(),
            _ => self.0.alloc_contiguous(None, pages(order), order.index()),
        };
        found.map(pfn)
    }

    fn free(&mut self, pfn: Pfn, order: Order) {
        match order {
            Order::ZERO => self.0.dealloc(index(pfn)),
            _ => self.0.dealloc_contiguous(index(pfn), pages(order)),
        };
    }

    fn start(block: &Pfn) -> Pfn {
        *block
    }
}
