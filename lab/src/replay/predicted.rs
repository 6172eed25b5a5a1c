//! The predicted machine: driven by what users of the allocator ask for and give back.
//!
//! Which zone serves a request, when a per-CPU list is refilled or drained and by how much, and
//! which page comes out are the emulator's own doing. What it says it did is compared with what was
//! recorded, event by event. After a miss the lists are taken over from the recorded machine, as
//! soon as that is between two requests; tuning and counters go on as they are.

use std::collections::VecDeque;

use pagelab_allocator::buddy::Placement;
use pagelab_allocator::event::{Event, Silent};
use pagelab_allocator::frame::Frame;
use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::page_alloc::PageAllocator;
use pagelab_allocator::pcp_by_hand::{BelowHighMark, Reclaim};
use pagelab_allocator::units::{CpuId, Order, Pfn, PfnRange};

use super::attempts::Attempts;
use super::cause::Cause;
use super::fallback;
use super::hotplug::HotplugWatch;
use super::isolation::{Isolation, guess_movability, join, put, type_of};
use super::ledger::Ledger;
use super::origin::Origin;
use super::recorded::placement_of;
use super::said::{Expected, Said};
use super::tally::Kind;
use super::timer::{StatTimer, Waiting};
use super::tuning::{self, Mark};
use super::window::Step;
use crate::case::freelists::ZoneFlags;
use crate::trace::{Marker, Record, SnapPhase, TraceEvent};

/// A bulk request under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bulk {
    pub(super) pid: u32,
    gfp: GfpFlags,
    /// Pages asked for.
    asked: u64,
    /// Single requests that it has made instead.
    pub(super) single: u64,
}

/// Lists as predicted.
#[derive(Debug)]
pub struct Predicted {
    /// The lists.
    pub alloc: PageAllocator<Said>,
    pub(super) origin: Origin,
    pub(super) attempts: Attempts,
    isolation: Isolation,
    /// Recorded events that are not compared yet, with their lines.
    pub(super) told: VecDeque<(u64, Event)>,
    /// Why the lists are not those of the recorded machine any more.
    pub(super) astray: Option<Cause>,
    pub(super) bulk: Option<Bulk>,
    /// Pages that bulk requests got, until a mapping shows the recorded ones.
    handed: Vec<Pfn>,
    joining: Option<PfnRange>,
    hotplug: HotplugWatch,
    /// The zone in which a drain was foreseen that did not happen.
    pub(super) too_low: Option<usize>,
    /// The node's reclaimer runs.
    pub(super) reclaiming: bool,
    /// The task that entered Linux's `drain_pages_zone()`, until its next event; which zone it is,
    /// the first drained page says.
    pub(super) emptying: Option<u32>,
    /// Blocks of the refill at hand that were foreseen and recorded.
    pub(super) refilled: u64,
    /// When counters catch up and per-CPU lists shrink.
    pub(super) timer: StatTimer,
    /// The page that came back last.
    pub(super) freed: Option<Pfn>,
    /// A page that was predicted in place of another, until it is handed out after all.
    pub(super) expected: Option<Expected>,
}

/// An event names a type that the recorded kernel does not have.
const NO_TYPE: &str = "no such type";

impl Predicted {
    /// Starts from a machine's lists.
    #[must_use]
    pub fn new(
        alloc: PageAllocator<Said>,
        flags: &[ZoneFlags],
        timer: StatTimer,
        origin: Origin,
    ) -> Self {
        let mut alloc = alloc;
        guess_movability(&mut alloc);
        let mut fresh = Self {
            isolation: Isolation::new(alloc.zones().len(), origin.clone()),
            alloc,
            origin,
            attempts: Attempts::default(),
            told: VecDeque::new(),
            astray: None,
            bulk: None,
            handed: Vec::new(),
            joining: None,
            hotplug: HotplugWatch::default(),
            too_low: None,
            reclaiming: false,
            emptying: None,
            refilled: 0,
            timer,
            freed: None,
            expected: None,
        };
        for flag in flags {
            fresh.set_flags(flag);
        }
        fresh
    }

    /// The statistics timer as it stands.
    #[must_use]
    pub const fn timer(&self) -> StatTimer {
        self.timer
    }

    fn set_flags(&mut self, flags: &ZoneFlags) {
        let zones = self.alloc.zones();
        let Some(at) = zones.iter().position(|zone| zone.kind() == flags.kind) else { return };
        let mut hand = self.alloc.by_hand(at, CpuId::BOOT);
        hand.set_reclaim(if flags.reclaim_active { Reclaim::Active } else { Reclaim::Idle });
        hand.set_below_high(if flags.below_high { BelowHighMark::Yes } else { BelowHighMark::No });
    }

    /// The trace stands still: whatever is open is settled.
    pub fn finish(&mut self, line: u64, recorded: &PageAllocator<Silent>, ledger: &mut Ledger) {
        self.settle(line, ledger);
        self.resync(recorded, ledger);
    }

