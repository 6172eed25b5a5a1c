//! What a run found out, as values. Renderers are one file each and see nothing else.
//!
//! Counts are exact. Averages are over the trace's own clock: each value counts for as long as it
//! held, from the first operation to the last.

pub mod blocks;
pub mod census;
pub mod extfrag;
pub mod json;
pub mod text;

use std::collections::BTreeMap;

use serde::Serialize;

use blocks::{BlockMap, TimedMap};
use census::Census;
use extfrag::ExtfragCounts;

/// One machine after one trace.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RunReport {
    /// Name of the design.
    pub design: String,
    /// The machine.
    pub machine: MachineFacts,
    /// What of tag storage was given back; `None` when the design lends nothing.
    pub lent: Option<Lent>,
    /// Requests for memory.
    pub requests: Requests,
    /// Pages that were to carry tags.
    pub tagging: Tagging,
    /// Most pages with tags at one time.
    pub tagged_peak_pages: u64,
    /// Claims on tag storage; `None` when the design lends nothing.
    pub claims: Option<Claims>,
    /// Free CMA that tagged requests could not have; `None` when the design lets them.
    pub barred_cma: Option<Barred>,
    /// What was taken back from its users.
    pub reclaim: Reclaimed,
    /// Before the first and after the last operation.
    pub before: Picture,
    /// See `before`.
    pub after: Picture,
    /// Counters with the names of /proc/vmstat, and those of tag storage.
    pub counters: BTreeMap<&'static str, u64>,
    /// Raids on other types' lists, from boot to end.
    pub extfrag: ExtfragCounts,
    /// All of memory after the last operation.
    pub census: Census,
    /// The machine at moments spread evenly over the trace's clock; the last is its end.
    pub moments: Vec<Moment>,
    /// The pageblocks at some of them, where they were asked for.
    #[serde(skip)]
    pub maps: Vec<TimedMap>,
}

/// A machine at one moment of a run. Counters run from boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Moment {
    /// Since the first operation, by the trace's clock.
    pub nanoseconds: u64,
    /// Free pages on the buddy lists.
    pub free_pages: u64,
    /// Free pages on CMA lists.
    pub free_cma_pages: u64,
    /// Blocks of pageblock size that could be allocated.
    pub huge_available: u64,
    /// Unusable free space index at pageblock order, thousandths.
    pub unusable_index: u64,
    /// Data pages whose tags are in tag storage.
    pub tagged_pages: u64,
    /// Pages of tag storage that hold tags.
    pub reserved_tag_pages: u64,
    /// Claims on tag storage that found it free.
    pub claims_free: u64,
    /// All claims on tag storage, those that failed as well.
    pub claims: u64,
    /// Pages moved for the sake of tags.
    pub moved_pages: u64,
    /// Requests and tagged pages that failed.
    pub failed: u64,
}

/// A machine in numbers. Pages are base pages.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct MachineFacts {
    /// Kernel whose rules are followed.
    pub kernel: &'static str,
    /// Bytes in a page.
    pub page_size: u64,
    /// Pages in a pageblock.
    pub pageblock_pages: u64,
    /// Memory of the machine.
    pub pages: u64,
    /// Tag storage.
    pub carve_out_pages: u64,
    /// Pages in the smallest reservable run of tag storage.
    pub tag_block_pages: u64,
    /// Ordinary CMA areas.
    pub cma_pages: u64,
    /// Kept by firmware and the kernel image.
    pub boot_reserved_pages: u64,
    /// In use before the first operation of the trace.
    pub background_pages: u64,
}

impl MachineFacts {
    /// Mebibytes in a number of pages.
    #[must_use]
    pub fn mib(&self, pages: f64) -> f64 {
        pages * (1.0 / f64::from(1 << 20)) * approximate(self.page_size)
    }
}

/// A count as a float, for rendering only.
#[expect(clippy::cast_precision_loss, reason = "rendered with few digits")]
#[must_use]
pub const fn approximate(count: u64) -> f64 {
    count as f64
}

/// Nanoseconds in seconds, for rendering only.
#[must_use]
pub const fn seconds(nanoseconds: u64) -> f64 {
    approximate(nanoseconds) / 1e9
}

/// Tag storage that ordinary data could use.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Lent {
    /// Pages that held no tags, averaged over time.
    pub average_pages: f64,
    /// The same at the end.
    pub end_pages: u64,
    /// Of these, pages that data really occupied, averaged over time.
    pub occupied_average_pages: f64,
    /// The same at the end.
    pub occupied_end_pages: u64,
    /// Pages that held tags at the end.
    pub reserved_end_pages: u64,
    /// Most pages that held tags at one time.
    pub reserved_peak_pages: u64,
    /// Tagged data pages when most tag pages were reserved.
    pub tagged_at_peak: u64,
}

