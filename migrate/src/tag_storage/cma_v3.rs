//! RFC v3 (January 2024), by Alexandru Elisei: tag storage as CMA, reservation best effort.
//!
//! An allocation never fails for want of tag storage. The page is handed out, mapped so that its
//! first access faults, and the fault reserves, or moves the page elsewhere.
//!
//! What was objected:
//!
//! - *All* CMA is barred to tagged requests, as in v2.
//! - Moving the page does not help when the page and its tag block are both pinned (David
//!   Hildenbrand): the access makes no progress.
//! - Copying tags in atomic context may need memory (Peter Collingbourne). The series ended there.

use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::profile::MovablePcp;

use super::cma::{LENT_AS_CMA, without_cma};
use super::design::{Residence, TagStorageDesign, Terms};

/// CMA with repair at the first access.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CmaV3;

impl TagStorageDesign for CmaV3 {
    fn name(&self) -> &'static str {
        "cma-v3"
    }

    fn residence(&self) -> Residence {
        LENT_AS_CMA
    }

    fn terms(&self, gfp: GfpFlags) -> Terms {
        without_cma(gfp)
    }

    fn movable_pcp(&self) -> Option<MovablePcp> {
        Some(MovablePcp::OnlyWithCma)
    }
}
