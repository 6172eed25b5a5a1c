//! The page allocator for several threads: a lock a zone, and page lists that only their CPU
//! touches.
//!
//! [`SharedAllocator::share`] takes a booted [`PageAllocator`] apart. Each zone goes behind a lock,
//! with the code that drives it from one thread unchanged; each CPU's lists go into slots of the
//! CPU's handle, [`Cpu`]. A page that is on a list of its CPU is allocated and freed without any
//! lock; what that needs to know of the zone is posted whenever the zone's lock is released.
//!
//! Lock order: a CPU's turn on its lists, then the zone's lock. Nobody asks for two zones at once.
//! `notes/locking.md` has the whole of it, and which model in `loom-tests/` proves what.
//!
//! What a machine hands out is for that machine. A claim refuses a CPU of another one. A block's
//! handle is its number: in another machine it is a forged one, which panics where nobody holds
//! such a block, and else is the handle of that one.
//!
//! No lock is poisoned by a panic: every list goes back to its CPU, and others go on. A panic that
//! is not about a forged handle is a mistake in here, after which counters may be wrong; `check()`
//! tells.
//!
//! What differs from the allocator driven by one thread: events are not emitted; spans of zones do
//! not overlap and do not grow; statistics of requests are kept by CPUs and added up when asked
//! for.

mod batch;
mod claim;
mod cpu;
mod cpu_zone;
mod exact;
mod guarded;
pub mod hotplug;
mod locked_zone;
mod posted;
mod step;
#[cfg(test)]
mod tests;
mod zone;

#[doc(hidden)]
pub use pagelab_percpu::Steps;
#[doc(no_inline)]
pub use pagelab_percpu::{Asymmetric, Exclusive, Locked};
use pagelab_percpu::{Owner, Slot};

use crate::check::Violation;
use crate::fallback::Grouping;
use crate::frame::Movability;
use crate::geometry::Geometry;
use crate::gfp::{AllocFlags, GfpFlags};
use crate::migratetype::MigrateType;
use crate::page_alloc::{AllocRequest, NotAllocated, PageAllocator, Pages};
use crate::profile::MovablePcp;
use crate::rmqueue::ZoneRequest;
pub use crate::smp::claim::SharedClaim;
pub use crate::smp::cpu::Cpu;
#[doc(hidden)]
pub use crate::smp::step::Step;
use crate::smp::zone::{CpuLists, SharedZone};
use crate::sync::Arc;
use crate::units::{CpuId, Order, PageCount, Pfn, PfnRange};
use crate::vm_stat::VmStat;
use crate::zone::{Sharing, Zone};

/// Why a machine cannot be driven by several threads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// Two zones' spans overlap, so that a frame's number does not tell its zone.
    #[error("the zone at {0} overlaps another")]
    Overlap(PfnRange),
}

/// Zones that several threads share. Linux: mm/page_alloc.c under `CONFIG_SMP`.
#[derive(Debug)]
pub struct SharedAllocator<P = Asymmetric> {
    geometry: Geometry,
    grouping: Grouping,
    zones: Vec<Arc<SharedZone<P>>>,
    /// For each node the zones to try, as [`PageAllocator::zonelist`] has them.
    zonelists: Vec<Vec<usize>>,
    steps: Steps<Step>,
}

/// Where pages are at one moment, in pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Whereabouts {
    /// On the buddy lists.
    pub free: PageCount,
    /// On the lists of CPUs.
    pub cached: PageCount,
    /// With holders.
    pub held: PageCount,
}

impl Whereabouts {
    fn of(zone: &Zone) -> Self {
        let (free, cached) = (zone.free_pages().all, zone.pcp_pages());
        Self { free, cached, held: zone.managed.saturating_sub(free + cached) }
    }
}

impl<P: Exclusive + Default> SharedAllocator<P> {
    /// Takes a machine apart for threads: the zones, and a handle for each CPU.
    ///
    /// # Errors
    ///
    /// [`ShareError`] when spans of zones overlap.
    pub fn share(alloc: PageAllocator) -> Result<(Arc<Self>, Vec<Cpu<P>>), ShareError> {
        Self::share_with(alloc, Steps::ALL)
    }

    /// A machine whose protocols lack a step and therefore do not hold: canaries of the models.
    ///
    /// # Errors
    ///
    /// As [`share`](Self::share).
    #[cfg(any(all(loom, feature = "loom"), all(shuttle, feature = "shuttle")))]
    #[doc(hidden)]
    pub fn share_without(
        alloc: PageAllocator,
        step: Step,
    ) -> Result<(Arc<Self>, Vec<Cpu<P>>), ShareError> {
        Self::share_with(alloc, Steps::without(step))
    }

    fn share_with(
        alloc: PageAllocator,
        steps: Steps<Step>,
    ) -> Result<(Arc<Self>, Vec<Cpu<P>>), ShareError> {
        if let Some(zone) = alloc.zones.iter().find(|zone| zone.sharing == Sharing::Shared) {
            return Err(ShareError::Overlap(zone.span));
        }
        let mut owners: Vec<Vec<Owner<CpuLists, P>>> = Vec::new();
        owners.resize_with(usize::from(alloc.cpus), Vec::new);
        let (geometry, grouping) = (alloc.geometry, alloc.grouping);
        let zonelists = alloc.zonelists.clone();
        let zones = alloc.into_zones().map(|(mut core, nofragment)| {
            let slots = core.zones[0].pcp.iter_mut().map(|pcp| {
                let empty = pcp.like_new();
                Slot::new(CpuLists::new(core::mem::replace(pcp, empty)), P::default()).split()
            });
            let (own, remote): (Vec<_>, Vec<_>) = slots.unzip();
            owners.iter_mut().zip(own).for_each(|(cpu, slot)| cpu.push(slot));
            Arc::new(SharedZone::new(core, nofragment, remote, steps))
        });
        let zones = zones.collect();
        let shared = Arc::new(Self { geometry, grouping, zones, zonelists, steps });
        let ids = (0..).map(CpuId::new);
        let cpus = ids.zip(owners).map(|(id, slots)| Cpu::new(id, Arc::clone(&shared), slots));
        let cpus = cpus.collect();
        Ok((shared, cpus))
    }
}

