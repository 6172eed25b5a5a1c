//! Rules of memory that threads share, each held by one thread alone.

use std::sync::atomic::{AtomicU64, Ordering};

use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::event::Silent;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::ZoneType;
use pagelab_allocator::page_alloc::PageAllocator;
use pagelab_allocator::profile::{KernelProfile, MovablePcp};
use pagelab_allocator::smp::{Cpu, SharedAllocator};
use pagelab_allocator::sync::Arc;
use pagelab_allocator::units::{Order, PageCount, Pfn, PfnRange};
use pagelab_migrate::smp::migrate::MoveError;
use pagelab_migrate::smp::mprotect::TagFault;
use pagelab_migrate::smp::page_table::{Access, Fault, SharedTable, Tags};
use pagelab_migrate::smp::{Contents, Placement, SharedMemory};
use pagelab_migrate::tag_storage::formula::Formula;
use pagelab_migrate::tag_storage::map::TagMap;
use pagelab_migrate::tag_storage::region::TagRegion;

/// Frames with data, the first half of which have tag storage in all machines here.
const DATA: PfnRange = PfnRange::new(Pfn::new(0), Pfn::new(1024));
const TAGS: PfnRange = PfnRange::new(Pfn::new(1024), Pfn::new(1056));
const MEMORY: PfnRange = PfnRange::new(Pfn::new(0), Pfn::new(1056));

/// How often tags were copied.
#[derive(Debug)]
struct TagCopies(Arc<AtomicU64>);

impl Contents for TagCopies {
    fn copy(&self, _from: Pfn, _to: Pfn) {}

    fn copy_tags(&self, _from: Pfn, _to: Pfn) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn clear(&self, _frame: Pfn) {}
}

/// A machine whose data has tag storage as far as `tagged` goes.
fn machine_with(rule: MovablePcp, tagged: PfnRange) -> (SharedMemory, Cpu, Arc<AtomicU64>) {
    let geometry = Geometry::new(12, Order::of(4), Order::of(8)).expect("a small geometry");
    let mut spec = MachineSpec::single(geometry, KernelProfile::V6_12, ZoneType::Normal, MEMORY);
    spec.cma = vec![TAGS];
    spec.movable_pcp = Some(rule);
    spec.tunables.min_free_kbytes = Some(0);
    let alloc = PageAllocator::boot(&spec, Silent).expect("a small machine");
    let (alloc, mut cpus) = SharedAllocator::share(alloc).expect("one zone");
    let blocks = PageCount::new(tagged.len().get() / 32);
    let tags = PfnRange::from_len(TAGS.start(), blocks);
    let region = TagRegion::new(tagged, tags, PageCount::new(1)).expect("a region");
    let map = TagMap::new(vec![region], geometry, Formula::Intent).expect("a region");
    let copies = Arc::new(AtomicU64::new(0));
    let contents = Box::new(TagCopies(Arc::clone(&copies)));
    let memory = SharedMemory::new(alloc, MEMORY, map, contents);
    (memory, cpus.pop().expect("one CPU"), copies)
}

fn machine() -> (SharedMemory, Cpu, Arc<AtomicU64>) {
    machine_with(MovablePcp::OnlyWithCma, DATA)
}

/// Where the page at `index` lies, whatever may access it.
fn frame_at(table: &SharedTable, index: usize) -> Option<Pfn> {
    table.entry(index).present().map(|mapping| mapping.folio().frame())
}

/// A program with as many pages as the machine has room for.
fn full(memory: &SharedMemory, cpu: &mut Cpu) -> (Arc<SharedTable>, usize) {
    let frames = usize::try_from(MEMORY.len().get()).expect("a small machine");
    let table = memory.new_table(frames);
    let fits = |index: &usize| memory.map(cpu, &table, *index, Placement::Anywhere).is_ok();
    let len = (0..frames).take_while(fits).count();
    (table, len)
}