    /// Goes on from other lists: those of a snapshot that differed.
    pub fn restart(&mut self, recorded: &PageAllocator<Silent>) {
        for (at, zone) in recorded.zones().iter().enumerate() {
            self.alloc.by_hand(at, CpuId::BOOT).adopt(zone);
        }
    }

    /// Before an event is carried out on the recorded machine: takes that one's lists over if the
    /// last request or free was predicted wrongly and is complete.
    pub fn before(&mut self, step: &Step, recorded: &PageAllocator<Silent>, ledger: &mut Ledger) {
        let goes_on = matches!(step.record.event, TraceEvent::PcpuDrain { .. });
        if goes_on || self.astray.is_none() && self.alloc.sink().0.is_empty() {
            return;
        }
        self.settle(step.record.line, ledger);
        self.resync(recorded, ledger);
    }

    /// Takes the recorded lists over, when the last prediction missed.
    pub fn resync(&mut self, recorded: &PageAllocator<Silent>, ledger: &mut Ledger) {
        let Some(cause) = self.astray.take() else { return };
        ledger.tally.resyncs += 1;
        self.restart(recorded);
        if cause == Cause::CounterDrift {
            for zone in 0..self.alloc.zones().len() {
                self.alloc.by_hand(zone, CpuId::BOOT).collect_counts();
            }
        }
        if let Some(zone) = self.too_low.take() {
            tuning::correct(&mut self.alloc, zone, Mark::Higher);
        }
    }

    /// Foresees what an event brings about, and compares what was recorded with what was foreseen.
    pub fn step(&mut self, step: &Step, ledger: &mut Ledger) {
        let record = &step.record;
        self.hotplug.resume(&mut self.alloc, record);
        self.reclaim(step);
        let waiting = if record.need_resched { Waiting::Yes } else { Waiting::No };
        if self.timer.ticks(record.timestamp, waiting) {
            self.tick();
        }
        let emptying = self.emptying.take_if(|pid| *pid == record.pid);
        match record.event {
            TraceEvent::ZoneLocked { pfn, order, migratetype, .. } => {
                let Some(migratetype) = type_of(&self.alloc, migratetype) else {
                    return ledger.impossible(Kind::Taken, record, NO_TYPE);
                };
                self.hear(record, Event::ZoneLocked { pfn, order, migratetype }, ledger);
            }
            TraceEvent::PcpuDrain { pfn, order, migratetype } => {
                let Some(migratetype) = type_of(&self.alloc, migratetype) else {
                    return ledger.impossible(Kind::Drained, record, NO_TYPE);
                };
                if emptying.is_some() {
                    self.empty(pfn);
                }
                self.drained(record, Event::PcpuDrain { pfn, order, migratetype }, ledger);
            }
            TraceEvent::Extfrag(raw) => {
                let Some(told) = fallback::told(&self.alloc, &raw) else {
                    return ledger.impossible(Kind::Extfrag, record, NO_TYPE);
                };
                self.hear(record, Event::Extfrag(told), ledger);
            }
            TraceEvent::PageAlloc { pfn, order, gfp, .. } => {
                self.page_alloc(record, pfn, order, gfp, ledger);
            }
            TraceEvent::PageAllocFailed { order, gfp, .. } => {
                self.page_refused(record, order, gfp, ledger);
            }
            TraceEvent::PageFree { pfn, order } => self.page_free(step, pfn, order, ledger),
            TraceEvent::PageFreeBatched { pfn } => self.free(pfn, Order::ZERO, record, ledger),
            _ if self.attempts.note(&mut self.alloc, &record.event) => {}
            _ => self.rare(record, ledger),
        }
    }

    /// A snapshot begins or is over.
    fn marker(&mut self, phase: SnapPhase, now: u64) {
        match phase {
            SnapPhase::Begin => self.timer.hold(),
            // The emulator's own run has no timer.
            SnapPhase::Resume if self.origin.is_kernel() => self.timer.release(now),
            SnapPhase::End | SnapPhase::Resume => {}
        }
    }

    /// Events that are not of every request.
    fn rare(&mut self, record: &Record, ledger: &mut Ledger) {
        match record.event {
            TraceEvent::NoPage { order, gfp, flags } => {
                self.no_page(record, (order, gfp), flags, ledger);
            }
            TraceEvent::BulkEnter { gfp, asked } => {
                let gfp = GfpFlags::from_bits_truncate(gfp);
                self.bulk = Some(Bulk { pid: record.pid, gfp, asked, single: 0 });
            }
            TraceEvent::BulkExit { got } => self.bulk_exit(record, got, ledger),
            TraceEvent::VmapPages(ref map) => {
                let recorded: Vec<_> = map.pages.iter().copied().flatten().collect();
                self.compare_bulk(record, &recorded, ledger);
            }
            TraceEvent::DrainPages { .. } => self.emptying = Some(record.pid),
            TraceEvent::FreeOnePage { pfn, order, arg, flags } => {
                let placement = self.placement((arg, flags));
                self.free_past_pcp(record, (pfn, order), placement, ledger);
            }
            TraceEvent::Online { pfn: Some(pfn), order } => {
                self.joining = Some(PfnRange::block(pfn, order));
            }
            TraceEvent::Marker(Marker::Snapshot { phase, .. }) => {
                self.marker(phase, record.timestamp);
            }
            // Told before the request ends that sets the pageblock aside: it will do so here as
            // well.
            TraceEvent::SetPageblockType { migratetype, .. }
            | TraceEvent::MoveFreepages { migratetype, .. }
                if type_of(&self.alloc, migratetype) == Some(MigrateType::HighAtomic) => {}
            _ => {
                self.hotplug.before(&mut self.alloc, record);
                self.isolation.step(&mut self.alloc, record, ledger);
                self.hotplug.after(&mut self.alloc, record);
            }
        }
    }

