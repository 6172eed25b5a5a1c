//! The crate `frame-alloc`: a buddy allocator of bitmaps with summaries, free of locks.
//!
//! It keeps its bitmaps in the first frames that it manages.
#![expect(unsafe_code, reason = "the peer takes memory and frees it through unsafe functions")]

use core::{fmt, num::NonZeroUsize, ptr::NonNull};

use frame_alloc::{PageSize, PhysicalAllocator, Provenance, RegionInit, SummaryBuddyAllocator};
use pagelab_allocator::units::{Order, Pfn};

use crate::{
    Frame, MAX_ORDER, Peer,
    arena::{Arena, FRAME, bytes},
    pages,
};

const ORDERS: usize = MAX_ORDER.index() + 1;
const BASE: PageSize = PageSize::from_log2(12);

/// Frame addresses are addresses of the arena.
struct Exposed;

// SAFETY: the arena is one live mapping whose provenance `FrameAlloc::new` exposes.
unsafe impl Provenance for Exposed {
    unsafe fn create(address: usize) -> NonNull<u8> {
        NonNull::new(core::ptr::with_exposed_provenance_mut(address)).expect("not mapped at zero")
    }

    unsafe fn destroy<T>(frame: NonNull<T>) -> usize {
        frame.addr().get()
    }
}

/// A quarter of a byte a frame.
pub struct FrameAlloc {
    frames: SummaryBuddyAllocator<ORDERS, Exposed>,
    arena: Arena,
}

impl fmt::Debug for FrameAlloc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAME)
    }
}

fn count(order: Order) -> NonZeroUsize {
    NonZeroUsize::new(pages(order)).expect("a block has pages")
}

impl Peer for FrameAlloc {
    const NAME: &'static str = "frame-alloc";

    type Block = Frame;

    fn new() -> Self {
        let mut arena = Arena::new();
        let frames = SummaryBuddyAllocator::new(BASE);
        // The block that loses frames to the bitmaps comes on top.
        let region = arena.around_zero(0, Arena::FRAMES_LEN + bytes(MAX_ORDER));
        let (start, len) = (region.as_mut_ptr().expose_provenance(), region.len());
        // SAFETY: the region is mapped and writable, belongs to this value alone, and is unmapped
        // only when the allocator is gone, since fields drop in order. No other thread sees it.
        unsafe { frames.init_region(start, len) };
        Self { frames, arena }
    }

    #[inline(always)]
    fn alloc(&mut self, order: Order) -> Option<Frame> {
        let address = self.frames.allocate_physical(BASE, count(order)).ok()?;
        Some(self.arena.frame_at(address))
    }

    #[inline(always)]
    fn free(&mut self, block: Frame, order: Order) {
        let address = self.arena.address_of(block);
        // SAFETY: by the contract of `Peer`, the block was allocated with this order and is not
        // used any more.
        unsafe { self.frames.deallocate_physical(BASE, count(order), address) };
    }

    fn start(block: &Frame) -> Pfn {
        block.pfn()
    }
}
const _: () = assert!(BASE.bytes() == FRAME);
