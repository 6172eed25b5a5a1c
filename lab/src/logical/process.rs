//! What processes do, as operations on identities.
//!
//! An operation never says what became of earlier ones: what a machine refused is passed over by
//! identity, so that one stream is the same for every design.

use pagelab_migrate::fault::Access;
use pagelab_migrate::folio::PinTerm;

use super::PageSpan;
use crate::size::Share;

/// A process: its number in the stream, from 0. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProcessId(pub u32);

/// A mapped area of a process: its number there, from 0. Children inherit areas by number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AreaId(pub u32);

/// A file: its number in the stream. It exists from its first use on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FileNumber(pub u32);

/// A pin: its number in the stream, from 0. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PinId(pub u32);

/// Whether an area is mapped with `PROT_MTE`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AreaTags {
    /// All of it.
    All,
    /// Nothing of it; a later [`ProcessOp::Protect`] may tag parts.
    None,
}

/// One operation of a process, or of time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProcessOp {
    /// A process begins with nothing mapped.
    Spawn {
        /// Its identity from now on.
        process: ProcessId,
    },
    /// A process begins as a copy of another.
    Fork {
        /// The process copied.
        parent: ProcessId,
        /// The identity of the copy from now on.
        child: ProcessId,
    },
    /// A process ends.
    Exit {
        /// The process.
        process: ProcessId,
    },
    /// An anonymous area is mapped; nothing is populated.
    Map {
        /// The process.
        process: ProcessId,
        /// The area's identity in the process.
        area: AreaId,
        /// Its length.
        pages: u32,
        /// Whether it is mapped with `PROT_MTE`.
        tags: AreaTags,
    },
    /// A part of an area gets `PROT_MTE`.
    Protect {
        /// The process.
        process: ProcessId,
        /// The area.
        area: AreaId,
        /// Its pages.
        span: PageSpan,
    },
    /// Pages of an area are accessed one after the other.
    Touch {
        /// The process.
        process: ProcessId,
        /// The area.
        area: AreaId,
        /// From the first to the last page.
        span: PageSpan,
        /// Every how many pages; 1 is every page.
        stride: u32,
        /// How.
        access: Access,
    },
    /// Pages of a file are read.
    ReadFile {
        /// The file.
        file: FileNumber,
        /// Its pages.
        span: PageSpan,
    },
    /// Pages of a file are written.
    WriteFile {
        /// The file.
        file: FileNumber,
        /// Its pages.
        span: PageSpan,
    },
    /// A file is removed with its cached pages.
    RemoveFile {
        /// The file.
        file: FileNumber,
    },
    /// The page behind an address is pinned.
    Pin {
        /// The pin's identity from now on.
        pin: PinId,
        /// The process.
        process: ProcessId,
        /// The area.
        area: AreaId,
        /// Its page.
        page: u32,
        /// For how long.
        term: PinTerm,
    },
    /// A pin ends.
    Unpin {
        /// The pin.
        pin: PinId,
    },
    /// The injector cuts and mends pageblocks until free memory is in pieces as wanted.
    Hold(Hold),
    /// A tenth of a second passes.
    Tick,
}

/// What the injector of `fragment` brings about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hold {
    /// Unusable free space index at pageblock order, as a share.
    pub index: Share,
    /// Share of the pages that keep pageblocks apart which cannot move.
    pub unmovable: Share,
}

impl ProcessOp {
    /// What it is, for counts of operations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Spawn { .. } => "spawns",
            Self::Fork { .. } => "forks",
            Self::Exit { .. } => "exits",
            Self::Map { .. } => "maps",
            Self::Protect { .. } => "protects",
            Self::Touch { .. } => "touches",
            Self::ReadFile { .. } => "file_reads",
            Self::WriteFile { .. } => "file_writes",
            Self::RemoveFile { .. } => "file_removals",
            Self::Pin { .. } => "pins",
            Self::Unpin { .. } => "unpins",
            Self::Hold(_) => "holds",
            Self::Tick => "ticks",
        }
    }
}
