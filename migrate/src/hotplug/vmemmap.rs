//! What the struct pages of memory take. Linux: mm/sparse-vmemmap.c.

use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::units::{Order, PageCount};

/// Bytes of a struct page.
const STRUCT_PAGE: u64 = 64;
/// Struct pages of a device's compound page that stay apart, in pages; all others share the second.
/// Linux: `VMEMMAP_RESERVE_NR`.
const KEPT: u64 = 2;

/// How struct pages are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vmemmap {
    /// One by one.
    Whole,
    /// Those of a device's compound pages of this order, whose tails look all alike, in few pages.
    /// Linux: `vmemmap_populate_compound_pages()`.
    Deduplicated(Order),
}

impl Vmemmap {
    /// devdax as it comes, aligned to 2 MiB, with pages of 4 KiB.
    pub const DEVDAX: Self = Self::Deduplicated(Order::of(9));

    /// Pages for the struct pages of `memory`, which is whole compound pages.
    #[must_use]
    pub const fn pages(self, memory: PageCount, geometry: Geometry) -> PageCount {
        PageCount::new(match self {
            Self::Whole => whole(memory.get(), geometry),
            Self::Deduplicated(order) => {
                let compound = order.pages().get();
                let one = whole(compound, geometry);
                let one = if one < KEPT { one } else { KEPT };
                memory.get() / compound * one
            }
        })
    }
}

const fn whole(pages: u64, geometry: Geometry) -> u64 {
    (pages * STRUCT_PAGE).div_ceil(geometry.page_size())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 18;

    fn pages(vmemmap: Vmemmap, memory: u64) -> u64 {
        vmemmap.pages(PageCount::new(memory), Geometry::PAGES_4K).get()
    }

    #[test]
    fn q2_struct_pages_of_memory_that_is_refused() {
        assert_eq!(pages(Vmemmap::Whole, 64 * GIB), GIB, "one 64th");
        assert_eq!(pages(Vmemmap::DEVDAX, 64 * GIB), GIB / 4, "256 MiB");
        assert_eq!(pages(Vmemmap::Whole, 512), 8, "of 2 MiB");
        assert_eq!(pages(Vmemmap::DEVDAX, 512), 2);
    }

    #[test]
    fn a_block_that_holds_its_own() {
        let block = 128 << 8;
        assert_eq!(pages(Vmemmap::Whole, block), 512);
        assert_eq!(block - pages(Vmemmap::Whole, block), 126 << 8);
    }

    #[test]
    fn sharing_never_costs_more() {
        let geometry = Geometry::PAGES_16K;
        let memory = PageCount::new(128 * 1024);
        let (one, shared) = (Vmemmap::Whole, Vmemmap::Deduplicated(Order::of(7)));
        assert_eq!(one.pages(memory, geometry), PageCount::new(512));
        assert_eq!(shared.pages(memory, geometry), PageCount::new(1024), "a page for each 2 MiB");
    }
}