#[test]
fn a_parent_keeps_the_page_that_a_device_writes() {
    let (memory, mut cpu, _) = machine();
    let parent = memory.new_table(2);
    for index in 0..2 {
        memory.map(&mut cpu, &parent, index, Placement::Anywhere).expect("all is free");
    }
    let pinned = memory.pin(&mut cpu, &parent, 0, Access::Write).expect("it is mapped");
    let child = memory.fork(&mut cpu, &parent).expect("all is free");
    assert_eq!(parent.access(0, Access::Write, |frame| frame), Ok(pinned.frame()));
    assert_eq!(parent.access(1, Access::Write, |_| ()), Err(Fault::CopyFirst));
    assert_ne!(frame_at(&child, 0), Some(pinned.frame()), "the child has a copy");
    memory.unpin(&mut cpu, pinned);
    memory.check(&[parent, child], PageCount::ZERO).expect("all is in place");
}

#[test]
fn no_child_is_left_when_there_is_no_memory_for_a_copy() {
    let (memory, mut cpu, _) = machine();
    let (parent, _) = full(&memory, &mut cpu);
    let pins = [0, 1].map(|at| memory.pin(&mut cpu, &parent, at, Access::Write));
    let _refused = memory.fork(&mut cpu, &parent).expect_err("no room for a copy");
    for pinned in pins {
        memory.unpin(&mut cpu, pinned.expect("it is mapped"));
    }
    memory.check(&[parent], PageCount::ZERO).expect("all is in place");
}

#[test]
fn the_copy_of_a_page_with_tags_has_storage_for_them_first() {
    let (memory, mut cpu, copies) = machine();
    let parent = memory.new_table(1);
    memory.map(&mut cpu, &parent, 0, Placement::Taggable).expect("all is free");
    parent.mprotect_mte(0..1);
    assert_eq!(memory.tag_fault(&mut cpu, &parent, 0), TagFault::Done);
    let child = memory.fork(&mut cpu, &parent).expect("nothing is copied");
    memory.write_fault(&mut cpu, &child, 0).expect("all is free");
    assert_eq!(copies.load(Ordering::Relaxed), 1, "tags copied");
    let copy = child.access(0, Access::Write, |frame| frame).expect("accessible at once");
    let block = memory.tags().map().block_of(copy).expect("a frame with data");
    assert!(memory.tags().count(block) > 0, "reserved for the copy");
    memory.check(&[parent, child], PageCount::ZERO).expect("all is in place");
}

#[test]
fn tags_move_with_their_page() {
    let (memory, mut cpu, copies) = machine();
    let table = memory.new_table(1);
    memory.map(&mut cpu, &table, 0, Placement::Taggable).expect("all is free");
    table.mprotect_mte(0..1);
    assert_eq!(memory.populate_tags(&mut cpu, &table, 0..1).tagged, 1);
    let frame = frame_at(&table, 0).expect("it is mapped");
    memory.migrate_frame(&mut cpu, frame, Placement::Anywhere).expect("nobody is in the way");
    assert_eq!(copies.load(Ordering::Relaxed), 1, "tags copied");
    table.access(0, Access::Write, |_| ()).expect("still accessible");
    memory.check(&[table], PageCount::ZERO).expect("all is in place");
}

#[test]
fn a_page_without_tag_storage_is_not_tried_for_ever() {
    let (memory, mut cpu, _) = machine_with(MovablePcp::OnlyWithCma, HALF);
    let (table, len) = full(&memory, &mut cpu);
    let beyond = |index: &usize| {
        frame_at(&table, *index).is_some_and(|frame| DATA.contains(frame) && !HALF.contains(frame))
    };
    let index = (0..len).find(beyond).expect("a full machine");
    table.mprotect_mte(0..len);
    assert_eq!(memory.tag_fault(&mut cpu, &table, index), TagFault::NoTagStorage);
    let got = memory.populate_tags(&mut cpu, &table, index..index + 1);
    assert_eq!((got.tagged, got.left), (0, 1));
}

#[test]
#[should_panic(expected = "requests that bar CMA memory get none")]
fn lists_that_hand_out_lent_pages_are_refused() {
    let _machine = machine_with(MovablePcp::Always, DATA);
}

