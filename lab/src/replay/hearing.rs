//! Recorded events heard against those that were foreseen, one by one and in order.

use pagelab_allocator::event::Event;
use pagelab_allocator::frame::Frame;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::profile::PcpTuning;
use pagelab_allocator::units::{Order, Pfn};

use super::cause::Cause;
use super::fallback::is_movability;
use super::ledger::Ledger;
use super::predicted::Predicted;
use super::said::{kind, show};
use super::tally::Kind;
use crate::trace::Record;

impl Predicted {
    /// A recorded event about the lists, to be compared with what is foreseen or will be.
    pub(super) fn hear(&mut self, record: &Record, event: Event, ledger: &mut Ledger) {
        self.told.push_back((record.line, event));
        self.compare(ledger);
    }

    /// Compares as many events as both sides have.
    pub(super) fn compare(&mut self, ledger: &mut Ledger) {
        while let (Some((line, told)), Some(said)) =
            (self.told.front(), self.alloc.sink().0.front())
        {
            let (line, told, said) = (*line, *told, *said);
            if said == told && self.astray.is_none() {
                self.refilled += u64::from(kind(&told) == Kind::Taken);
                ledger.tally.hit(kind(&told));
            } else {
                let cause = self.astray.unwrap_or_else(|| self.cause_of(&said, &told));
                self.astray = Some(cause);
                self.differ(kind(&told), cause, line, (show(&said), show(&told)), ledger);
            }
            self.told.pop_front();
            self.alloc.sink_mut().0.pop_front();
        }
    }

    /// What was foreseen and did not happen, which is one miss however much it is, and what
    /// happened and was not foreseen, each a miss.
    pub(super) fn settle(&mut self, line: u64, ledger: &mut Ledger) {
        if self.alloc.sink().0.is_empty() && self.told.is_empty() {
            self.refilled = 0;
            return;
        }
        let foreseen = core::mem::take(&mut self.alloc.sink_mut().0);
        if let Some(first) = foreseen.front() {
            if let Event::PcpuDrain { pfn, .. } = first {
                self.too_low = self.alloc.zone_index(*pfn);
            }
            let cause = self.astray.unwrap_or_else(|| self.cause_of_foreseen(first));
            self.astray = Some(cause);
            let more = foreseen.len() - 1;
            let rest = if more > 0 { format!(", and {more} more") } else { String::new() };
            let said = (show(first) + &rest, "nothing".to_owned());
            self.differ(kind(first), cause, line, said, ledger);
        }
        for (line, event) in core::mem::take(&mut self.told) {
            let cause = self.astray.unwrap_or_else(|| self.cause_of_recorded(&event));
            self.astray = Some(cause);
            self.differ(kind(&event), cause, line, ("nothing".to_owned(), show(&event)), ledger);
        }
        self.refilled = 0;
    }

    /// Counts a miss that is about no list in particular.
    pub(super) fn differ(
        &self,
        kind: Kind,
        cause: Cause,
        line: u64,
        said: (String, String),
        ledger: &mut Ledger,
    ) {
        let place = (&self.alloc, self.busiest(), Order::ZERO, MigrateType::Movable);
        ledger.miss_at(kind, cause, line, said, place);
    }

    /// The zone with most memory, for misses that name none.
    fn busiest(&self) -> usize {
        let zones = self.alloc.zones().iter().enumerate();
        zones.max_by_key(|(_, zone)| zone.managed()).map_or(0, |(at, _)| at)
    }

    /// Why a foreseen event is not the recorded one.
    fn cause_of(&self, said: &Event, told: &Event) -> Cause {
        match (said, told) {
            (Event::Extfrag(said), Event::Extfrag(told)) if is_movability(said, told) => {
                Cause::Movability
            }
            (
                Event::ZoneLocked { migratetype: a, pfn, .. },
                Event::ZoneLocked { migratetype: b, .. },
            ) if a != b
                && (*a == MigrateType::Cma || *b == MigrateType::Cma)
                && self.is_near_half(*pfn) =>
            {
                Cause::CounterDrift
            }
            (Event::PcpuDrain { .. }, Event::PcpuDrain { .. }) => Cause::Unexplained,
            (Event::PcpuDrain { .. }, _) => self.cause_of_foreseen(said),
            (_, Event::PcpuDrain { .. }) => self.cause_of_recorded(told),
            _ if self.reclaiming => Cause::TaskState,
            _ => Cause::Unexplained,
        }
    }

    /// Whether CMA pages are so close to half of the free pages of a zone, as its counters say,
    /// that their lag decides which kind a movable request gets. Linux: `__rmqueue()`.
    fn is_near_half(&self, pfn: Pfn) -> bool {
        let Some(zone) = self.alloc.zone_of(pfn) else { return false };
        let (free, lag) = (zone.counted(), zone.counting_lag().get());
        // Both counters may be ahead or behind, and the refill at hand has moved them.
        let refill = self.refilled + self.alloc.sink().0.len() as u64;
        (2 * free.cma.get()).abs_diff(free.all.get()) <= 2 * (3 * lag + refill)
    }

