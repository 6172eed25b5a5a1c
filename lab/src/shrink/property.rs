//! What a design may do and another not.

use core::fmt;

use pagelab_allocator::event::Sink;

use crate::drive::Driver;

/// Something that happens, or does not, when operations are carried out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Property {
    /// A page that was to carry tags cannot.
    TaggedFailure,
    /// A request fails, contiguous ranges included.
    RequestFailure,
    /// An access ends without progress: page and tag storage are both held.
    NoProgress,
    /// Pages move.
    Migration,
    /// A contiguous range cannot be had.
    ContigFailure,
}

impl Property {
    /// Every property.
    pub const ALL: [Self; 5] = [
        Self::TaggedFailure,
        Self::RequestFailure,
        Self::NoProgress,
        Self::Migration,
        Self::ContigFailure,
    ];

    /// The name to type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TaggedFailure => "tagged-failure",
            Self::RequestFailure => "request-failure",
            Self::NoProgress => "no-progress",
            Self::Migration => "migration",
            Self::ContigFailure => "contig-failure",
        }
    }

    /// What is counted, in words.
    #[must_use]
    pub const fn counted(self) -> &'static str {
        match self {
            Self::TaggedFailure => "pages that could not be tagged",
            Self::RequestFailure => "requests that failed",
            Self::NoProgress => "accesses without progress",
            Self::Migration => "pages moved",
            Self::ContigFailure => "ranges that could not be had",
        }
    }

    /// How often it happened on a machine so far.
    pub fn count<S: Sink>(self, driver: &Driver<S>) -> u64 {
        match self {
            Self::TaggedFailure => driver.tagging().failed(),
            Self::RequestFailure => driver.requests().failed(),
            Self::NoProgress => driver.emulator().tags().stats().no_progress,
            Self::Migration => driver.emulator().mm_stats().pgmigrate_success,
            Self::ContigFailure => driver.requests().failed_contig,
        }
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
