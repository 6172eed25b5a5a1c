//! The page allocator of a machine: zonelists, the fast path, the slow path.

pub use crate::alloc_request::AllocRequest;
use crate::event::{Event, Silent, Sink};
use crate::fallback::Grouping;
use crate::frame::Movability;
use crate::geometry::Geometry;
use crate::gfp::{AllocFlags, GfpFlags, ZoneType};
use crate::highatomic::Unreserve;
use crate::migratetype::{MigrateType, TypeSet};
use crate::note::Note;
use crate::profile::KernelProfile;
use crate::rmqueue::ZoneRequest;
use crate::units::{CpuId, NodeId, Order, PageCount, Pfn, PfnRange};
use crate::vm_stat::VmStat;
use crate::watermark::Mark;
use crate::zone::{Boosted, Zone};

/// An allocated block. Freeing consumes it, so that a double free does not compile; dropping it
/// leaks the block, which stays allocated. Linux: `struct page *` with its order.
#[derive(PartialEq, Eq, Debug)]
#[must_use = "a dropped handle leaks its pages"]
pub struct Pages {
    pfn: Pfn,
    order: Order,
}

impl Pages {
    pub(crate) const fn new(pfn: Pfn, order: Order) -> Self {
        Self { pfn, order }
    }

    /// First frame.
    #[must_use]
    pub const fn pfn(&self) -> Pfn {
        self.pfn
    }

    /// Order of the block.
    #[must_use]
    pub const fn order(&self) -> Order {
        self.order
    }

    /// The frames of the block.
    #[must_use]
    pub const fn range(&self) -> PfnRange {
        PfnRange::block(self.pfn, self.order)
    }

    /// Gives the handle up for the raw numbers; the block stays allocated. It comes back through
    /// [`PageAllocator::reclaim`].
    #[must_use]
    pub const fn into_raw(self) -> (Pfn, Order) {
        (self.pfn, self.order)
    }
}

/// Why a request failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AllocError {
    /// No list can ever hold such a block.
    #[error("order {0} is larger than the largest order {1}")]
    OrderTooLarge(Order, Order),
    /// No zone that the request may use had a block to spare.
    #[error("out of memory for order {0}")]
    OutOfMemory(Order),
}

/// A raw number that names no allocated block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotAllocated {
    /// No zone has the frame.
    #[error("frame {0} is in no zone")]
    NoSuchFrame(Pfn),
    /// Blocks are naturally aligned.
    #[error("frame {0} is not aligned to order {1}")]
    Misaligned(Pfn, Order),
    /// No list can ever hold such a block.
    #[error("order {0} is larger than the largest order {1}")]
    OrderTooLarge(Order, Order),
    /// A block lies in one zone.
    #[error("frames of order {1} at {0} cross zones")]
    CrossesZones(Pfn, Order),
    /// The frame is free already.
    #[error("frame {0} is free")]
    Free(Pfn),
    /// The frame was never handed to the allocator.
    #[error("frame {0} is reserved")]
    Reserved(Pfn),
}

/// The page allocator of one machine. Linux: mm/page_alloc.c with its zones.
///
/// Deterministic and single-threaded: the CPU is an argument, events go to `S`.
#[derive(Clone, Debug)]
pub struct PageAllocator<S: Sink = Silent> {
    pub(crate) geometry: Geometry,
    pub(crate) profile: KernelProfile,
    pub(crate) types: TypeSet,
    pub(crate) grouping: Grouping,
    pub(crate) cpus: u16,
    /// Sorted by node, then kind.
    pub(crate) zones: Vec<Zone>,
    /// For each node the zones to try: own node first, highest kind first.
    pub(crate) zonelists: Vec<Vec<usize>>,
    pub(crate) stats: VmStat,
    pub(crate) sink: S,
}

impl<S: Sink> PageAllocator<S> {
    /// Allocates a block: the fast path, then the slow path as far as it goes without reclaim and
    /// compaction, which belong to the layers above. Linux: `__alloc_pages()`.
    ///
    /// # Errors
    ///
    /// [`AllocError`] when the order is too large or no zone has a block to spare.
    ///
    /// # Panics
    ///
    /// Panics when the machine has no such CPU.
    #[inline(always)]
    pub fn alloc_pages(&mut self, cpu: CpuId, req: &AllocRequest) -> Result<Pages, AllocError> {
        let max = self.geometry.max_order();
        if req.order > max {
            return Err(AllocError::OrderTooLarge(req.order, max));
        }
        match self.alloc_pages_fast(cpu, req) {
            Some(pages) => Ok(pages),
            None => self.alloc_pages_hard(cpu, req),
        }
    }

