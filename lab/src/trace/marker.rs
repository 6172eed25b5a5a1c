//! What programs write into a trace.

use std::sync::Arc;

use pagelab_allocator::units::{PageCount, Pfn};

/// A line that a program wrote into the trace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Marker {
    /// `MTE+ pfn,pfn,..`: these pages carry tags from now on until they are freed.
    TagsOn(Vec<Pfn>),
    /// `MTE mmap|mprotect ADDR PAGES`: a range became `PROT_MTE`.
    ProtMte {
        /// `mmap` or `mprotect`.
        call: Arc<str>,
        /// First byte of the range.
        address: u64,
        /// Pages of the range.
        pages: PageCount,
    },
    /// `SNAP k begin LABEL`, `SNAP k end`, `SNAP k resume`.
    Snapshot {
        /// The snapshot's number.
        index: u32,
        /// Where in the snapshot.
        phase: SnapPhase,
    },
    /// `MEMBLOCK n set STATE`: a memory block is about to be given a state.
    MemoryBlock {
        /// The block's number. Linux: `memory<n>`.
        block: u64,
        /// The state.
        state: BlockState,
    },
    /// Anything else.
    Text(Arc<str>),
}

/// What is written to a memory block's `state`. Linux: `online_type_to_str[]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockState {
    /// It goes away.
    Offline,
    /// It joins whichever zone suits.
    Online,
    /// It joins a zone for anything.
    OnlineKernel,
    /// It joins the zone for what can be migrated.
    OnlineMovable,
}

/// The three marks of a snapshot; the free lists were dumped between `End` and `Resume`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SnapPhase {
    /// The /proc files are being read.
    Begin,
    /// They were read.
    End,
    /// The workload goes on.
    Resume,
}
