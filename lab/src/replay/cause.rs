//! Why a prediction missed: what a trace does not show.

use core::fmt;

/// A class of things that happen in a kernel without an event that says so.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Cause {
    /// Pages that left the per-CPU lists in bulk.
    BulkAllocation,
    /// Events are printed outside the locks: an interrupt came between the act and its event.
    EventOrder,
    /// The per-CPU lists' sizes changed: by reclaim, by a timer, by the size of a cache.
    PcpTuning,
    /// Counters of free pages lag behind the lists by an unknown number of pages.
    CounterDrift,
    /// Flags of the task that the request does not show.
    TaskState,
    /// Whether a page in use could be migrated.
    Movability,
    /// Compaction's fast searches turn free lists around.
    ListRotation,
    /// A block went from its freeing to the compacting task without being on a list.
    Capture,
    /// Nothing of the above is known to have happened.
    Unexplained,
}

impl Cause {
    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BulkAllocation => "bulk allocation",
            Self::EventOrder => "event order",
            Self::PcpTuning => "per-CPU tuning",
            Self::CounterDrift => "counter drift",
            Self::TaskState => "task state",
            Self::Movability => "page movability",
            Self::ListRotation => "compaction list rotation",
            Self::Capture => "capture",
            Self::Unexplained => "unexplained",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
