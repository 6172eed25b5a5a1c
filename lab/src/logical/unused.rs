//! What of a trace did not become an operation.

use std::collections::BTreeMap;

use crate::trace::EventName;

macro_rules! unused {
    ($($(#[doc = $doc:expr])+ $name:ident,)+) => {
        /// Counts by class. Together with the operations they account for every record.
        #[derive(Clone, PartialEq, Eq, Debug, Default)]
        pub struct Unused {
            $($(#[doc = $doc])+ pub $name: u64,)+
            /// Events that the stream has no use for, by name.
            pub other: BTreeMap<EventName, u64>,
        }

        impl Unused {
            /// Every class with its count, in a fixed order.
            pub fn classes(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)+].into_iter()
            }
        }
    };
}

unused! {
    /// Second notices of a free (`mm_page_free_batched`).
    free_batched,
    /// Pages freed whose allocation was not recorded.
    free_unknown,
    /// Pages allocated while live: their free was supplied.
    realloc,
    /// Pages that carry tags whose allocation was not recorded.
    tag_unknown,
    /// Pages that migration for `alloc_contig_range()` moved; no operation.
    moved_contig,
    /// Pages that compaction moved; no operation.
    moved_compaction,
    /// Pages that migration moved and whose allocation was not recorded: they stay unknown.
    moved_unknown,
    /// Pages that migration took as targets and gave back.
    targets_returned,
    /// Pages of memory that left or joined the machine.
    hotplug,
    /// Calls of `alloc_contig_range()` that failed.
    contig_failed,
    /// Pages that `alloc_contig_range()` took beyond its range and gave back.
    contig_trimmed,
    /// Pages that were allocated in bulk and whose place is not known.
    bulk_unlocated,
    /// Pages of a bulk allocation that had an event of their own.
    bulk_known,
    /// Mappings of pages that were allocated otherwise (`vmap_pages`).
    vmap_other,
    /// Notes about lists, fallback, ranges and migration, which are the recorded kernel's doing.
    internal,
    /// Notes about CMA that repeat what the contiguous ranges say.
    cma_notes,
    /// Markers other than tags and snapshots.
    markers,
}
