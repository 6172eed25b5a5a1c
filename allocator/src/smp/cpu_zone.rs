//! A zone as one CPU sees it: its lists there, and the way to the zone itself.

use crossbeam_utils::CachePadded;
use pagelab_percpu::{Asymmetric, Exclusive, Owner};

use crate::frame::{FrameIndex, Head};
use crate::migratetype::MigrateType;
use crate::page_alloc::{PageAllocator, Pages};
use crate::pcp::Shape;
use crate::pcp_list::Cached;
use crate::smp::posted::Posted;
use crate::smp::zone::{CpuLists, SharedZone};
use crate::sync::Arc;
use crate::units::{CpuId, Order, Pfn};

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
    /// A free of anything. Linux: `free_unref_page_commit()`.
    pub(super) fn free_any(&mut self, id: CpuId, index: FrameIndex, order: Order) {
        let Self { lists, zone, shape, .. } = self;
        if shape.list_of(order, MigrateType::Movable).is_none() {
            zone.posted.release(index, order);
            let core = &mut *zone.lock();
            core.stats.pgfree += order.pages().get();
            return core.zones[0].free_unlisted(id, index, order);
        }
        lists.with(|lists| {
            if !push_listed(zone, id, lists, index, order) {
                zone.lock().with_lists(id, lists, |core| {
                    free_locked(core, id, &zone.posted, index, order);
                });
            }
        });
    }
}

/// Puts a freed block on its list, if its type and order have one, and gives back what is too much;
/// says whether it was put there. Linux: `free_unref_page_commit()`.
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
        lists.with_balance(|pcp| zone.lock().zones[0].give_back_lent(pcp, id, pages, list));
    }
    true
}

/// A free to the buddy lists: there is no list for the order, or the pageblock is isolated, or was
/// a moment ago. Linux: `free_one_page()`.
pub(super) fn free_locked(
    core: &mut PageAllocator,
    id: CpuId,
    posted: &Posted,
    index: FrameIndex,
    order: Order,
) {
    let movability = posted.release(index, order);
    let map = &mut core.zones[0].buddy.map;
    map.set_head(index, Head::Allocated(order, movability));
    let pfn = map.pfn(index);
    core.free_pages(id, Pages::new(pfn, order));
}
