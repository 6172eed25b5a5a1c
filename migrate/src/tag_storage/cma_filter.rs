//! Tag storage as CMA with a filter: proposed by Alexandru Elisei (September 2023, the second of
//! his options after RFC v1).
//!
//! Tagged requests may use CMA. A page that cannot carry tags, because it is tag storage or because
//! its tag storage cannot be had, goes to the tail of its list, and the next is looked at.
//!
//! What was objected: with large CMA areas a request may look at many pages before it finds one;
//! latency spikes and RCU stalls (Catalin Marinas). More complicated than barring CMA (the author).
//!
//! The emulator sets unsuitable pages aside until the request is served, so that no page is looked
//! at twice; `tag_refused_pages` counts them, and is the price of the filter. After 64 of them
//! (assumed, in view of the objection) the request leaves CMA alone, after 128 it fails. Migration
//! does not filter its targets: a tagged page that was moved into tag storage is repaired as in RFC
//! v3.

use pagelab_allocator::gfp::GfpFlags;

use super::cma::LENT_AS_CMA;
use super::design::{Refused, Reservation, Residence, TagStorageDesign, Terms};

/// CMA that is filtered page by page.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CmaFilter;

impl TagStorageDesign for CmaFilter {
    fn name(&self) -> &'static str {
        "cma-filter"
    }

    fn residence(&self) -> Residence {
        LENT_AS_CMA
    }

    fn terms(&self, gfp: GfpFlags) -> Terms {
        Terms::unchanged(gfp)
    }

    fn reservation(&self) -> Reservation {
        Reservation::Mandatory
    }

    fn refused(&self) -> Refused {
        Refused::SetAside
    }
}
