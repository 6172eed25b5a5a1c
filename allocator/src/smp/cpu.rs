//! One CPU's handle: requests and frees, without the zone's lock where its lists suffice.
//!
//! A free looks at the posted type of the page's pageblock during its turn on the CPU's lists.
//! Whoever isolates a pageblock posts that first and takes a turn on each CPU's lists afterwards,
//! to drain them: a free either comes before that turn, and its page is drained, or after it, and
//! sees the isolation.

use pagelab_percpu::{Asymmetric, Exclusive, Owner};

use crate::contig::ContigRange;
use crate::gfp::{AllocFlags, GfpFlags};
use crate::highatomic::Unreserve;
use crate::migratetype::MigrateType;
use crate::page_alloc::{AllocError, AllocRequest, Pages, Reach};
use crate::pcp_list::Cached;
use crate::smp::SharedAllocator;
use crate::smp::cpu_zone::{CpuZone, CpuZones};
use crate::smp::locked_zone::LockedZone;
use crate::smp::posted::Posted;
use crate::smp::step::Step;
use crate::smp::zone::CpuLists;
use crate::sync::Arc;
use crate::units::{CpuId, Order, Pfn};

/// The handle of one CPU, for one thread at a time. Linux: what runs with preemption disabled.
///
/// Each CPU has one, which is neither cloned nor made again. Dropped, it leaves the pages on its
/// lists to the machine, whose drains still reach them, and nobody runs on that CPU any more.
///
/// ```compile_fail,E0277
/// fn twice<T: Clone>() {}
/// twice::<pagelab_allocator::smp::Cpu>();
/// ```
#[derive(Debug)]
pub struct Cpu<P = Asymmetric> {
    pub(super) id: CpuId,
    shared: Arc<SharedAllocator<P>>,
    pub(super) zones: CpuZones<P>,
    /// A request for movable memory that the lists of the zone at hand serve first.
    user: PlainKey,
    /// How the last request that was not served so was tried first.
    route: Option<Route>,
}

/// How requests are tried that differ in nothing but their order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    key: (u64, u64),
    /// Position of the preferred zone in the zonelist.
    pub(super) rank: usize,
    pub(super) flags: AllocFlags,
}

/// A request in one word, but for its order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct PlainKey(u64);

impl PlainKey {
    /// Of no request.
    const NONE: Self = Self(u64::MAX);

    /// `None` where flags are barred or granted.
    #[inline(always)]
    fn of(req: &AllocRequest) -> Option<Self> {
        let plain = req.barred.is_empty() && req.granted.is_empty();
        plain.then(|| Self(u64::from(req.gfp.bits()) | u64::from(req.node.get()) << 32))
    }
}

/// A request in two words, which are compared faster than five fields.
#[inline]
fn key(req: &AllocRequest) -> (u64, u64) {
    let (order, node) = (u64::from(req.order.get()), u64::from(req.node.get()));
    let (barred, granted) = (u64::from(req.barred.bits()), u64::from(req.granted.bits()));
    (u64::from(req.gfp.bits()) | order << 32 | node << 40, barred | granted << 32)
}

impl<P: Exclusive> Cpu<P> {
    pub(super) fn new(
        id: CpuId,
        shared: Arc<SharedAllocator<P>>,
        lists: Vec<Owner<CpuLists, P>>,
    ) -> Self {
        let zones = CpuZones::new(&shared.zones, lists);
        Self { id, zones, shared, user: PlainKey::NONE, route: None }
    }

    /// Number of the CPU.
    #[must_use]
    pub const fn id(&self) -> CpuId {
        self.id
    }

    /// The machine.
    #[must_use]
    pub const fn shared(&self) -> &Arc<SharedAllocator<P>> {
        &self.shared
    }

    /// Whether it is a CPU of this machine.
    #[inline]
    #[must_use]
    pub fn is_of(&self, machine: &SharedAllocator<P>) -> bool {
        core::ptr::eq(&*self.shared, machine)
    }

    /// Allocates a block: the fast path, then the slow path as far as it goes without reclaim and
    /// compaction, which belong to the layers above. Linux: `__alloc_pages()`.
    ///
    /// # Errors
    ///
    /// [`AllocError`] when the order is too large or no zone has a block to spare.
    #[inline(always)]
    pub fn alloc_pages(&mut self, req: &AllocRequest) -> Result<Pages, AllocError> {
        match self.alloc_like_last(req) {
            Some(pages) => Ok(pages),
            None => {
                core::hint::cold_path();
                self.alloc_pages_walk(*req)
            }
        }
    }

