//! What memory hotplug does besides moving free blocks, which only other events tell.
//!
//! Taking memory away turns the zone's per-CPU lists off until it is gone or left alone;
//! afterwards, and when memory has joined, watermarks and the sizes of the lists are computed anew.

use pagelab_allocator::event::Sink;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::page_alloc::PageAllocator;
use pagelab_allocator::pcp::PcpSizes;
use pagelab_allocator::units::{CpuId, Pfn};
use pagelab_allocator::watermark::Tunables;

use super::isolation::type_of;
use crate::trace::{Record, TraceEvent};

/// Hotplug under way.
#[derive(Debug, Default)]
pub struct HotplugWatch {
    /// A contiguous range is being claimed: isolation belongs to it.
    claiming: bool,
    /// The zone whose per-CPU lists are off, and their sizes before.
    disabled: Option<(usize, PcpSizes)>,
    /// The first pageblock of memory that joins, until its zone is known.
    arriving: Option<Pfn>,
    /// The zone that memory joins.
    joining: Option<usize>,
    /// The task that is about to compute marks anew once it runs again.
    preempted: Option<u32>,
}

impl HotplugWatch {
    /// A task that was preempted between the end of isolation and the marks goes on.
    /// Linux: `init_per_zone_wmark_min()` at the end of `online_pages()`.
    #[inline]
    pub fn resume<S: Sink>(&mut self, alloc: &mut PageAllocator<S>, record: &Record) {
        if self.preempted.take_if(|pid| *pid == record.pid).is_some() {
            alloc.recompute_marks(&Tunables::default());
        }
    }

    /// Before an event is carried out.
    pub fn before<S: Sink>(&mut self, alloc: &mut PageAllocator<S>, record: &Record) {
        match record.event {
            TraceEvent::ContigEnter { .. } => self.claiming = true,
            TraceEvent::ContigExit { .. } => self.claiming = false,
            TraceEvent::SetPageblockType { pfn: Some(pfn), migratetype }
            | TraceEvent::MoveFreepagesIsolate { pfn: Some(pfn), migratetype }
                if !self.claiming && type_of(alloc, migratetype) == Some(MigrateType::Isolate) =>
            {
                self.isolated(alloc, pfn);
            }
            _ => {}
        }
    }

    /// A pageblock is isolated, and not for a claim. Linux: `offline_pages()`, `online_pages()`.
    fn isolated<S: Sink>(&mut self, alloc: &mut PageAllocator<S>, pfn: Pfn) {
        if !alloc.is_online(pfn) {
            self.arriving = Some(pfn);
            return;
        }
        let Some(zone) = alloc.zone_index(pfn) else { return };
        let mut hand = alloc.by_hand(zone, CpuId::BOOT);
        if self.disabled.is_none() && self.joining.is_none() {
            self.disabled = Some((zone, hand.pcp_sizes()));
            hand.set_pcp_sizes(PcpSizes::BOOT);
        }
    }

    /// After an event was carried out.
    pub fn after<S: Sink>(&mut self, alloc: &mut PageAllocator<S>, record: &Record) {
        match record.event {
            TraceEvent::Offline { .. } => {
                self.enable(alloc);
                alloc.recompute_marks(&Tunables::default());
            }
            TraceEvent::SetPageblockType { .. } | TraceEvent::MoveFreepagesIsolate { .. } => {
                if let Some(pfn) = self.arriving.take() {
                    self.joining = alloc.zone_index(pfn);
                }
                self.ended(alloc, record);
            }
            _ => {}
        }
    }

    fn enable<S: Sink>(&mut self, alloc: &mut PageAllocator<S>) {
        if let Some((zone, sizes)) = self.disabled.take() {
            alloc.by_hand(zone, CpuId::BOOT).set_pcp_sizes(sizes);
        }
    }

    /// The last pageblock may be isolated no more.
    fn ended<S: Sink>(&mut self, alloc: &mut PageAllocator<S>, record: &Record) {
        let over =
            |alloc: &mut PageAllocator<S>, zone| !alloc.by_hand(zone, CpuId::BOOT).has_isolated();
        if let Some(zone) = self.joining
            && over(alloc, zone)
        {
            self.joining = None;
            if record.need_resched {
                self.preempted = Some(record.pid);
            } else {
                alloc.recompute_marks(&Tunables::default());
            }
        }
        if let Some((zone, _)) = self.disabled
            && over(alloc, zone)
        {
            self.enable(alloc);
        }
    }
}

#[cfg(test)]
mod tests {
    use pagelab_allocator::boot::MachineSpec;
    use pagelab_allocator::event::Silent;
    use pagelab_allocator::geometry::Geometry;
    use pagelab_allocator::gfp::ZoneType;
    use pagelab_allocator::migratetype::TypeSet;
    use pagelab_allocator::profile::KernelProfile;
    use pagelab_allocator::units::{NodeId, Order, PageCount, PfnRange};
    use pagelab_allocator::watermark::Mark;
    use pagelab_allocator::zone::ZoneSpec;

