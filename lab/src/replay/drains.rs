//! Drains as recorded: by a free, by the statistics timer, or of a CPU's lists as a whole.

use pagelab_allocator::event::Event;
use pagelab_allocator::units::{CpuId, Pfn};

use super::cause::Cause;
use super::ledger::Ledger;
use super::predicted::Predicted;
use super::said::show;
use super::tally::Kind;
use super::tuning::{self, Mark};
use crate::trace::Record;

/// The kernel threads in which the statistics timer does its work. Linux: `vmstat_update()`.
const WORKER: &[u8] = b"kworker";

impl Predicted {
    /// The statistics timer ticks. Linux: `vmstat_update()`.
    pub(super) fn tick(&mut self) {
        for zone in 0..self.alloc.zones().len() {
            self.alloc.tick_zone(zone);
        }
    }

    /// All that the CPU has of the zone of a page goes back. Linux: `drain_pages_zone()`.
    pub(super) fn empty(&mut self, first: Pfn) {
        if let Some(zone) = self.alloc.zone_index(first)
            && self.alloc.sink().0.is_empty()
        {
            self.alloc.drain_cpu(CpuId::BOOT, zone);
        }
    }

    /// A block went from the per-CPU lists to the buddy lists.
    pub(super) fn drained(&mut self, record: &Record, block: Event, ledger: &mut Ledger) {
        if self.alloc.sink().0.is_empty() && self.astray.is_none() {
            self.drained_unforeseen(record, &block, ledger);
        }
        if self.alloc.sink().0.is_empty() {
            let cause = self.astray.unwrap_or_else(|| self.cause_of_recorded(&block));
            self.astray = Some(cause);
            let said = ("nothing".to_owned(), show(&block));
            return self.differ(Kind::Drained, cause, record.line, said, ledger);
        }
        self.hear(record, block, ledger);
    }

    /// Nothing was foreseen: either the timer ticked, which then counts as a resync, or the lists'
    /// mark is another one.
    fn drained_unforeseen(&mut self, record: &Record, block: &Event, ledger: &mut Ledger) {
        if record.comm.as_bytes().starts_with(WORKER) {
            ledger.tally.resyncs += 1;
            self.timer.tick(record.timestamp);
            self.tick();
        }
        if let Event::PcpuDrain { pfn, .. } = block
            && self.alloc.sink().0.is_empty()
            && self.cause_of_recorded(block) == Cause::PcpTuning
            && let Some(zone) = self.alloc.zone_index(*pfn)
        {
            tuning::correct(&mut self.alloc, zone, Mark::Reached);
        }
    }
}

#[cfg(test)]
mod tests {
    use pagelab_allocator::boot::MachineSpec;
    use pagelab_allocator::event::Event;
    use pagelab_allocator::geometry::Geometry;
    use pagelab_allocator::gfp::{GfpFlags, ZoneType};
    use pagelab_allocator::page_alloc::PageAllocator;
    use pagelab_allocator::pcp::{PcpCounters, PcpSizes};
    use pagelab_allocator::profile::KernelProfile;
    use pagelab_allocator::units::PfnRange;

    use super::*;
    use crate::replay::origin::Origin;
    use crate::replay::said::Said;
    use crate::replay::tally::{Score, Tally};
    use crate::replay::timer::StatTimer;
    use crate::replay::window::Step;
    use crate::trace::{Comm, TraceEvent};

