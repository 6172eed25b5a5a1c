//! What the TDX module keeps about memory, in memory. Linux: `tdmr_set_up_pamt()`.

use pagelab_allocator::units::PageCount;

/// Bytes of an entry, for a page of whatever size.
const ENTRY: u64 = 16;
const PAGE: u64 = 4096;
/// Pages of 4 KiB in one of 2 MiB, and in one of 1 GiB.
const HUGE: u64 = 1 << 9;
const GIANT: u64 = 1 << 18;

/// How the table for pages of 4 KiB is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pamt {
    /// All of it from the beginning.
    Static,
    /// A bit a page; entries are added with the pages that guests use.
    Dynamic,
}

impl Pamt {
    /// Pages for a region of `pages`: one table for each page size, each rounded up, in one piece.
    /// Linux: `tdmr_get_pamt_sz()`.
    #[must_use]
    pub const fn pages(self, pages: PageCount) -> PageCount {
        let small = match self {
            Self::Static => pages.get() * ENTRY,
            Self::Dynamic => pages.get().div_ceil(8),
        };
        let huge = pages.get().div_ceil(HUGE) * ENTRY;
        let giant = pages.get().div_ceil(GIANT) * ENTRY;
        PageCount::new(small.div_ceil(PAGE) + huge.div_ceil(PAGE) + giant.div_ceil(PAGE))
    }

    /// Pages that the allocator gives for each 2 MiB of which guests use something.
    #[must_use]
    pub const fn pages_per_used_huge_page(self) -> PageCount {
        PageCount::new(match self {
            Self::Static => 0,
            Self::Dynamic => HUGE * ENTRY / PAGE,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 18;

    #[track_caller]
    fn check(pamt: Pamt, gib: u64, pages: u64, thousandths_of_mib: u64) {
        let of = pamt.pages(PageCount::new(gib * GIB)).get();
        assert_eq!(of, pages);
        // Rounded to the nearest, as the figures are.
        assert_eq!((of * 2000 + 256) / 512, thousandths_of_mib);
    }

    #[test]
    fn q12_sizes_of_the_tables() {
        check(Pamt::Static, 64, 65_665, 256_504);
        check(Pamt::Static, 1024, 1_050_628, 4_104_016);
        check(Pamt::Dynamic, 1024, 10_244, 40_016);
        check(Pamt::Static, 1, 1027, 4_012);
    }

    #[test]
    fn entries_of_pages_in_use() {
        let [fixed, dynamic] = [Pamt::Static, Pamt::Dynamic];
        assert_eq!(fixed.pages_per_used_huge_page(), PageCount::ZERO);
        let terabyte = PageCount::new(1024 * GIB);
        let used = dynamic.pages_per_used_huge_page().get() * (terabyte.get() / HUGE);
        let bits = terabyte.get() / 8 / PAGE;
        let full = dynamic.pages(terabyte).get() - bits + used;
        assert_eq!(
            full,
            fixed.pages(terabyte).get(),
            "all in use: as much as ever, but for the bits"
        );
    }
}
