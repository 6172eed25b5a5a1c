//! A zone behind its lock.

use crossbeam_utils::CachePadded;
use pagelab_percpu::{Exclusive, Remote, Steps};

use crate::check::Violation;
use crate::event::Silent;
use crate::gfp::{AllocFlags, ZoneType};
use crate::highatomic::Unreserve;
use crate::holders::Holders;
use crate::migratetype::MigrateType;
use crate::page_alloc::{AllocRequest, PageAllocator};
use crate::pcp::{PerCpuPages, Shape};
use crate::rmqueue::ZoneRequest;
use crate::smp::Whereabouts;
use crate::smp::guarded::Guarded;
use crate::smp::locked_zone::LockedZone;
use crate::smp::posted::Posted;
use crate::smp::step::Step;
use crate::sync::{Arc, Mutex, MutexGuard, lock_patiently, lock_spinning};
use crate::units::{CpuId, NodeId, Pfn, PfnRange};
use crate::vm_stat::VmStat;

/// A zone that several threads share. Linux: `struct zone` with `zone->lock`.
#[derive(Debug)]
pub(super) struct SharedZone<P> {
    pub(super) kind: ZoneType,
    pub(super) node: NodeId,
    pub(super) span: PfnRange,
    /// Whether the fast path puts mixing types off when this zone comes first.
    pub(super) nofragment: AllocFlags,
    /// Flags without which a movable request may not use the per-CPU lists.
    pub(super) movable_pcp_needs: AllocFlags,
    /// Which per-CPU lists there are.
    pub(super) shape: Shape,
    pub(super) posted: Arc<CachePadded<Posted>>,
    /// The allocator of this one zone. Its own per-CPU lists are empty but for the time in which a
    /// CPU lends it those of its slot.
    core: CachePadded<Mutex<Guarded>>,
    pub(super) remotes: Vec<Remote<CpuLists, P>>,
}

/// What a CPU has of a zone. Linux: `struct per_cpu_pages` and `struct per_cpu_zonestat`.
#[derive(Debug)]
pub(super) struct CpuLists {
    pub(super) pcp: PerCpuPages,
    /// Pages handed out without the zone's lock.
    allocated: u64,
    /// Pages that came to the lists under the lock, less those that left them under it. What is on
    /// the lists beyond them was freed without it, or was handed out.
    balance: u64,
}

impl CpuLists {
    pub(super) fn new(pcp: PerCpuPages) -> Self {
        let balance = pcp.count().get();
        Self { pcp, allocated: 0, balance }
    }

    /// The newest block of a list. Linux: `__rmqueue_pcplist()` with a list that is not empty.
    #[inline(always)]
    pub(super) fn pop(&mut self, posted: &Posted, list: usize, req: &AllocRequest) -> Option<Pfn> {
        let index = self.pcp.pop(list, req.order)?.index();
        self.pcp.note_alloc();
        self.allocated += req.order.pages().get();
        posted.hold(index, req.order, req.movability());
        Some(posted.pfn(index))
    }

    /// Pages taken back without the zone's lock: a count that frees need not keep.
    fn freed(&self) -> u64 {
        (self.pcp.count().get() + self.allocated).wrapping_sub(self.balance)
    }

    /// Works on the lists under the zone's lock.
    pub(super) fn with_balance<R>(&mut self, work: impl FnOnce(&mut PerCpuPages) -> R) -> R {
        let before = self.pcp.count().get();
        let balanced = Balanced { lists: self, before };
        work(&mut balanced.lists.pcp)
    }
}

/// Lists that are worked on under the zone's lock. What came and went is counted whatever happens.
struct Balanced<'a> {
    lists: &'a mut CpuLists,
    before: u64,
}

impl Drop for Balanced<'_> {
    #[inline]
    fn drop(&mut self) {
        let came = self.lists.pcp.count().get().wrapping_sub(self.before);
        self.lists.balance = self.lists.balance.wrapping_add(came);
    }
}

impl<P: Exclusive> SharedZone<P> {
    pub(super) fn new(
        mut core: PageAllocator,
        nofragment: AllocFlags,
        remotes: Vec<Remote<CpuLists, P>>,
        steps: Steps<Step>,
    ) -> Self {
        let zone = &mut core.zones[0];
        let posted = Arc::new(CachePadded::new(Posted::new(zone)));
        zone.buddy.holders = Some(posted.again());
        Self {
            kind: zone.kind,
            node: zone.node,
            span: zone.span,
            nofragment,
            movable_pcp_needs: zone.movable_pcp_needs,
            shape: zone.pcp[0].shape(),
            posted,
            core: CachePadded::new(Mutex::new(Guarded::new(core, steps))),
            remotes,
        }
    }

    /// The per-CPU list that may serve a request. Linux: `pcp_allowed_order()`.
    pub(super) fn list_of(&self, request: ZoneRequest) -> Option<usize> {
        let barred = request.migratetype == MigrateType::Movable
            && !request.flags.contains(self.movable_pcp_needs);
        self.shape.list_of(request.order, request.migratetype).filter(|_| !barred)
    }