    /// A machine with pages on its per-CPU lists, and what it drains when `act` is done to it.
    fn machine(act: impl Fn(&mut Predicted)) -> (Predicted, Vec<Event>) {
        let span = PfnRange::new(Pfn::new(0x1000), Pfn::new(0x9000));
        let (geometry, profile) = (Geometry::PAGES_4K, KernelProfile::V6_12);
        let spec = MachineSpec::single(geometry, profile, ZoneType::Dma32, span);
        let mut alloc = PageAllocator::boot(&spec, Said::default()).expect("a machine");
        let pages = alloc.alloc_pages_bulk(CpuId::BOOT, GfpFlags::KERNEL, 400);
        for page in pages {
            let (pfn, order) = page.into_raw();
            alloc.free_by_hand(0, CpuId::BOOT, pfn, order).expect("it was taken");
        }
        let mut hand = alloc.by_hand(0, CpuId::BOOT);
        let count = u32::try_from(hand.pcp_count().get()).expect("few pages");
        hand.set_pcp_sizes(PcpSizes { batch: 1, high_min: 1, high_max: count });
        hand.set_pcp_counters(PcpCounters { high: count, ..hand.pcp_counters() });
        alloc.sink_mut().0.clear();
        let fresh = |alloc| Predicted::new(alloc, &[], StatTimer::default(), Origin::Kernel);
        let mut other = fresh(alloc.clone());
        act(&mut other);
        let drained = other.alloc.sink().0.iter().copied().collect();
        (fresh(alloc), drained)
    }

    fn step(comm: &str, pid: u32, event: TraceEvent) -> Step {
        let comm = Comm::new(comm.as_bytes());
        let record =
            Record { line: 1, comm, pid, cpu: 0, timestamp: 5, need_resched: false, event };
        Step { record, batched: false, past_pcp: false, reclaiming: false, lost: false }
    }

    fn drains(comm: &str, pid: u32, events: &[Event]) -> Vec<Step> {
        let told = |event: &Event| match *event {
            Event::PcpuDrain { pfn, order, .. } => {
                TraceEvent::PcpuDrain { pfn, order, migratetype: 0 }
            }
            ref other => panic!("{other:?} is no drain"),
        };
        events.iter().map(|event| step(comm, pid, told(event))).collect()
    }

    fn follow(predicted: &mut Predicted, steps: &[Step]) -> (Tally, Score) {
        let mut ledger = Ledger::default();
        steps.iter().for_each(|step| predicted.step(step, &mut ledger));
        predicted.settle(9, &mut ledger);
        let (mut tally, _) = ledger.into_explained();
        let score = tally.settle();
        (tally, score)
    }

    #[test]
    fn a_tick_that_only_its_drains_tell_is_a_resync() {
        let (mut predicted, drained) = machine(Predicted::tick);
        assert!(drained.len() > 1, "a tick shrinks the lists");
        let (tally, score) = follow(&mut predicted, &drains("kworker/0:1", 7, &drained));
        assert_eq!((tally.resyncs, score.exact), (1, drained.len() as u64));
        assert_eq!(score.predictions, score.exact);
        let (mut predicted, _) = machine(Predicted::tick);
        let (tally, score) = follow(&mut predicted, &drains("task", 7, &drained));
        assert_eq!((tally.resyncs, score.exact), (0, 0), "nobody else ticks");
        assert_eq!(tally.causes[&Cause::PcpTuning].0, drained.len() as u64);
    }

    #[test]
    fn lists_are_emptied_by_the_drain_that_was_announced_and_no_later_one() {
        let (mut predicted, drained) = machine(|predicted| predicted.empty(Pfn::new(0x1000)));
        let announced = || step("task", 7, TraceEvent::DrainPages { cpu: 0, zone: 0 });
        let mut steps = vec![announced()];
        steps.extend(drains("task", 7, &drained));
        let (_, score) = follow(&mut predicted, &steps);
        assert_eq!((score.exact, score.predictions), (drained.len() as u64, score.exact));

        let (mut predicted, _) = machine(|_| ());
        let mut steps = vec![announced(), step("task", 7, TraceEvent::KswapdSleep)];
        steps.extend(drains("task", 7, &drained[..1]));
        let (tally, score) = follow(&mut predicted, &steps);
        assert_eq!((score.exact, score.predictions), (0, 1), "the announced one drained nothing");
        assert_eq!(tally.causes[&Cause::PcpTuning].0, 1);
    }

    #[test]
    fn a_drain_of_a_page_on_no_list_is_not_explained() {
        let (mut predicted, drained) = machine(Predicted::tick);
        let twice = [&drained[..1], &drained[..1]].concat();
        let (tally, _) = follow(&mut predicted, &drains("kworker/0:1", 7, &twice));
        assert!(tally.causes.contains_key(&Cause::Unexplained), "{tally:?}");
    }
}
