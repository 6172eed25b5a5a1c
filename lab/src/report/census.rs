//! What lies where in a machine's memory, and what that leaves whole.

use serde::Serialize;

/// Orders of 4 KiB pages from a page to 1 GiB.
pub const RUN_ORDERS: usize = 19;

/// A machine's memory at one moment. Pages are base pages.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Census {
    /// Free pages: on buddy lists and on per-CPU lists.
    pub free_pages: u64,
    /// `free_in_runs[k]`: free pages that lie in runs of at least 2^k free pages. A run is as long
    /// as it goes, aligned or not.
    pub free_in_runs: [u64; RUN_ORDERS],
    /// Aligned ranges of pageblock size of which every page is free.
    pub huge_free: u64,
    /// Such ranges in which nothing would have to stay: no unmovable or pinned page, no tags.
    pub huge_possible: u64,
    /// Aligned ranges of 1 GiB of which every page is free.
    pub giant_free: u64,
    /// Such ranges in which nothing would have to stay.
    pub giant_possible: u64,
    /// Pageblocks of type MOVABLE.
    pub movable_blocks: u64,
    /// Of these, how many hold an unmovable page.
    pub mixed_blocks: u64,
    /// Allocated pages that cannot move.
    pub unmovable_pages: u64,
    /// Pageblocks that hold one of these.
    pub unmovable_blocks: u64,
    /// How unevenly unmovable pages lie in the pageblocks, in thousandths: 0 all alike, towards
    /// 1000 all in a few (Gini coefficient).
    pub unmovable_gini: u64,
    /// Pages of CMA pageblocks that hold no tags; tag storage where it is lent as CMA.
    pub cma_pages: u64,
    /// Of these, how many hold movable data.
    pub cma_movable_pages: u64,
}
