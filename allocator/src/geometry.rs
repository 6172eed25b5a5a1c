//! Geometry: page size, pageblock order and largest order as run-time data.
//!
//! Tiny geometries make exhaustive tests and loom models possible with the code that runs in
//! production.

use crate::units::{Order, PageCount, Pfn, PfnRange};

/// Sizes that Linux fixes at build time. Linux: `PAGE_SHIFT`, `pageblock_order`, `MAX_PAGE_ORDER`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    page_shift: u8,
    pageblock_order: Order,
    max_order: Order,
}

/// Why sizes do not make a geometry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GeometryError {
    /// Pages must be between 4 KiB (shift 12) and 64 KiB (shift 16).
    #[error("page shift {0} is not between 12 and 16")]
    PageShift(u8),
    /// A pageblock has at least two pages, so that pages which are buddies are of one.
    #[error("a pageblock of order {0} is a single page")]
    TinyPageblock(Order),
    /// A pageblock is at most the largest block of the buddy lists.
    #[error("pageblock order {pageblock} is larger than the largest order {max}")]
    PageblockOrder {
        /// The pageblock order asked for.
        pageblock: Order,
        /// The largest order asked for.
        max: Order,
    },
}

impl Geometry {
    /// 4 KiB pages, 2 MiB pageblocks, blocks up to 4 MiB: x86-64, and arm64 with 4 KiB pages.
    pub const PAGES_4K: Self =
        Self { page_shift: 12, pageblock_order: Order::of(9), max_order: Order::of(10) };
    /// arm64 with 16 KiB pages: 32 MiB pageblocks, blocks up to 32 MiB.
    pub const PAGES_16K: Self =
        Self { page_shift: 14, pageblock_order: Order::of(11), max_order: Order::of(11) };
    /// arm64 with 64 KiB pages: 512 MiB pageblocks, blocks up to 512 MiB.
    pub const PAGES_64K: Self =
        Self { page_shift: 16, pageblock_order: Order::of(13), max_order: Order::of(13) };

    /// A geometry from its three sizes.
    ///
    /// # Errors
    ///
    /// [`GeometryError`] when the page size is not one of Linux's, or a pageblock would be a single
    /// page, or larger than the largest block.
    pub const fn new(
        page_shift: u8,
        pageblock_order: Order,
        max_order: Order,
    ) -> Result<Self, GeometryError> {
        if page_shift < 12 || page_shift > 16 {
            return Err(GeometryError::PageShift(page_shift));
        }
        if pageblock_order.get() == 0 {
            return Err(GeometryError::TinyPageblock(pageblock_order));
        }
        if pageblock_order.get() > max_order.get() {
            return Err(GeometryError::PageblockOrder {
                pageblock: pageblock_order,
                max: max_order,
            });
        }
        Ok(Self { page_shift, pageblock_order, max_order })
    }

    /// Binary logarithm of the page size in bytes.
    #[must_use]
    pub const fn page_shift(self) -> u8 {
        self.page_shift
    }

    /// Page size in bytes.
    #[must_use]
    pub const fn page_size(self) -> u64 {
        1 << self.page_shift
    }

    /// Order of a pageblock. Linux: `pageblock_order`.
    #[must_use]
    pub const fn pageblock_order(self) -> Order {
        self.pageblock_order
    }

    /// Pages per pageblock. Linux: `pageblock_nr_pages`.
    #[must_use]
    pub const fn pageblock_pages(self) -> PageCount {
        self.pageblock_order.pages()
    }

    /// The largest order on the buddy lists. Linux: `MAX_PAGE_ORDER` (6.12), `MAX_ORDER - 1` (6.1).
    #[must_use]
    pub const fn max_order(self) -> Order {
        self.max_order
    }

    /// The frames of the pageblock that holds `pfn`.
    #[must_use]
    pub const fn pageblock_range(self, pfn: Pfn) -> PfnRange {
        PfnRange::block(pfn.align_down(self.pageblock_order), self.pageblock_order)
    }

    /// Whole pages in `bytes`, rounded down.
    #[must_use]
    pub const fn pages_in(self, bytes: u64) -> PageCount {
        PageCount::new(bytes >> self.page_shift)
    }

    /// Bytes in `pages`.
    #[must_use]
    pub const fn bytes_of(self, pages: PageCount) -> u64 {
        pages.get() << self.page_shift
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_no_kernel_has_are_refused() {
        let new = |shift, pageblock, max| {
            Geometry::new(shift, Order::of(pageblock), Order::of(max))
                .map_err(|err| err.to_string())
        };
        assert_eq!(new(12, 9, 10), Ok(Geometry::PAGES_4K));
        assert_eq!(new(11, 9, 10), Err("page shift 11 is not between 12 and 16".into()));
        assert_eq!(new(12, 0, 10), Err("a pageblock of order 0 is a single page".into()));
        let larger = "pageblock order 11 is larger than the largest order 10";
        assert_eq!(new(12, 11, 10), Err(larger.into()));
    }
}
