//! What is of another machine is refused before anything happens, and what a host's panic leaves.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::event::Silent;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::ZoneType;
use pagelab_allocator::page_alloc::PageAllocator;
use pagelab_allocator::profile::{KernelProfile, MovablePcp};
use pagelab_allocator::smp::{Asymmetric, Cpu, SharedAllocator};
use pagelab_allocator::sync::Arc;
use pagelab_allocator::units::{Order, PageCount, Pfn, PfnRange};
use pagelab_migrate::smp::page_table::{Access, Fault, SharedTable};
use pagelab_migrate::smp::{Contents, Placement, SharedMemory};
use pagelab_migrate::tag_storage::formula::Formula;
use pagelab_migrate::tag_storage::map::TagMap;
use pagelab_migrate::tag_storage::region::TagRegion;

const DATA: PfnRange = PfnRange::new(Pfn::new(0), Pfn::new(1024));
const TAGS: PfnRange = PfnRange::new(Pfn::new(1024), Pfn::new(1056));
const MEMORY: PfnRange = PfnRange::new(Pfn::new(0), Pfn::new(1056));

fn machine_with(contents: Box<dyn Contents>) -> (SharedMemory, Cpu) {
    let geometry = Geometry::new(12, Order::of(4), Order::of(8)).expect("a small geometry");
    let mut spec = MachineSpec::single(geometry, KernelProfile::V6_12, ZoneType::Normal, MEMORY);
    spec.cma = vec![TAGS];
    spec.movable_pcp = Some(MovablePcp::OnlyWithCma);
    spec.tunables.min_free_kbytes = Some(0);
    let alloc = PageAllocator::boot(&spec, Silent).expect("a small machine");
    let (alloc, mut cpus) = SharedAllocator::share(alloc).expect("one zone");
    let region = TagRegion::new(DATA, TAGS, PageCount::new(1)).expect("a region");
    let map = TagMap::new(vec![region], geometry, Formula::Intent).expect("a region");
    (SharedMemory::new(alloc, MEMORY, map, contents), cpus.pop().expect("one CPU"))
}

/// A machine and a program that has one page of it.
fn machine() -> (SharedMemory, Cpu, Arc<SharedTable>) {
    let (memory, mut cpu) = machine_with(Box::new(()));
    let table = memory.new_table(2);
    memory.map(&mut cpu, &table, 0, Placement::Taggable).expect("all is free");
    table.mprotect_mte(0..1);
    (memory, cpu, table)
}

/// What a panic says.
#[track_caller]
fn panics<R>(work: impl FnOnce() -> R) -> String {
    let Err(said) = catch_unwind(AssertUnwindSafe(work)) else { panic!("it does not panic") };
    match said.downcast::<&str>() {
        Ok(text) => (*text).to_owned(),
        Err(said) => *said.downcast().expect("a text"),
    }
}

#[test]
fn no_call_takes_the_cpu_of_another_machine() {
    let (memory, mut own, table) = machine();
    let (_, mut cpu, _) = machine();
    let frame = DATA.start();
    let pinned = memory.pin_frame(&mut own, frame).expect("somebody has it");
    let said = [
        panics(|| memory.map(&mut cpu, &table, 1, Placement::Anywhere)),
        panics(|| memory.unmap(&mut cpu, &table, 0)),
        panics(|| memory.exit(&mut cpu, Arc::clone(&table))),
        panics(|| memory.fork(&mut cpu, &table)),
        panics(|| memory.write_fault(&mut cpu, &table, 0)),
        panics(|| memory.pin(&mut cpu, &table, 0, Access::Write)),
        panics(|| memory.pin_frame(&mut cpu, frame)),
        panics(|| memory.tag_fault(&mut cpu, &table, 0)),
        panics(|| memory.populate_tags(&mut cpu, &table, 0..1)),
        panics(|| memory.migrate_frame(&mut cpu, frame, Placement::Anywhere)),
        panics(|| memory.migrate_frames(&mut cpu, &[frame], Placement::Anywhere)),
        panics(|| memory.reserve_tags(&mut cpu, frame)),
        panics(|| memory.release_tags(&mut cpu, frame)),
    ];
    assert!(said.iter().all(|said| said == "a CPU of another machine"), "{said:?}");
    memory.unpin(&mut own, pinned);
    memory.check(&[table], PageCount::ZERO).expect("nothing happened");
}

