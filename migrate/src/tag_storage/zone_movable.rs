//! Tag storage is ZONE_MOVABLE, and PROT_MTE pages come from ZONE_NORMAL and below: proposed by
//! Catalin Marinas in review of RFC v1, as a quick hack.
//!
//! A tagged request loses `__GFP_HIGHMEM`, without which nothing reaches ZONE_MOVABLE; it stays
//! movable, and CMA stays open to it.
//!
//! What was objected: CXL memory, which is ZONE_MOVABLE too, may have a carve-out of its own and
//! would be untaggable for no reason; perhaps not much, while ZONE_MOVABLE is small. A zone to
//! return 3 % of memory is not wanted (David Hildenbrand).
//!
//! Two things follow from how zones are tried. The highest comes first, so untagged movable data
//! fills tag storage *before* any other memory, and nearly every reservation has to move data. And
//! a tagged request fails when only ZONE_MOVABLE is free. Reservation and repair are those of RFC
//! v3.

use pagelab_allocator::gfp::{GfpFlags, ZoneType};

use super::design::{Residence, TagStorageDesign, Terms};

/// A zone that tagged requests cannot reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ZoneMovable;

impl TagStorageDesign for ZoneMovable {
    fn name(&self) -> &'static str {
        "zone-movable"
    }

    fn residence(&self) -> Residence {
        Residence::Zone(ZoneType::Movable)
    }

    fn terms(&self, gfp: GfpFlags) -> Terms {
        let terms = Terms::unchanged(gfp);
        if gfp.contains(GfpFlags::TAGGED) { terms.dropping(GfpFlags::HIGHMEM) } else { terms }
    }
}

#[cfg(test)]
mod tests {
    use pagelab_allocator::migratetype::MigrateType;

    use super::*;

    #[test]
    fn tagged_requests_stay_movable_but_below_the_zone() {
        let tagged = GfpFlags::HIGHUSER_MOVABLE | GfpFlags::TAGGED;
        let terms = ZoneMovable.terms(tagged);
        assert_eq!(terms.gfp.highest_zone(), ZoneType::Normal);
        assert_eq!(terms.gfp.migratetype(), MigrateType::Movable);
        assert_eq!(tagged.highest_zone(), ZoneType::Movable);
    }
}
