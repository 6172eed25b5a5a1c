//! What isolation, contiguous claims, compaction and hotplug do to the lists, as recorded.
//!
//! These are requests of users of the allocator that the recording names step by step, so they are
//! carried out at every level; what may be refused is predicted.

use pagelab_allocator::buddy::Placement;
use pagelab_allocator::by_hand::{ByHand, HandError};
use pagelab_allocator::event::Sink;
use pagelab_allocator::frame::Movability;
use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::hotplug::Hotplug;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::online::OnlineTo;
use pagelab_allocator::page_alloc::PageAllocator;
use pagelab_allocator::units::{CpuId, NodeId, Order, PageCount, Pfn, PfnRange};

use super::cause::Cause;
use super::ledger::Ledger;
use super::origin::Origin;
use super::rotation::CompactionRun;
use super::tally::Kind;
use crate::trace::{BlockState, Isolator, Marker, Record, TraceEvent};

/// Isolation under way.
#[derive(Debug)]
pub struct Isolation {
    /// A free block that is being isolated; whether it may be is said by a later event.
    isolating: Option<(Pfn, Order)>,
    /// 6.1: type that the pageblock named last had before it got its present one.
    former: Option<(Pfn, MigrateType)>,
    /// Where memory that joins is wanted.
    wanted: OnlineTo,
    /// The compaction under way.
    run: Option<CompactionRun>,
    origin: Origin,
    /// Zones whose lists compaction may have turned around since they were last known, by position.
    compacted: Vec<bool>,
}

/// Wishes that only pages have which can be moved: pages that carry tags are users'.
pub const MOVABLE: GfpFlags = GfpFlags::MOVABLE.union(GfpFlags::TAGGED);

/// Recorded machines have one node.
const NODE: NodeId = NodeId::new(0);

/// Where a state that is written to a memory block wants it.
const fn wanted(state: BlockState) -> OnlineTo {
    match state {
        BlockState::OnlineKernel => OnlineTo::Kernel,
        BlockState::OnlineMovable => OnlineTo::Movable,
        BlockState::Online | BlockState::Offline => OnlineTo::Default,
    }
}

/// The type that the recorded kernel prints as `number`.
pub fn type_of<S: Sink>(alloc: &PageAllocator<S>, number: u8) -> Option<MigrateType> {
    alloc.types().from_number(usize::from(number))
}

/// The zone of a frame, to be moved by hand.
pub fn hand_of<S: Sink>(alloc: &mut PageAllocator<S>, pfn: Pfn) -> Option<ByHand<'_>> {
    let zone = alloc.zone_index(pfn)?;
    Some(alloc.by_hand(zone, CpuId::BOOT))
}

/// Takes what is in use in MOVABLE pageblocks for movable: nothing says what it is.
pub fn guess_movability<S: Sink>(alloc: &mut PageAllocator<S>) {
    for at in 0..alloc.zones().len() {
        let mut hand = alloc.by_hand(at, CpuId::BOOT);
        for pfn in hand.span().iter() {
            if hand.migratetype(pfn).is_some_and(MigrateType::is_movable) {
                hand.set_movability(pfn, Order::ZERO, Movability::Movable);
            }
        }
    }
}

/// Hands a block of memory over that has just joined. Linux: `__free_pages_core()`.
pub fn join<S: Sink>(
    alloc: &mut PageAllocator<S>,
    record: &Record,
    block: (Pfn, Order),
    ledger: &mut Ledger,
) {
    put(alloc, record, block, None, Placement::Tail, ledger);
    if let Some(zone) = alloc.zone_index(block.0) {
        alloc.adjust_managed(zone, block.1.pages(), Hotplug::Joins);
    }
}

/// Frees a recorded block to the lists of `mt`, or of its pageblocks.
pub fn put<S: Sink>(
    alloc: &mut PageAllocator<S>,
    record: &Record,
    block: (Pfn, Order),
    mt: Option<MigrateType>,
    placement: Placement,
    ledger: &mut Ledger,
) {
    let (pfn, order) = block;
    let Some(mut hand) = hand_of(alloc, pfn) else {
        return ledger.impossible(Kind::Drained, record, "no such zone");
    };
    let done = match mt {
        Some(mt) => hand.put(pfn, order, mt, placement),
        None => hand.put_by_type(pfn, order, placement),
    };
    if let Err(error) = done {
        ledger.impossible(Kind::Drained, record, &error.to_string());
    }
}

/// Cuts a free block in two, as 6.1 does at a boundary of isolation.
fn split_free<S: Sink>(
    alloc: &mut PageAllocator<S>,
    record: &Record,
    (pfn, offset): (Pfn, PageCount),
    ledger: &mut Ledger,
) {
    let done = hand_of(alloc, pfn).map(|mut hand| hand.split_free(pfn, offset));
    let error = match done {
        Some(Ok(())) => return,
        Some(Err(error)) => error,
        None => HandError::OutsideZone(pfn, Order::ZERO),
    };
    ledger.impossible(Kind::Isolated, record, &error.to_string());
}

