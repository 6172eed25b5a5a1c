//! What has happened since boot, counted.

use crate::gfp::ZoneType;

/// Event counters since boot, named as in /proc/vmstat.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VmStat {
    /// Pages allocated, by kind of zone. Linux: `pgalloc_dma`, `pgalloc_normal`, ...
    pub pgalloc: [u64; ZoneType::COUNT],
    /// Pages freed. Linux: `pgfree`.
    pub pgfree: u64,
}

impl core::ops::Add for VmStat {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            pgalloc: core::array::from_fn(|kind| self.pgalloc[kind] + other.pgalloc[kind]),
            pgfree: self.pgfree + other.pgfree,
        }
    }
}
