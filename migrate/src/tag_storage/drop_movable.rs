//! Tagged requests lose `__GFP_MOVABLE`: proposed by Catalin Marinas in review of RFC v1 (September
//! 2023), as a way to keep them out of CMA without a hook in the allocator.
//!
//! A request that is not movable has no `ALLOC_CMA`, and its per-CPU lists never hold CMA pages.
//!
//! What was objected: such a request is served from the UNMOVABLE lists, and when those are empty
//! it claims pageblocks of other types through blocks of any size. User pages, which could move,
//! spread over pageblocks that count as unmovable: fragmentation (Hyesoo Yu, who proposed to strip
//! `ALLOC_CMA` instead).
//!
//! Everything else is as in RFC v3, so that the two differ in nothing but the flag; targets of
//! tagged pages lose it as well. The pages stay on the LRU lists: they can move.

use pagelab_allocator::gfp::GfpFlags;

use super::cma::LENT_AS_CMA;
use super::design::{Residence, TagStorageDesign, Terms};

/// CMA, and unmovable requests for tagged pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DropMovable;

impl TagStorageDesign for DropMovable {
    fn name(&self) -> &'static str {
        "drop-movable"
    }

    fn residence(&self) -> Residence {
        LENT_AS_CMA
    }

    fn terms(&self, gfp: GfpFlags) -> Terms {
        let terms = Terms::unchanged(gfp);
        if gfp.contains(GfpFlags::TAGGED) { terms.dropping(GfpFlags::MOVABLE) } else { terms }
    }

    fn migration_target(&self, gfp: GfpFlags) -> GfpFlags {
        gfp | GfpFlags::TAGGED
    }
}

#[cfg(test)]
mod tests {
    use pagelab_allocator::gfp::AllocFlags;
    use pagelab_allocator::migratetype::MigrateType;

    use super::*;

    #[test]
    fn tagged_requests_are_unmovable_and_so_have_no_cma() {
        let tagged = GfpFlags::HIGHUSER_MOVABLE | GfpFlags::TAGGED;
        let terms = DropMovable.terms(tagged);
        assert_eq!(terms.gfp.migratetype(), MigrateType::Unmovable);
        assert_eq!(
            (terms.gfp.cma_flag(), terms.barred),
            (AllocFlags::empty(), AllocFlags::empty())
        );
        let plain = GfpFlags::HIGHUSER_MOVABLE;
        assert_eq!(DropMovable.terms(plain), Terms::unchanged(plain));
    }
}
