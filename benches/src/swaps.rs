//! A yardstick: two atomic read-modify-writes, what a lock of its own costs a thread for a pair.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use crossbeam_utils::CachePadded;
use pagelab_allocator::units::{Order, Pfn};

use crate::{Frame, Peer, Shared, shared::only};

/// Answers every request with frame zero, after a swap in the thread's own cache line.
#[derive(Debug)]
pub struct Swaps(Arc<CachePadded<AtomicU32>>);

impl Peer for Swaps {
    const NAME: &'static str = "two swaps";

    type Block = Frame;

    fn new() -> Self {
        only()
    }

    #[inline(always)]
    fn alloc(&mut self, _order: Order) -> Option<Frame> {
        Some(Frame(self.0.swap(0, Ordering::AcqRel)))
    }

    #[inline(always)]
    fn free(&mut self, block: Frame, _order: Order) {
        self.0.swap(block.0, Ordering::AcqRel);
    }

    fn start(block: &Frame) -> Pfn {
        block.pfn()
    }
}

impl Shared for Swaps {
    fn handles(threads: usize) -> Vec<Self> {
        (0..threads).map(|_| Self(Arc::default())).collect()
    }
}
