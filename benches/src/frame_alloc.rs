//! The crate `frame-alloc`: a buddy allocator of bitmaps with summaries, free of locks.
//!
//! It keeps its bitmaps in the first frames that it manages.
#![expect(unsafe_code, reason = "the peer takes memory and frees it through unsafe functions")]

use core::{cell::Cell, fmt, num::NonZeroUsize, ptr::NonNull};
use std::sync::Arc;

use frame_alloc::{
    CpuId, DepotAllocator, PageSize, PhysicalAllocator, Provenance, RegionInit,
    SummaryBuddyAllocator,
};
use pagelab_allocator::units::{Order, Pfn};

use crate::{
    Frame, MAX_ORDER, Peer, Shared,
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

/// What both forms have: memory, and an allocator `A` over it.
struct Pool<A> {
    frames: A,
    arena: Arena,
}

impl<A: PhysicalAllocator + RegionInit> Pool<A> {
    fn new(frames: A) -> Arc<Self> {
        let mut pool = Self { frames, arena: Arena::new() };
        // The block that loses frames to the bitmaps comes on top.
        let region = pool.arena.around_zero(0, Arena::FRAMES_LEN + bytes(MAX_ORDER));
        let (start, len) = (region.as_mut_ptr().expose_provenance(), region.len());
        // SAFETY: the region is mapped and writable, belongs to this value alone, and is unmapped
        // only when the allocator is gone, since fields drop in order. No other thread sees it yet.
        unsafe { pool.frames.init_region(start, len) };
        Arc::new(pool)
    }

    #[inline(always)]
    fn alloc(&self, order: Order) -> Option<Frame> {
        let address = self.frames.allocate_physical(BASE, count(order)).ok()?;
        Some(self.arena.frame_at(address))
    }

    #[inline(always)]
    fn free(&self, block: Frame, order: Order) {
        let address = self.arena.address_of(block);
        // SAFETY: by the contract of `Peer`, the block was allocated with this order and is not
        // used any more.
        unsafe { self.frames.deallocate_physical(BASE, count(order), address) };
    }
}

fn count(order: Order) -> NonZeroUsize {
    NonZeroUsize::new(pages(order)).expect("a block has pages")
}

type Buddies = SummaryBuddyAllocator<ORDERS, Exposed>;

/// A quarter of a byte a frame. A handle; all share the bitmaps.
#[derive(Clone)]
pub struct FrameAlloc(Arc<Pool<Buddies>>);

impl fmt::Debug for FrameAlloc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAME)
    }
}

impl Peer for FrameAlloc {
    const NAME: &'static str = "frame-alloc";

    type Block = Frame;

    fn new() -> Self {
        Self(Pool::new(Buddies::new(BASE)))
    }

    #[inline(always)]
    fn alloc(&mut self, order: Order) -> Option<Frame> {
        self.0.alloc(order)
    }

    #[inline(always)]
    fn free(&mut self, block: Frame, order: Order) {
        self.0.free(block, order);
    }

    fn start(block: &Frame) -> Pfn {
        block.pfn()
    }
}

impl Shared for FrameAlloc {
    fn handles(threads: usize) -> Vec<Self> {
        vec![Self::new(); threads]
    }
}

thread_local! {
    /// The CPU that a thread stands for.
    static CPU: Cell<usize> = const { Cell::new(0) };
}

/// Threads are CPUs.
struct ThreadCpu;

impl CpuId for ThreadCpu {
    fn current_cpu() -> usize {
        CPU.get()
    }
}

/// Stacks of 64 frames a CPU in front of the bitmaps, and one of 512 between.
type Depot = DepotAllocator<Buddies, ThreadCpu, 8, 64>;

/// The allocator with its caches of single frames. A handle.
#[derive(Clone)]
pub struct FrameAllocDepot(Arc<Pool<Depot>>);

impl fmt::Debug for FrameAllocDepot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAME)
    }
}

impl Peer for FrameAllocDepot {
    const NAME: &'static str = "frame-alloc, depot";

    type Block = Frame;

    fn new() -> Self {
        Self(Pool::new(Depot::new(BASE, Buddies::new(BASE))))
    }

    #[inline(always)]
    fn alloc(&mut self, order: Order) -> Option<Frame> {
        self.0.alloc(order)
    }

    #[inline(always)]
    fn free(&mut self, block: Frame, order: Order) {
        self.0.free(block, order);
    }

    fn start(block: &Frame) -> Pfn {
        block.pfn()
    }
}

impl Shared for FrameAllocDepot {
    fn handles(threads: usize) -> Vec<Self> {
        vec![Self::new(); threads]
    }

    fn bind(&mut self, thread: usize) {
        CPU.set(thread);
    }
}

const _: () = assert!(BASE.bytes() == FRAME);
