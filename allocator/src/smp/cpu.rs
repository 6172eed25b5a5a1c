//! One CPU's handle: requests and frees, without the zone's lock where its lists suffice.
//!
//! A free looks at the posted type of the page's pageblock during its turn on the CPU's lists.
//! Whoever isolates a pageblock posts that first and takes a turn on each CPU's lists afterwards, to
//! drain them: a free either comes before that turn, and its page is drained, or after it, and sees
//! the isolation.

use pagelab_percpu::{Asymmetric, Exclusive, Owner};

use crate::contig::ContigRange;
use crate::event::Silent;
use crate::frame::{FrameIndex, Movability};
use crate::gfp::{AllocFlags, GfpFlags};
use crate::highatomic::Unreserve;
use crate::migratetype::MigrateType;
use crate::page_alloc::{AllocError, AllocRequest, PageAllocator, Pages, Reach};
use crate::pcp::Cached;
use crate::rmqueue::ZoneRequest;
use crate::smp::SharedAllocator;
use crate::smp::posted::Posted;
use crate::smp::zone::{CpuLists, SharedZone};
use crate::sync::Arc;
use crate::units::{CpuId, Order, Pfn};

/// The handle of one CPU, for one thread at a time. Linux: what runs with preemption disabled.
#[derive(Debug)]
pub struct Cpu<P = Asymmetric> {
    id: CpuId,
    shared: Arc<SharedAllocator<P>>,
    /// This CPU's lists, one for each zone.
    slots: Vec<Owner<CpuLists, P>>,
}

