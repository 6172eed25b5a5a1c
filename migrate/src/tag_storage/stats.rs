//! Counters of tag storage.

use crate::contig::{BusyCause, ContigError};

/// What happened to tag storage so far. Pages are base pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TagStats {
    /// Reservations asked for, those of already reserved pages left out.
    pub reserve_calls: u64,
    /// Reservations that failed.
    pub reserve_failures: u64,
    /// Pages of tag storage that were claimed. Linux (RFC): `CMA_ALLOC_SUCCESS`, in pages.
    pub claimed_pages: u64,
    /// Claims on a block that found it free, so that no data had to leave. RFC v2 and v3 took
    /// a short cut then; here it is a count.
    pub claims_free: u64,
    /// Claims on a block that had to move data, or to drop clean page cache, first.
    pub claims_moved: u64,
    /// Claims on a block that dropped clean copies first.
    pub claims_dropped: u64,
    /// Claims tried again because the block was busy.
    pub claim_retries: u64,
    /// Claims given up. Linux (RFC): `CMA_ALLOC_FAIL`, in blocks.
    pub claim_failures: u64,
    /// Claims given up because a pin kept data in the block.
    pub claims_pinned: u64,
    /// Claims given up because something in the block can never move.
    pub claims_unmovable: u64,
    /// Claims given up because somebody else had the pageblock isolated.
    pub claims_isolated: u64,
    /// Claims given up because data did not move for another reason.
    pub claims_not_moved: u64,
    /// Claims given up because there was nowhere to move the data to.
    pub claims_no_target: u64,
    /// Pages of data that left tag storage for tags.
    pub displaced_pages: u64,
    /// Pages of tag storage that were given back. Linux (RFC v3): `CMA_RELEASE_SUCCESS`.
    pub released_pages: u64,
    /// Allocated pages that were refused for want of tag storage. RFC v1 and v2.
    pub refused_pages: u64,
    /// Tagged requests that could not sleep.
    pub atomic_requests: u64,
    /// Pages whose tags had to be kept aside because their tag storage was missing.
    pub stashed_pages: u64,
    /// Pages whose tags came back from there.
    pub restored_pages: u64,
    /// Faults on pages without tag storage.
    pub faults: u64,
    /// Faults that asked to be retried.
    pub fault_retries: u64,
    /// Faults that returned to the program without progress.
    pub fault_replays: u64,
    /// Faults that moved the page.
    pub fault_migrations: u64,
    /// Faults that tried to move the page and could not.
    pub fault_migration_failures: u64,
    /// Accesses that were given up after as many faults as an access may take.
    pub no_progress: u64,
}

impl TagStats {
    /// Pages of tag storage that hold tags now.
    #[must_use]
    pub const fn reserved_pages(&self) -> u64 {
        self.claimed_pages - self.released_pages
    }

    /// Claims that ended: blocks found free, emptied or given up.
    #[must_use]
    pub const fn claims(&self) -> u64 {
        self.claims_free + self.claims_moved + self.claims_dropped + self.claim_failures
    }

    /// A claim was given up.
    pub(crate) fn claim_failed(&mut self, error: &ContigError) {
        self.claim_failures += 1;
        let cause = match error {
            ContigError::NoMemory => &mut self.claims_no_target,
            ContigError::Busy { cause: BusyCause::Pinned, .. } => &mut self.claims_pinned,
            ContigError::Busy { cause: BusyCause::Unmovable, .. } => &mut self.claims_unmovable,
            ContigError::Busy { cause: BusyCause::Isolated, .. } => &mut self.claims_isolated,
            _ => &mut self.claims_not_moved,
        };
        *cause += 1;
    }

    /// Names and values, in the order of the fields.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        [
            ("tag_reserve_calls", self.reserve_calls),
            ("tag_reserve_failures", self.reserve_failures),
            ("tag_claimed_pages", self.claimed_pages),
            ("tag_claims_free", self.claims_free),
            ("tag_claims_moved", self.claims_moved),
            ("tag_claims_dropped", self.claims_dropped),
            ("tag_claim_retries", self.claim_retries),
            ("tag_claim_failures", self.claim_failures),
            ("tag_claims_pinned", self.claims_pinned),
            ("tag_claims_unmovable", self.claims_unmovable),
            ("tag_claims_isolated", self.claims_isolated),
            ("tag_claims_not_moved", self.claims_not_moved),
            ("tag_claims_no_target", self.claims_no_target),
            ("tag_displaced_pages", self.displaced_pages),
            ("tag_released_pages", self.released_pages),
            ("tag_refused_pages", self.refused_pages),
            ("tag_atomic_requests", self.atomic_requests),
            ("tag_stashed_pages", self.stashed_pages),
            ("tag_restored_pages", self.restored_pages),
            ("tag_faults", self.faults),
            ("tag_fault_retries", self.fault_retries),
            ("tag_fault_replays", self.fault_replays),
            ("tag_fault_migrations", self.fault_migrations),
            ("tag_fault_migration_failures", self.fault_migration_failures),
            ("tag_no_progress", self.no_progress),
        ]
        .into_iter()
    }
}
