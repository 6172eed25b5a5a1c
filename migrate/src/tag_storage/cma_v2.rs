//! RFC v2 (November 2023), by Alexandru Elisei: tag storage as CMA, reservation mandatory.
//!
//! A page whose tag storage cannot be had goes back to its list, and another is tried.
//!
//! What was objected:
//!
//! - *All* CMA is barred to tagged requests, not only tag storage, and free CMA pages do not count
//!   for their watermarks either. Admitted in the cover letter.
//! - A page that `mprotect()` made PROT_MTE faults for ever while its tag block is pinned (Hyesoo
//!   Yu). Pins on CMA were thought to be short; vmsplice pins for as long as it likes (David
//!   Hildenbrand).
//! - An allocation that may fail after the page was chosen was disliked (David Hildenbrand).

use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::profile::MovablePcp;

use super::cma::{LENT_AS_CMA, without_cma};
use super::design::{Attempt, FaultVerdict, Reservation, Residence, TagStorageDesign, Terms};

/// CMA with mandatory reservation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CmaV2;

impl TagStorageDesign for CmaV2 {
    fn name(&self) -> &'static str {
        "cma-v2"
    }

    fn residence(&self) -> Residence {
        LENT_AS_CMA
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
