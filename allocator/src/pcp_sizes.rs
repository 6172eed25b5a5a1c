//! How large one CPU's page lists may get, by what their zone has.

use crate::geometry::Geometry;
use crate::units::PageCount;

/// Sizes of the lists, in pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PcpSizes {
    /// Pages moved at a time.
    pub batch: u32,
    /// Lower bound of the high mark; the mark itself under
    /// [`PcpTuning::Fixed`](crate::profile::PcpTuning::Fixed).
    pub high_min: u32,
    /// Upper bound of the high mark.
    pub high_max: u32,
}

impl PcpSizes {
    /// Before the zones are set up: every free goes straight to the buddy lists.
    /// Linux: `boot_pageset`.
    pub const BOOT: Self = Self { batch: 1, high_min: 0, high_max: 0 };

    /// Sizes for a zone. Linux: `zone_batchsize()`, `zone_highsize()`.
    #[must_use]
    pub fn of_zone(geometry: Geometry, managed: PageCount, low: PageCount, cpus: u64) -> Self {
        let limit = (1u64 << 20) >> geometry.page_shift();
        let quarter = ((managed.get() >> 10).min(limit) / 4).max(1);
        let batch = (1u64 << (quarter + quarter / 2).ilog2()).saturating_sub(1).max(1);
        let high = |total: u64| (total / cpus.max(1)).max(4 * batch);
        let clip = |pages: u64| u32::try_from(pages).unwrap_or(u32::MAX);
        Self {
            batch: clip(batch),
            high_min: clip(high(low.get())),
            high_max: clip(high(managed.get() / 8)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_the_measured_guest() {
        let sizes =
            PcpSizes::of_zone(Geometry::PAGES_4K, PageCount::new(116_232), PageCount::new(828), 1);
        assert_eq!(sizes, PcpSizes { batch: 31, high_min: 828, high_max: 14_529 });
    }
}
