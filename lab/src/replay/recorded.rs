//! The recorded machine: its lists, moved event by event as Linux moved them, each removal
//! predicted first.
//!
//! The buddy lists are driven by the events that take blocks from them or bring blocks back. Where
//! the recording names a block, the emulator is asked beforehand which one it would have been; the
//! recorded one is then carried out in any case, so that one miss does not lead to the next.

use pagelab_allocator::buddy::{Buddy, Placement};
use pagelab_allocator::by_hand::{AfterSteal, ByHand, Looted};
use pagelab_allocator::event::Silent;
use pagelab_allocator::frame::{Frame, Movability};
use pagelab_allocator::gfp::{AllocFlags, GfpFlags};
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::page_alloc::PageAllocator;
use pagelab_allocator::pcp_by_hand::Side;
use pagelab_allocator::profile::FallbackRule;
use pagelab_allocator::units::{CpuId, Order, PageCount, Pfn, PfnRange};

use super::cause::Cause;
use super::compare::DifferentList;
use super::isolation::{Isolation, MOVABLE, guess_movability, hand_of, join, put, type_of};
use super::ledger::Ledger;
use super::origin::Origin;
use super::tally::Kind;
use super::window::Step;
use crate::trace::{Record, TO_TAIL, TraceEvent, VmapPages};

/// Whether the contents of the per-CPU lists are kept up as well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PerCpu {
    /// They are not: a page that is not on a buddy list is in use.
    Ignored,
    /// They are.
    Kept,
}

/// Where `free_one_page()` puts a block: its fifth argument are the flags of the free in 6.12, the
/// sixth, if there is one, in 6.1.
pub(super) fn placement_of(rule: FallbackRule, (fifth, sixth): (u32, Option<u32>)) -> Placement {
    let flags = match rule {
        FallbackRule::MoveThenTake => sixth.unwrap_or(0),
        FallbackRule::ClaimThenSteal => fifth,
    };
    if flags & TO_TAIL == 0 { Placement::Likely } else { Placement::Tail }
}

/// Lists as recorded.
#[derive(Debug)]
pub struct Recorded {
    /// The lists.
    pub alloc: PageAllocator<Silent>,
    pub(super) per_cpu: PerCpu,
    origin: Origin,
    pub(super) fallback: FallbackRule,
    pub(super) isolation: Isolation,
    /// Memory that is being handed over; its free follows.
    joining: Option<PfnRange>,
    /// 6.12: a claim whose event follows.
    pub(super) claimed: Option<Looted>,
    /// 6.12: a steal just happened for a request of this order and type.
    pub(super) stolen: Option<(u32, Order, MigrateType)>,
    /// The block a task was handed last, for the tails that `alloc_pages_exact()` frees.
    handed: Option<(u32, PfnRange)>,
}

impl Recorded {
    /// Starts from a machine's lists.
    #[must_use]
    pub fn new(alloc: PageAllocator<Silent>, per_cpu: PerCpu, origin: Origin) -> Self {
        let zones = alloc.zones().len();
        let mut alloc = alloc;
        guess_movability(&mut alloc);
        Self {
            fallback: alloc.profile().rules().fallback,
            alloc,
            per_cpu,
            isolation: Isolation::new(zones, origin.clone()),
            origin,
            joining: None,
            claimed: None,
            stolen: None,
            handed: None,
        }
    }

    pub(super) fn type_of(&self, number: u8) -> Option<MigrateType> {
        type_of(&self.alloc, number)
    }

    /// The lists are as dumped now.
    pub fn know_lists(&mut self) {
        self.isolation.know_lists();
    }

    /// Whether compaction may have turned lists of this zone around since they were last known.
    #[must_use]
    pub fn was_compacted(&self, zone: usize) -> bool {
        self.isolation.was_compacted(zone)
    }

    /// Whether the free of a page is none, but the return of a target to the compacting task.
    #[must_use]
    pub fn is_return(&self, record: &Record, pfn: Pfn) -> bool {
        self.isolation.is_return(record, pfn)
    }

    /// Puts a list of the same blocks into the dumped order.
    pub fn arrange(&mut self, zone: usize, list: &DifferentList) {
        let mut hand = self.alloc.by_hand(zone, CpuId::BOOT);
        hand.arrange(list.order, list.migratetype, &list.theirs);
    }

    pub(super) fn zone(&self, pfn: Pfn) -> Option<usize> {
        self.alloc.zone_index(pfn)
    }