impl Lent {
    /// How well reserved tag pages are used, at the peak: tagged data pages in 32 times the tag
    /// pages. 1 is perfect; 1/32 is one tagged page for each tag page.
    #[must_use]
    pub fn efficiency(&self) -> Option<f64> {
        let reserved = approximate(self.reserved_peak_pages);
        (self.reserved_peak_pages > 0).then(|| approximate(self.tagged_at_peak) / (32.0 * reserved))
    }
}

/// Requests of the trace, and what became of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Requests {
    /// Requests made.
    pub made: u64,
    /// Not served: nothing was left that the request may use.
    pub failed_no_memory: u64,
    /// Not served: enough memory, but no block of the order.
    pub failed_no_contiguity: u64,
    /// Not served, although free CMA would have sufficed.
    pub failed_only_cma: u64,
    /// Contiguous ranges that could not be had.
    pub failed_contig: u64,
}

impl Requests {
    /// Requests that failed, for any cause.
    #[must_use]
    pub const fn failed(&self) -> u64 {
        self.failed_no_memory
            + self.failed_no_contiguity
            + self.failed_only_cma
            + self.failed_contig
    }
}

/// Pages that were to carry tags, at allocation or by a later `mprotect(PROT_MTE)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Tagging {
    /// Pages that were to carry tags.
    pub asked: u64,
    /// Could carry them without anything moving.
    pub at_once: u64,
    /// Could carry them after pages moved or faults were retried.
    pub waited: u64,
    /// Could not: no memory.
    pub failed_no_memory: u64,
    /// Could not: page and tag storage were both stuck.
    pub failed_no_progress: u64,
    /// Not tried: the page was not there, because its own request had failed.
    pub absent: u64,
    /// Not tried: memory of a kind that cannot be mapped with `PROT_MTE` here.
    pub not_mappable: u64,
}

impl Tagging {
    /// Pages that could not carry tags.
    #[must_use]
    pub const fn failed(&self) -> u64 {
        self.failed_no_memory + self.failed_no_progress
    }
}

/// Claims on tag storage.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Claims {
    /// Blocks found free: no data had to leave.
    pub free: u64,
    /// Blocks that data had to leave first.
    pub moved: u64,
    /// Blocks of which clean copies were dropped first.
    pub dropped: u64,
    /// Claims tried again because the block was busy.
    pub retries: u64,
    /// Failed claims by cause.
    pub failed: BTreeMap<&'static str, u64>,
    /// Pages of data that left tag storage.
    pub displaced_pages: u64,
    /// Tagged or to be tagged pages that moved to get storage.
    pub moved_tagged_pages: u64,
}

impl Claims {
    /// Share of claims that found the tag page free, or `None` without claims.
    #[must_use]
    pub fn hit_rate(&self) -> Option<f64> {
        let failed: u64 = self.failed.values().sum();
        let all = self.free + self.moved + self.dropped + failed;
        (all > 0).then(|| approximate(self.free) / approximate(all))
    }
}

/// Free CMA pages that tagged requests may not use.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Barred {
    /// Averaged over time.
    pub average_pages: f64,
    /// At the end.
    pub end_pages: u64,
    /// Tagged requests that failed while free CMA would have sufficed.
    pub failed_requests: u64,
}

/// Memory taken back, and what came of it. Pages but for wakes, turns and stalls.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Reclaimed {
    /// Times that kswapd was woken.
    pub kswapd_wakes: u64,
    /// Requests that had to reclaim themselves.
    pub stalls: u64,
    /// Times that one of them waited for a write.
    pub writeback_stalls: u64,
    /// Looked at.
    pub scanned: u64,
    /// Page cache dropped.
    pub file: u64,
    /// Anonymous memory swapped out.
    pub anon: u64,
    /// Page cache read again.
    pub refault_file: u64,
    /// Of that, what was found as clean copies in tag storage.
    pub refault_copied: u64,
    /// Anonymous memory that came back.
    pub refault_anon: u64,
    /// Clean page cache dropped for contiguous ranges.
    pub contig_dropped: u64,
    /// Page cache at the end.
    pub cached_end: u64,
    /// In swap at the end.
    pub swapped_end: u64,
    /// Memory that the swapped pages took at the end.
    pub swap_memory_end: u64,
}

/// The free lists and pageblocks at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Picture {
    /// Blocks of pageblock size that could be allocated: S(pageblock order).
    pub huge_available: u64,
    /// Free pages on the buddy lists.
    pub free_pages: u64,
    /// Free pages on CMA lists.
    pub free_cma_pages: u64,
    /// Unusable free space index at pageblock order, thousandths.
    pub unusable_index: u64,
    /// Fragmentation index at pageblock order, thousandths: -1000 when a request would succeed,
    /// else 0 for lack of memory to 1000 for fragmentation.
    pub fragmentation_index: i64,
    /// Text of /proc/buddyinfo.
    pub buddyinfo: String,
    /// Text of /proc/pagetypeinfo.
    pub pagetypeinfo: String,
    /// One cell a pageblock.
    pub blocks: BlockMap,
}