/// A full machine whose only free frames are some of `room`, and a program whose page at the index
/// has tags.
fn with_room(tagged: PfnRange, room: PfnRange) -> (SharedMemory, Cpu, Arc<SharedTable>, usize) {
    let (memory, mut cpu, _) = machine_with(MovablePcp::OnlyWithCma, tagged);
    let (table, len) = full(&memory, &mut cpu);
    let lies_in = |index: usize, range: PfnRange| {
        frame_at(&table, index).is_some_and(|frame| range.contains(frame))
    };
    let index = (0..len).find(|&at| lies_in(at, tagged)).expect("a frame that can have tags");
    let block = memory.tags().map().block_of(frame_at(&table, index).expect("it is mapped"));
    let tags = memory.tags().map().range(block.expect("it can have tags"));
    let lent: Vec<_> = (0..len).filter(|&at| lies_in(at, tags)).collect();
    lent.into_iter().for_each(|at| memory.unmap(&mut cpu, &table, at));
    let leaving: Vec<_> = (0..len).filter(|&at| at != index && lies_in(at, room)).take(8).collect();
    leaving.into_iter().for_each(|at| memory.unmap(&mut cpu, &table, at));
    table.mprotect_mte(index..index + 1);
    assert_eq!(memory.tag_fault(&mut cpu, &table, index), TagFault::Done);
    (memory, cpu, table, index)
}

/// Data without tag storage, where there is some.
const BARE: PfnRange = PfnRange::new(Pfn::new(512), Pfn::new(1024));
const HALF: PfnRange = PfnRange::new(Pfn::new(0), Pfn::new(512));

#[test]
fn a_page_with_tags_stays_shared_while_its_copy_has_no_storage() {
    let (memory, mut cpu, parent, index) = with_room(HALF, BARE);
    let child = memory.fork(&mut cpu, &parent).expect("nothing is copied");
    assert_eq!(memory.write_fault(&mut cpu, &child, index), Ok(()), "the access faults again");
    assert_eq!(child.access(index, Access::Write, |_| ()), Err(Fault::CopyFirst));
    memory.check(&[parent, child], PageCount::ZERO).expect("no copy is left");
}

#[test]
fn the_copy_of_a_page_with_tags_never_lies_in_tag_storage() {
    let (memory, mut cpu, parent, index) = with_room(DATA, TAGS);
    let child = memory.fork(&mut cpu, &parent).expect("nothing is copied");
    let _refused = memory.write_fault(&mut cpu, &child, index).expect_err("no other frame is free");
    memory.check(&[parent, child], PageCount::ZERO).expect("all is in place");
}

#[test]
fn a_page_with_tags_moves_where_it_can_have_them_or_stays() {
    for (tagged, room, refused) in
        [(HALF, BARE, MoveError::NoTagStorage), (DATA, TAGS, MoveError::NoMemory)]
    {
        let (memory, mut cpu, table, index) = with_room(tagged, room);
        let frame = frame_at(&table, index).expect("it is mapped");
        let moved = memory.migrate_frame(&mut cpu, frame, Placement::Anywhere);
        assert_eq!(moved, Err(refused));
        assert_eq!(memory.migrate_frames(&mut cpu, &[frame], Placement::Anywhere), 0, "no tags");
        memory.check(&[table], PageCount::ZERO).expect("all is in place");
    }
}

#[test]
fn pages_that_found_no_frame_can_move_later() {
    let (memory, mut cpu, _) = machine();
    let (table, len) = full(&memory, &mut cpu);
    let frames: Vec<_> = (0..len).filter_map(|index| frame_at(&table, index)).collect();
    let moved = memory.migrate_frame(&mut cpu, frames[0], Placement::Anywhere);
    assert_eq!(moved, Err(MoveError::NoMemory));
    assert_eq!(memory.migrate_frames(&mut cpu, &frames[..2], Placement::Anywhere), 0);
    // More than two: the watermarks may be boosted.
    (len - 8..len).for_each(|index| memory.unmap(&mut cpu, &table, index));
    assert_eq!(memory.migrate_frames(&mut cpu, &frames[..2], Placement::Anywhere), 2);
    memory.check(&[table], PageCount::ZERO).expect("all is in place");
}

