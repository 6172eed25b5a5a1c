//! Counters of reclaim, with the names of /proc/vmstat.

use super::lru::LruKind;

/// What happened so far. Every field is the kernel's counter of that name, but for `kswapd_wakes`
/// (the tracepoint `mm_vmscan_kswapd_wake`), `writeback_stalls` (direct reclaim that had to wait
/// for a write) and `contig_dropped` (`reclaim_clean_pages_from_list()`), which it does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReclaimStats {
    /// Times that kswapd was woken.
    pub kswapd_wakes: u64,
    /// Runs of kswapd.
    pub pageoutrun: u64,
    /// Requests that had to reclaim themselves. Linux: the sum of `allocstall_*`.
    pub allocstall: u64,
    /// Pages that kswapd looked at.
    pub pgscan_kswapd: u64,
    /// Pages that requests looked at.
    pub pgscan_direct: u64,
    /// Anonymous pages among them.
    pub pgscan_anon: u64,
    /// Page-cache pages among them.
    pub pgscan_file: u64,
    /// Pages that kswapd freed.
    pub pgsteal_kswapd: u64,
    /// Pages that requests freed.
    pub pgsteal_direct: u64,
    /// Anonymous pages among them.
    pub pgsteal_anon: u64,
    /// Page-cache pages among them.
    pub pgsteal_file: u64,
    /// Pages that came to an active list.
    pub pgactivate: u64,
    /// Pages that left it again.
    pub pgdeactivate: u64,
    /// Pages that became the next to go when their write ended.
    pub pgrotated: u64,
    /// Anonymous pages that came back.
    pub workingset_refault_anon: u64,
    /// Page-cache pages that were read again.
    pub workingset_refault_file: u64,
    /// Anonymous pages that came back early enough to be active at once.
    pub workingset_activate_anon: u64,
    /// Page-cache pages likewise.
    pub workingset_activate_file: u64,
    /// Pages read from swap.
    pub pswpin: u64,
    /// Pages written to swap.
    pub pswpout: u64,
    /// Page-cache pages that became dirty.
    pub nr_dirtied: u64,
    /// Page-cache pages whose write ended.
    pub nr_written: u64,
    /// Times that a request waited for a write.
    pub writeback_stalls: u64,
    /// Clean page-cache pages dropped to empty a contiguous range.
    pub contig_dropped: u64,
}

impl ReclaimStats {
    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        [
            ("kswapd_wakes", self.kswapd_wakes),
            ("pageoutrun", self.pageoutrun),
            ("allocstall", self.allocstall),
            ("pgscan_kswapd", self.pgscan_kswapd),
            ("pgscan_direct", self.pgscan_direct),
            ("pgscan_anon", self.pgscan_anon),
            ("pgscan_file", self.pgscan_file),
            ("pgsteal_kswapd", self.pgsteal_kswapd),
            ("pgsteal_direct", self.pgsteal_direct),
            ("pgsteal_anon", self.pgsteal_anon),
            ("pgsteal_file", self.pgsteal_file),
            ("pgactivate", self.pgactivate),
            ("pgdeactivate", self.pgdeactivate),
            ("pgrotated", self.pgrotated),
            ("workingset_refault_anon", self.workingset_refault_anon),
            ("workingset_refault_file", self.workingset_refault_file),
            ("workingset_activate_anon", self.workingset_activate_anon),
            ("workingset_activate_file", self.workingset_activate_file),
            ("pswpin", self.pswpin),
            ("pswpout", self.pswpout),
            ("nr_dirtied", self.nr_dirtied),
            ("nr_written", self.nr_written),
            ("writeback_stalls", self.writeback_stalls),
            ("contig_dropped", self.contig_dropped),
        ]
        .into_iter()
    }

    /// Pages freed, by whomever.
    #[must_use]
    pub const fn stolen(&self) -> u64 {
        self.pgsteal_kswapd + self.pgsteal_direct
    }

    pub(super) const fn scanned(&mut self, kind: LruKind, pages: u64) {
        match kind {
            LruKind::Anon => self.pgscan_anon += pages,
            LruKind::File => self.pgscan_file += pages,
        }
    }

    pub(super) const fn stole(&mut self, kind: LruKind, pages: u64) {
        match kind {
            LruKind::Anon => self.pgsteal_anon += pages,
            LruKind::File => self.pgsteal_file += pages,
        }
    }
}