/// 6.12: isolates a pageblock or ends its isolation; says whether there are such a type and zone.
/// Linux: `move_freepages_block_isolate()`.
fn change_isolation<S: Sink>(alloc: &mut PageAllocator<S>, pfn: Pfn, number: u8) -> bool {
    let Some(mt) = type_of(alloc, number) else { return false };
    let Some(mut hand) = hand_of(alloc, pfn) else { return false };
    hand.change_isolation(pfn, mt);
    true
}

/// Turns the list of a free block around; says whether there is such a list.
fn turn<S: Sink>(alloc: &mut PageAllocator<S>, pfn: Pfn, number: u8) -> bool {
    let mt = type_of(alloc, number);
    let mut listed = |mt| hand_of(alloc, pfn).is_some_and(|hand| hand.is_listed(pfn, mt));
    let Some(mt) = mt.filter(|mt| listed(*mt)) else { return false };
    alloc.rotate_free_list(pfn, mt);
    true
}

impl Isolation {
    /// Nothing is under way in a machine of so many zones.
    #[must_use]
    pub fn new(zones: usize, origin: Origin) -> Self {
        Self {
            origin,
            isolating: None,
            former: None,
            wanted: OnlineTo::Default,
            run: None,
            compacted: vec![false; zones],
        }
    }

    /// The lists are as dumped now: only a compaction that is under way may still turn them around.
    pub fn know_lists(&mut self) {
        let under_way = self.run.as_ref().map(|run| run.zone);
        for (zone, compacted) in self.compacted.iter_mut().enumerate() {
            *compacted &= under_way == Some(zone);
        }
    }

    /// Whether compaction may have turned lists of this zone around since they were last known.
    #[must_use]
    pub fn was_compacted(&self, zone: usize) -> bool {
        self.compacted.get(zone).copied().unwrap_or(false)
    }

    /// Whether a zone is being compacted.
    #[must_use]
    pub const fn is_compacting(&self) -> bool {
        self.run.is_some()
    }

    /// Whether the free of a page is none, but the return of a target to the compacting task.
    #[must_use]
    pub fn is_return(&self, record: &Record, pfn: Pfn) -> bool {
        let run = self.run.as_ref().filter(|_| self.origin.is_kernel());
        run.is_some_and(|run| run.is_return(record.pid, pfn))
    }

    /// The compaction under way, if what its searches did to the lists has to be inferred.
    fn inferred(&mut self) -> Option<&mut CompactionRun> {
        self.run.as_mut().filter(|_| self.origin.is_kernel())
    }

    /// Carries an event out, if it is one of these.
    pub fn step<S: Sink>(
        &mut self,
        alloc: &mut PageAllocator<S>,
        record: &Record,
        ledger: &mut Ledger,
    ) {
        match record.event {
            TraceEvent::IsolateFreePage { pfn, order } => {
                self.isolating = pfn.map(|pfn| (pfn, order));
            }
            TraceEvent::IsolateFreePageExit { pages, caller } => {
                self.note_target(alloc, caller);
                self.isolate(alloc, record, pages, ledger);
            }
            TraceEvent::PutbackIsolated { pfn: Some(pfn), order, migratetype } => {
                let mt = type_of(alloc, migratetype);
                put(alloc, record, (pfn, order), mt, Placement::Tail, ledger);
            }
            TraceEvent::SplitFreePage { pfn: Some(pfn), offset, .. } => {
                split_free(alloc, record, (pfn, offset), ledger);
            }
            TraceEvent::Offline { range } => {
                if let Some(zone) = alloc.zone_index(range.start()) {
                    alloc.by_hand(zone, CpuId::BOOT).withdraw(range);
                    alloc.adjust_managed(zone, range.len(), Hotplug::Leaves);
                }
            }
            TraceEvent::Marker(Marker::MemoryBlock { state, .. }) => self.wanted = wanted(state),
            _ => self.types(alloc, record, ledger),
        }
    }

    /// Types of pageblocks, and blocks that move between lists.
    fn types<S: Sink>(
        &mut self,
        alloc: &mut PageAllocator<S>,
        record: &Record,
        ledger: &mut Ledger,
    ) {
        const NO_TYPE: &str = "no such type or zone";
        let (done, lacking) = match record.event {
            TraceEvent::SetPageblockType { pfn: Some(pfn), migratetype } => {
                (self.set_type(alloc, pfn, migratetype), NO_TYPE)
            }
            TraceEvent::MoveFreepages { pfn: Some(pfn), migratetype } => {
                (self.move_free(alloc, pfn, migratetype), NO_TYPE)
            }
            TraceEvent::MoveFreepagesIsolate { pfn: Some(pfn), migratetype } => {
                (change_isolation(alloc, pfn, migratetype), NO_TYPE)
            }
            TraceEvent::TurnFreeList { pfn: Some(pfn), migratetype } => {
                (turn(alloc, pfn, migratetype), "no such list")
            }
            _ => return self.compaction(alloc, record),
        };
        if !done {
            ledger.impossible(Kind::Isolated, record, lacking);
        }
    }