    /// What [`alloc_pages`](Self::alloc_pages) does when the fast path found nothing.
    #[cold]
    fn alloc_pages_hard(&mut self, cpu: CpuId, req: &AllocRequest) -> Result<Pages, AllocError> {
        if let Some(pages) = self.alloc_pages_slow(cpu, req) {
            return Ok(pages);
        }
        if req.gfp.contains(GfpFlags::DIRECT_RECLAIM) {
            self.unreserve_highatomic(req, Unreserve::All);
            self.drain_all();
            if let Some(pages) = self.alloc_pages_slow(cpu, req) {
                return Ok(pages);
            }
        }
        self.note_failure(req);
        Err(AllocError::OutOfMemory(req.order))
    }

    /// Emits the event of a request that failed for good.
    pub fn note_failure(&mut self, req: &AllocRequest) {
        let migratetype = self.migratetype_of(req.gfp);
        let (order, gfp) = (req.order, req.gfp);
        self.sink.emit(Event::PageAlloc { pfn: None, order, migratetype, gfp });
    }

    /// The first attempt, at the low watermark; mixing types is put off to a second walk.
    /// Linux: `get_page_from_freelist()` as `__alloc_pages()` calls it first.
    #[inline(always)]
    pub fn alloc_pages_fast(&mut self, cpu: CpuId, req: &AllocRequest) -> Option<Pages> {
        let preferred = self.zonelist(req).next()?;
        let mut flags = req.fast_flags();
        if self.avoids_fragmentation(preferred) {
            flags |= AllocFlags::NOFRAGMENT;
        }
        Some(Pages::new(self.get_page_from_freelist(cpu, req, flags)?, req.order))
    }

    /// An attempt of the slow path, at the min watermark and with the reserves that the request may
    /// use. Linux: `get_page_from_freelist()` as `__alloc_pages_slowpath()` calls it.
    pub fn alloc_pages_slow(&mut self, cpu: CpuId, req: &AllocRequest) -> Option<Pages> {
        if req.gfp.contains(GfpFlags::KSWAPD_RECLAIM) {
            self.sink.emit(Event::WakeKswapd { order: req.order });
        }
        let pfn = self.get_page_from_freelist(cpu, req, req.slow_flags())?;
        Some(Pages::new(pfn, req.order))
    }

    /// The zones as machines of one zone each, and what the fast path adds to its flags where that
    /// zone comes first.
    pub(crate) fn into_zones(self) -> impl Iterator<Item = (PageAllocator, AllocFlags)> {
        let flags = |at| match self.avoids_fragmentation(at) {
            true => AllocFlags::NOFRAGMENT,
            false => AllocFlags::empty(),
        };
        let flags: Vec<_> = (0..self.zones.len()).map(flags).collect();
        let nodes = self.zonelists.len();
        let (geometry, profile, types) = (self.geometry, self.profile, self.types);
        let (grouping, cpus) = (self.grouping, self.cpus);
        self.zones.into_iter().zip(flags).map(move |(zone, flags)| {
            let (zones, zonelists) = (vec![zone], vec![vec![0]; nodes]);
            let (stats, sink) = (VmStat::default(), Silent);
            let core = PageAllocator {
                geometry,
                profile,
                types,
                grouping,
                cpus,
                zones,
                zonelists,
                stats,
                sink,
            };
            (core, flags)
        })
    }

    /// Whether the fast path puts mixing off. Linux: `alloc_flags_nofragment()`.
    #[inline]
    pub(crate) fn avoids_fragmentation(&self, preferred: usize) -> bool {
        let (zone, zones) = (&self.zones[preferred], &self.zones);
        let one_node = || zones.last().is_some_and(|last| last.node == NodeId::default());
        let has_dma32 = || {
            let same = |z: &&Zone| z.node == zone.node && z.kind == ZoneType::Dma32;
            zones.iter().filter(same).any(|z| z.managed > PageCount::ZERO)
        };
        zone.kind == ZoneType::Normal && (one_node() || has_dma32())
    }

