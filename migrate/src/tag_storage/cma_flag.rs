//! CMA areas with characteristics: proposed by David Hildenbrand in review of RFC v1.
//!
//! An area says what its memory is good for. Tag storage is an area that cannot be tagged; tagged
//! requests keep every other area, which RFC v2 and v3 take away from them.
//!
//! What was objected: of no use, as a reservation names its frame and core mm need not know the
//! layout; memory of `cma_alloc()` is hardly ever PROT_MTE, since mappings of drivers lack
//! `VM_MTE_ALLOWED` (Catalin Marinas).
//!
//! `ALLOC_CMA` is one flag for all areas. To bar some of them, flagged areas need lists and
//! counters of their own; the emulator uses those of METADATA for them, so that lists and
//! watermarks are exact. What remains different: flagged areas are used after ordinary CMA, and do
//! not count when half of the free memory being CMA makes movable requests begin there. Reservation
//! and repair are those of RFC v3.

use pagelab_allocator::gfp::GfpFlags;

use super::design::{Residence, TagStorageDesign, Terms};
use super::metadata::{LENT_AS_METADATA, metadata_for_untagged};

/// Only the CMA areas that are tag storage are barred.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CmaFlag;

impl TagStorageDesign for CmaFlag {
    fn name(&self) -> &'static str {
        "cma-flag"
    }

    fn residence(&self) -> Residence {
        LENT_AS_METADATA
    }

    fn terms(&self, gfp: GfpFlags) -> Terms {
        metadata_for_untagged(gfp)
    }
}
