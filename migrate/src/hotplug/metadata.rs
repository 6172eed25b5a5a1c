//! What features want of memory, side by side.

use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::hotplug::vmemmap::Vmemmap;
use pagelab_allocator::units::PageCount;

use crate::hotplug::pamt::Pamt;
use crate::hotplug::tag_space::{TagRange, carve_out};

/// Parts of a link's raw speed that are data when everything is read, in percent: without extended
/// metadata, and with it. About; the CXL consortium said so in answers to questions.
pub const DATA_PERCENT: [u8; 2] = [83, 77];

/// Pages that describe other pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MetadataCost {
    /// A carve-out for tags.
    pub carve_out: PageCount,
    /// Tags in extended metadata: no page, but see [`DATA_PERCENT`].
    pub emd: PageCount,
    /// Tables of TDX, when one region covers the memory.
    pub pamt: PageCount,
    /// Struct pages.
    pub vmemmap: PageCount,
}

impl MetadataCost {
    /// For `memory` in pages of 4 KiB.
    #[must_use]
    pub const fn of(memory: PageCount) -> Self {
        Self {
            carve_out: carve_out(memory, TagRange::Untagged),
            emd: PageCount::ZERO,
            pamt: Pamt::Static.pages(memory),
            vmemmap: Vmemmap::Whole.pages(memory, Geometry::PAGES_4K),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q13_metadata_of_64_gib() {
        const MIB: u64 = 1 << 8;
        let cost = MetadataCost::of(PageCount::new(64 << 18));
        assert_eq!(cost.carve_out.get(), 2048 * MIB);
        assert_eq!(cost.emd, PageCount::ZERO);
        assert_eq!(cost.pamt.get(), 256 * MIB + 128 + 1, "a quarter of a GiB, and a little");
        assert_eq!(cost.vmemmap.get(), 1024 * MIB);
        let [without, with] = DATA_PERCENT;
        assert!(with < without);
    }
}
