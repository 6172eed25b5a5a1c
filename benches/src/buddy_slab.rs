//! The crate `buddy-slab-allocator`, its page allocator only: intrusive lists over page records.
//!
//! It allocates its records from the memory that it manages, in front of the first page. The
//! region is cut so that this page is aligned to the largest block, without which the peer could
//! not serve aligned requests.
#![expect(unsafe_code, reason = "the peer takes memory through an unsafe function")]

use core::fmt;

use buddy_slab_allocator::BuddyAllocator;
use pagelab_allocator::units::{Order, Pfn};

use crate::{
    Frame, Peer,
    arena::{Arena, FRAME, bytes},
    pages,
};

/// Twelve bytes of record a frame.
pub struct BuddySlab {
    pages: BuddyAllocator<FRAME>,
    arena: Arena,
}

impl fmt::Debug for BuddySlab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAME)
    }
}

impl Peer for BuddySlab {
    const NAME: &'static str = "buddy-slab-allocator";

    type Block = Frame;

    fn new() -> Self {
        let mut arena = Arena::new();
        let mut pages = BuddyAllocator::new();
        // One page for the header of the region, then the records, then frame zero.
        let metadata = FRAME + BuddyAllocator::<FRAME>::required_meta_size(Arena::FRAMES_LEN);
        let region = arena.around_zero(metadata, Arena::FRAMES_LEN);
        // SAFETY: the region is mapped and writable, belongs to this value alone, and is unmapped
        // only when the allocator is gone, since fields drop in order.
        unsafe { pages.init(region) }.expect("the region holds its metadata");
        Self { pages, arena }
    }

    #[inline(always)]
    fn alloc(&mut self, order: Order) -> Option<Frame> {
        let address = self.pages.alloc_pages(pages(order), bytes(order)).ok()?;
        Some(self.arena.frame_at(address))
    }

    #[inline(always)]
    fn free(&mut self, block: Frame, order: Order) {
        self.pages.dealloc_pages(self.arena.address_of(block), pages(order));
    }

    fn start(block: &Frame) -> Pfn {
        block.pfn()
    }
}