    /// What compaction says about itself.
    fn compaction<S: Sink>(&mut self, alloc: &mut PageAllocator<S>, record: &Record) {
        match record.event {
            TraceEvent::IsolateMigratepages(scan) => {
                if let Some(run) = self.inferred() {
                    run.scanned_sources(alloc, scan);
                }
            }
            TraceEvent::IsolateFreepages(scan) => {
                if let Some(run) = self.inferred() {
                    run.scanned_targets(alloc, scan);
                }
            }
            TraceEvent::CompactionBegin(scanners) => {
                let zone = alloc.zone_index(scanners.zone);
                if let Some(noted) = zone.and_then(|zone| self.compacted.get_mut(zone)) {
                    *noted = true;
                }
                self.run = zone.map(|zone| CompactionRun::new(zone, scanners, record.pid));
            }
            TraceEvent::MigratePages(_) => {
                if let Some(run) = &mut self.run {
                    run.moved(record.pid);
                }
            }
            TraceEvent::CompactionEnd(scanners) => {
                let run = self.run.take().filter(|_| self.origin.is_kernel());
                if let Some(mut run) = run {
                    run.end(alloc, scanners);
                }
            }
            _ => {}
        }
    }

    fn isolate<S: Sink>(
        &mut self,
        alloc: &mut PageAllocator<S>,
        record: &Record,
        pages: u64,
        ledger: &mut Ledger,
    ) {
        let Some((pfn, order)) = self.isolating.take() else {
            return ledger.impossible(Kind::Isolated, record, "no block to isolate was named");
        };
        let Some(zone) = alloc.zone_index(pfn) else {
            return ledger.impossible(Kind::Isolated, record, "no such zone");
        };
        let mut hand = alloc.by_hand(zone, CpuId::BOOT);
        let foreseen = hand.free_order(pfn).filter(|_| hand.may_isolate(pfn, order));
        let taken = (pages > 0).then_some(order);
        let done = if pages > 0 { hand.isolate(pfn).map(|_| ()) } else { Ok(()) };
        if let Some(run) = self.run.as_mut().filter(|_| pages > 0) {
            run.took_target(pfn, order);
            for page in PfnRange::block(pfn, order).iter() {
                hand.set_movability(page, Order::ZERO, Movability::Movable);
            }
        }
        if foreseen == taken {
            return ledger.tally.hit(Kind::Isolated);
        }
        let name = |order: Option<Order>| match order {
            Some(order) => format!("{pfn} of order {order}"),
            None => "refused".to_owned(),
        };
        let at = (&*alloc, zone, order, MigrateType::Movable);
        let told = (name(foreseen), name(taken));
        let cause = match done {
            Ok(()) => Cause::CounterDrift,
            Err(_) => Cause::Unexplained,
        };
        ledger.miss(Kind::Isolated, cause, record, told, at);
        ledger.tally.resyncs += 1;
    }

    /// A free block is about to be isolated: compaction may have found it on its list.
    fn note_target<S: Sink>(&mut self, alloc: &mut PageAllocator<S>, caller: Isolator) {
        let (Some((pfn, _)), Some(run)) = (self.isolating, self.inferred()) else { return };
        if !run.learns_from(caller) {
            return;
        }
        if alloc.by_hand(run.zone, CpuId::BOOT).is_listed(pfn, MigrateType::Movable) {
            run.found_target(alloc, pfn, caller);
        }
    }

    /// Says whether there are such a type and zone.
    fn set_type<S: Sink>(&mut self, alloc: &mut PageAllocator<S>, pfn: Pfn, number: u8) -> bool {
        let Some(mt) = type_of(alloc, number) else { return false };
        if !alloc.is_online(pfn) {
            // The first that is said of memory that joins.
            let block = alloc.geometry().pageblock_range(pfn);
            alloc.move_to_zone(NODE, block, self.wanted);
        }
        let Some(mut hand) = hand_of(alloc, pfn) else { return false };
        let former = hand.migratetype(pfn);
        hand.set_type(pfn, mt);
        self.former = former.map(|former| (pfn, former));
        true
    }

    /// 6.1: the free blocks of a pageblock move. Which of its callers moves them shows in the
    /// types: a raid is left to its own event. Says whether there are such a type and zone.
    fn move_free<S: Sink>(&mut self, alloc: &mut PageAllocator<S>, pfn: Pfn, number: u8) -> bool {
        let Some(mt) = type_of(alloc, number) else { return false };
        let former = self.former.take().filter(|(at, _)| *at == pfn).map(|(_, former)| former);
        let Some(mut hand) = hand_of(alloc, pfn) else { return false };
        let Some(now) = hand.migratetype(pfn) else { return false };
        let from = former.unwrap_or(now);
        match (now, mt) {
            (MigrateType::Isolate, MigrateType::Isolate) => {
                hand.move_free(pfn, former.unwrap_or(MigrateType::Movable), mt);
            }
            (MigrateType::Isolate, _) => hand.move_free(pfn, now, mt),
            // The type may have been announced before.
            _ if from != mt && [from, mt].contains(&MigrateType::HighAtomic) => {
                hand.set_type(pfn, mt);
                hand.move_free(pfn, from, mt);
            }
            _ => {}
        }
        true
    }
}
