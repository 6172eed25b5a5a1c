//! Counters of the memory-management side, with the names of /proc/vmstat.

/// What happened so far. Every field is the kernel's counter of that name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MmStats {
    /// Pages that moved.
    pub pgmigrate_success: u64,
    /// Pages that were to move and did not.
    pub pgmigrate_fail: u64,
    /// Large folios that moved whole.
    pub thp_migration_success: u64,
    /// Large folios that did not move.
    pub thp_migration_fail: u64,
    /// Large folios that were split because no target of their size existed.
    pub thp_migration_split: u64,
    /// Frames that the migration scanner looked at.
    pub compact_migrate_scanned: u64,
    /// Frames that the free scanner looked at.
    pub compact_free_scanned: u64,
    /// Pages that either scanner took aside.
    pub compact_isolated: u64,
    /// Requests that waited for compaction.
    pub compact_stall: u64,
    /// Waits that gained nothing.
    pub compact_fail: u64,
    /// Waits that ended with a block.
    pub compact_success: u64,
    /// Calls of `cma_alloc()` that succeeded (mainline counts calls, not pages).
    pub cma_alloc_success: u64,
    /// Calls of `cma_alloc()` that failed.
    pub cma_alloc_fail: u64,
}

impl MmStats {
    /// Names and values in the order of /proc/vmstat.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        [
            ("pgmigrate_success", self.pgmigrate_success),
            ("pgmigrate_fail", self.pgmigrate_fail),
            ("thp_migration_success", self.thp_migration_success),
            ("thp_migration_fail", self.thp_migration_fail),
            ("thp_migration_split", self.thp_migration_split),
            ("compact_migrate_scanned", self.compact_migrate_scanned),
            ("compact_free_scanned", self.compact_free_scanned),
            ("compact_isolated", self.compact_isolated),
            ("compact_stall", self.compact_stall),
            ("compact_fail", self.compact_fail),
            ("compact_success", self.compact_success),
            ("cma_alloc_success", self.cma_alloc_success),
            ("cma_alloc_fail", self.cma_alloc_fail),
        ]
        .into_iter()
    }
}
