//! What a tag-storage design decides. Facts go in, verdicts come out.
//!
//! A design never sees a zone, a list or a lock; `TagStorage` and `Emulator` do the work once for
//! all designs. Every method but three has the answer of the design that needs least.
//! Linux (RFC): the `arch_` hooks that each series added to core mm.

use core::fmt;

use pagelab_allocator::gfp::{AllocFlags, GfpFlags, ZoneType};
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::page_alloc::AllocRequest;
use pagelab_allocator::profile::MovablePcp;
use pagelab_allocator::units::{NodeId, Order};

/// Where tag storage lives while it holds no tags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Residence {
    /// Nowhere: it holds tags for ever, and the allocator never sees it.
    CarvedOut,
    /// In pageblocks of a migratetype of their own.
    Pageblocks(MigrateType),
    /// In a zone of its own, as movable memory.
    Zone(ZoneType),
    /// In a node without CPUs. Its zone has to be `ZONE_MOVABLE`: elsewhere, one reserved page in
    /// a pageblock that is not CMA keeps the pageblock from being isolated again.
    Node(NodeId),
    /// In a store of clean copies that may be dropped; the allocator never sees it.
    CleanStore,
}

impl Residence {
    /// Whether anything but tags may ever use it.
    #[must_use]
    pub const fn is_lent(self) -> bool {
        !matches!(self, Self::CarvedOut)
    }

    /// Whether taking it back may have to move memory, which cannot be done in atomic context.
    #[must_use]
    pub const fn may_need_migration(self) -> bool {
        !matches!(self, Self::CarvedOut | Self::CleanStore)
    }
}

/// A request as the design wants it to be. Linux (RFC): `arch_calc_gfp()` and `arch_alloc_cma()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// The caller's wishes after the design changed them.
    pub gfp: GfpFlags,
    /// Rights that the request must not get.
    pub barred: AllocFlags,
    /// Rights that the request gets besides its own.
    pub granted: AllocFlags,
    /// The only node that may serve it.
    pub node: Option<NodeId>,
}

impl Terms {
    /// The request unchanged.
    #[must_use]
    pub const fn unchanged(gfp: GfpFlags) -> Self {
        Self { gfp, barred: AllocFlags::empty(), granted: AllocFlags::empty(), node: None }
    }

    /// Without these rights.
    #[must_use]
    pub const fn barring(self, flags: AllocFlags) -> Self {
        Self { barred: self.barred.union(flags), ..self }
    }

    /// With these rights.
    #[must_use]
    pub const fn granting(self, flags: AllocFlags) -> Self {
        Self { granted: self.granted.union(flags), ..self }
    }

    /// Without these wishes.
    #[must_use]
    pub const fn dropping(self, gfp: GfpFlags) -> Self {
        Self { gfp: self.gfp.difference(gfp), ..self }
    }

    /// What the page allocator is asked for on these terms.
    #[must_use]
    pub fn request(self, order: Order) -> AllocRequest {
        let request = AllocRequest::new(order, self.gfp);
        let request = request.barring(self.barred).granting(self.granted);
        match self.node {
            Some(node) => AllocRequest { node, gfp: self.gfp | GfpFlags::THISNODE, ..request },
            None => request,
        }
    }
}

/// What a failed reservation means for the allocation that asked for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reservation {
    /// There is nothing to reserve: no frames are taken from anybody, and nothing sleeps.
    NotNeeded,
    /// The page is refused and goes to the tail of its list; another is tried. RFC v1 and v2.
    Mandatory,
    /// The page is handed out; its first access repairs what is missing. RFC v3.
    BestEffort,
}

/// Where a page waits that [`Reservation::Mandatory`] refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// At the tail of its list, merged with its buddies; a few refusals fail the request. RFC v1
    /// and v2.
    ToTail,
    /// Out of sight until the request found a page or the lists are exhausted, so that no page is
    /// offered twice. A filter pays for what it filters, up to 64 pages; then CMA is
    /// left alone, and after as many again the request fails.
    SetAside,
}