#[test]
fn a_frame_that_is_named_twice_moves_once() {
    let (memory, mut cpu, _) = machine();
    let table = memory.new_table(1);
    memory.map(&mut cpu, &table, 0, Placement::Anywhere).expect("all is free");
    let frame = frame_at(&table, 0).expect("it is mapped");
    assert_eq!(memory.migrate_frames(&mut cpu, &[frame; 2], Placement::Anywhere), 1);
    memory.check(&[table], PageCount::ZERO).expect("all is in place");
}

#[test]
fn what_one_address_space_has_tagged_counts_once_for_both() {
    let (memory, mut cpu, _) = machine();
    let parent = memory.new_table(1);
    memory.map(&mut cpu, &parent, 0, Placement::Taggable).expect("all is free");
    parent.mprotect_mte(0..1);
    let child = memory.fork(&mut cpu, &parent).expect("nothing is copied");
    assert_eq!(memory.tag_fault(&mut cpu, &parent, 0), TagFault::Done);
    assert_eq!(memory.populate_tags(&mut cpu, &child, 0..1).tagged, 1);
    child.access(0, Access::Read, |_| ()).expect("accessible");
    assert_eq!(counts(&memory).iter().sum::<u32>(), 1);
    memory.check(&[parent, child], PageCount::ZERO).expect("all is in place");
}

/// A page in tag storage, most of what is free beside it, is accessed.
fn leave_tag_storage(access: impl FnOnce(&SharedMemory, &mut Cpu, &SharedTable, usize)) {
    let (memory, mut cpu, table, _) = with_room(DATA, TAGS);
    let is_data = |index: &usize| frame_at(&table, *index).is_some_and(|f| DATA.contains(f));
    let is_lent = |index: &usize| frame_at(&table, *index).is_some_and(|f| TAGS.contains(f));
    let len = usize::try_from(MEMORY.len().get()).expect("a small machine");
    let index = (0..len).find(is_lent).expect("tag storage is lent out");
    let others: Vec<_> = (0..len).rev().filter(is_data).take(4).collect();
    others.into_iter().for_each(|other| memory.unmap(&mut cpu, &table, other));
    table.mprotect_mte(index..index + 1);
    // Other pages are given tag storage first, once the CPU's list, where the data pages came to,
    // is empty.
    memory.alloc().drain_all();
    access(&memory, &mut cpu, &table, index);
    assert!(is_data(&index), "{:?}", frame_at(&table, index));
    memory.check(&[table], PageCount::ZERO).expect("all is in place");
}

#[test]
fn a_page_leaves_tag_storage_for_good() {
    leave_tag_storage(|memory, cpu, table, index| {
        assert_eq!(memory.populate_tags(cpu, table, index..index + 1).tagged, 1);
    });
    leave_tag_storage(|memory, cpu, table, index| {
        assert_eq!(memory.tag_fault(cpu, table, index), TagFault::Moved);
    });
}

/// Pages that a crowded machine has room for.
const ROOM: usize = 64;

/// A full machine with some room, in which tag storage is lent out, and a program whose pages are
/// all to get tags.
fn crowded() -> (SharedMemory, Cpu, Arc<SharedTable>, usize) {
    let (memory, mut cpu, _) = machine();
    let (table, len) = full(&memory, &mut cpu);
    let is_data = |index: &usize| frame_at(&table, *index).is_some_and(|f| DATA.contains(f));
    let room: Vec<_> = (0..len).filter(is_data).take(ROOM).collect();
    room.into_iter().for_each(|index| memory.unmap(&mut cpu, &table, index));
    table.mprotect_mte(0..len);
    (memory, cpu, table, len)
}

/// Pages with tags, for each block.
fn counts(memory: &SharedMemory) -> Vec<u32> {
    memory.tags().map().ids().map(|block| memory.tags().count(block)).collect()
}

