//! Tag storage as CMA: RFC v2 and v3, by Alexandru Elisei.
//!
//! Tag storage is lent out as MIGRATE_CMA pageblocks, and a tagged request loses `ALLOC_CMA`.
//! Hyesoo Yu proposed to strip that flag instead of `__GFP_MOVABLE`, which would have made the
//! pages unmovable.
//!
//! What was objected:
//!
//! - *All* CMA is barred to tagged requests, not only tag storage, and free CMA pages do not count
//!   for their watermarks either. Admitted in the cover letters.
//! - A free page's tag block may be in use and pinned: v2 then faults for ever (Hyesoo Yu); v3
//!   migrates, which does not help when both are pinned (David Hildenbrand).
//! - An allocation that may fail after the page was chosen (v2) was disliked; v3 dropped it.
//! - Copying tags in atomic context may need memory (Peter Collingbourne). The series ended there.

use pagelab_allocator::gfp::{AllocFlags, GfpFlags};
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::profile::MovablePcp;

use super::design::{Attempt, FaultVerdict, Reservation, Residence, TagStorageDesign, Terms};

/// Bars CMA to tagged requests; everyone else is left alone.
fn without_cma(gfp: GfpFlags) -> Terms {
    let terms = Terms::unchanged(gfp);
    if gfp.contains(GfpFlags::TAGGED) { terms.barring(AllocFlags::CMA) } else { terms }
}

/// RFC v2 (November 2023): reservation is mandatory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CmaV2;

impl TagStorageDesign for CmaV2 {
    fn name(&self) -> &'static str {
        "cma-v2"
    }

    fn residence(&self) -> Residence {
        Residence::Pageblocks(MigrateType::Cma)
    }

    fn terms(&self, gfp: GfpFlags) -> Terms {
        without_cma(gfp)
    }

    fn reservation(&self) -> Reservation {
        Reservation::Mandatory
    }

    fn migrate_tries(&self) -> u32 {
        5
    }

    fn on_reserve_failure(&self, attempt: Attempt) -> FaultVerdict {
        match attempt {
            Attempt::First => FaultVerdict::Retry,
            Attempt::Again => FaultVerdict::Replay,
        }
    }

    fn migration_target(&self, gfp: GfpFlags) -> GfpFlags {
        gfp | GfpFlags::TAGGED
    }

    fn movable_pcp(&self) -> Option<MovablePcp> {
        Some(MovablePcp::OnlyWithCma)
    }
}

/// RFC v3 (January 2024): reservation is best effort, repaired at first access.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CmaV3;

impl TagStorageDesign for CmaV3 {
    fn name(&self) -> &'static str {
        "cma-v3"
    }

    fn residence(&self) -> Residence {
        Residence::Pageblocks(MigrateType::Cma)
    }

    fn terms(&self, gfp: GfpFlags) -> Terms {
        without_cma(gfp)
    }

    fn movable_pcp(&self) -> Option<MovablePcp> {
        Some(MovablePcp::OnlyWithCma)
    }
}

#[cfg(test)]
mod tests {
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