    /// Follows the node's reclaimer.
    fn reclaim(&mut self, step: &Step) {
        if self.reclaiming == step.reclaiming {
            return;
        }
        self.reclaiming = step.reclaiming;
        let reclaim = if self.reclaiming { Reclaim::Active } else { Reclaim::Idle };
        for at in 0..self.alloc.zones().len() {
            self.alloc.by_hand(at, CpuId::BOOT).set_reclaim(reclaim);
        }
    }

    fn page_free(&mut self, step: &Step, pfn: Pfn, order: Order, ledger: &mut Ledger) {
        let range = PfnRange::block(pfn, order);
        if self.joining.take_if(|joining| *joining == range).is_some() {
            join(&mut self.alloc, &step.record, (pfn, order), ledger);
        } else if self.isolation.is_return(&step.record, pfn) {
            // It stays with the compacting task.
        } else if !step.batched && !self.goes_past(step, pfn) {
            self.free(pfn, order, &step.record, ledger);
        }
    }

    /// Whether a free goes past the per-CPU lists for a reason that only the recording knows.
    fn goes_past(&self, step: &Step, pfn: Pfn) -> bool {
        let known = [Some(MigrateType::Isolate), Some(MigrateType::Metadata)];
        step.past_pcp && !known.contains(&self.alloc.pageblock_type(pfn))
    }

    fn free(&mut self, pfn: Pfn, order: Order, record: &Record, ledger: &mut Ledger) {
        let Some(zone) = self.alloc.zone_index(pfn) else {
            return ledger.impossible(Kind::Drained, record, "no such zone");
        };
        self.freed = Some(pfn);
        if let Err(error) = self.alloc.free_by_hand(zone, CpuId::BOOT, pfn, order) {
            self.astray.get_or_insert(Cause::Unexplained);
            ledger.impossible(Kind::Drained, record, &error.to_string());
        }
    }

    /// Where the emulator put a page past the per-CPU lists; kernels' are guessed.
    fn placement(&self, args: (u32, Option<u32>)) -> Placement {
        match self.origin {
            Origin::Kernel => Placement::Likely,
            Origin::Emulator(_) => placement_of(self.alloc.profile().rules().fallback, args),
        }
    }

    /// The per-CPU lists were busy when a page came back, or the design refused it.
    fn free_past_pcp(
        &mut self,
        record: &Record,
        (pfn, order): (Pfn, Order),
        placement: Placement,
        ledger: &mut Ledger,
    ) {
        let isolated = self.alloc.pageblock_type(pfn) == Some(MigrateType::Isolate);
        let free = matches!(self.alloc.frame(pfn), Frame::Free { .. });
        if !isolated && !free {
            ledger.tally.resyncs += u64::from(placement == Placement::Likely);
            put(&mut self.alloc, record, (pfn, order), None, placement, ledger);
        }
    }

    fn bulk_exit(&mut self, record: &Record, got: u64, ledger: &mut Ledger) {
        let Some(bulk) = self.bulk.take() else { return };
        let wanted = got.saturating_sub(bulk.single);
        if bulk.asked < wanted {
            return ledger.impossible(Kind::Bulk, record, "more pages than were asked for");
        }
        if wanted == 0 {
            return;
        }
        let wanted = usize::try_from(wanted).unwrap_or(0);
        let pages = self.alloc.alloc_pages_bulk(CpuId::BOOT, bulk.gfp, wanted);
        self.compare(ledger);
        self.settle(record.line, ledger);
        self.handed = pages.into_iter().map(|pages| pages.into_raw().0).collect();
        if self.handed.len() < wanted {
            self.astray.get_or_insert(Cause::BulkAllocation);
            let said = (format!("{} pages", self.handed.len()), format!("{wanted} pages"));
            self.differ(Kind::Bulk, Cause::BulkAllocation, record.line, said, ledger);
        }
    }

    fn compare_bulk(&mut self, record: &Record, recorded: &[Pfn], ledger: &mut Ledger) {
        let handed = core::mem::take(&mut self.handed);
        for (own, theirs) in handed.iter().zip(recorded) {
            if own == theirs {
                ledger.tally.hit(Kind::Bulk);
                continue;
            }
            self.astray.get_or_insert(Cause::BulkAllocation);
            let said = (own.to_string(), theirs.to_string());
            self.differ(Kind::Bulk, Cause::BulkAllocation, record.line, said, ledger);
        }
    }
}
