//! RFC v1 (August 2023), by Alexandru Elisei: tag storage of a migratetype of its own,
//! `MIGRATE_METADATA`, reservation mandatory.
//!
//! Only untagged movable requests may use it, and only when their own lists and CMA are empty.
//! Ordinary CMA stays open to tagged requests.
//!
//! What was objected:
//!
//! - A migratetype, or a zone, to get back at most 3 % of memory is too much of core mm (David
//!   Hildenbrand).
//! - What is used last is hardly used, and unmovable requests starve beside free memory, as they do
//!   beside CMA (Hyesoo Yu). The author: the more eagerly data uses it, the slower tagged
//!   allocation becomes.
//! - Tagged requests bypass the per-CPU lists.
//! - Migration reserved under the zone lock (Peter Collingbourne). Not modelled: nothing is
//!   reserved for compaction's own targets here.

use pagelab_allocator::gfp::{AllocFlags, GfpFlags};
use pagelab_allocator::migratetype::MigrateType;

use super::design::{Attempt, FaultVerdict, Reservation, Residence, TagStorageDesign, Terms};

/// Tag storage is lent out as METADATA pageblocks.
pub(crate) const LENT_AS_METADATA: Residence = Residence::Pageblocks(MigrateType::Metadata);

/// Opens METADATA to untagged movable requests, and to nobody else. Linux (RFC v1):
/// `ALLOC_FROM_METADATA`.
pub(crate) fn metadata_for_untagged(gfp: GfpFlags) -> Terms {
    let terms = Terms::unchanged(gfp);
    let plain = gfp.migratetype() == MigrateType::Movable && !gfp.contains(GfpFlags::TAGGED);
    if plain { terms.granting(AllocFlags::METADATA) } else { terms }
}

/// The migratetype of RFC v1.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Metadata;

impl TagStorageDesign for Metadata {
    fn name(&self) -> &'static str {
        "metadata"
    }

    fn residence(&self) -> Residence {
        LENT_AS_METADATA
    }

    fn terms(&self, gfp: GfpFlags) -> Terms {
        metadata_for_untagged(gfp)
    }

    fn reservation(&self) -> Reservation {
        Reservation::Mandatory
    }

    fn contig_tries(&self) -> u32 {
        5
    }

    fn migrate_tries(&self) -> u32 {
        5
    }

    fn on_reserve_failure(&self, _attempt: Attempt) -> FaultVerdict {
        FaultVerdict::Migrate
    }

    fn migration_target(&self, gfp: GfpFlags) -> GfpFlags {
        gfp | GfpFlags::TAGGED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_untagged_movable_requests_get_metadata_and_nobody_loses_cma() {
        let plain = GfpFlags::HIGHUSER_MOVABLE;
        assert_eq!(Metadata.terms(plain).granted, AllocFlags::METADATA);
        for gfp in [plain | GfpFlags::TAGGED, GfpFlags::KERNEL] {
            assert_eq!(Metadata.terms(gfp), Terms::unchanged(gfp));
        }
    }
}
