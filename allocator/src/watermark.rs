//! Watermarks: how much of a zone a request must leave alone.

use crate::buddy::FreePages;
use crate::gfp::{AllocFlags, ZoneType};
use crate::units::{Order, PageCount};

/// Which watermark. Linux: `enum zone_watermarks`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Mark {
    /// Below this only the reserves are left.
    Min,
    /// Below this the fast path fails.
    Low,
    /// kswapd reclaims up to this.
    High,
}

impl AllocFlags {
    /// The watermark that these flags check. Linux: `ALLOC_WMARK_MASK`.
    #[must_use]
    pub const fn mark(self) -> Mark {
        if self.contains(Self::WMARK_HIGH) {
            Mark::High
        } else if self.contains(Self::WMARK_LOW) {
            Mark::Low
        } else {
            Mark::Min
        }
    }
}

/// The watermarks of a zone, in pages. Linux: `_watermark[]`, `watermark_boost`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Watermarks {
    /// Without boost.
    pub min: PageCount,
    /// Without boost.
    pub low: PageCount,
    /// Without boost.
    pub high: PageCount,
    /// Raised for a while after a pageblock was claimed by another type.
    pub boost: PageCount,
}

impl Watermarks {
    /// A watermark with the boost. Linux: `wmark_pages()`.
    #[inline]
    #[must_use]
    pub fn get(&self, mark: Mark) -> PageCount {
        let plain = match mark {
            Mark::Min => self.min,
            Mark::Low => self.low,
            Mark::High => self.high,
        };
        plain + self.boost
    }
}

/// The arithmetic of one watermark check, in pages. Linux: `__zone_watermark_ok()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WatermarkSum {
    /// Free pages of the zone.
    pub free: PageCount,
    /// Those of them that the request must leave out.
    pub unusable: Unusable,
    /// The mark, boost included, before any reserve is opened.
    pub mark: PageCount,
    /// How much of the mark is boost, where
    /// [`Zone::fast_sum`](crate::zone::Zone::fast_sum) chose the mark.
    pub boost: PageCount,
    /// How much of the mark the request must respect.
    pub min: PageCount,
    /// Kept back from requests that could use a higher zone.
    pub lowmem_reserve: PageCount,
    /// Whether a list has a large enough block.
    pub block: BlockThere,
}

/// Free pages that a request cannot have, in pages. Linux: `__zone_watermark_unusable_free()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Unusable {
    /// All pages but one of the block asked for.
    pub block: PageCount,
    /// Kept for atomic requests.
    pub highatomic: PageCount,
    /// CMA, for requests without `ALLOC_CMA`.
    pub cma: PageCount,
    /// METADATA, for requests without that right.
    pub metadata: PageCount,
}

/// Whether a list that the request may use has a block of its order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockThere {
    /// Nobody looked: any free page will do, or too few are free.
    NotAsked,
    /// One has.
    Yes,
    /// None has.
    No,
}

impl Unusable {
    /// Of so many free pages, for a request.
    #[inline]
    #[must_use]
    pub fn new(free: FreePages, highatomic: PageCount, order: Order, flags: AllocFlags) -> Self {
        let barred = |from: PageCount, rights: AllocFlags| match flags.intersects(rights) {
            true => PageCount::ZERO,
            false => from,
        };
        Self {
            block: PageCount::new(order.pages().get() - 1),
            highatomic: barred(highatomic, AllocFlags::RESERVES),
            cma: barred(free.cma, AllocFlags::CMA),
            metadata: barred(free.metadata, AllocFlags::METADATA),
        }
    }

    /// Together.
    #[inline]
    #[must_use]
    pub fn pages(self) -> PageCount {
        self.block + self.highatomic + self.cma + self.metadata
    }
}

impl WatermarkSum {
    /// What must stay: the mark as far as it counts, and the reserve.
    #[inline]
    #[must_use]
    pub fn floor(&self) -> PageCount {
        self.min + self.lowmem_reserve
    }

    /// Whether more is free than is unusable and must stay.
    #[inline]
    #[must_use]
    pub fn has_pages(&self) -> bool {
        self.free > self.floor() + self.unusable.pages()
    }

    /// The verdict.
    #[inline]
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.has_pages() && self.block != BlockThere::No
    }
}

/// Tunables that decide the watermarks. Linux: /proc/sys/vm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tunables {
    /// Reserve in KiB; `None` computes Linux's default. Linux: `min_free_kbytes`.
    pub min_free_kbytes: Option<u64>,
    /// Distance between marks in ten-thousandths of the zone. Linux: `watermark_scale_factor`.
    pub watermark_scale_factor: u64,
    /// Bound of the boost in ten-thousandths of the high mark; 0 turns boosting off.
    /// Linux: `watermark_boost_factor`.
    pub watermark_boost_factor: u64,
    /// One part in so many of the higher zones is kept back in each zone.
    /// Linux: `lowmem_reserve_ratio`.
    pub lowmem_reserve_ratio: [u64; ZoneType::COUNT],
}

impl Default for Tunables {
    fn default() -> Self {
        Self {
            min_free_kbytes: None,
            watermark_scale_factor: 10,
            watermark_boost_factor: 15_000,
            lowmem_reserve_ratio: [256, 256, 32, 0],
        }
    }
}
