//! The order in which a zone looks for a page.

use crate::event::{Event, Sink};
use crate::fallback::{Fragmenting, Loot, Raider, ViaOwnList};
use crate::frame::{FrameIndex, Movability};
use crate::gfp::AllocFlags;
use crate::migratetype::MigrateType;
use crate::note::{Note, PerCpu, Raid};
use crate::profile::FallbackRule;
use crate::units::{CpuId, Order, PageCount, Pfn};
use crate::zone::{Boosted, Zone};

/// A request as a zone sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZoneRequest {
    /// Order asked for.
    pub order: Order,
    /// Type asked for. Linux: `ac->migratetype`.
    pub migratetype: MigrateType,
    /// How hard to try.
    pub flags: AllocFlags,
}

impl ZoneRequest {
    /// Whether a block handed out to this request can be migrated.
    #[inline]
    pub(crate) const fn movability(self) -> Movability {
        match self.migratetype {
            MigrateType::Movable => Movability::Movable,
            _ => Movability::Unmovable,
        }
    }
}

/// The stage that served the last page of a bulk request (6.12). Linux: `enum rmqueue_mode`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Mode {
    Normal,
    Cma,
    Claim,
    Steal,
}

/// A page taken, and the list it came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Got {
    pub(crate) index: FrameIndex,
    pub(crate) mt: MigrateType,
}

impl Zone {
    /// Takes a block for a request, from the per-CPU lists or the buddy lists. The watermarks are
    /// the caller's. Linux: `rmqueue()`.
    #[inline(always)]
    pub fn alloc(&mut self, cpu: CpuId, request: ZoneRequest, sink: &mut impl Sink) -> Option<Pfn> {
        let index = match self.single(cpu, request) {
            Some(index) => {
                sink.note(|| Note::PerCpu(PerCpu::Hit));
                index
            }
            None => self.alloc_any(cpu, request, sink)?,
        };
        self.buddy.map.set_allocated(index, request.order, request.movability());
        Some(self.buddy.map.pfn(index))
    }

    /// A single page for a user that is ready on a per-CPU list: most requests.
    #[inline(always)]
    fn single(&mut self, cpu: CpuId, request: ZoneRequest) -> Option<FrameIndex> {
        let single = request.order == Order::ZERO && request.migratetype == MigrateType::Movable;
        if !single || !self.may_use_pcp(request) {
            return None;
        }
        self.pcp[cpu.index()].pop_single()
    }

    /// Any request, from its per-CPU list, refilled if empty, or the buddy lists.
    /// Linux: `rmqueue_pcplist()`, else `rmqueue_buddy()`.
    #[inline(never)]
    fn alloc_any(
        &mut self,
        cpu: CpuId,
        request: ZoneRequest,
        sink: &mut impl Sink,
    ) -> Option<FrameIndex> {
        if let Some(list) = self.pcp_list(cpu, request) {
            self.pcp[cpu.index()].note_alloc();
            if let Some(index) = self.pop_or_refill(cpu, list, request, sink) {
                return Some(index);
            }
        } else {
            sink.note(|| match self.may_use_pcp(request) {
                true => Note::PerCpu(PerCpu::NoList),
                false => Note::PerCpu(PerCpu::Barred(self.movable_pcp_needs)),
            });
        }
        self.alloc_unlisted(cpu, request, sink)
    }

    /// A request that goes past the per-CPU lists. Linux: `rmqueue_buddy()`.
    #[inline]
    fn alloc_unlisted(
        &mut self,
        cpu: CpuId,
        request: ZoneRequest,
        sink: &mut impl Sink,
    ) -> Option<FrameIndex> {
        let index = self.alloc_uncached(request, sink)?;
        self.count_free(cpu);
        Some(index)
    }

    /// [`alloc`](Self::alloc) for a request of which the caller knows that no per-CPU list may
    /// serve it.
    #[inline]
    pub(crate) fn alloc_no_list(
        &mut self,
        cpu: CpuId,
        request: ZoneRequest,
        sink: &mut impl Sink,
    ) -> Option<Pfn> {
        let index = self.alloc_unlisted(cpu, request, sink)?;
        self.buddy.map.set_allocated(index, request.order, request.movability());
        Some(self.buddy.map.pfn(index))
    }

    /// Whether the request's per-CPU list holds nothing that the request is barred from.
    #[inline(always)]
    pub(crate) fn may_use_pcp(&self, request: ZoneRequest) -> bool {
        request.migratetype != MigrateType::Movable
            || request.flags.contains(self.movable_pcp_needs)
    }

