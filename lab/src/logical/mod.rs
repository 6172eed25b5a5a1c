//! What a recorded kernel was asked for, as operations on identities instead of addresses.
//!
//! A frame number of the recording says where the recorded kernel put a page. Another kernel, or
//! another design, puts it elsewhere; only the fact that the same page is freed later is kept. So
//! every allocation gets a [`PageId`], and frees and tags name that.
//!
//! Decisions, all of them counted in [`Unused`]:
//!
//! * A free takes effect at `mm_page_free`. `mm_page_free_batched` repeats it.
//! * A free may name part of a block: pages of a split block, or the tail of a large one.
//! * A free of memory whose allocation was not recorded is dropped. A page allocated while it is
//!   live has missed its free, which is supplied.
//! * Migration is the recorded kernel's doing, not a wish: its targets and sources do not appear;
//!   the identity moves. During compaction, which source went to which target is not recorded, so
//!   the pages of one compaction run are matched in order of isolation.
//! * `alloc_contig_range()` that succeeded is one allocation; its own trimming is dropped.
//! * Pages that vmalloc took in bulk have no event of their own; they appear when they are mapped.

mod live;
pub mod process;
mod stream;
mod unused;
mod window;

use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::units::{CpuId, Order, PageCount};

use crate::trace::SnapPhase;
use process::ProcessOp;

pub use stream::Logical;
pub use unused::Unused;

/// The identity of one allocation: its number in the stream, from 0. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PageId(pub u64);

/// Some pages of one allocation, counted from its first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PageSpan {
    /// First page.
    pub first: u32,
    /// Number of pages, at least 1.
    pub pages: u32,
}

/// One operation with who, where and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// Line of the trace.
    pub line: u64,
    /// Nanoseconds of the trace clock.
    pub timestamp: u64,
    /// CPU that it happened on.
    pub cpu: CpuId,
    /// Task that it happened in.
    pub pid: u32,
    /// What happened.
    pub op: Op,
}

/// One operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// A block was allocated. Pages that carry tags from the start have `GfpFlags::TAGGED`.
    Alloc {
        /// Its identity from now on.
        id: PageId,
        /// Its order.
        order: Order,
        /// How it was asked for.
        gfp: GfpFlags,
    },
    /// The recorded kernel could not serve this request.
    Failed {
        /// Order asked for.
        order: Order,
        /// How it was asked for.
        gfp: GfpFlags,
    },
    /// A contiguous range was allocated. Linux: `alloc_contig_range()`.
    AllocContig {
        /// Its identity from now on.
        id: PageId,
        /// Its length.
        pages: PageCount,
        /// What owns the range's pageblocks.
        owner: ContigOwner,
    },
    /// Some or all pages of an allocation were freed. Each page is freed once.
    Free {
        /// The allocation.
        id: PageId,
        /// Its pages.
        span: PageSpan,
    },
    /// A page of an allocation carries tags from now on, perhaps not for the first time.
    Tag {
        /// The allocation.
        id: PageId,
        /// Its page, counted from its first.
        page: u32,
    },
    /// A process of a workload does something; recordings have none of these.
    Process(ProcessOp),
    /// The recording took a snapshot here.
    Snapshot {
        /// Its number.
        index: u32,
        /// Where in the snapshot.
        phase: SnapPhase,
    },
}

/// Whose memory a contiguous range is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContigOwner {
    /// A CMA area's. Linux: `cma_alloc()`.
    Cma,
    /// Anyone's. Linux: `alloc_contig_pages()`.
    Anyone,
}

#[cfg(test)]
mod tests;