    /// A block off the lists of the zone at hand, for a request like those that they serve. Most
    /// requests are of users.
    #[inline(always)]
    fn alloc_like_last(&mut self, req: &AllocRequest) -> Option<Pages> {
        let list = self.list_at_hand(req)?;
        let CpuZone { lists, posted, .. } = &mut self.zones.hot;
        let posted: &Posted = posted;
        let pfn = lists.with(
            #[inline(always)]
            |lists| lists.pop(posted, list, req),
        )?;
        Some(Pages::new(pfn, req.order))
    }

    /// The list of the zone at hand that serves a request, if it is like those that it served
    /// before and nobody would look at a watermark.
    #[inline(always)]
    pub(super) fn list_at_hand(&self, req: &AllocRequest) -> Option<usize> {
        let CpuZone { posted, shape, .. } = &self.zones.hot;
        let posted: &Posted = posted;
        if PlainKey::of(req)? != self.user || !posted.mood().is_calm(req.order) {
            return None;
        }
        shape.list_of(req.order, MigrateType::Movable)
    }

    /// A copy of the request, so that the caller's can stay in registers.
    #[inline(never)]
    fn alloc_pages_walk(&mut self, req: AllocRequest) -> Result<Pages, AllocError> {
        let req = &req;
        let max = self.shared.geometry.max_order();
        if req.order > max {
            return Err(AllocError::OrderTooLarge(req.order, max));
        }
        let found = self.route(req).and_then(|route| self.get_page_from_freelist(req, route));
        match found {
            Some(pfn) => Ok(Pages::new(pfn, req.order)),
            None => self.alloc_pages_hard(req),
        }
    }

    /// How a request is tried first: most requests are like the last one but for their order.
    #[inline]
    pub(super) fn route(&mut self, req: &AllocRequest) -> Option<Route> {
        let key = key(&AllocRequest { order: Order::ZERO, ..*req });
        let known = self.route.filter(|route| route.key == key);
        if known.is_none() {
            self.route = self.find_route(req, key);
        }
        self.route
    }

    #[inline(never)]
    fn find_route(&self, req: &AllocRequest, key: (u64, u64)) -> Option<Route> {
        let mut list = self.shared.zonelist(req).iter();
        let rank = list.position(|at| reaches(&self.shared, req, *at))?;
        let preferred = self.shared.zonelist(req)[rank];
        let flags = req.fast_flags() | self.shared.zones[preferred].nofragment;
        Some(Route { key, rank, flags })
    }

    #[cold]
    fn alloc_pages_hard(&mut self, req: &AllocRequest) -> Result<Pages, AllocError> {
        let route = self.route(req).map(|route| Route { flags: req.slow_flags(), ..route });
        let mut found = route.and_then(|route| self.get_page_from_freelist(req, route));
        if found.is_none() && req.gfp.contains(GfpFlags::DIRECT_RECLAIM) {
            self.unreserve_highatomic(req, Unreserve::All);
            self.shared.drain_all();
            found = route.and_then(|route| self.get_page_from_freelist(req, route));
        }
        let pfn = found.ok_or(AllocError::OutOfMemory(req.order))?;
        Ok(Pages::new(pfn, req.order))
    }

    /// Gives one highatomic pageblock back for the type of `req`; says whether pages moved.
    /// Linux: `unreserve_highatomic_pageblock()`.
    pub fn unreserve_highatomic(&mut self, req: &AllocRequest, effort: Unreserve) -> bool {
        let mt = self.shared.migratetype_of(req.gfp);
        let zones = self.shared.zonelist(req).iter().filter(|at| reaches(&self.shared, req, **at));
        let steps = self.shared.steps;
        zones.map(|&at| &self.shared.zones[at]).any(|zone| zone.unreserve(mt, effort, steps))
    }

    /// Walks the zones until one has a block and may give it. Linux: `get_page_from_freelist()`.
    #[inline]
    fn get_page_from_freelist(&mut self, req: &AllocRequest, mut route: Route) -> Option<Pfn> {
        loop {
            let found = self.walk(req, route);
            if found.is_some() || !route.flags.contains(AllocFlags::NOFRAGMENT) {
                return found;
            }
            route.flags.remove(AllocFlags::NOFRAGMENT);
        }
    }

    #[inline]
    fn walk(&mut self, req: &AllocRequest, route: Route) -> Option<Pfn> {
        let Route { mut rank, flags, .. } = route;
        let first = *self.shared.zonelist(req).get(rank)?;
        self.keep_at_hand(first, req, flags);
        let found = self.take(first, req, flags);
        if found.is_some() {
            return found;
        }
        let home = self.shared.zones[first].node;
        loop {
            rank += 1;
            let at = *self.shared.zonelist(req).get(rank)?;
            if !reaches(&self.shared, req, at) {
                continue;
            }
            let away = self.shared.zones[at].node != home;
            if away && flags.contains(AllocFlags::NOFRAGMENT) {
                return None;
            }
            let found = self.take(at, req, flags);
            if found.is_some() {
                return found;
            }
        }
    }