    /// The list of a CPU that may serve the request.
    #[inline]
    fn pcp_list(&self, cpu: CpuId, request: ZoneRequest) -> Option<usize> {
        if !self.may_use_pcp(request) {
            return None;
        }
        self.pcp[cpu.index()].list_of(request.order, request.migratetype)
    }

    /// Takes order-0 pages off one list of a CPU, refilling as needed, without the bookkeeping of
    /// single requests. Linux: the loop of `__alloc_pages_bulk()`.
    pub(crate) fn alloc_bulk_one(
        &mut self,
        cpu: CpuId,
        request: ZoneRequest,
        sink: &mut impl Sink,
    ) -> Option<Pfn> {
        let list = self.pcp[cpu.index()].list_of(request.order, request.migratetype)?;
        let index = self.pop_or_refill(cpu, list, request, sink)?;
        self.buddy.map.set_allocated(index, request.order, request.movability());
        Some(self.buddy.map.pfn(index))
    }

    /// The head of a per-CPU list, refilled if empty. Linux: `__rmqueue_pcplist()`.
    fn pop_or_refill(
        &mut self,
        cpu: CpuId,
        list: usize,
        request: ZoneRequest,
        sink: &mut impl Sink,
    ) -> Option<FrameIndex> {
        let hit = self.pcp[cpu.index()].pop(list, request.order);
        if hit.is_some() {
            sink.note(|| Note::PerCpu(PerCpu::Hit));
        }
        let cached = hit.or_else(|| {
            self.lend_list(cpu, list, |zone, mut to| {
                zone.refill(&mut to, request, sink);
                to.pcp.pop(list, request.order)
            })
        })?;
        Some(cached.index())
    }

    /// Linux: the attempts of `rmqueue_buddy()`.
    #[inline]
    pub(crate) fn alloc_uncached(
        &mut self,
        request: ZoneRequest,
        sink: &mut impl Sink,
    ) -> Option<FrameIndex> {
        let flags = request.flags;
        if flags.contains(AllocFlags::HIGHATOMIC)
            && let Some(got) = self.take_from(request.order, MigrateType::HighAtomic, sink)
        {
            return Some(got.index);
        }
        if let Some(got) = self.take_one(request, &mut Mode::Normal, sink) {
            return Some(got.index);
        }
        if flags.intersects(AllocFlags::OOM | AllocFlags::NON_BLOCK) {
            return self
                .take_from(request.order, MigrateType::HighAtomic, sink)
                .map(|got| got.index);
        }
        None
    }

    /// Takes from one type's lists only. Linux: `__rmqueue_smallest()` with its tracepoint.
    #[inline]
    fn take_from(&mut self, order: Order, mt: MigrateType, sink: &mut impl Sink) -> Option<Got> {
        let taken = self.buddy.take_first(order, mt);
        sink.note(|| {
            let found = taken.map(|(index, from)| (self.buddy.map.pfn(index), from));
            Note::List { order, migratetype: mt, found }
        });
        let (index, _) = taken?;
        sink.emit(Event::ZoneLocked { pfn: self.buddy.map.pfn(index), order, migratetype: mt });
        Some(Got { index, mt })
    }

    /// One page by the complete order of attempts. Most requests end at the list of their own type.
    /// Linux: `__rmqueue()`.
    #[inline(always)]
    pub(crate) fn take_one(
        &mut self,
        request: ZoneRequest,
        mode: &mut Mode,
        sink: &mut impl Sink,
    ) -> Option<Got> {
        self.note_cma_first(request, sink);
        if request.flags.contains(AllocFlags::CMA)
            && self.prefers_cma()
            && let Some(got) = self.take_from(request.order, MigrateType::Cma, sink)
        {
            return Some(got);
        }
        if *mode == Mode::Normal
            && let Some(got) = self.take_from(request.order, request.migratetype, sink)
        {
            return Some(got);
        }
        self.take_elsewhere(request, mode, sink)
    }

    /// What [`take_one`](Self::take_one) does once the lists of the request's own type have
    /// nothing.
    #[inline(never)]
    fn take_elsewhere(
        &mut self,
        request: ZoneRequest,
        mode: &mut Mode,
        sink: &mut impl Sink,
    ) -> Option<Got> {
        match self.buddy.rules.fallback {
            FallbackRule::MoveThenTake => self.take_moving(request, sink),
            FallbackRule::ClaimThenSteal => self.take_claiming(request, mode, sink),
        }
    }

    /// Whether more than half of what is free lies in CMA areas, so that a request that may lie
    /// there should. Linux: the balance between regular and CMA areas of `__rmqueue()`.
    #[inline]
    fn prefers_cma(&self) -> bool {
        // Most machines have no such area: one counter is read, not all.
        let cma = self.counted().cma;
        cma > PageCount::ZERO && cma.get() > self.counted().all.get() / 2
    }

