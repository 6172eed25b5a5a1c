//! What every design has in common that lends tag storage out as MIGRATE_CMA and keeps tagged
//! requests out of it by taking `ALLOC_CMA` away. Linux (RFC v2): `arch_alloc_cma()`.
//!
//! Stripping that flag is Hyesoo Yu's proposal, in review of RFC v1: the request stays movable, and
//! so do its pages. It has two effects. The request's lists shrink by those of CMA, and free CMA
//! pages no longer count for its watermarks.

use pagelab_allocator::gfp::{AllocFlags, GfpFlags};
use pagelab_allocator::migratetype::MigrateType;

use super::design::{Residence, Terms};

pub use super::cma_v2::CmaV2;
pub use super::cma_v3::CmaV3;

/// Tag storage is lent out as CMA pageblocks.
pub(crate) const LENT_AS_CMA: Residence = Residence::Pageblocks(MigrateType::Cma);

/// Bars CMA, all of it, to tagged requests; everyone else is left alone.
pub(crate) fn without_cma(gfp: GfpFlags) -> Terms {
    let terms = Terms::unchanged(gfp);
    if gfp.contains(GfpFlags::TAGGED) { terms.barring(AllocFlags::CMA) } else { terms }
}

#[cfg(test)]
mod tests {
    use super::super::design::TagStorageDesign;
    use super::*;

    #[test]
    fn only_tagged_requests_lose_cma_and_stay_movable() {
        let plain = GfpFlags::HIGHUSER_MOVABLE;
        let tagged = plain | GfpFlags::TAGGED;
        for design in [&CmaV2 as &dyn TagStorageDesign, &CmaV3] {
            assert_eq!(design.terms(plain), Terms::unchanged(plain), "{}", design.name());
            let terms = design.terms(tagged);
            assert_eq!((terms.gfp, terms.barred), (tagged, AllocFlags::CMA));
            assert_eq!(terms.gfp.migratetype(), MigrateType::Movable);
        }
    }
}