    /// The zones of `req`'s zonelist, best first, as positions in [`zones`](Self::zones).
    /// Linux: `for_each_zone_zonelist()`.
    #[inline]
    pub fn zonelist(&self, req: &AllocRequest) -> impl Iterator<Item = usize> {
        let reach = Reach::of(req);
        let list = self.zonelists.get(usize::from(req.node.get()));
        let list = list.map_or(&[][..], Vec::as_slice);
        list.iter().copied().filter(move |&at| reach.has(&self.zones[at]))
    }

    /// Walks the zones until one has a block and may give it. Linux: `get_page_from_freelist()`.
    #[inline(always)]
    fn get_page_from_freelist(
        &mut self,
        cpu: CpuId,
        req: &AllocRequest,
        mut flags: AllocFlags,
    ) -> Option<Pfn> {
        loop {
            let found = self.walk(cpu, req, flags);
            if found.is_some() {
                return found;
            }
            if !flags.contains(AllocFlags::NOFRAGMENT) {
                let (order, gfp) = (req.order, req.gfp);
                self.sink.emit(Event::NoPage { order, gfp, flags });
                return None;
            }
            flags.remove(AllocFlags::NOFRAGMENT);
        }
    }

    #[inline(always)]
    fn walk(&mut self, cpu: CpuId, req: &AllocRequest, flags: AllocFlags) -> Option<Pfn> {
        let (reach, list) = (Reach::of(req), usize::from(req.node.get()));
        self.sink.note(|| Note::Walk { order: req.order, gfp: req.gfp, flags });
        let mut home = None;
        let mut rank = 0;
        while let Some(&at) = self.zonelists.get(list)?.get(rank) {
            rank += 1;
            let zone = &self.zones[at];
            if !reach.has(zone) {
                continue;
            }
            let away = zone.node != *home.get_or_insert(zone.node);
            if away && flags.contains(AllocFlags::NOFRAGMENT) {
                return None;
            }
            let found = self.try_zone(cpu, at, req, flags);
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// Takes a block from one zone if its watermarks allow it.
    #[inline(always)]
    pub(crate) fn try_zone(
        &mut self,
        cpu: CpuId,
        at: usize,
        req: &AllocRequest,
        flags: AllocFlags,
    ) -> Option<Pfn> {
        let highest = req.gfp.highest_zone();
        let allowed = self.zones[at].may_take(req.order, highest, flags, &mut self.sink);
        if allowed { self.take(cpu, at, req, flags) } else { None }
    }

    /// Takes a block from one zone whose watermarks allow it.
    #[inline]
    pub(crate) fn take(
        &mut self,
        cpu: CpuId,
        at: usize,
        req: &AllocRequest,
        flags: AllocFlags,
    ) -> Option<Pfn> {
        let migratetype = self.migratetype_of(req.gfp);
        let request = ZoneRequest { order: req.order, migratetype, flags };
        let zone = &mut self.zones[at];
        let pfn = zone.alloc(cpu, request, &mut self.sink);
        handed_out(zone, &mut self.stats, req, request, pfn, &mut self.sink)
    }

    /// Up to `wanted` single pages off the per-CPU lists, without an event for each. Falls back to
    /// one ordinary request when that is not possible. Linux: `__alloc_pages_bulk()`.
    pub fn alloc_pages_bulk(&mut self, cpu: CpuId, gfp: GfpFlags, wanted: usize) -> Vec<Pages> {
        let req = AllocRequest::new(Order::ZERO, gfp);
        let flags = req.fast_flags().difference(AllocFlags::KSWAPD);
        let mut got = Vec::new();
        if wanted > 1
            && let Some(at) = self.zone_for_bulk(&req, flags, wanted)
        {
            let migratetype = self.migratetype_of(gfp);
            let request = ZoneRequest { order: Order::ZERO, migratetype, flags };
            while got.len() < wanted && self.zones[at].may_use_pcp(request) {
                let taken = self.zones[at].alloc_bulk_one(cpu, request, &mut self.sink);
                let Some(pfn) = taken else { break };
                self.stats.pgalloc[self.zones[at].kind.index()] += 1;
                got.push(Pages::new(pfn, Order::ZERO));
            }
        }
        if got.is_empty() && wanted > 0 {
            got.extend(self.alloc_pages(cpu, &req));
        }
        got
    }

    fn zone_for_bulk(&self, req: &AllocRequest, flags: AllocFlags, wanted: usize) -> Option<usize> {
        let wanted = PageCount::new(u64::try_from(wanted).ok()?);
        let highest = req.gfp.highest_zone();
        let home = self.zones[self.zonelist(req).next()?].node;
        let near = self.zonelist(req).take_while(|&at| self.zones[at].node == home);
        near.into_iter().find(|&at| {
            let zone = &self.zones[at];
            let mark = zone.watermarks.get(Mark::Low) + wanted;
            zone.watermark_ok_with(zone.counted().all, Order::ZERO, mark, highest, flags)
        })
    }

    /// The type a request is served from. Linux: `gfp_migratetype()`.
    #[inline]
    #[must_use]
    pub fn migratetype_of(&self, gfp: GfpFlags) -> MigrateType {
        match self.grouping {
            Grouping::ByMobility => gfp.migratetype(),
            Grouping::Disabled => MigrateType::Unmovable,
        }
    }

    /// Gives one highatomic pageblock back for the type of `req`; says whether pages moved.
    /// Linux: `unreserve_highatomic_pageblock()`.
    pub fn unreserve_highatomic(&mut self, req: &AllocRequest, effort: Unreserve) -> bool {
        let mt = self.migratetype_of(req.gfp);
        let zones: Vec<_> = self.zonelist(req).collect();
        zones.into_iter().any(|at| self.zones[at].unreserve_highatomic(mt, effort, &mut self.sink))
    }

    /// Empties every per-CPU list. Linux: `drain_all_pages(NULL)`.
    pub fn drain_all(&mut self) {
        for zone in &mut self.zones {
            zone.drain_all(&mut self.sink);
        }
    }

    /// One tick of the statistics timer (`stat_interval`, one second by default): the counters
    /// catch up with the lists, and per-CPU high marks decay. Linux: `vmstat_update()`.
    pub fn tick(&mut self) {
        for zone in &mut self.zones {
            zone.tick(&mut self.sink);
        }
    }
}

/// What is left to do when a zone has been asked for a block.
#[inline(always)]
pub(crate) fn handed_out(
    zone: &mut Zone,
    stats: &mut VmStat,
    req: &AllocRequest,
    request: ZoneRequest,
    pfn: Option<Pfn>,
    sink: &mut impl Sink,
) -> Option<Pfn> {
    let ZoneRequest { order, migratetype, flags } = request;
    if zone.boosted == Boosted::Yes {
        zone.boosted = Boosted::No;
        sink.emit(Event::WakeKswapd { order: Order::ZERO });
    }
    let pfn = pfn?;
    if req.gfp.contains(GfpFlags::MOVABLE) && migratetype != MigrateType::Movable {
        zone.set_movability(pfn, order, Movability::Movable);
    }
    if flags.contains(AllocFlags::HIGHATOMIC) {
        zone.reserve_highatomic(pfn, order, sink);
    }
    stats.pgalloc[zone.kind.index()] += order.pages().get();
    sink.emit(Event::PageAlloc { pfn: Some(pfn), order, migratetype, gfp: req.gfp });
    Some(pfn)
}

/// Which zones a request may use.
#[derive(Clone, Copy)]
pub(crate) struct Reach {
    pub(crate) highest: ZoneType,
    /// The only node, if the request insists on one.
    pub(crate) node: Option<NodeId>,
}

impl Reach {
    #[inline]
    pub(crate) fn of(req: &AllocRequest) -> Self {
        let node = req.gfp.contains(GfpFlags::THISNODE).then_some(req.node);
        Self { highest: req.gfp.highest_zone(), node }
    }

    #[inline]
    fn has(self, zone: &Zone) -> bool {
        zone.kind <= self.highest
            && zone.managed > PageCount::ZERO
            && self.node.is_none_or(|node| node == zone.node)
    }
}