    use super::*;
    use crate::replay::isolation::{Isolation, join};
    use crate::replay::ledger::Ledger;
    use crate::replay::origin::Origin;
    use crate::trace::{PageMap, Strictness, TraceReader};

    const MEMORY: PfnRange = PfnRange::new(Pfn::new(0x3000), Pfn::new(0x3400));
    const VMEMMAP: u64 = 0xffff_ea00_0000_0000;

    /// DMA32 below MOVABLE, everything free.
    fn machine() -> PageAllocator<Silent> {
        let (geometry, profile) = (Geometry::PAGES_4K, KernelProfile::V6_1);
        let low = PfnRange::new(Pfn::new(0x1000), MEMORY.start());
        let high = PfnRange::new(MEMORY.start(), Pfn::new(0x5000));
        let mut spec = MachineSpec::single(geometry, profile, ZoneType::Dma32, low);
        let node = NodeId::new(0);
        spec.zones.push(ZoneSpec { kind: ZoneType::Movable, node, span: high });
        spec.memory.push(high);
        // Type 4 is ISOLATE in the trace below.
        spec.types = TypeSet::WITHOUT_CMA;
        let mut state = PageAllocator::boot(&spec, Silent).expect("a machine").state();
        state.make_room();
        PageAllocator::restore(&state, Silent).expect("the same machine")
    }

    /// What Linux 6.1 says when `MEMORY` goes and joins again; a task waits for the CPU at the end.
    fn trace(state: &str) -> String {
        let blocks = || MEMORY.blocks(Order::of(9)).map(|pfn| VMEMMAP + pfn.get() * 64);
        let set = |page: u64, mt| format!("set_pageblock_migratetype: (x) page={page:#x} mt={mt}");
        let free =
            |page: u64, mt| format!("move_freepages_block: (x) zone=0x0 page={page:#x} mt={mt}");
        let (start, end) = (MEMORY.start(), MEMORY.end());
        let page = VMEMMAP + start.get() * 64;
        let mut events = vec!["tracing_mark_write: MEMBLOCK 3 set offline".to_owned()];
        events.extend(blocks().flat_map(|page| [set(page, 4), free(page, 4)]));
        events.push(format!("offline_isolated: (x) start={start} end={end}"));
        events.push(format!("tracing_mark_write: MEMBLOCK 3 set {state}"));
        events.extend(blocks().map(|page| set(page, 4)));
        events.push(format!("free_pages_core: (x) page={page:#x} order=10"));
        events.push(format!("mm_page_free: page={page:x} pfn={start} order=10"));
        events.extend(blocks().flat_map(|page| [free(page, 1), set(page, 1)]));
        events.push("tracing_mark_write: MEMBLOCK 3 rc 0".to_owned());
        let lines = events.iter().map(|event| format!("  task-1 [000] .N... 1.000000: {event}\n"));
        lines.collect()
    }

    /// The machine after each event.
    fn follow(state: &str) -> Vec<PageAllocator<Silent>> {
        let text = trace(state);
        let reader = TraceReader::new("t", text.as_bytes(), Strictness::Strict);
        let mut reader = reader.expect("a trace");
        reader.set_page_map(PageMap::Known { base: VMEMMAP, size: 64 });
        let (mut alloc, mut ledger) = (machine(), Ledger::default());
        let mut isolation = Isolation::new(alloc.zones().len(), Origin::Kernel);
        let mut watch = HotplugWatch::default();
        let mut after = Vec::new();
        for record in reader {
            let record = record.expect("a record");
            watch.resume(&mut alloc, &record);
            if let TraceEvent::PageFree { pfn, order } = record.event {
                join(&mut alloc, &record, (pfn, order), &mut ledger);
            } else {
                watch.before(&mut alloc, &record);
                isolation.step(&mut alloc, &record, &mut ledger);
                watch.after(&mut alloc, &record);
            }
            after.push(alloc.clone());
        }
        assert!(ledger.into_explained().0.causes.is_empty(), "a step was impossible");
        after
    }

    #[track_caller]
    fn check(state: &str, expected: ZoneType) {
        let after = follow(state);
        let alloc = after.last().expect("events");
        let zone = alloc.zone_of(MEMORY.start()).expect("it joined a zone");
        assert_eq!(zone.kind(), expected, "{state}");
        assert!(zone.managed() > PageCount::ZERO && zone.watermarks().low > PageCount::ZERO);
        alloc.check().expect("sound lists");
    }

    #[test]
    fn the_state_that_is_written_chooses_the_zone() {
        check("online", ZoneType::Normal);
        check("online_kernel", ZoneType::Normal);
        check("online_movable", ZoneType::Movable);
    }

    #[test]
    fn a_preempted_task_computes_marks_when_it_runs_again() {
        let after = follow("online");
        let low = |alloc: &PageAllocator<Silent>| {
            let zone = alloc.zones().iter().find(|zone| zone.kind() == ZoneType::Normal);
            zone.expect("a zone").watermarks().get(Mark::Low)
        };
        let [.., freed, last] = &after[..] else { panic!("there are events") };
        assert_eq!(low(freed), PageCount::ZERO);
        assert!(low(last) > PageCount::ZERO);
    }
}
