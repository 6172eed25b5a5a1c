//! What the criterion targets time: allocators behind one thin trait, and workloads over it.
//!
//! Peers are other people's allocators, one file each. They manage [`FRAMES`] frames as numbers
//! where they can; two of them write metadata into what they manage and get lazily mapped memory.

mod arena;
mod bitmap_allocator;
mod buddy_slab;
mod buddy_system;
mod floor;
mod frame_alloc;
pub mod workload;

use pagelab_allocator::units::{Order, Pfn};

pub use crate::{
    bitmap_allocator::BitmapAllocator, buddy_slab::BuddySlab, buddy_system::BuddySystem,
    floor::Floor, frame_alloc::FrameAlloc,
};

/// Frames a peer manages: 4 GiB of 4 KiB pages.
pub const FRAMES: u64 = 1 << 20;

/// The largest block that is asked for: 4 MiB.
pub const MAX_ORDER: Order = Order::of(10);

/// An allocator of naturally aligned blocks of `2^order` frames, all free when new.
pub trait Peer {
    /// The name in reports.
    const NAME: &'static str;

    /// An allocator with at least [`FRAMES`] free frames, numbered from zero. Peers that keep
    /// metadata among their frames have up to one largest block more.
    fn new() -> Self;

    /// A free block, now allocated.
    fn alloc(&mut self, order: Order) -> Option<Pfn>;

    /// Frees a block just as it was allocated.
    fn free(&mut self, pfn: Pfn, order: Order);
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
