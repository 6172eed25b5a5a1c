//! A zone as one CPU sees it: its lists there, and the way to the zone itself.

use crossbeam_utils::CachePadded;
use pagelab_percpu::{Asymmetric, Exclusive, Owner};

use crate::event::Silent;
use crate::frame::FrameIndex;
use crate::gfp::AllocFlags;
use crate::migratetype::MigrateType;
use crate::page_alloc::AllocRequest;
use crate::pcp::{CpuList, Shape};
use crate::pcp_list::Cached;
use crate::rmqueue::ZoneRequest;
use crate::smp::posted::Posted;
use crate::smp::zone::{CpuLists, SharedZone};
use crate::sync::Arc;
use crate::units::{CpuId, Order, Pfn};
use crate::zone::Boosted;

/// A zone and the lists that a CPU has of it.
#[derive(Debug)]
pub(super) struct CpuZone<P = Asymmetric> {
    /// The zone's position in the machine.
    at: usize,
    pub(super) lists: Owner<CpuLists, P>,
    pub(super) zone: Arc<SharedZone<P>>,
    /// The zone's, one step nearer.
    pub(super) posted: Arc<CachePadded<Posted>>,
    pub(super) shape: Shape,
}

/// All zones of one CPU.
#[derive(Debug)]
pub(super) struct CpuZones<P = Asymmetric> {
    /// The zone at hand, which serves most requests.
    pub(super) hot: CpuZone<P>,
    others: Vec<CpuZone<P>>,
}

impl<P> CpuZones<P> {
    pub(super) fn new(zones: &[Arc<SharedZone<P>>], lists: Vec<Owner<CpuLists, P>>) -> Self {
        let zones = lists.into_iter().zip(zones).enumerate();
        let mut zones = zones.map(|(at, (lists, zone))| {
            let posted = Arc::clone(&zone.posted);
            CpuZone { at, lists, zone: Arc::clone(zone), posted, shape: zone.shape }
        });
        let hot = zones.next().expect("a machine has a zone");
        Self { hot, others: zones.collect() }
    }

    /// The zone at a position.
    #[inline]
    pub(super) fn at(&mut self, at: usize) -> &mut CpuZone<P> {
        if self.hot.at == at {
            return &mut self.hot;
        }
        let found = self.others.iter_mut().find(|zone| zone.at == at);
        found.expect("a zone of the machine")
    }

    /// The zone that has a frame.
    #[inline]
    pub(super) fn of(&mut self, pfn: Pfn) -> Option<&mut CpuZone<P>> {
        if self.hot.zone.span.contains(pfn) {
            return Some(&mut self.hot);
        }
        self.other(pfn)
    }

    /// The zone that has a frame, if it is not the one at hand.
    pub(super) fn other(&mut self, pfn: Pfn) -> Option<&mut CpuZone<P>> {
        self.others.iter_mut().find(|zone| zone.zone.span.contains(pfn))
    }

    /// Brings a zone to hand.
    #[inline]
    pub(super) fn warm(&mut self, at: usize) {
        if let Some(other) = self.others.iter_mut().find(|zone| zone.at == at) {
            core::mem::swap(&mut self.hot, other);
        }
    }
}

impl<P: Exclusive> CpuZone<P> {
    /// A block for a request that `list` may serve: off the list, refilled if empty, while the zone
    /// fares well; else under its lock, where the watermarks are looked at. Linux: `rmqueue()`.
    pub(super) fn alloc_any(
        &mut self,
        id: CpuId,
        list: usize,
        req: &AllocRequest,
        request: ZoneRequest,
    ) -> Option<Pfn> {
        let Self { lists, zone, .. } = self;
        // What such a request gets is kept back, which needs the lock.
        let keeps = request.flags.contains(AllocFlags::HIGHATOMIC);
        let is_calm = || zone.posted.mood().is_calm(req.order) && !keeps;
        lists.with(|lists| {
            let hit = if is_calm() { lists.pop(&zone.posted, list, req) } else { None };
            hit.or_else(|| {
                let mut locked = zone.lock();
                if !is_calm() {
                    return locked.with_lists(id, lists, |locked| locked.take(id, req, request));
                }
                lists.with_balance(|pcp| {
                    let own = &mut locked.zones[0];
                    own.refill(&mut CpuList { pcp, cpu: id, list }, request, &mut Silent);
                    // Nobody listens for who is woken.
                    own.boosted = Boosted::No;
                });
                lists.pop(&zone.posted, list, req).or_else(|| {
                    lists.pcp.note_alloc();
                    locked.take_unlisted(id, req, request)
                })
            })
        })
    }

    /// A free of anything. Linux: `free_unref_page_commit()`.
    pub(super) fn free_any(&mut self, id: CpuId, index: FrameIndex, order: Order) {
        let Self { lists, zone, shape, .. } = self;
        if shape.list_of(order, MigrateType::Movable).is_none() {
            return zone.lock().free_unlisted(id, index, order);
        }
        lists.with(|lists| {
            if !push_listed(zone, id, lists, index, order) {
                zone.lock().with_lists(id, lists, |locked| locked.free(id, index, order));
            }
        });
    }
}

/// Puts a freed block on its list, if its type and order have one, and gives back what is too much;
/// says whether it was put there. Linux: `free_unref_page_commit()`.
#[inline(always)]
pub(super) fn push_listed<P: Exclusive>(
    zone: &SharedZone<P>,
    id: CpuId,
    lists: &mut CpuLists,
    index: FrameIndex,
    order: Order,
) -> bool {
    let mt = zone.posted.migratetype(index);
    let Some(list) = lists.pcp.list_of(order, mt).filter(|_| !mt.bypasses_pcp()) else {
        return false;
    };
    zone.posted.release(index, order);
    let pressure = zone.posted.mood().pressure;
    if let Some(pages) = lists.pcp.commit_freed(list, order, Cached::new(index, mt), pressure) {
        give_back(zone, id, lists, (list, pages));
    }
    true
}

/// Gives pages of the CPU's lists back, starting with a list.
#[inline(never)]
fn give_back<P: Exclusive>(
    zone: &SharedZone<P>,
    id: CpuId,
    lists: &mut CpuLists,
    (list, pages): (usize, u32),
) {
    lists.with_balance(|pcp| {
        let from = CpuList { pcp, cpu: id, list };
        zone.lock().zones[0].give_back(from, pages, &mut Silent);
    });
}
