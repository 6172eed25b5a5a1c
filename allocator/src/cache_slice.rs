//! How much a CPU's lists may gather without being pushed out of its cache.

use crate::units::PageCount;

/// A CPU's share of the last level of cache, beside a batch of its lists.
/// Linux: `PCPF_FREE_HIGH_BATCH` (6.12; 6.1 does not look at caches).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CacheSlice {
    /// At most three batches, or unknown: when blocks of orders 1 to 3 come back in a row, all that
    /// is on the lists is given back.
    #[default]
    Small,
    /// More than three batches: once a batch of pages is there.
    Large,
}

impl CacheSlice {
    /// What a share of `pages` pages is to lists that move `batch` pages at a time.
    /// Linux: `zone_pcp_update_cacheinfo()`.
    #[must_use]
    pub fn of(pages: PageCount, batch: u32) -> Self {
        if pages.get() > 3 * u64::from(batch) { Self::Large } else { Self::Small }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_batches_are_not_enough() {
        assert_eq!(CacheSlice::of(PageCount::new(189), 63), CacheSlice::Small);
        assert_eq!(CacheSlice::of(PageCount::new(190), 63), CacheSlice::Large);
    }
}