impl<P: Exclusive> Cpu<P> {
    pub(super) fn new(
        id: CpuId,
        shared: Arc<SharedAllocator<P>>,
        slots: Vec<Owner<CpuLists, P>>,
    ) -> Self {
        Self { id, shared, slots }
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

    /// Allocates a block: the fast path, then the slow path as far as it goes without reclaim and
    /// compaction, which belong to the layers above. Linux: `__alloc_pages()`.
    ///
    /// # Errors
    ///
    /// [`AllocError`] when the order is too large or no zone has a block to spare.
    #[inline]
    pub fn alloc_pages(&mut self, req: &AllocRequest) -> Result<Pages, AllocError> {
        let preferred =
            self.shared.zonelist(req).iter().find(|at| reaches(&self.shared, req, **at));
        let nofragment = preferred.map(|&at| self.shared.zones[at].nofragment);
        let flags = req.fast_flags() | nofragment.unwrap_or(AllocFlags::empty());
        match self.get_page_from_freelist(req, flags) {
            Some(pfn) => Ok(Pages::new(pfn, req.order)),
            None => self.alloc_pages_hard(req),
        }
    }

    #[cold]
    fn alloc_pages_hard(&mut self, req: &AllocRequest) -> Result<Pages, AllocError> {
        let max = self.shared.geometry.max_order();
        if req.order > max {
            return Err(AllocError::OrderTooLarge(req.order, max));
        }
        let mut found = self.get_page_from_freelist(req, req.slow_flags());
        if found.is_none() && req.gfp.contains(GfpFlags::DIRECT_RECLAIM) {
            self.unreserve_highatomic(req, Unreserve::All);
            self.shared.drain_all();
            found = self.get_page_from_freelist(req, req.slow_flags());
        }
        let pfn = found.ok_or(AllocError::OutOfMemory(req.order))?;
        Ok(Pages::new(pfn, req.order))
    }

    /// Gives one highatomic pageblock back for the type of `req`; says whether pages moved.
    /// Linux: `unreserve_highatomic_pageblock()`.
    pub fn unreserve_highatomic(&mut self, req: &AllocRequest, effort: Unreserve) -> bool {
        let mt = self.shared.migratetype_of(req.gfp);
        let zones = self.shared.zonelist(req).iter().filter(|at| reaches(&self.shared, req, **at));
        zones
            .map(|&at| &self.shared.zones[at])
            .any(|zone| zone.lock().zones[0].unreserve_highatomic(mt, effort, &mut Silent))
    }

    /// Walks the zones until one has a block and may give it. Linux: `get_page_from_freelist()`.
    #[inline]
    fn get_page_from_freelist(&mut self, req: &AllocRequest, mut flags: AllocFlags) -> Option<Pfn> {
        loop {
            let found = self.walk(req, flags);
            if found.is_some() || !flags.contains(AllocFlags::NOFRAGMENT) {
                return found;
            }
            flags.remove(AllocFlags::NOFRAGMENT);
        }
    }

    #[inline]
    fn walk(&mut self, req: &AllocRequest, flags: AllocFlags) -> Option<Pfn> {
        let mut home = None;
        let mut rank = 0;
        while let Some(&at) = self.shared.zonelist(req).get(rank) {
            rank += 1;
            if !reaches(&self.shared, req, at) {
                continue;
            }
            let node = self.shared.zones[at].node;
            if node != *home.get_or_insert(node) && flags.contains(AllocFlags::NOFRAGMENT) {
                return None;
            }
            let found = self.take(at, req, flags);
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// A block of one zone: off this CPU's list where the zone fares well, else under its lock.
    #[inline]
    fn take(&mut self, at: usize, req: &AllocRequest, flags: AllocFlags) -> Option<Pfn> {
        let zone = &self.shared.zones[at];
        let (order, migratetype) = (req.order, self.shared.migratetype_of(req.gfp));
        let request = ZoneRequest { order, migratetype, flags };
        let calm = zone.posted.mood().is_calm(order) && !flags.contains(AllocFlags::HIGHATOMIC);
        let id = self.id;
        self.slots[at].with(|lists| {
            let hit = if calm { pop(zone, lists, request) } else { None };
            match hit {
                Some(index) => {
                    zone.posted.hold(index, order, request.movability());
                    Some(zone.posted.pfn(index))
                }
                None => take_locked(zone, id, lists, req, flags),
            }
        })
    }

    /// Frees a block: to this CPU's lists if its order has one, else to the buddy lists.
    /// Linux: `__free_pages()`.
    ///
    /// # Panics
    ///
    /// Panics when the block is not allocated as this handle says (a forged handle).
    #[inline]
    pub fn free_pages(&mut self, pages: Pages) {
        let (pfn, order) = pages.into_raw();
        let at = self.shared.zone_index(pfn).expect("the block of a handle lies in a zone");
        let zone = &self.shared.zones[at];
        let index = zone.posted.index(pfn);
        let id = self.id;
        self.slots[at].with(|lists| {
            let mt = zone.posted.migratetype(index);
            match lists.pcp.list_of(order, mt) {
                Some(list) if !matches!(mt, MigrateType::Isolate | MigrateType::Metadata) => {
                    zone.posted.release(index, order);
                    lists.freed += order.pages().get();
                    push(zone, id, lists, list, order, Cached::new(index, mt));
                }
                _ => free_locked(zone, id, lists, index, order),
            }
        });
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

    /// Works on a zone under its lock, with this CPU's lists in their place.
    pub(super) fn with_core<R>(
        &mut self,
        at: usize,
        work: impl FnOnce(&mut PageAllocator, &Posted) -> R,
    ) -> R {
        let zone = &self.shared.zones[at];
        let id = self.id;
        self.slots[at]
            .with(|lists| zone.lock().with_lists(id, lists, |core| work(core, &zone.posted)))
    }
}

/// Whether a request may use the zone at `at`.
#[inline]
fn reaches<P>(shared: &SharedAllocator<P>, req: &AllocRequest, at: usize) -> bool {
    let (reach, zone) = (Reach::of(req), &shared.zones[at]);
    zone.kind <= reach.highest && reach.node.is_none_or(|node| node == zone.node)
}

/// The newest block of the request's list. Linux: `__rmqueue_pcplist()` with a list that is not
/// empty.
#[inline]
fn pop<P>(zone: &SharedZone<P>, lists: &mut CpuLists, request: ZoneRequest) -> Option<FrameIndex> {
    let movable = request.migratetype == MigrateType::Movable;
    if movable && !request.flags.contains(zone.movable_pcp_needs) {
        return None;
    }
    lists.allocated += request.order.pages().get();
    let hit = if movable && request.order == Order::ZERO {
        lists.pcp.pop_single()
    } else {
        lists.pcp.pop_noted(request.order, request.migratetype)
    };
    if hit.is_none() {
        lists.allocated -= request.order.pages().get();
    }
    hit
}

/// Linux: `rmqueue()` after the watermark check, both under the zone's lock.
#[inline(never)]
fn take_locked<P: Exclusive>(
    zone: &SharedZone<P>,
    id: CpuId,
    lists: &mut CpuLists,
    req: &AllocRequest,
    flags: AllocFlags,
) -> Option<Pfn> {
    zone.lock().with_lists(id, lists, |core| {
        let pfn = core.try_zone(id, 0, req, flags)?;
        let movability = match core.migratetype_of(req.gfp) {
            MigrateType::Movable => Movability::Movable,
            _ => Movability::Unmovable,
        };
        zone.posted.hold(zone.posted.index(pfn), req.order, movability);
        Some(pfn)
    })
}

/// Linux: `free_unref_page_commit()`.
#[inline]
fn push<P: Exclusive>(
    zone: &SharedZone<P>,
    id: CpuId,
    lists: &mut CpuLists,
    list: usize,
    order: Order,
    cached: Cached,
) {
    let pressure = zone.posted.mood().pressure;
    if lists.pcp.push_calmly(list, order, cached, pressure) {
        return;
    }
    lists.pcp.push_freed(list, order, cached);
    if let Some(pages) = lists.pcp.drain_after_free(order, pressure) {
        zone.lock().with_lists(id, lists, |core| {
            core.zones[0].give_back(id, pages, list, &mut Silent);
        });
    }
}

/// A free to the buddy lists: there is no list for the order, or the pageblock is isolated, or was
/// a moment ago. Linux: `free_one_page()`.
#[inline(never)]
fn free_locked<P: Exclusive>(
    zone: &SharedZone<P>,
    id: CpuId,
    lists: &mut CpuLists,
    index: FrameIndex,
    order: Order,
) {
    zone.lock().with_lists(id, lists, |core| {
        let held = zone.posted.holder(index);
        zone.posted.release(index, order);
        let map = &mut core.zones[0].buddy.map;
        map.set_head(index, held.expect("release has seen it"));
        let pfn = map.pfn(index);
        core.free_pages(id, Pages::new(pfn, order));
    });
}
