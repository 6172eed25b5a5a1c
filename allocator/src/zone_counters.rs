//! How many pages of a zone are free, as its counters say, and when CPUs tell them.

use crate::buddy::FreePages;
use crate::counters::Uncounted;
use crate::units::{CpuId, PageCount};
use crate::zone::Zone;

impl Zone {
    /// Free pages as the zone's counters say: a few pages behind
    /// [`free_pages`](Self::free_pages). Linux: `zone_page_state()`.
    #[inline]
    #[must_use]
    pub fn counted(&self) -> FreePages {
        self.counters.read(&self.buddy.free)
    }

    /// How many pages [`counted`](Self::counted) may lag behind for each CPU.
    /// Linux: `stat_threshold`.
    #[must_use]
    pub fn counting_lag(&self) -> PageCount {
        PageCount::new(u64::from(self.counters.threshold()))
    }

    /// A CPU has put pages on the buddy lists or taken them off.
    /// Linux: `__mod_zone_freepage_state()`, `account_freepages()`.
    #[inline]
    pub(crate) fn count_free(&mut self, cpu: CpuId) {
        self.counters.note(cpu, &self.buddy.free);
    }

    /// The part of [`count_free`](Self::count_free) that has to do with all pages.
    #[inline]
    pub(crate) fn count_all(&mut self, cpu: CpuId) {
        self.counters.note_all(cpu, &self.buddy.free);
    }

    /// The part of [`count_free`](Self::count_free) that has to do with lent pages.
    #[inline]
    pub(crate) fn count_lent(&mut self, cpu: CpuId) {
        self.counters.note_lent(cpu, &self.buddy.free);
    }

    /// Adds what a CPU has kept to the zone's counters. Linux: `refresh_cpu_vm_stats()`.
    pub(crate) fn collect_counts(&mut self, cpu: CpuId) {
        self.count_free(cpu);
        self.counters.collect(cpu);
    }

    /// Lets CPUs keep up to `threshold` pages from now on, and starts with exact counters.
    /// Linux: `refresh_zone_stat_thresholds()`.
    pub(crate) fn set_stat_threshold(&mut self, threshold: u32) {
        let kept = vec![Uncounted::default(); self.pcp.len()];
        self.counters.restore(threshold, self.buddy.free, &kept);
    }
}
