//! Hardware that keeps tags for tag storage too: Catalin Marinas, in review of RFC v1 (October
//! 2023).
//!
//! A switch on any design. Firmware chooses the offset of tags such that those of the carve-out
//! land in memory as well ([`super::placement`]); only these, 1/32 of 1/32, can never be lent.
//! Tagged pages may then lie in tag storage, so that no request is barred from it and no page has
//! to leave it for being tagged. Reserving stays: a tag block that is in use as data must be
//! emptied.
//!
//! What was objected: not every vendor's interconnect can do it (Hyesoo Yu). The covers of all
//! three series say that current hardware cannot, and v2 and v3 were written for hardware that
//! cannot.

use std::sync::Arc;

use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::profile::MovablePcp;

use super::design::{
    Attempt, CarveOutTags, FaultVerdict, FirstUse, Protecting, Refused, Reservation, Residence,
    TagStorageDesign, Terms,
};

/// What is appended to the name of the design.
pub const SUFFIX: &str = "+taggable-hw";

/// A design on hardware whose tag storage can be tagged.
#[derive(Clone, Debug)]
pub struct TaggableHw {
    name: String,
    design: Arc<dyn TagStorageDesign>,
}

impl TaggableHw {
    /// `design` on such hardware.
    #[must_use]
    pub fn new(design: Arc<dyn TagStorageDesign>) -> Self {
        Self { name: format!("{}{SUFFIX}", design.name()), design }
    }
}

impl TagStorageDesign for TaggableHw {
    fn name(&self) -> &str {
        &self.name
    }

    fn residence(&self) -> Residence {
        self.design.residence()
    }

    /// Tagged requests are served like all others.
    fn terms(&self, gfp: GfpFlags) -> Terms {
        let tagged = gfp & GfpFlags::TAGGED;
        let terms = self.design.terms(gfp.difference(tagged));
        Terms { gfp: terms.gfp | tagged, ..terms }
    }

    fn reservation(&self) -> Reservation {
        self.design.reservation()
    }

    fn refused(&self) -> Refused {
        self.design.refused()
    }

    fn contig_tries(&self) -> u32 {
        self.design.contig_tries()
    }

    fn migrate_tries(&self) -> u32 {
        self.design.migrate_tries()
    }

    fn on_reserve_failure(&self, attempt: Attempt) -> FaultVerdict {
        self.design.on_reserve_failure(attempt)
    }

    fn migration_target(&self, gfp: GfpFlags) -> GfpFlags {
        self.design.migration_target(gfp)
    }

    fn first_use(&self) -> FirstUse {
        self.design.first_use()
    }

    fn protecting(&self) -> Protecting {
        self.design.protecting()
    }

    fn carve_out_tags(&self) -> CarveOutTags {
        CarveOutTags::Possible
    }

    /// Nobody is barred from what the lists hold, so nothing need be patched.
    fn movable_pcp(&self) -> Option<MovablePcp> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::Design;
    use super::*;

    #[test]
    fn tagged_requests_get_what_all_others_get() {
        let plain = GfpFlags::HIGHUSER_MOVABLE;
        for design in Design::ALL {
            let inner = design.build();
            let switched = TaggableHw::new(Arc::clone(&inner));
            assert_eq!(switched.name(), format!("{}+taggable-hw", design.name()));
            assert_eq!(switched.terms(plain), inner.terms(plain));
            let tagged = switched.terms(plain | GfpFlags::TAGGED);
            let expected = inner.terms(plain);
            assert_eq!(tagged, Terms { gfp: expected.gfp | GfpFlags::TAGGED, ..expected });
        }
    }
}
