//! A synthetic run with its events, and what the reader should make of each of them.

use pagelab::background::Background;
use pagelab::drive::Driver;
use pagelab::emit::{Kernel, Task, TraceWriter};
use pagelab::logical::{ContigOwner, Op, PageId, PageSpan, Step};
use pagelab::machine::{self, MachinePlan};
use pagelab::plan::Design;
use pagelab::trace::{self, Migration, Scanned, Scanners, TraceEvent};
use pagelab_allocator::buddy::Placement;
use pagelab_allocator::event::{CompactionScan, Event, Isolation, Isolator};
use pagelab_allocator::fallback::Ownership;
use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::{CpuId, Order, PageCount};
use pagelab_migrate::emulator::Emulator;

/// A run as text and as events, each with the task that caused it.
pub(crate) struct Written {
    pub(crate) kernel: Kernel,
    pub(crate) text: String,
    pub(crate) events: Vec<(u32, Event)>,
}

fn driver(design: Design, profile: KernelProfile) -> Driver<Vec<Event>> {
    let background = Background { movable: PageCount::new(300), ..Background::default() };
    let plan =
        MachinePlan { memory: 32 << 20, cma: 4 << 20, block_size: 4096, profile, background };
    let spec = machine::spec(&plan, design.build()).expect("it fits");
    let emulator = Emulator::new(&spec, Vec::new()).expect("a machine");
    let mut driver = Driver::new(emulator, &background, None).expect("room for everything");
    driver.sink_mut().clear();
    driver
}

/// How a kernel of the profile prints.
pub(crate) fn kernel(profile: KernelProfile) -> Kernel {
    Kernel::of(&driver_state(profile))
}

fn driver_state(profile: KernelProfile) -> pagelab_allocator::restore::MachineState {
    let mut state = driver(Design::Carveout, profile).emulator().page_alloc().state();
    // The zone of the recorded machines: 512 MiB from 1 GiB.
    let span = &mut state.zones[0].spec.span;
    *span = pagelab_allocator::units::PfnRange::from_len(span.start(), PageCount::new(131_072));
    state
}

struct Script {
    driver: Driver<Vec<Event>>,
    writer: TraceWriter<Vec<u8>>,
    events: Vec<(u32, Event)>,
    next: u64,
}

impl Script {
    fn step(&mut self, pid: u32, op: Op) {
        self.driver.step(&Step { line: 0, timestamp: 0, cpu: CpuId::BOOT, pid, op });
        for event in self.driver.sink_mut().drain(..) {
            self.writer.event(Task { pid, cpu: 0 }, &event).expect("a vector takes everything");
            self.events.push((pid, event));
        }
    }

    fn alloc(&mut self, pid: u32, order: u8, gfp: GfpFlags) -> PageId {
        let id = PageId(self.next);
        self.next += 1;
        self.step(pid, Op::Alloc { id, order: Order::of(order), gfp });
        id
    }

    fn free(&mut self, id: PageId, pages: u32) {
        self.step(7, Op::Free { id, span: PageSpan { first: 0, pages } });
    }

    fn contig(&mut self, pages: u64, owner: ContigOwner) -> PageId {
        let id = PageId(self.next);
        self.next += 1;
        self.step(9, Op::AllocContig { id, pages: PageCount::new(pages), owner });
        id
    }
}

const USER: GfpFlags = GfpFlags::HIGHUSER_MOVABLE;