/// What a fault does after it could not reserve.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultVerdict {
    /// Drop the lock and fault again, marked as tried. Linux: `VM_FAULT_RETRY`.
    Retry,
    /// Move the page to one that has tag storage; fault again whatever comes of it.
    Migrate,
    /// Return to the program, which faults again.
    Replay,
}

/// Whether it is the first fault of an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attempt {
    /// The fault may still ask to be retried. Linux: `FAULT_FLAG_ALLOW_RETRY` without `TRIED`.
    First,
    /// It was retried already.
    Again,
}

/// What the first use of tags in the system does to all tag storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FirstUse {
    /// Nothing: blocks are reserved one by one.
    OnDemand,
    /// All of it is reserved, for good.
    GrabAll,
}

/// When pages that are there already get tag storage after `mprotect(PROT_MTE)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protecting {
    /// At their next access, one by one. RFC v1 to v3.
    AtAccess,
    /// During the call, which a reservation that never sleeps allows. Linux: `set_pte_at()`.
    AtOnce,
}

/// Whether hardware can keep tags for tag storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CarveOutTags {
    /// A page of tag storage can never be tagged. Current hardware.
    Impossible,
    /// It can, at the price of a fixed second carve-out; see [`super::placement`].
    Possible,
}

/// A tag-storage design: pure decisions about values.
pub trait TagStorageDesign: fmt::Debug + Send + Sync {
    /// The name in plans and reports.
    fn name(&self) -> &str;

    /// Where tag storage lives while it holds no tags.
    fn residence(&self) -> Residence;

    /// What a request with these wishes gains and loses; [`GfpFlags::TAGGED`] says that its pages
    /// will carry tags.
    fn terms(&self, gfp: GfpFlags) -> Terms;

    /// What a failed reservation means at allocation.
    fn reservation(&self) -> Reservation {
        Reservation::BestEffort
    }

    /// Where refused pages wait while others are tried.
    fn refused(&self) -> Refused {
        Refused::ToTail
    }

    /// Claims on a block before the reservation fails; only a busy block is tried again.
    fn contig_tries(&self) -> u32 {
        3
    }

    /// Migrations that one fault tries; only a busy page is tried again.
    fn migrate_tries(&self) -> u32 {
        3
    }

    /// What a fault does when the block of an ordinary page cannot be reserved.
    fn on_reserve_failure(&self, attempt: Attempt) -> FaultVerdict {
        match attempt {
            Attempt::First => FaultVerdict::Retry,
            Attempt::Again => FaultVerdict::Migrate,
        }
    }

    /// The wishes for the destination of a tagged page that compaction or a claim moves.
    fn migration_target(&self, gfp: GfpFlags) -> GfpFlags {
        gfp
    }

    /// What the first use of tags does.
    fn first_use(&self) -> FirstUse {
        FirstUse::OnDemand
    }

    /// When `mprotect(PROT_MTE)` finds storage for pages that are there.
    fn protecting(&self) -> Protecting {
        Protecting::AtAccess
    }

    /// Whether tag storage may hold tagged pages.
    fn carve_out_tags(&self) -> CarveOutTags {
        CarveOutTags::Impossible
    }

    /// The rule for per-CPU lists that the design patches into the kernel, if any.
    fn movable_pcp(&self) -> Option<MovablePcp> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_accumulate() {
        let terms = Terms::unchanged(GfpFlags::HIGHUSER_MOVABLE)
            .barring(AllocFlags::CMA)
            .granting(AllocFlags::METADATA)
            .dropping(GfpFlags::MOVABLE);
        assert_eq!(terms.gfp, GfpFlags::HIGHUSER);
        assert_eq!((terms.barred, terms.granted), (AllocFlags::CMA, AllocFlags::METADATA));
    }
}