#[test]
fn no_call_takes_pages_of_another_machine() {
    let (memory, mut own, table) = machine();
    let (other, mut cpu, others) = machine();
    let pinned = memory.pin_frame(&mut own, DATA.start()).expect("somebody has it");
    let said = [
        panics(|| other.map(&mut cpu, &table, 1, Placement::Anywhere)),
        panics(|| other.unmap(&mut cpu, &table, 0)),
        panics(|| other.exit(&mut cpu, Arc::clone(&table))),
        panics(|| other.fork(&mut cpu, &table)),
        panics(|| other.write_fault(&mut cpu, &table, 0)),
        panics(|| other.pin(&mut cpu, &table, 0, Access::Write)),
        panics(|| other.tag_fault(&mut cpu, &table, 0)),
        panics(|| other.populate_tags(&mut cpu, &table, 0..1)),
        panics(|| other.unpin(&mut cpu, pinned)),
    ];
    assert!(said.iter().all(|said| said == "pages of another machine"), "{said:?}");
    other.check(&[others], PageCount::ZERO).expect("nothing happened");
    // The pin went with the call, and holds its page for ever.
    memory.exit(&mut own, table);
    assert_eq!(memory.alloc().whereabouts().held, PageCount::new(1));
}

#[test]
fn an_access_that_panics_leaves_its_page_as_it_was() {
    let (memory, mut cpu) = machine_with(Box::new(()));
    let table = memory.new_table(1);
    memory.map(&mut cpu, &table, 0, Placement::Anywhere).expect("all is free");
    let access = || table.access(0, Access::Write, |_| panic!("as the test wants"));
    assert_eq!(panics(access), "as the test wants");
    table.access(0, Access::Write, |_| ()).expect("it is there");
    memory.check(&[table], PageCount::ZERO).expect("all is in place");
}

/// Copies nothing from the first frames.
#[derive(Debug)]
struct Broken;

impl Contents for Broken {
    fn copy(&self, from: Pfn, _to: Pfn) {
        assert!(from.get() > 0, "as the test wants");
    }

    fn copy_tags(&self, _from: Pfn, _to: Pfn) {}

    fn clear(&self, _frame: Pfn) {}
}

#[test]
fn a_copy_that_panics_leaves_only_its_page_behind() {
    let (memory, mut cpu) = machine_with(Box::new(Broken));
    let [broken, table] = [1, 8].map(|pages| memory.new_table(pages));
    memory.map(&mut cpu, &broken, 0, Placement::Anywhere).expect("all is free");
    let frame = broken.access(0, Access::Read, |frame| frame).expect("it is mapped");
    assert_eq!(frame, DATA.start());
    // What stays is not copied.
    let pinned = memory.pin_frame(&mut cpu, frame).expect("somebody has it");
    assert_eq!(memory.migrate_frames(&mut cpu, &[frame], Placement::Taggable), 0);
    memory.unpin(&mut cpu, pinned);
    let moves = |cpu: &mut Cpu, frame| memory.migrate_frame(cpu, frame, Placement::Taggable);
    assert_eq!(panics(|| moves(&mut cpu, frame)), "as the test wants");
    assert_eq!(broken.access(0, Access::Read, |_| ()), Err(Fault::Moving));
    for index in 0..8 {
        memory.map(&mut cpu, &table, index, Placement::Anywhere).expect("there is room");
        let frame = table.access(index, Access::Read, |frame| frame).expect("it is mapped");
        moves(&mut cpu, frame).expect("nobody is in the way");
    }
    memory.check(&[Arc::clone(&broken)], PageCount::ZERO).expect_err("a page is about to move");
    memory.exit(&mut cpu, table);
    memory.exit(&mut cpu, broken);
    assert_eq!(memory.alloc().check(), Ok(()));
    assert_eq!(memory.alloc().whereabouts().held, PageCount::new(2), "its frames");
}