    /// Linux: `spin_lock(&zone->lock)`.
    pub(super) fn lock(&self) -> LockedZone<'_> {
        LockedZone::new(lock_spinning(&self.core), &self.posted)
    }

    /// [`lock`](Self::lock) for whoever can do with a split that waits, which is for a short time.
    #[inline]
    pub(super) fn lock_late(&self) -> MutexGuard<'_, Guarded> {
        lock_patiently(&self.core)
    }

    /// Empties every CPU's lists, one after the other. Linux: `drain_all_pages(zone)`.
    pub(super) fn drain(&self) {
        self.cpus().for_each(|cpu| self.drain_remote(cpu));
    }

    /// The CPUs that have lists of it.
    pub(super) fn cpus(&self) -> impl Iterator<Item = CpuId> + use<P> {
        (0..).map(CpuId::new).take(self.remotes.len())
    }

    /// Empties the lists of a CPU, whoever runs on it. Linux: `drain_pages_zone()`.
    pub(super) fn drain_remote(&self, cpu: CpuId) {
        self.remotes[cpu.index()].with(|lists| {
            self.lock().with_lists(cpu, lists, |locked| locked.drain_cpu(cpu));
        });
    }

    /// Gives one highatomic pageblock back. Linux: `unreserve_highatomic_pageblock()` for one zone.
    pub(super) fn unreserve(&self, mt: MigrateType, effort: Unreserve, steps: Steps<Step>) -> bool {
        if steps.has(Step::UnreserveIsWhole) {
            return self.lock().zones[0].unreserve_highatomic(mt, effort, &mut Silent);
        }
        // A canary: what is reserved is read under one lock and written under another.
        let before = self.lock().zones[0].reserved_highatomic;
        let moved = self.lock().zones[0].unreserve_highatomic(mt, effort, &mut Silent);
        let zone = &mut self.lock().zones[0];
        zone.reserved_highatomic = before.saturating_sub(zone.buddy.geometry.pageblock_pages());
        moved
    }

    /// Works on the zone with every CPU's lists in their places, so that no page is on its way
    /// between them.
    pub(super) fn whole<R>(&self, work: impl FnOnce(&mut PageAllocator) -> R) -> R {
        let mut work = Some(work);
        let mut result = None;
        let mut locked = |lists: &mut Vec<PerCpuPages>| {
            let mut whole = Whole::new(self.lock(), lists);
            let work = work.take().expect("called once");
            result = Some(work(&mut whole.zone));
        };
        hold_all(&self.remotes, &mut Vec::new(), &mut locked);
        result.expect("the work is done")
    }

    /// What [`whole`](Self::whole) would see, list by list: for a canary.
    pub(super) fn whereabouts_in_parts(&self) -> Whereabouts {
        let cached = self.remotes.iter().map(|remote| remote.with(|lists| lists.pcp.count())).sum();
        let whole = Whereabouts::of(&self.lock().zones[0]);
        Whereabouts { cached, held: whole.held.saturating_sub(cached), ..whole }
    }

    /// Counters of this zone.
    pub(super) fn stats(&self) -> VmStat {
        let mut stats = *self.lock().stats();
        for remote in &self.remotes {
            let (allocated, freed) = remote.with(|lists| (lists.allocated, lists.freed()));
            stats.pgalloc[self.kind.index()] += allocated;
            stats.pgfree += freed;
        }
        stats
    }

    pub(super) fn check(&self) -> Result<(), Violation> {
        self.whole(|core| core.check())
    }
}

/// A zone with every CPU's lists, which go back whatever happens.
struct Whole<'a, 'z> {
    zone: LockedZone<'z>,
    lists: &'a mut Vec<PerCpuPages>,
}

impl<'a, 'z> Whole<'a, 'z> {
    fn new(zone: LockedZone<'z>, lists: &'a mut Vec<PerCpuPages>) -> Self {
        let mut whole = Self { zone, lists };
        whole.swap();
        whole
    }

    fn swap(&mut self) {
        core::mem::swap(&mut self.zone.zones[0].pcp, self.lists);
    }
}

impl Drop for Whole<'_, '_> {
    fn drop(&mut self) {
        self.swap();
    }
}

/// The lists of a slot, kept with those of others. They go back whatever happens.
struct Held<'a> {
    slot: &'a mut PerCpuPages,
    all: &'a mut Vec<PerCpuPages>,
    at: usize,
}

impl<'a> Held<'a> {
    fn new(slot: &'a mut PerCpuPages, all: &'a mut Vec<PerCpuPages>) -> Self {
        let (at, empty) = (all.len(), slot.like_new());
        all.push(core::mem::replace(slot, empty));
        Self { slot, all, at }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        core::mem::swap(self.slot, &mut self.all[self.at]);
    }
}

/// Takes a turn on every slot, then does the work with what was in them.
fn hold_all<P: Exclusive>(
    remotes: &[Remote<CpuLists, P>],
    held: &mut Vec<PerCpuPages>,
    work: &mut dyn FnMut(&mut Vec<PerCpuPages>),
) {
    let Some((first, rest)) = remotes.split_first() else { return work(held) };
    first.with(|lists| {
        lists.with_balance(|pcp| {
            let held = Held::new(pcp, held);
            hold_all(rest, held.all, work);
        });
    });
}
