//! A worker by hand and by a thread: the same work comes to the same.

use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::event::Silent;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::ZoneType;
use pagelab_allocator::page_alloc::PageAllocator;
use pagelab_allocator::profile::{KernelProfile, MovablePcp};
use pagelab_allocator::smp::{Cpu, SharedAllocator};
use pagelab_allocator::sync::Arc;
use pagelab_allocator::units::{Order, PageCount, Pfn, PfnRange};
use pagelab_migrate::smp::page_table::{Access, SharedTable};
use pagelab_migrate::smp::worker::{Progress, Work, Worker, WorkerStats};
use pagelab_migrate::smp::{Placement, SharedMemory};
use pagelab_migrate::tag_storage::formula::Formula;
use pagelab_migrate::tag_storage::map::TagMap;
use pagelab_migrate::tag_storage::region::TagRegion;

const PAGES: usize = 24;

/// A machine of 1024 pages with 32 of tag storage, an address space with pages, and two CPUs.
fn machine() -> (Arc<SharedMemory>, Arc<SharedTable>, [Cpu; 2]) {
    let frames = |start, end| PfnRange::new(Pfn::new(start), Pfn::new(end));
    let (memory, tags) = (frames(0, 1056), frames(1024, 1056));
    let geometry = Geometry::new(12, Order::of(4), Order::of(8)).expect("a small geometry");
    let mut spec = MachineSpec::single(geometry, KernelProfile::V6_12, ZoneType::Normal, memory);
    spec.cpus = 2;
    spec.cma = vec![tags];
    spec.movable_pcp = Some(MovablePcp::OnlyWithCma);
    let alloc = PageAllocator::boot(&spec, Silent).expect("a small machine");
    let (alloc, cpus) = SharedAllocator::share(alloc).expect("one zone");
    let region = TagRegion::new(frames(0, 1024), tags, PageCount::new(1)).expect("a region");
    let map = TagMap::new(vec![region], geometry, Formula::Intent).expect("a region");
    let shared = Arc::new(SharedMemory::new(alloc, memory, map, Box::new(())));
    let mut cpus: [Cpu; 2] = cpus.try_into().expect("two CPUs");
    let table = shared.new_table(PAGES);
    for index in 0..PAGES {
        shared.map(&mut cpus[0], &table, index, Placement::Anywhere).expect("all is free");
    }
    (shared, table, cpus)
}

fn frames(table: &SharedTable) -> Vec<Pfn> {
    let frame = |index| table.access(index, Access::Read, |frame| frame).expect("it is mapped");
    (0..PAGES).map(frame).collect()
}

/// Compaction of the pageblock with the first page, and two blocks of tag storage.
fn work(table: &SharedTable) -> [Work; 5] {
    let crowded = PfnRange::block(frames(table)[0].align_down(Order::of(4)), Order::of(4));
    let (low, high) = (Work::Prepare(Pfn::new(0)), Work::Prepare(Pfn::new(1000)));
    [low, Work::Compact(crowded), high, Work::Drain, Work::Compact(crowded)]
}

fn by_hand() -> (Vec<Pfn>, WorkerStats) {
    let (memory, table, [cpu, own]) = machine();
    let mut worker = Worker::new(Arc::clone(&memory), own);
    work(&table).into_iter().for_each(|work| worker.accept(work));
    while worker.step() == Progress::Worked {}
    let (_own, stats) = worker.finish();
    memory.check(std::slice::from_ref(&table), PageCount::ZERO).expect("all is in place");
    drop(cpu);
    (frames(&table), stats)
}

#[test]
fn steps_come_to_the_same_each_time() {
    let (places, stats) = by_hand();
    assert_eq!((places.clone(), stats), by_hand());
    assert!(stats.moved > 0 && stats.prepared == 2, "{stats:?}");
}

#[test]
fn a_thread_does_what_was_sent_before_the_channel_closed() {
    let (memory, table, [mut cpu, own]) = machine();
    let (sender, inbox) = crossbeam_channel::unbounded();
    let worker = Worker::new(Arc::clone(&memory), own);
    let running = std::thread::spawn(move || worker.run(&inbox));
    for work in work(&table) {
        sender.send(work).expect("the worker listens");
    }
    drop(sender);
    let (_own, stats) = running.join().expect("the worker stops");
    assert_eq!((frames(&table), stats), by_hand());
    memory.exit(&mut cpu, table);
    memory.check(&[], PageCount::ZERO).expect("every page came back");
}
