//! What the criterion targets time: allocators behind one thin trait, and workloads over it.
//!
//! Three of them are ours, and two are yardsticks. The others are other people's, one file each. All manage at least
//! [`FRAMES`] frames as numbers where they can; two write metadata into what they manage and get
//! lazily mapped memory.

mod arena;
mod bare_list;
mod bitmap_allocator;
mod buddy_slab;
mod buddy_system;
mod floor;
mod frame_alloc;
mod pagelab_buddy;
mod pagelab_cpu;
mod pagelab_pcp;
pub mod workload;

use core::fmt;

use pagelab_allocator::units::{Order, PageCount, Pfn};

pub use crate::{
    bare_list::BareList, bitmap_allocator::BitmapAllocator, buddy_slab::BuddySlab,
    buddy_system::BuddySystem, floor::Floor, frame_alloc::FrameAlloc, pagelab_buddy::PagelabBuddy,
    pagelab_cpu::PagelabCpu, pagelab_pcp::PagelabPcp,
};

/// Frames that can be allocated: 4 GiB of 4 KiB pages.
pub const FRAMES: u64 = 1 << 20;

/// The largest block that is asked for: 4 MiB.
pub const MAX_ORDER: Order = Order::of(10);

/// The most frames on top of [`FRAMES`], for allocators that keep metadata among their frames or a
/// reserve: 256 MiB.
pub const SPARE: PageCount = PageCount::new(1 << 16);

/// An allocator of naturally aligned blocks of `2^order` frames, all free when new.
pub trait Peer {
    /// The name in reports.
    const NAME: &'static str;

    /// An allocated block: a number, or a handle that is used up by freeing it.
    type Block: fmt::Debug;

    /// An allocator of which [`FRAMES`] frames can be had as blocks of any order, numbered below
    /// `FRAMES + SPARE`.
    fn new() -> Self;

    /// A free block, now allocated.
    fn alloc(&mut self, order: Order) -> Option<Self::Block>;

    /// Frees a block just as it was allocated.
    fn free(&mut self, block: Self::Block, order: Order);

    /// The first frame of a block.
    fn start(block: &Self::Block) -> Pfn;
}

/// A frame number of a peer that counts in machine words.
fn pfn(index: usize) -> Pfn {
    Pfn::new(u64::try_from(index).expect("a machine word has at most 64 bits"))
}

/// A frame number for a peer that counts in machine words.
fn index(pfn: Pfn) -> usize {
    usize::try_from(pfn.get()).expect("frames are numbered below 2^21")
}

/// The pages of a block for a peer that counts in machine words.
const fn pages(order: Order) -> usize {
    1 << order.index()
}