    /// Remembers that a request is to be tried first in the zone at `at`, if that has lists for it.
    #[inline]
    fn keep_at_hand(&mut self, at: usize, req: &AllocRequest, flags: AllocFlags) {
        let Some(user) = PlainKey::of(req).filter(|user| *user != self.user) else { return };
        let request = self.shared.zone_request(req, flags);
        let has_list = self.shared.zones[at].list_of(request).is_some();
        if request.migratetype == MigrateType::Movable && has_list {
            self.user = user;
            self.zones.warm(at);
        }
    }

    /// A block of one zone: off this CPU's list where the zone fares well, else under its lock.
    fn take(&mut self, at: usize, req: &AllocRequest, flags: AllocFlags) -> Option<Pfn> {
        let request = self.shared.zone_request(req, flags);
        let zone = &self.shared.zones[at];
        match zone.list_of(request) {
            Some(list) => self.zones.at(at).alloc_any(self.id, list, req, request),
            None => zone.lock().take_unlisted(self.id, req, request),
        }
    }

    /// Frees a block: to this CPU's lists if its order has one, else to the buddy lists.
    /// Linux: `__free_pages()`.
    ///
    /// # Panics
    ///
    /// Panics when the block is not allocated as this handle says (a forged handle).
    #[inline(always)]
    pub fn free_pages(&mut self, pages: Pages) {
        let (pfn, order) = pages.into_raw();
        if !self.free_like_last(pfn, order) {
            core::hint::cold_path();
            self.free_any(pfn, order);
        }
    }

    /// Puts a block of movable memory on its list in the zone at hand if that is all there is to
    /// do; says whether it was.
    #[inline(always)]
    fn free_like_last(&mut self, pfn: Pfn, order: Order) -> bool {
        let CpuZone { lists, posted, shape, .. } = &mut self.zones.hot;
        let posted: &Posted = posted;
        let Some(list) = shape.list_of(order, MigrateType::Movable) else { return false };
        let Some((index, holding)) = posted.find(pfn) else { return false };
        // Only a canary looks at the type before its turn.
        let looked = !self.shared.steps.has(Step::FreeLooksInTurn) && posted.is_movable(index);
        lists.with(
            #[inline(always)]
            |lists| {
                let cached = Cached::new(index, MigrateType::Movable);
                let pushed = (looked || posted.is_movable(index))
                    && holding.is_of(order)
                    && lists.pcp.push_calmly(list, order, cached, posted.mood().pressure);
                if pushed {
                    holding.end();
                }
                pushed
            },
        )
    }

    #[inline(never)]
    fn free_any(&mut self, pfn: Pfn, order: Order) {
        let zone = self.zones.of(pfn).expect("the block of a handle lies in a zone");
        let index = zone.posted.index(pfn);
        zone.free_any(self.id, index, order);
    }

    /// Frees the pages of a claimed range one by one, ascending. Linux: `free_contig_range()`.
    ///
    /// # Panics
    ///
    /// Panics when a frame of the range is not an allocated single page.
    pub fn free_contig_range(&mut self, contig: ContigRange) {
        for pfn in contig.into_raw().iter() {
            self.free_pages(Pages::new(pfn, Order::ZERO));
        }
    }

    /// Empties every CPU's lists of a zone, one after the other; for this one's nobody has to be
    /// kept out. Linux: `drain_all_pages(zone)`.
    pub(super) fn drain_all_of(&mut self, at: usize) {
        let (own, shared) = (self.id, Arc::clone(&self.shared));
        for cpu in shared.zones[at].cpus() {
            match cpu == own {
                true => self.with_locked(at, |locked| locked.drain_cpu(own)),
                false => shared.zones[at].drain_remote(cpu),
            }
        }
    }

    /// Works on a zone under its lock, with this CPU's lists in their place.
    pub(super) fn with_locked<R>(
        &mut self,
        at: usize,
        work: impl FnOnce(&mut LockedZone<'_>) -> R,
    ) -> R {
        let CpuZone { lists, zone, .. } = self.zones.at(at);
        lists.with(|lists| zone.lock().with_lists(self.id, lists, work))
    }
}

/// Whether a request may use the zone at `at`.
#[inline]
fn reaches<P>(shared: &SharedAllocator<P>, req: &AllocRequest, at: usize) -> bool {
    let (reach, zone) = (Reach::of(req), &shared.zones[at]);
    zone.kind <= reach.highest && reach.node.is_none_or(|node| node == zone.node)
}