    /// Notes on what a request that may lie in CMA areas decides whether it does.
    #[inline(always)]
    pub(crate) fn note_cma_first(&self, request: ZoneRequest, sink: &mut impl Sink) {
        if request.flags.contains(AllocFlags::CMA) {
            sink.note(|| {
                let free = self.counted();
                Note::CmaFirst { free: free.all, cma: free.cma }
            });
        }
    }

    /// Lent memory that the request may borrow: CMA, then METADATA. Linux:
    /// `__rmqueue_cma_fallback()`; RFC v1 `__rmqueue_metadata_fallback()`.
    fn take_lent(&mut self, request: ZoneRequest, sink: &mut impl Sink) -> Option<Got> {
        let lent =
            [(AllocFlags::CMA, MigrateType::Cma), (AllocFlags::METADATA, MigrateType::Metadata)];
        lent.into_iter()
            .filter(|(flag, _)| request.flags.contains(*flag))
            .find_map(|(_, mt)| self.take_from(request.order, mt, sink))
    }

    /// Lent memory, then raids that bring blocks to the own lists. 6.1.
    fn take_moving(&mut self, request: ZoneRequest, sink: &mut impl Sink) -> Option<Got> {
        loop {
            if let Some(got) = self.take_lent(request, sink) {
                return Some(got);
            }
            let raider = self.raider(request);
            sink.note(|| self.raid_note(Raid::Move, request));
            let raid = self.buddy.raid(&raider);
            self.boost(raid.boosts, request.flags);
            sink.emit(Event::Extfrag(raid.extfrag?));
            if let Some(got) = self.take_from(request.order, request.migratetype, sink) {
                return Some(got);
            }
        }
    }

    /// Lent memory, a claim, a steal; a bulk request goes on where the last page was found. 6.12.
    fn take_claiming(
        &mut self,
        request: ZoneRequest,
        mode: &mut Mode,
        sink: &mut impl Sink,
    ) -> Option<Got> {
        if *mode <= Mode::Cma
            && let Some(got) = self.take_lent(request, sink)
        {
            *mode = Mode::Cma;
            return Some(got);
        }
        let raider = self.raider(request);
        if *mode <= Mode::Claim {
            sink.note(|| self.raid_note(Raid::Claim, request));
            let (loot, boosts) = self.buddy.claim(&raider);
            self.boost(boosts, request.flags);
            if let Some(loot) = loot {
                *mode = Mode::Normal;
                return Some(self.report(loot, request.migratetype, sink));
            }
        }
        if request.flags.contains(AllocFlags::NOFRAGMENT) {
            return None;
        }
        sink.note(|| self.raid_note(Raid::Steal, request));
        let loot = self.buddy.steal(&raider)?;
        *mode = Mode::Steal;
        let mt = loot.extfrag.fallback_migratetype;
        Some(self.report(loot, mt, sink))
    }

    fn report(&self, loot: Loot, mt: MigrateType, sink: &mut impl Sink) -> Got {
        if loot.via_own_list == ViaOwnList::Yes {
            let pfn = self.buddy.map.pfn(loot.index);
            let order = loot.extfrag.alloc_order;
            sink.emit(Event::ZoneLocked { pfn, order, migratetype: mt });
        }
        sink.emit(Event::Extfrag(loot.extfrag));
        Got { index: loot.index, mt }
    }

    fn raid_note(&self, raid: Raid, request: ZoneRequest) -> Note {
        let has = |mt, order: &Order| !self.buddy.areas.is_empty(*order, mt);
        let orders = || request.order.to(self.buddy.geometry.max_order());
        let largest = |mt| orders().rev().find(|order| has(mt, order));
        Note::Raid { raid, victims: request.migratetype.fallbacks().map(|mt| (mt, largest(mt))) }
    }

    fn raider(&self, request: ZoneRequest) -> Raider {
        let fragmenting = if request.flags.contains(AllocFlags::NOFRAGMENT) {
            Fragmenting::Avoided
        } else {
            Fragmenting::Allowed
        };
        Raider {
            order: request.order,
            mt: request.migratetype,
            fragmenting,
            grouping: self.grouping,
        }
    }

    pub(crate) fn boost(&mut self, times: u32, flags: AllocFlags) {
        for _ in 0..times {
            if self.boost_watermark(self.boost_factor) && flags.contains(AllocFlags::KSWAPD) {
                self.boosted = Boosted::Yes;
            }
        }
    }
}
