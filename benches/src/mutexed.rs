//! An allocator that is not made for threads, behind a lock.

use std::sync::Arc;

use pagelab_allocator::units::{Order, Pfn};
use parking_lot::Mutex;

use crate::{
    BareList, BitmapAllocator, BuddySlab, BuddySystem, Floor, PagelabBuddy, Peer, Shared,
    shared::only,
};

/// A peer that can be used through a lock.
pub trait Lockable: Peer<Block: Send> + Send {
    /// The name behind the lock.
    const LOCKED_NAME: &'static str;
}

impl Lockable for BareList {
    const LOCKED_NAME: &'static str = "bare-list, locked";
}

impl Lockable for PagelabBuddy {
    const LOCKED_NAME: &'static str = "pagelab-buddy, locked";
}

impl Lockable for BitmapAllocator {
    const LOCKED_NAME: &'static str = Self::NAME;
}

impl Lockable for BuddySlab {
    const LOCKED_NAME: &'static str = Self::NAME;
}

impl Lockable for BuddySystem {
    const LOCKED_NAME: &'static str = Self::NAME;
}

/// A handle of a peer behind a parking_lot mutex.
#[derive(Debug)]
pub struct Mutexed<P>(Arc<Mutex<P>>);

impl<P: Lockable> Peer for Mutexed<P> {
    const NAME: &'static str = P::LOCKED_NAME;

    type Block = P::Block;

    fn new() -> Self {
        only()
    }

    #[inline(always)]
    fn alloc(&mut self, order: Order) -> Option<P::Block> {
        self.0.lock().alloc(order)
    }

    #[inline(always)]
    fn free(&mut self, block: P::Block, order: Order) {
        self.0.lock().free(block, order);
    }

    #[inline(always)]
    fn alloc_at(&mut self, start: Pfn, order: Order) -> Option<P::Block> {
        self.0.lock().alloc_at(start, order)
    }

    fn start(block: &P::Block) -> Pfn {
        P::start(block)
    }
}

impl<P: Lockable> Shared for Mutexed<P> {
    fn handles(threads: usize) -> Vec<Self> {
        let peer = Arc::new(Mutex::new(P::new()));
        (0..threads).map(|_| Self(Arc::clone(&peer))).collect()
    }
}

/// Nothing is shared where nothing is allocated.
impl Shared for Floor {
    fn handles(threads: usize) -> Vec<Self> {
        (0..threads).map(|_| Self).collect()
    }
}
