//! Copies that are made as late as can be: when somebody waits for them.

use core::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::event::Silent;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::ZoneType;
use pagelab_allocator::page_alloc::PageAllocator;
use pagelab_allocator::profile::{KernelProfile, MovablePcp};
use pagelab_allocator::smp::{Cpu, SharedAllocator};
use pagelab_allocator::sync::Arc;
use pagelab_allocator::units::{Order, PageCount, Pfn, PfnRange};
use pagelab_migrate::smp::page_table::{Access, Fault, SharedTable};
use pagelab_migrate::smp::{Contents, Copies, Placement, SharedMemory};
use pagelab_migrate::tag_storage::formula::Formula;
use pagelab_migrate::tag_storage::map::TagMap;
use pagelab_migrate::tag_storage::region::TagRegion;

/// Frames with data, and tag storage of several batches of pages.
const DATA: PfnRange = PfnRange::new(Pfn::new(0), Pfn::new(16_384));
const TAGS: PfnRange = PfnRange::new(Pfn::new(16_384), Pfn::new(16_896));
const MEMORY: PfnRange = PfnRange::new(Pfn::new(0), Pfn::new(16_896));

/// What lies in each frame.
#[derive(Clone, Debug)]
struct Late(Arc<Copied>);

#[derive(Debug, Default)]
struct Copied {
    words: Vec<AtomicU64>,
    /// Pages whose copies were started and not waited for.
    aloft: AtomicUsize,
    /// Batches of them: now, and at most.
    batches: AtomicUsize,
    most_batches: AtomicUsize,
    /// Whether to wait panics.
    fails: AtomicBool,
}

impl Deref for Late {
    type Target = Copied;

    fn deref(&self) -> &Copied {
        &self.0
    }
}

impl Late {
    fn new() -> Self {
        let words = (0..MEMORY.len().get()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Copied { words, ..Copied::default() }))
    }

    fn at(&self, frame: Pfn) -> &AtomicU64 {
        &self.words[usize::try_from(frame.get()).expect("a small machine")]
    }
}

impl Contents for Late {
    fn copy(&self, from: Pfn, to: Pfn) {
        self.at(to).store(self.at(from).load(Ordering::Relaxed), Ordering::Relaxed);
    }

    fn start_copies(&self, pages: &mut dyn Iterator<Item = (Pfn, Pfn)>) -> Copies {
        let (late, pages): (_, Vec<_>) = (self.clone(), pages.collect());
        self.aloft.fetch_add(pages.len(), Ordering::Relaxed);
        let batches = self.batches.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_batches.fetch_max(batches, Ordering::Relaxed);
        Copies::until(move || {
            assert!(!late.fails.load(Ordering::Relaxed), "as the test wants");
            pages.iter().for_each(|&(from, to)| late.copy(from, to));
            late.aloft.fetch_sub(pages.len(), Ordering::Relaxed);
            late.batches.fetch_sub(1, Ordering::Relaxed);
        })
    }

    fn copy_tags(&self, _from: Pfn, _to: Pfn) {}

    fn clear(&self, frame: Pfn) {
        self.at(frame).store(0, Ordering::Relaxed);
    }
}

/// A machine, and a program of `pages` pages, or as many as fit, each with its number in it.
fn program(late: &Late, pages: usize) -> (SharedMemory, Cpu, Arc<SharedTable>, usize) {
    let geometry = Geometry::new(12, Order::of(6), Order::of(8)).expect("a small geometry");
    let mut spec = MachineSpec::single(geometry, KernelProfile::V6_12, ZoneType::Normal, MEMORY);
    spec.cma = vec![TAGS];
    spec.movable_pcp = Some(MovablePcp::OnlyWithCma);
    spec.tunables.min_free_kbytes = Some(0);
    let alloc = PageAllocator::boot(&spec, Silent).expect("a small machine");
    let (alloc, mut cpus) = SharedAllocator::share(alloc).expect("one zone");
    let region = TagRegion::new(DATA, TAGS, PageCount::new(1)).expect("a region");
    let map = TagMap::new(vec![region], geometry, Formula::Intent).expect("a region");
    let memory = SharedMemory::new(alloc, MEMORY, map, Box::new(late.clone()));
    let (mut cpu, table) = (cpus.pop().expect("one CPU"), memory.new_table(pages));
    let fits = |index: &usize| memory.map(&mut cpu, &table, *index, Placement::Anywhere).is_ok();
    let len = (0..pages).take_while(fits).count();
    for index in 0..len {
        let write = |frame| late.at(frame).store(number(index), Ordering::Relaxed);
        table.access(index, Access::Write, write).expect("it is mapped");
    }
    (memory, cpu, table, len)
}

