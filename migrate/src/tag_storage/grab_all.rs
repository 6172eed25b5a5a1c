//! The first PROT_MTE in the system takes all tag storage, for good: proposed by David Hildenbrand
//! in review of RFC v1 (August 2023).
//!
//! Until then tag storage is lent out as CMA. Afterwards the machine is one with a static
//! carve-out, and nothing has to be reserved page by page.
//!
//! What was objected: considered and dropped. The first deployments are a few services that want
//! tags for safety, so one of them runs on every device, and vendors would never see the memory
//! again; yet even with every program using PROT_MTE, only anonymous mappings are tagged (Catalin
//! Marinas).
//!
//! Blocks that are busy when everything is taken stay lent; they are reserved when somebody needs
//! them, as in RFC v3, and tagged requests stay barred from CMA for their sake.

use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::profile::MovablePcp;

use super::cma::{LENT_AS_CMA, without_cma};
use super::design::{FirstUse, Residence, TagStorageDesign, Terms};

/// CMA until somebody uses tags.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GrabAll;

impl TagStorageDesign for GrabAll {
    fn name(&self) -> &'static str {
        "grab-all"
    }

    fn residence(&self) -> Residence {
        LENT_AS_CMA
    }

    fn terms(&self, gfp: GfpFlags) -> Terms {
        without_cma(gfp)
    }

    fn first_use(&self) -> FirstUse {
        FirstUse::GrabAll
    }

    fn movable_pcp(&self) -> Option<MovablePcp> {
        Some(MovablePcp::OnlyWithCma)
    }
}
