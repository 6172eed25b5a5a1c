//! What the criterion targets time: allocators behind one thin trait, and workloads over it.
//!
//! Three of them are ours, and two are yardsticks. The others are other people's, one file each.
//! All manage at least [`FRAMES`] frames as numbers where they can; two write metadata into what
//! they manage and get lazily mapped memory.

mod arena;
mod bare_list;
mod bitmap_allocator;
mod buddy_slab;
mod buddy_system;
mod floor;
mod frame_alloc;
mod mutexed;
mod pagelab_buddy;
mod pagelab_cpu;
mod pagelab_pcp;
mod pagelab_shared;
mod shared;
mod swaps;
pub mod workload;

use core::fmt;

use pagelab_allocator::units::{Order, PageCount, Pfn};

pub use crate::{
    bare_list::BareList,
    bitmap_allocator::BitmapAllocator,
    buddy_slab::BuddySlab,
    buddy_system::BuddySystem,
    floor::Floor,
    frame_alloc::{FrameAlloc, FrameAllocDepot},
    mutexed::{Lockable, Mutexed},
    pagelab_buddy::PagelabBuddy,
    pagelab_cpu::PagelabCpu,
    pagelab_pcp::PagelabPcp,
    pagelab_shared::{Keep, Layout, OneZone, PagelabShared, ZoneEach},
    shared::Shared,
    swaps::Swaps,
};

/// Frames that can be allocated: 4 GiB of 4 KiB pages.
pub const FRAMES: u64 = 1 << 20;

/// The largest block that is asked for: 4 MiB.
pub const MAX_ORDER: Order = Order::of(10);

/// The most frames on top of [`FRAMES`], for allocators that keep metadata among their frames or a
/// reserve: 256 MiB.
pub const SPARE: PageCount = PageCount::new(1 << 16);

/// A CPU's share of the last level of cache, where a kernel asks for it: 2 MiB, as with 16 of them
/// on 32 MiB.
const CACHE_SLICE: PageCount = PageCount::new(512);

/// An allocator of naturally aligned blocks of `2^order` frames, all free when new.
pub trait Peer: Sized {
    /// The name in reports.
    const NAME: &'static str;

    /// An allocated block: a number ([`Frame`]), or a handle that is used up by freeing it.
    type Block: fmt::Debug;

    /// An allocator of which [`FRAMES`] frames can be had as blocks of any order, numbered below
    /// `FRAMES + SPARE`.
    fn new() -> Self;

    /// A free block, now allocated.
    fn alloc(&mut self, order: Order) -> Option<Self::Block>;

    /// Frees a block just as it was allocated.
    fn free(&mut self, block: Self::Block, order: Order);

    /// Takes the free block that starts at `start`, or some of it where it is larger. `None` where
    /// it is not free, or the peer cannot choose.
    fn alloc_at(&mut self, _start: Pfn, _order: Order) -> Option<Self::Block> {
        None
    }

    /// Gives back what [`alloc_at`](Self::alloc_at) took.
    #[inline(always)]
    fn put_back(&mut self, block: Self::Block, order: Order) {
        self.free(block, order);
    }

    /// The name in reports of a peer that comes in several forms.
    #[must_use]
    fn name() -> &'static str {
        Self::NAME
    }

    /// The first frame of a block.
    fn start(block: &Self::Block) -> Pfn;
}

/// A block of a peer that knows its blocks by number: its first frame, in half a machine word, so
/// that the harness's own table of blocks is no larger than it has to be.
#[derive(Clone, Copy, Debug)]
pub struct Frame(u32);

impl Frame {
    /// The frame `index` frames above frame zero.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "frames are numbered below 2^21")]
    const fn at(index: usize) -> Self {
        Self(index as u32)
    }

    /// Frames above frame zero.
    #[inline(always)]
    const fn index(self) -> usize {
        self.0 as usize
    }

    #[inline(always)]
    fn pfn(self) -> Pfn {
        Pfn::new(u64::from(self.0))
    }
}

impl From<Pfn> for Frame {
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "frames are numbered below 2^21")]
    fn from(pfn: Pfn) -> Self {
        Self(pfn.get() as u32)
    }
}

/// The pages of a block for a peer that counts in machine words.
const fn pages(order: Order) -> usize {
    1 << order.index()
}
