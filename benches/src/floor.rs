//! No allocator at all: what the harness itself costs.

use pagelab_allocator::units::{Order, Pfn};

use crate::{Frame, Peer};

/// Answers every request with frame zero.
#[derive(Debug)]
pub struct Floor;

impl Peer for Floor {
    const NAME: &'static str = "floor";

    type Block = Frame;

    fn new() -> Self {
        Self
    }

    #[inline(always)]
    fn alloc(&mut self, _order: Order) -> Option<Frame> {
        Some(Frame::at(0))
    }

    #[inline(always)]
    fn free(&mut self, block: Frame, _order: Order) {
        std::hint::black_box(block);
    }

    fn start(block: &Frame) -> Pfn {
        block.pfn()
    }
}