/// A run on a small machine that fills it, thins it out, and wants what is hard to have: blocks,
/// other types' memory, ranges, tags.
pub(crate) fn run(design: Design, profile: KernelProfile) -> Written {
    let driver = driver(design, profile);
    let kernel = Kernel::of(&driver.emulator().page_alloc().state());
    let writer = TraceWriter::new(Vec::new(), kernel.clone()).expect("a vector takes everything");
    let mut script = Script { driver, writer, events: Vec::new(), next: 0 };
    // From two pages the reader learns where this kernel keeps its `struct page`s.
    for _ in 0..2 {
        script.alloc(7, 0, USER);
    }
    let early = script.contig(64, ContigOwner::Cma);
    script.free(early, 64);
    let pages: Vec<_> = (0..6400).map(|_| script.alloc(7, 0, USER)).collect();
    for id in pages.iter().skip(1).step_by(2) {
        script.free(*id, 1);
    }
    let tagged = script.alloc(8, 0, USER | GfpFlags::TAGGED);
    for id in pages.iter().step_by(16) {
        script.step(8, Op::Tag { id: *id, page: 0 });
    }
    let blocks: Vec<_> = (0..40).map(|_| script.alloc(7, 4, GfpFlags::KERNEL)).collect();
    for _ in 0..40 {
        script.alloc(7, 1, GfpFlags::KERNEL | GfpFlags::RECLAIMABLE);
        script.alloc(7, 2, GfpFlags::ATOMIC);
    }
    for (pages, owner) in
        [(300, ContigOwner::Cma), (700, ContigOwner::Cma), (64, ContigOwner::Anyone)]
    {
        let range = script.contig(pages, owner);
        script.free(range, u32::try_from(pages).expect("small"));
    }
    script.alloc(7, 9, USER);
    script.alloc(7, 10, USER);
    for id in blocks.into_iter().chain([tagged]) {
        script.free(id, 1);
    }
    for id in pages.iter().step_by(2) {
        script.free(*id, 1);
    }
    script.step(9, Op::Snapshot { index: 0, phase: trace::SnapPhase::Begin });
    for blocks in [1, 2, 3, 5, 7] {
        let pages = blocks * 512;
        let range = script.contig(pages, ContigOwner::Anyone);
        script.free(range, u32::try_from(pages).expect("small"));
    }
    let text = String::from_utf8(script.writer.into_inner()).expect("text");
    Written { kernel, text, events: script.events }
}

/// What the reader should make of an event: written down a second time, from the reader's side.
pub(crate) fn expected(event: &Event, kernel: &Kernel) -> Vec<TraceEvent> {
    let number = |mt| u8::try_from(kernel.types.number(mt).expect("known")).expect("few types");
    let one = match *event {
        Event::PageAlloc { pfn: Some(pfn), order, migratetype, gfp } => {
            TraceEvent::PageAlloc { pfn, order, migratetype: number(migratetype), gfp }
        }
        Event::PageAlloc { pfn: None, order, migratetype, gfp } => {
            TraceEvent::PageAllocFailed { order, migratetype: number(migratetype), gfp }
        }
        Event::PageFree { pfn, order } => TraceEvent::PageFree { pfn, order },
        Event::ZoneLocked { pfn, order, migratetype } => {
            let migratetype = number(migratetype);
            let percpu_refill = migratetype < 3 && (order.get() < 4 || order.get() == 9);
            TraceEvent::ZoneLocked { pfn, order, migratetype, percpu_refill }
        }
        Event::PcpuDrain { pfn, order, migratetype } => {
            TraceEvent::PcpuDrain { pfn, order, migratetype: number(migratetype) }
        }
        Event::Extfrag(e) => TraceEvent::Extfrag(trace::Extfrag {
            pfn: e.pfn,
            alloc_order: e.alloc_order,
            fallback_order: e.fallback_order,
            alloc_migratetype: number(e.alloc_migratetype),
            fallback_migratetype: number(e.fallback_migratetype),
            change_ownership: e.change_ownership == Ownership::Changed,
        }),
        Event::IsolateFreePage { pfn, order, taken, isolator } => {
            let caller = match isolator {
                Isolator::BlockScan => trace::Isolator::BlockScan,
                Isolator::FastSearch | Isolator::EndOfIsolation => trace::Isolator::Other,
            };
            return vec![
                TraceEvent::IsolateFreePage { pfn: Some(pfn), order },
                TraceEvent::IsolateFreePageExit { pages: taken.get(), caller },
            ];
        }
        Event::ContigEnter { range, migratetype } => {
            TraceEvent::ContigEnter { range, migratetype: number(migratetype) }
        }
        Event::ContigExit { ret } => TraceEvent::ContigExit { ret },
        Event::ContigFree { range } => TraceEvent::ContigFree { range },
        Event::CmaAllocStart { count, align } => {
            TraceEvent::CmaAllocStart { count, align: u32::from(align.get()) }
        }
        Event::CmaAllocFinish { pfn, count, ret, .. } => {
            TraceEvent::CmaAllocFinish { pfn: pfn.filter(|_| ret == 0), count }
        }
        Event::CmaRelease { range } => TraceEvent::CmaRelease { range },
        Event::MigratePages(m) => TraceEvent::MigratePages(Box::new(Migration {
            succeeded: m.succeeded.get(),
            failed: m.failed.get(),
            thp_succeeded: m.thp_succeeded,
            thp_failed: m.thp_failed,
            thp_split: m.thp_split,
            split: (kernel.profile == KernelProfile::V6_12).then_some(0),
            reason: m.reason.into(),
        })),
        Event::CompactionBegin(scan) => TraceEvent::CompactionBegin(scanners(&scan)),
        Event::CompactionEnd { scan, .. } => TraceEvent::CompactionEnd(scanners(&scan)),
        Event::IsolateMigratepages(part) => TraceEvent::IsolateMigratepages(scanned(&part)),
        Event::IsolateFreepages(part) => TraceEvent::IsolateFreepages(scanned(&part)),
        Event::WakeKswapd { .. } => TraceEvent::WakeupKswapd,
        Event::NoPage { order, gfp, flags } => TraceEvent::NoPage { order, gfp, flags },
        Event::TermsEnter { order, gfp, granted, barred } => {
            TraceEvent::TermsEnter { order, gfp, granted, barred }
        }
        Event::TermsExit => TraceEvent::TermsExit,
        Event::BalanceEnter { highest, .. } => TraceEvent::BalanceEnter { highest },
        Event::BalanceExit { .. } => TraceEvent::BalanceExit,
        _ => return vec![probed(event, kernel)],
    };
    vec![one]
}