    pub(super) fn hand(&mut self, pfn: Pfn) -> Option<ByHand<'_>> {
        hand_of(&mut self.alloc, pfn)
    }

    /// Whether frees of `order` go to the per-CPU lists. Linux: `pcp_allowed_order()`.
    pub(super) fn is_cached(&self, order: Order) -> bool {
        order <= Order::COSTLY || order == self.alloc.geometry().pageblock_order()
    }

    /// Carries one event out.
    pub fn step(&mut self, step: &Step, ledger: &mut Ledger) {
        let record = &step.record;
        if let Some(claimed) = self.claimed.take() {
            self.finish_claim(claimed, record, ledger);
            if matches!(record.event, TraceEvent::Extfrag(_)) {
                return;
            }
        }
        match record.event {
            TraceEvent::ZoneLocked { pfn, order, migratetype, .. } => {
                self.zone_locked(record, (pfn, order), migratetype, ledger);
            }
            TraceEvent::PcpuDrain { pfn, order, migratetype } => {
                let mt = self.type_of(migratetype);
                if mt.is_none() {
                    ledger.impossible(Kind::Drained, record, "no such type");
                }
                put(&mut self.alloc, record, (pfn, order), mt, Placement::Likely, ledger);
            }
            TraceEvent::PageAlloc { pfn, order, gfp, migratetype } => {
                self.page_alloc(record, (pfn, order), gfp, migratetype, ledger);
            }
            TraceEvent::PageFree { pfn, order } => self.page_free(step, (pfn, order), ledger),
            TraceEvent::PageFreeBatched { pfn } => self.commit(pfn, Order::ZERO),
            TraceEvent::Extfrag(raw) => self.extfrag(record, &raw, ledger),
            _ => self.rare(record, ledger),
        }
    }

    /// Events that are not of every request.
    fn rare(&mut self, record: &Record, ledger: &mut Ledger) {
        match record.event {
            TraceEvent::FreeOnePage { pfn, order, arg, flags } => {
                self.free_one_page(record, (pfn, order), (arg, flags), ledger);
            }
            TraceEvent::Online { pfn: Some(pfn), order } => {
                self.joining = Some(PfnRange::block(pfn, order));
            }
            TraceEvent::VmapPages(ref map) => self.mapped(map),
            _ => self.isolation.step(&mut self.alloc, record, ledger),
        }
    }

    /// Pages of a bulk request, which no event named when they left the per-CPU lists.
    fn mapped(&mut self, map: &VmapPages) {
        for pfn in map.pages.iter().copied().flatten() {
            if let Some(mut hand) = self.hand(pfn) {
                hand.uncache(pfn);
            }
        }
    }

    fn zone_locked(
        &mut self,
        record: &Record,
        block: (Pfn, Order),
        number: u8,
        ledger: &mut Ledger,
    ) {
        let (pfn, order) = block;
        let (Some(zone), Some(mt)) = (self.zone(pfn), self.type_of(number)) else {
            return ledger.impossible(Kind::Taken, record, "no such zone or type");
        };
        let mut hand = self.alloc.by_hand(zone, CpuId::BOOT);
        if let Some((first, _)) = hand.first(order, mt) {
            if first == pfn {
                hand.take_first(order, mt);
                ledger.tally.hit(Kind::Taken);
            } else {
                self.take_other(record, zone, block, mt, first, ledger);
            }
        } else if self.fallback == FallbackRule::ClaimThenSteal {
            let flags = AllocFlags::empty();
            let looted = hand.claim_or_steal(order, mt, flags, AfterSteal::No);
            match looted {
                Some(looted) if looted.pfn == pfn && looted.via_own_list => {
                    ledger.tally.hit(Kind::Taken);
                    self.claimed = Some(looted);
                }
                _ => self.take_unforeseen(record, zone, block, mt, ledger),
            }
        } else {
            self.take_unforeseen(record, zone, block, mt, ledger);
        }
        if self.per_cpu == PerCpu::Kept && self.is_cached(order) {
            self.alloc.by_hand(zone, CpuId::BOOT).cache(pfn, order, mt, Side::Refilled);
        }
    }

    /// Linux took another block than the first of the list.
    fn take_other(
        &mut self,
        record: &Record,
        zone: usize,
        block: (Pfn, Order),
        mt: MigrateType,
        first: Pfn,
        ledger: &mut Ledger,
    ) {
        let (pfn, order) = block;
        let listed = |buddy: &Buddy, at: Pfn| match buddy.frame(at) {
            Frame::Free { head, order } => {
                buddy.free_list(order, mt).any(|b| b == head).then_some(order)
            }
            _ => None,
        };
        let buddy = self.alloc.zones()[zone].buddy();
        let same_list = listed(buddy, first).is_some_and(|order| listed(buddy, pfn) == Some(order));
        let turned = same_list && mt == MigrateType::Movable && self.was_compacted(zone);
        let cause = if turned { Cause::ListRotation } else { Cause::Unexplained };
        let told = (format!("{first}"), format!("{pfn}"));
        ledger.miss(Kind::Taken, cause, record, told, (&self.alloc, zone, order, mt));
        if turned && let Frame::Free { head, .. } = self.alloc.zones()[zone].buddy().frame(pfn) {
            self.alloc.rotate_free_list(head, mt);
        }
        self.force(record, zone, block, mt, ledger);
    }

    /// Linux took a block though the emulator's list has none.
    fn take_unforeseen(
        &mut self,
        record: &Record,
        zone: usize,
        block: (Pfn, Order),
        mt: MigrateType,
        ledger: &mut Ledger,
    ) {
        let told = ("nothing".to_owned(), format!("{}", block.0));
        let at = (&self.alloc, zone, block.1, mt);
        ledger.miss(Kind::Taken, Cause::Unexplained, record, told, at);
        self.force(record, zone, block, mt, ledger);
    }

    /// Takes the recorded block wherever it is; a miss has been counted.
    pub(super) fn force(
        &mut self,
        record: &Record,
        zone: usize,
        block: (Pfn, Order),
        mt: MigrateType,
        ledger: &mut Ledger,
    ) {
        ledger.tally.resyncs += 1;
        let taken = self.alloc.by_hand(zone, CpuId::BOOT).take_at(block.0, block.1, mt);
        if let Err(error) = taken {
            ledger.note(record, error);
        }
    }

    fn page_alloc(
        &mut self,
        record: &Record,
        block: (Pfn, Order),
        gfp: GfpFlags,
        number: u8,
        ledger: &mut Ledger,
    ) {
        let (pfn, order) = block;
        let kept = self.per_cpu == PerCpu::Kept;
        let mt = self.type_of(number);
        // The refill, if there was one, is complete.
        self.stolen.take_if(|(pid, ..)| *pid == record.pid);
        let Some(zone) = self.zone(pfn) else {
            return ledger.impossible(Kind::Taken, record, "no such zone");
        };
        let mut hand = self.alloc.by_hand(zone, CpuId::BOOT);
        if kept {
            hand.uncache(pfn);
        }
        if order > Order::ZERO {
            self.handed = Some((record.pid, PfnRange::block(pfn, order)));
        }
        if let Some(mt) = mt
            && matches!(self.alloc.zones()[zone].buddy().frame(pfn), Frame::Free { .. })
        {
            let compacting = self.isolation.is_compacting();
            let cause = if compacting { Cause::Capture } else { Cause::Unexplained };
            let told = ("not free".to_owned(), format!("{pfn}"));
            ledger.miss(Kind::Taken, cause, record, told, (&self.alloc, zone, order, mt));
            self.force(record, zone, block, mt, ledger);
        }
        if gfp.intersects(MOVABLE) {
            self.alloc.by_hand(zone, CpuId::BOOT).set_movability(pfn, order, Movability::Movable);
        }
    }

    fn page_free(&mut self, step: &Step, block: (Pfn, Order), ledger: &mut Ledger) {
        let (pfn, order) = block;
        if self.is_return(&step.record, pfn) {
            return;
        }
        let Some(mut hand) = self.hand(pfn) else {
            return ledger.impossible(Kind::Drained, &step.record, "no such zone");
        };
        hand.set_movability(pfn, order, Movability::Unmovable);
        let range = PfnRange::block(pfn, order);
        if self.joining.take_if(|joining| *joining == range).is_some() {
            join(&mut self.alloc, &step.record, block, ledger);
        } else if self.is_exact_tail(step, range) {
            put(&mut self.alloc, &step.record, block, None, Placement::Tail, ledger);
        } else if !self.is_cached(order) {
            put(&mut self.alloc, &step.record, block, None, Placement::Likely, ledger);
        } else if !step.batched {
            self.commit(pfn, order);
        }
    }

    /// Whether a free is the next page behind those that `alloc_pages_exact()` keeps of the block
    /// that its task just got. 6.12 says so itself. Linux: `make_alloc_exact()`.
    fn is_exact_tail(&mut self, step: &Step, range: PfnRange) -> bool {
        let (Origin::Kernel, Some((pid, handed))) = (&self.origin, self.handed) else {
            return false;
        };
        let next = pid == step.record.pid
            && !step.batched
            && range.len() == PageCount::new(1)
            && handed.start() < range.start()
            && handed.contains(range.start())
            && self.fallback == FallbackRule::MoveThenTake;
        self.handed = (next && range.end() < handed.end())
            .then(|| (pid, PfnRange::new(range.start(), handed.end())));
        next
    }

    /// A freed page joins the per-CPU lists.
    fn commit(&mut self, pfn: Pfn, order: Order) {
        if self.per_cpu == PerCpu::Ignored {
            return;
        }
        if let Some(mut hand) = self.hand(pfn)
            && let Some(mt) = hand.migratetype(pfn)
        {
            hand.cache(pfn, order, mt, Side::Freed);
        }
    }

    fn free_one_page(
        &mut self,
        record: &Record,
        block: (Pfn, Order),
        args: (u32, Option<u32>),
        ledger: &mut Ledger,
    ) {
        let (pfn, order) = block;
        if !self.is_cached(order) {
            return;
        }
        let by_type = self.fallback == FallbackRule::ClaimThenSteal;
        let Some(hand) = self.hand(pfn) else {
            return ledger.impossible(Kind::Drained, record, "no such zone");
        };
        let isolated = hand.has_isolated();
        let mt = u8::try_from(args.0).ok().and_then(|number| self.type_of(number));
        let mt = mt.filter(|_| !by_type && !isolated);
        put(&mut self.alloc, record, block, mt, placement_of(self.fallback, args), ledger);
    }
}