#[test]
fn tags_that_nobody_reserved_are_not_released() {
    let (memory, mut cpu, table) = machine();
    let frame = DATA.start();
    for _ in 0..2 {
        let said = panics(|| memory.release_tags(&mut cpu, frame));
        assert_eq!(said, "a tagged page's block is reserved");
        memory.check(&[Arc::clone(&table)], PageCount::ZERO).expect("nothing happened");
    }
    memory.reserve_tags(&mut cpu, frame).expect("all is free");
    memory.release_tags(&mut cpu, frame);
    memory.check(&[table], PageCount::ZERO).expect("all is in place");
}

#[test]
fn frames_of_no_machine_have_no_pages() {
    let (memory, mut cpu, table) = machine();
    let frames = [DATA.start(), Pfn::new(1 << 30)];
    let moved = catch_unwind(AssertUnwindSafe(|| {
        memory.migrate_frames(&mut cpu, &frames, Placement::Anywhere)
    }));
    memory.check(&[table], PageCount::ZERO).expect("all is in place");
    assert_eq!(moved.expect("no panic"), 1);
    assert!(memory.pin_frame(&mut cpu, frames[1]).is_none());
}

#[test]
fn an_entry_that_is_not_there_gets_no_page() {
    let (memory, mut cpu, table) = machine();
    let said = panics(|| memory.map(&mut cpu, &table, 2, Placement::Anywhere));
    assert_eq!(said, "the table has such an entry");
    memory.check(&[table], PageCount::ZERO).expect("nothing happened");
}

/// Blocks of three pages lie across the borders of pageblocks: claims get into each other's way.
#[test]
fn blocks_across_pageblocks_are_all_reserved() {
    let data = PfnRange::new(Pfn::new(0), Pfn::new(1536));
    let tags = PfnRange::new(Pfn::new(1536), Pfn::new(1584));
    let memory = PfnRange::new(Pfn::new(0), Pfn::new(1584));
    let geometry = Geometry::new(12, Order::of(4), Order::of(8)).expect("a small geometry");
    let mut spec = MachineSpec::single(geometry, KernelProfile::V6_12, ZoneType::Normal, memory);
    spec.cma = vec![tags];
    spec.movable_pcp = Some(MovablePcp::OnlyWithCma);
    spec.tunables.min_free_kbytes = Some(0);
    let alloc = PageAllocator::boot(&spec, Silent).expect("a small machine");
    let (alloc, mut cpus) = SharedAllocator::<Asymmetric>::share(alloc).expect("one zone");
    let cpu = &mut cpus[0];
    let region = TagRegion::new(data, tags, PageCount::new(3)).expect("a region");
    let map = TagMap::new(vec![region], geometry, Formula::Intent).expect("a region");
    let memory = SharedMemory::new(alloc, memory, map, Box::new(()));
    let table = memory.new_table(1500);
    for index in 0..1500 {
        memory.map(cpu, &table, index, Placement::Anywhere).expect("all is free");
    }
    table.mprotect_mte(0..1500);
    let first = memory.populate_tags(cpu, &table, 0..1500);
    memory.check(&[Arc::clone(&table)], PageCount::ZERO).expect("all is in place");
    assert_eq!((first.tagged, first.left), (1500, 0));
    memory.exit(cpu, table);
    memory.check(&[], PageCount::ZERO).expect("all is in place");
    assert_eq!(memory.alloc().whereabouts().held, PageCount::ZERO);
}