    /// Why a foreseen event was not recorded. When the lists are drained is a matter of their
    /// tuning.
    fn cause_of_foreseen(&self, event: &Event) -> Cause {
        match event {
            Event::PcpuDrain { .. } => Cause::PcpTuning,
            _ => self.cause_of_taken(event),
        }
    }

    /// Why a recorded event was not foreseen. A drain of a page that is on no per-CPU list has
    /// nothing to do with their tuning.
    pub(super) fn cause_of_recorded(&self, event: &Event) -> Cause {
        match event {
            Event::PcpuDrain { pfn, .. } => match self.alloc.frame(*pfn) {
                Frame::PerCpu { .. } => Cause::PcpTuning,
                _ => Cause::Unexplained,
            },
            _ => self.cause_of_taken(event),
        }
    }

    /// Why only one side has a block taken. How large a refill is adapts to the traffic on 6.12;
    /// that there is one at all, or how large it is on 6.1, does not.
    fn cause_of_taken(&self, event: &Event) -> Cause {
        let adapts = self.alloc.profile().rules().pcp == PcpTuning::Adaptive;
        match event {
            Event::ZoneLocked { .. } if self.refilled > 0 && adapts => Cause::PcpTuning,
            _ if self.reclaiming => Cause::TaskState,
            _ => Cause::Unexplained,
        }
    }
}

#[cfg(test)]
mod tests {
    use pagelab_allocator::boot::MachineSpec;
    use pagelab_allocator::event::Silent;
    use pagelab_allocator::geometry::Geometry;
    use pagelab_allocator::gfp::{GfpFlags, ZoneType};
    use pagelab_allocator::page_alloc::{AllocRequest, PageAllocator};
    use pagelab_allocator::profile::KernelProfile;
    use pagelab_allocator::units::{CpuId, PfnRange};

    use super::*;
    use crate::replay::origin::Origin;
    use crate::replay::said::Said;
    use crate::replay::timer::StatTimer;

    fn machine() -> Predicted {
        let span = PfnRange::new(Pfn::new(0x1000), Pfn::new(0x9000));
        let (geometry, profile) = (Geometry::PAGES_4K, KernelProfile::V6_12);
        let spec = MachineSpec::single(geometry, profile, ZoneType::Dma32, span);
        let mut alloc = PageAllocator::boot(&spec, Said::default()).expect("a machine");
        // Two blocks past the per-CPU lists; the counters wait for more.
        for _ in 0..2 {
            let request = AllocRequest::new(Order::of(9), GfpFlags::KERNEL);
            let _ = alloc.alloc_pages(CpuId::BOOT, &request).expect("it is there").into_raw();
        }
        let request = AllocRequest::new(Order::ZERO, GfpFlags::KERNEL);
        let _ = alloc.alloc_pages(CpuId::BOOT, &request).expect("it is there").into_raw();
        alloc.sink_mut().0.clear();
        Predicted::new(alloc, &[], StatTimer::default(), Origin::Kernel)
    }

    #[test]
    fn counters_catch_up_after_their_lag_showed() {
        let lag = |predicted: &Predicted| {
            let zone = &predicted.alloc.zones()[0];
            zone.counted().all.get().abs_diff(zone.free_pages().all.get())
        };
        for (cause, expected) in [(Cause::Unexplained, false), (Cause::CounterDrift, true)] {
            let mut predicted = machine();
            assert!(lag(&predicted) > 0, "nothing lags behind");
            let state = predicted.alloc.state();
            let recorded = PageAllocator::restore(&state, Silent).expect("the same machine");
            predicted.astray = Some(cause);
            let mut ledger = Ledger::default();
            predicted.resync(&recorded, &mut ledger);
            assert_eq!(lag(&predicted) == 0, expected, "{cause}");
            assert_eq!(ledger.tally.resyncs, 1);
        }
    }

    #[test]
    fn what_is_foreseen_in_excess_is_one_miss() {
        let mut predicted = machine();
        predicted.empty(Pfn::new(0x1000));
        let foreseen = predicted.alloc.sink().0.len();
        assert!(foreseen > 1);
        let mut ledger = Ledger::default();
        predicted.settle(7, &mut ledger);
        let (mut tally, _) = ledger.into_explained();
        assert_eq!(tally.settle().predictions, 1);
        let miss = tally.causes[&Cause::PcpTuning].1.clone().expect("the first");
        assert!(miss.predicted.ends_with(&format!(", and {} more", foreseen - 1)), "{miss:?}");
    }
}
