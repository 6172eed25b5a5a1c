//! No allocator at all: what the harness itself costs.

use pagelab_allocator::units::{Order, Pfn};

use crate::Peer;

/// Answers every request with frame zero.
#[derive(Debug)]
pub struct Floor;

impl Peer for Floor {
    const NAME: &'static str = "floor";

    type Block = Pfn;

    fn new() -> Self {
        Self
    }

    fn alloc(&mut self, _order: Order) -> Option<Pfn> {
        Some(Pfn::new(0))
    }

    fn free(&mut self, pfn: Pfn, _order: Order) {
        std::hint::black_box(pfn);
    }

    fn start(block: &Pfn) -> Pfn {
        *block
    }
}