/// What the reader should make of a probe on a function that changes lists or types.
fn probed(event: &Event, kernel: &Kernel) -> TraceEvent {
    let number = |mt| u8::try_from(kernel.types.number(mt).expect("known")).expect("few types");
    match *event {
        Event::FreeOnePage { pfn, order, migratetype, placement } => {
            let tail = placement == Placement::Tail;
            let (arg, flags) = match kernel.profile {
                KernelProfile::V6_1 => (u32::from(number(migratetype)), tail.then_some(2)),
                KernelProfile::V6_12 => (if tail { 2 } else { 0 }, None),
            };
            TraceEvent::FreeOnePage { pfn, order, arg, flags }
        }
        Event::DrainPagesZone { cpu, node, kind } => TraceEvent::DrainPages {
            cpu: u16::try_from(cpu.index()).expect("few CPUs"),
            zone: kernel.zone_named(node, kind),
        },
        Event::SetPageblockMigratetype { pfn, migratetype } => {
            TraceEvent::SetPageblockType { pfn: Some(pfn), migratetype: number(migratetype) }
        }
        Event::MoveFreepagesBlock { pfn, migratetype } => {
            TraceEvent::MoveFreepages { pfn: Some(pfn), migratetype: number(migratetype) }
        }
        Event::MoveFreepagesBlockIsolate { pfn, migratetype } => {
            TraceEvent::MoveFreepagesIsolate { pfn: Some(pfn), migratetype: number(migratetype) }
        }
        Event::TurnFreeList { pfn, migratetype } => {
            TraceEvent::TurnFreeList { pfn: Some(pfn), migratetype: number(migratetype) }
        }
        Event::SplitFreePage { pfn, order, offset } => {
            TraceEvent::SplitFreePage { pfn: Some(pfn), order, offset }
        }
        Event::PutbackIsolated { pfn, order, migratetype } => {
            TraceEvent::PutbackIsolated { pfn: Some(pfn), order, migratetype: number(migratetype) }
        }
        _ => TraceEvent::Other(other(event).into()),
    }
}

fn scanners(scan: &CompactionScan) -> Scanners {
    Scanners { zone: scan.zone.start(), migrate: scan.migrate, free: scan.free }
}

fn scanned(part: &Isolation) -> Scanned {
    let (start, end) = (part.range.start(), part.range.end());
    Scanned { start, end, scanned: part.scanned, taken: part.taken.get() }
}

/// The names of events whose fields the reader passes over.
fn other(event: &Event) -> &'static str {
    match event {
        Event::TestPagesIsolated { .. } => "test_pages_isolated",
        Event::CmaBusyRetry { .. } => "cma_alloc_busy_retry",
        _ => panic!("an event that the reader should know: {event:?}"),
    }
}