impl<P: Exclusive> SharedAllocator<P> {
    /// Sizes of the machine.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Which movable requests the CPUs' lists serve, in every zone.
    #[must_use]
    pub fn movable_pcp(&self) -> MovablePcp {
        match self.zones.iter().any(|zone| zone.movable_pcp_needs.is_empty()) {
            true => MovablePcp::Always,
            false => MovablePcp::OnlyWithCma,
        }
    }

    /// Says that the holder of a block can, or can no longer, be migrated. Linux: putting a page on
    /// an LRU list, or taking it off for good.
    ///
    /// # Panics
    ///
    /// Panics when the block is not allocated as this handle says.
    pub fn set_movability(&self, pages: &Pages, movability: Movability) {
        self.zone_of(pages.pfn()).posted.set_movability(pages, movability);
    }

    /// The checked way back from a raw number to a handle, for whoever holds the block.
    ///
    /// # Errors
    ///
    /// [`NotAllocated`] when nobody holds a block of this order there.
    pub fn reclaim(&self, pfn: Pfn, order: Order) -> Result<Pages, NotAllocated> {
        let at = self.zone_index(pfn).ok_or(NotAllocated::NoSuchFrame(pfn))?;
        let posted = &self.zones[at].posted;
        match posted.holding(posted.index(pfn)).is_of(order) {
            true => Ok(Pages::new(pfn, order)),
            false => Err(NotAllocated::Free(pfn)),
        }
    }

    /// Empties the lists of every CPU in every zone. Linux: `drain_all_pages(NULL)`.
    pub fn drain_all(&self) {
        self.zones.iter().for_each(|zone| zone.drain());
    }

    /// Where the pages of all zones are. Each zone is looked at as a whole, one after the other: no
    /// page of it is missed or counted twice. Linux: `zone_page_state_snapshot()` and its like.
    #[must_use]
    pub fn whereabouts(&self) -> Whereabouts {
        self.zones.iter().fold(Whereabouts::default(), |sum, zone| {
            let zone = match self.steps.has(Step::WholeHoldsLists) {
                true => zone.whole(|core| Whereabouts::of(&core.zones[0])),
                false => zone.whereabouts_in_parts(),
            };
            Whereabouts {
                free: sum.free + zone.free,
                cached: sum.cached + zone.cached,
                held: sum.held + zone.held,
            }
        })
    }

    /// Pages of highatomic pageblocks. Linux: `nr_reserved_highatomic`.
    #[must_use]
    pub fn reserved_highatomic(&self) -> PageCount {
        self.zones.iter().map(|zone| zone.lock().zones[0].reserved_highatomic).sum()
    }

    /// Number of pageblocks of a type, ISOLATE while they are isolated.
    #[must_use]
    pub fn pageblocks(&self, mt: MigrateType) -> usize {
        self.zones.iter().map(|zone| zone.posted.pageblocks(mt)).sum()
    }

    /// Event counters since the machine was shared. Linux: /proc/vmstat.
    #[must_use]
    pub fn stats(&self) -> VmStat {
        let zones = self.zones.iter().map(|zone| zone.stats());
        zones.fold(VmStat::default(), |sum, zone| sum + zone)
    }

    /// The free lists as text, in the format of /proc/buddyinfo.
    #[must_use]
    pub fn buddyinfo(&self) -> String {
        let zone =
            |zone: &Arc<SharedZone<P>>| zone.whole(|core| core.snapshot().buddyinfo().to_string());
        self.zones.iter().map(zone).collect()
    }

    /// Checks every zone: lists, links, counters, and that each page is in one place. It looks at a
    /// whole zone at a time and may run beside anything.
    ///
    /// # Errors
    ///
    /// The first [`Violation`].
    pub fn check(&self) -> Result<(), Violation> {
        self.zones.iter().try_for_each(|zone| zone.check())
    }

    /// The type a request is served from. Linux: `gfp_migratetype()`.
    #[inline]
    fn migratetype_of(&self, gfp: GfpFlags) -> MigrateType {
        match self.grouping {
            Grouping::ByMobility => gfp.migratetype(),
            Grouping::Disabled => MigrateType::Unmovable,
        }
    }

    /// A request as a zone sees it.
    #[inline]
    fn zone_request(&self, req: &AllocRequest, flags: AllocFlags) -> ZoneRequest {
        ZoneRequest { order: req.order, migratetype: self.migratetype_of(req.gfp), flags }
    }

    /// The zones of a request's node, best first.
    #[inline]
    fn zonelist(&self, req: &AllocRequest) -> &[usize] {
        self.zonelists.get(usize::from(req.node.get())).map_or(&[], Vec::as_slice)
    }

    /// The zone that has `pfn`, and its position.
    ///
    /// # Panics
    ///
    /// Panics when there is none: no handle names such a frame.
    #[inline]
    fn zone_of(&self, pfn: Pfn) -> &SharedZone<P> {
        &self.zones[self.zone_index(pfn).expect("the block of a handle lies in a zone")]
    }

    #[inline]
    fn zone_index(&self, pfn: Pfn) -> Option<usize> {
        self.zones.iter().position(|zone| zone.span.contains(pfn))
    }
}