/// What is written into a page.
fn number(index: usize) -> u64 {
    index as u64 + 1
}

/// Where a page lies, and what is in it.
fn look(late: &Late, table: &SharedTable, index: usize) -> (Pfn, u64) {
    let look = |frame: Pfn| (frame, late.at(frame).load(Ordering::Relaxed));
    table.access(index, Access::Read, look).expect("it is mapped and accessible")
}

/// Two batches were on their way at once, and all is at its end.
fn end(late: &Late, memory: &SharedMemory, table: Arc<SharedTable>) {
    assert_eq!(late.aloft.load(Ordering::Relaxed), 0, "all were waited for");
    assert_eq!(late.most_batches.load(Ordering::Relaxed), 2, "batches at once");
    memory.check(&[table], PageCount::ZERO).expect("all is in place");
}

#[test]
fn pages_are_mapped_once_they_are_copied() {
    const PAGES: usize = 1000;
    let late = Late::new();
    let (memory, mut cpu, table, len) = program(&late, PAGES);
    assert_eq!(len, PAGES);
    let frames: Vec<Pfn> = (0..PAGES).map(|index| look(&late, &table, index).0).collect();
    assert_eq!(memory.migrate_frames(&mut cpu, &frames, Placement::Taggable), PAGES);
    for (index, old) in frames.iter().enumerate() {
        let (frame, word) = look(&late, &table, index);
        assert_eq!((word, frame != *old), (number(index), true), "page {index}");
    }
    end(&late, &memory, table);
}

#[test]
fn blocks_are_handed_over_once_they_are_copied() {
    let late = Late::new();
    let frames = usize::try_from(MEMORY.len().get()).expect("a small machine");
    let (memory, mut cpu, table, len) = program(&late, frames);
    let room = 2048;
    (0..room).for_each(|index| memory.unmap(&mut cpu, &table, index));
    table.mprotect_mte(room..len);
    let got = memory.populate_tags(&mut cpu, &table, room..len);
    assert_eq!((got.tagged, got.left), (len - room, 0), "tag storage");
    for index in room..len {
        let (frame, word) = look(&late, &table, index);
        assert_eq!((word, DATA.contains(frame)), (number(index), true), "page {index}");
    }
    end(&late, &memory, table);
}

/// What found no frame stays where it is, also while frames before it are not free yet.
#[test]
fn pages_for_which_there_is_no_room_stay() {
    let late = Late::new();
    let frames = usize::try_from(MEMORY.len().get()).expect("a small machine");
    let (memory, mut cpu, table, len) = program(&late, frames);
    let room = 200;
    (0..room).for_each(|index| memory.unmap(&mut cpu, &table, index));
    let frames: Vec<Pfn> = (room..len).map(|index| look(&late, &table, index).0).collect();
    let moved = memory.migrate_frames(&mut cpu, &frames, Placement::Anywhere);
    let now = (room..len).map(|index| look(&late, &table, index));
    let went = now.clone().zip(&frames).filter(|((frame, _), old)| frame != *old).count();
    assert_eq!(went, moved);
    assert!((1..len - room).contains(&moved), "{moved} moved: neither none nor all");
    now.zip(room..).for_each(|((_, word), index)| assert_eq!(word, number(index)));
    end(&late, &memory, table);
}

/// Copies that fail take the pages of two batches with them, and nothing else.
#[test]
fn a_wait_that_panics_leaves_only_its_pages_behind() {
    const PAGES: usize = 1000;
    let late = Late::new();
    let (memory, mut cpu, table, _) = program(&late, PAGES);
    let frames: Vec<Pfn> = (0..PAGES).map(|index| look(&late, &table, index).0).collect();
    late.fails.store(true, Ordering::Relaxed);
    let moves = |cpu: &mut Cpu| memory.migrate_frames(cpu, &frames, Placement::Taggable);
    catch_unwind(AssertUnwindSafe(|| moves(&mut cpu))).expect_err("the copies fail");
    late.fails.store(false, Ordering::Relaxed);
    let moving = |index| table.access(index, Access::Read, |_| ()) == Err(Fault::Moving);
    let (lost, others): (Vec<usize>, Vec<usize>) = (0..PAGES).partition(|index| moving(*index));
    assert_eq!(lost.len(), late.aloft.load(Ordering::Relaxed));
    assert_eq!(moves(&mut cpu), others.len());
    for index in others {
        let (frame, word) = look(&late, &table, index);
        assert_eq!((word, frame != frames[index]), (number(index), true), "page {index}");
    }
    memory.exit(&mut cpu, table);
    assert_eq!(memory.alloc().check(), Ok(()));
    let held = PageCount::new(2 * lost.len() as u64);
    assert_eq!(memory.alloc().whereabouts().held, held, "their frames");
}