#[test]
fn a_range_comes_to_what_its_faults_come_to() {
    let (memory, mut cpu, table, len) = crowded();
    let got = memory.populate_tags(&mut cpu, &table, 0..len);
    assert_eq!((got.tagged, got.left), (len - ROOM, 0));
    let (single, mut alone, other, _) = crowded();
    for index in 0..len {
        while single.tag_fault(&mut alone, &other, index) != TagFault::Done {}
    }
    assert_eq!(counts(&memory).iter().sum::<u32>(), counts(&single).iter().sum::<u32>());
    for (memory, table) in [(&memory, &table), (&single, &other)] {
        let tagged = |index: &usize| {
            table.entry(*index).present().is_some_and(|mapping| mapping.tags == Tags::Tagged)
        };
        assert_eq!((0..len).filter(tagged).count(), len - ROOM);
        memory.check(core::slice::from_ref(table), PageCount::ZERO).expect("all is in place");
    }
    memory.exit(&mut cpu, table);
    memory.check(&[], PageCount::ZERO).expect("every page came back");
}

#[test]
fn a_page_that_stays_keeps_its_block_and_no_other() {
    let (memory, mut cpu, table, len) = crowded();
    let lent = |index: &usize| frame_at(&table, *index).is_some_and(|frame| TAGS.contains(frame));
    let index = (0..len).filter(lent).nth(3).expect("tag storage is lent out");
    let pinned = memory.pin_frame(&mut cpu, frame_at(&table, index).expect("it is mapped"));
    let pinned = pinned.expect("it is mapped");
    let block = memory.tags().map().block_at(pinned.frame()).expect("tag storage");
    let covered = memory.tags().map().covered(block);
    let waiting = |index: &usize| frame_at(&table, *index).is_some_and(|f| covered.contains(f));
    let barred = (0..len).filter(waiting).count();
    let got = memory.populate_tags(&mut cpu, &table, 0..len);
    assert_eq!(memory.tags().count(block), 0, "it is lent out still");
    assert!(got.left > barred && got.left <= barred + ROOM, "{got:?}, {barred} barred");
    memory.unpin(&mut cpu, pinned);
    let again = memory.populate_tags(&mut cpu, &table, 0..len);
    assert_eq!((got.tagged + again.tagged, again.left), (len - ROOM, 0));
    memory.check(&[table], PageCount::ZERO).expect("all is in place");
}

/// Whoever prints a table gets its entries, once.
#[test]
fn a_table_is_printed_without_those_that_share_its_pages() {
    let (memory, mut cpu, _) = machine();
    let parent = memory.new_table(64);
    for index in 0..64 {
        memory.map(&mut cpu, &parent, index, Placement::Anywhere).expect("all is free");
    }
    let child = memory.fork(&mut cpu, &parent).expect("nothing is copied");
    let text = format!("{child:?}");
    assert_eq!(text.matches("Mapping").count(), 64, "{} bytes", text.len());
}

/// While two pageblocks of tag storage are claimed side by side, neither has room for what the
/// other lends. One after the other they do.
#[test]
fn a_page_leaves_for_the_pageblock_that_was_claimed_with_its_own() {
    let (memory, mut cpu, _) = machine();
    let (table, len) = full(&memory, &mut cpu);
    let [lower, upper] = [1024, 1040].map(|start| PfnRange::block(Pfn::new(start), Order::of(4)));
    let lies_in = |range: PfnRange| {
        let lies = |at: &usize| frame_at(&table, *at).is_some_and(|frame| range.contains(frame));
        (0..len).filter(lies).collect::<Vec<_>>()
    };
    // All that is free lies in the upper one, in the block that is asked for among others.
    let leaving = lies_in(upper);
    leaving.into_iter().for_each(|at| memory.unmap(&mut cpu, &table, at));
    for tags in [lower, upper] {
        let block = memory.tags().map().block_at(tags.start()).expect("tag storage");
        let covered = lies_in(memory.tags().map().covered(block));
        let index = *covered.last().expect("a page that may have tags");
        table.mprotect_mte(index..index + 1);
    }
    let got = memory.populate_tags(&mut cpu, &table, 0..len);
    assert_eq!((got.tagged, got.left), (2, 0));
    memory.check(&[table], PageCount::ZERO).expect("all is in place");
}
