//! Threads that map, fork, write, tag, pin, move and free each other's pages, and claim from the
//! memory they lie in; every page is accounted for whenever they meet.
//!
//! `PAGELAB_STRESS_SEED` sets the seed, which is printed, `PAGELAB_STRESS_OPS` the operations of
//! each thread, `PAGELAB_STRESS_THREADS` the number of threads. A seed gives each thread the same
//! stream of operations; what they meet is up to the schedule.

#![expect(clippy::disallowed_methods, reason = "the size of a soak comes from outside")]
#![expect(clippy::print_stdout, reason = "the seed is printed, so that a failure can be repeated")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::event::Silent;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::{GfpFlags, ZoneType};
use pagelab_allocator::isolate::IsolateMode;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::page_alloc::{AllocRequest, PageAllocator, Pages};
use pagelab_allocator::profile::{KernelProfile, MovablePcp};
use pagelab_allocator::smp::{Cpu, SharedAllocator, SharedClaim};
use pagelab_allocator::sync::Arc;
use pagelab_allocator::units::{Order, PageCount, Pfn, PfnRange};
use pagelab_migrate::smp::gup::Pinned;
use pagelab_migrate::smp::mprotect::TagFault;
use pagelab_migrate::smp::page_table::{Access, Fault, SharedTable};
use pagelab_migrate::smp::{Contents, Copies, Placement, SharedMemory};
use pagelab_migrate::tag_storage::formula::Formula;
use pagelab_migrate::tag_storage::map::TagMap;
use pagelab_migrate::tag_storage::region::TagRegion;

/// Frames with data, and the tag storage behind them.
const DATA: PfnRange = PfnRange::new(Pfn::new(0), Pfn::new(1024));
const TAGS: PfnRange = PfnRange::new(Pfn::new(1024), Pfn::new(1056));
const MEMORY: PfnRange = PfnRange::new(Pfn::new(0), Pfn::new(1056));
const PAGEBLOCK: Order = Order::of(4);
/// Address spaces that all threads use, and their pages.
const SPACES: usize = 3;
const PAGES: usize = 48;
/// Rounds, after each of which everything is checked.
const ROUNDS: u64 = 8;
/// What a thread may hold.
const CHILDREN: usize = 3;
const PINS: usize = 4;

/// SplitMix64.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("a small number")
    }
}

/// What lies in each frame: the number of the page, once it was written.
#[derive(Clone, Debug)]
struct Words(Arc<Vec<AtomicU64>>);

impl Words {
    fn at(&self, frame: Pfn) -> &AtomicU64 {
        &self.0[usize::try_from(frame.get()).expect("a small machine")]
    }
}

impl Contents for Words {
    fn copy(&self, from: Pfn, to: Pfn) {
        self.at(to).store(self.at(from).load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// As late as can be, or at once: it depends on the first page.
    fn start_copies(&self, pages: &mut dyn Iterator<Item = (Pfn, Pfn)>) -> Copies {
        let (words, pages): (_, Vec<_>) = (self.clone(), pages.collect());
        let is_late = pages.first().is_some_and(|(from, _)| from.get().is_multiple_of(2));
        let copy = move || pages.into_iter().for_each(|(from, to)| words.copy(from, to));
        if is_late {
            return Copies::until(copy);
        }
        copy();
        Copies::DONE
    }

    fn copy_tags(&self, _from: Pfn, _to: Pfn) {}

    fn clear(&self, frame: Pfn) {
        self.at(frame).store(0, Ordering::Relaxed);
    }
}

/// What all threads know.
struct Machine {
    memory: SharedMemory,
    words: Words,
    spaces: Vec<Arc<SharedTable>>,
}

/// What one thread has, besides its CPU.
struct Worker<'a> {
    machine: &'a Machine,
    cpu: &'a mut Cpu,
    draws: Draws,
    pins: Vec<Pin>,
    kept: Kept,
}

/// A page that must stay where it is.
struct Pin {
    frame: Pfn,
    wrote: Option<u64>,
    pinned: Pinned,
}

/// What a thread keeps between rounds.
#[derive(Default)]
struct Kept {
    /// Address spaces that only this thread uses, with the one each descends from.
    children: Vec<(usize, Arc<SharedTable>)>,
    /// Blocks that nobody maps.
    held: Vec<Pages>,
    /// Pages tagged, moved out of tag storage for that, moved; claims; no memory, and faults that
    /// could not be served at once.
    hits: [u64; 6],
}

/// A machine whose tag storage is reserved in blocks of `block` pages.
fn machine(threads: u16, block: PageCount) -> (Machine, Vec<Cpu>) {
    let geometry = Geometry::new(12, PAGEBLOCK, Order::of(8)).expect("a small geometry");
    let mut spec = MachineSpec::single(geometry, KernelProfile::V6_12, ZoneType::Normal, MEMORY);
    spec.cpus = threads;
    spec.cma = vec![TAGS];
    spec.movable_pcp = Some(MovablePcp::OnlyWithCma);
    let alloc = PageAllocator::boot(&spec, Silent).expect("a small machine");
    let (alloc, cpus) = SharedAllocator::share(alloc).expect("one zone");
    let region = TagRegion::new(DATA, TAGS, block).expect("a region");
    let tags = TagMap::new(vec![region], geometry, Formula::Intent).expect("a region");
    let words = (0..MEMORY.len().get()).map(|_| AtomicU64::new(0)).collect();
    let words = Words(Arc::new(words));
    let memory = SharedMemory::new(alloc, MEMORY, tags, Box::new(words.clone()));
    let spaces = (0..SPACES).map(|_| memory.new_table(PAGES)).collect();
    (Machine { memory, words, spaces }, cpus)
}

impl Worker<'_> {
    /// Some address space, and some page of it.
    fn place(&mut self) -> (usize, Arc<SharedTable>, usize) {
        let at = self.draws.below(SPACES + self.kept.children.len());
        let index = self.draws.below(PAGES);
        match self.kept.children.get(at.wrapping_sub(SPACES)) {
            Some((space, table)) => (*space, Arc::clone(table), index),
            None => (at, Arc::clone(&self.machine.spaces[at]), index),
        }
    }

    fn step(&mut self) {
        let (space, table, index) = self.place();
        let number = (space * PAGES + index + 1) as u64;
        let memory = &self.machine.memory;
        match self.draws.below(100) {
            0..20 => {
                let mapped = memory.map(self.cpu, &table, index, Placement::Anywhere);
                self.kept.hits[4] += u64::from(mapped.is_err());
            }
            20..32 => memory.unmap(self.cpu, &table, index),
            32..60 => self.write(&table, index, number),
            60..65 => table.mprotect_mte(index..index + 1),
            65..66 => self.populate(&table, index),
            66..72 => self.pin(&table, index, number),
            72..78 => self.unpin(),
            78..87 => self.migrate(),
            87..88 => self.migrate_many(),
            88..90 => self.fork(space, &table),
            90..97 => self.hold(),
            97..99 => self.claim(),
            _ => self.let_go(),
        }
    }

    /// Writes the page's number into it, through all faults on the way.
    fn write(&mut self, table: &SharedTable, index: usize, number: u64) {
        let memory = &self.machine.memory;
        for _ in 0..8 {
            let write = |frame: Pfn| self.machine.words.at(frame).swap(number, Ordering::Relaxed);
            match table.access(index, Access::Write, write) {
                Ok(old) => return assert!(old == 0 || old == number, "{old} for {number}"),
                Err(Fault::CopyFirst) => drop(memory.write_fault(self.cpu, table, index)),
                Err(Fault::NoTags) => match memory.tag_fault(self.cpu, table, index) {
                    TagFault::Done => self.kept.hits[0] += 1,
                    TagFault::Moved => self.kept.hits[1] += 1,
                    TagFault::Retry => self.kept.hits[5] += 1,
                    TagFault::NoTagStorage => panic!("all data has tag storage"),
                },
                Err(_) => return,
            }
        }
    }

    /// Finds tag storage for the pages from `index` on, many at once.
    fn populate(&mut self, table: &SharedTable, index: usize) {
        let end = PAGES.min(index + 16);
        table.mprotect_mte(index..end);
        let got = self.machine.memory.populate_tags(self.cpu, table, index..end);
        self.kept.hits[0] += got.tagged as u64;
        self.kept.hits[5] += got.left as u64;
    }

    /// Pins by address, and lets the device write, or by frame.
    fn pin(&mut self, table: &SharedTable, index: usize, number: u64) {
        if self.pins.len() >= PINS {
            return;
        }
        let by_address = self.machine.memory.pin(self.cpu, table, index, Access::Write);
        if let Ok(pinned) = by_address {
            self.machine.words.at(pinned.frame()).store(number, Ordering::Relaxed);
            self.pins.push(Pin { frame: pinned.frame(), wrote: Some(number), pinned });
        }
        let frame = Pfn::new(self.draws.next() % MEMORY.len().get());
        if let Some(pinned) = self.machine.memory.pin_frame(self.cpu, frame) {
            self.pins.push(Pin { frame, wrote: None, pinned });
        }
    }

    fn unpin(&mut self) {
        let Some(Pin { frame, wrote, pinned }) = self.pins.pop() else { return };
        let now = pinned.frame();
        let word = self.machine.words.at(now).load(Ordering::Relaxed);
        self.machine.memory.unpin(self.cpu, pinned);
        assert_eq!(now, frame, "where a pinned page lies");
        assert!(wrote.is_none_or(|number| number == word), "what a device wrote");
    }

    fn migrate(&mut self) {
        let frame = Pfn::new(self.draws.next() % MEMORY.len().get());
        let moved = self.machine.memory.migrate_frame(self.cpu, frame, Placement::Anywhere);
        self.kept.hits[2] += u64::from(moved.is_ok());
    }

    /// Moves what lies between two frames, often more than are copied at a time.
    fn migrate_many(&mut self) {
        let frames = MEMORY.iter().skip(self.draws.below(1024)).take(self.draws.below(512));
        let frames: Vec<Pfn> = frames.collect();
        let moved = self.machine.memory.migrate_frames(self.cpu, &frames, Placement::Anywhere);
        self.kept.hits[2] += moved as u64;
    }

    fn fork(&mut self, space: usize, table: &SharedTable) {
        let child = self.machine.memory.fork(self.cpu, table);
        self.kept.hits[4] += u64::from(child.is_err());
        self.kept.children.extend(child.ok().map(|child| (space, child)));
        if self.kept.children.len() > CHILDREN {
            let (_, child) = self.kept.children.swap_remove(self.draws.below(CHILDREN));
            self.machine.memory.exit(self.cpu, child);
        }
    }

    /// Takes memory away: requests of others fail.
    fn hold(&mut self) {
        let gfp = [GfpFlags::KERNEL, GfpFlags::HIGHUSER_MOVABLE][self.draws.below(2)];
        let order = [0, 0, 3, 5, 7][self.draws.below(5)];
        self.kept.held.extend(self.cpu.alloc_pages(&AllocRequest::new(Order::of(order), gfp)));
    }

    fn let_go(&mut self) {
        self.kept.held.drain(..).for_each(|pages| self.cpu.free_pages(pages));
    }

    /// Somebody else's claim on tag storage or data: reservations nearby fail meanwhile.
    fn claim(&mut self) {
        let from = Pfn::new(self.draws.next() % MEMORY.len().get()).align_down(Order::of(3));
        let mode = match TAGS.contains(from) {
            true => IsolateMode::CmaAlloc(MigrateType::Cma),
            false => IsolateMode::Other,
        };
        let range = PfnRange::block(from, Order::of(3));
        let alloc = self.machine.memory.alloc();
        let Ok(claim) = SharedClaim::claim(alloc, range, mode) else { return };
        if let Some(busy) = claim.next_busy(from) {
            let _ = self.machine.memory.migrate_frame(self.cpu, busy.pfn, Placement::Anywhere);
        }
        if let Ok(taken) = claim.commit(self.cpu) {
            self.kept.hits[3] += 1;
            self.cpu.free_contig_range(taken);
        }
    }

    /// Gives back all that is neither mapped nor held.
    fn settle(mut self) -> Kept {
        while !self.pins.is_empty() {
            self.unpin();
        }
        self.kept
    }
}

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// One round of all threads.
fn round(machine: &Machine, cpus: &mut [Cpu], kept: Vec<Kept>, ops: u64, seed: u64) -> Vec<Kept> {
    thread::scope(|scope| {
        let run = |(at, (cpu, kept)): (u64, (_, _))| {
            let draws = Draws(seed ^ (at << 48));
            let mut worker = Worker { machine, cpu, draws, pins: Vec::new(), kept };
            scope.spawn(move || {
                (0..ops).for_each(|_| worker.step());
                worker.settle()
            })
        };
        let running: Vec<_> = (0..).zip(cpus.iter_mut().zip(kept)).map(run).collect();
        running.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}

/// Checks everything while all threads wait.
fn check(machine: &Machine, kept: &[Kept]) {
    let children = kept.iter().flat_map(|kept| &kept.children).map(|(_, table)| table);
    let tables: Vec<_> = children.chain(&machine.spaces).map(Arc::clone).collect();
    let held = kept.iter().flat_map(|kept| &kept.held);
    let held = held.map(|pages| pages.order().pages()).sum();
    machine.memory.check(&tables, held).expect("every page is in one place");
}

/// Runs `threads` threads for `ops` operations each, and checks after each round.
fn stress(threads: u16, block: PageCount, ops: u64, seed: u64) {
    println!("seed {seed}, {threads} threads, {ops} operations each, tag blocks of {block} pages");
    let (machine, mut cpus) = machine(threads, block);
    let mut kept: Vec<Kept> = (0..threads).map(|_| Kept::default()).collect();
    for at in 0..ROUNDS {
        kept = round(&machine, &mut cpus, kept, ops / ROUNDS, seed ^ (at << 32));
        check(&machine, &kept);
    }
    for (kept, cpu) in kept.into_iter().zip(&mut cpus) {
        let [tagged, left, moved, claimed, failed, retried] = kept.hits;
        println!("tagged {tagged}, of which {left} left tag storage, after {retried} retries");
        println!("moved {moved}, claimed {claimed}, {failed} without memory");
        kept.children.into_iter().for_each(|(_, child)| machine.memory.exit(cpu, child));
        kept.held.into_iter().for_each(|pages| cpu.free_pages(pages));
    }
    for space in machine.spaces {
        machine.memory.exit(&mut cpus[0], space);
    }
    machine.memory.check(&[], PageCount::ZERO).expect("every page came back");
}

#[test]
fn nothing_is_lost_or_doubly_owned() {
    let seed = setting("PAGELAB_STRESS_SEED", 1);
    let ops = setting("PAGELAB_STRESS_OPS", 200_000);
    let only = std::env::var("PAGELAB_STRESS_THREADS").ok();
    let counts = match &only {
        Some(count) => vec![count.parse().expect("a number of threads")],
        None => vec![2, 4, 8],
    };
    for threads in counts {
        stress(threads, PageCount::new(1), ops, seed);
    }
}

/// Blocks of several pages are emptied, freed and taken; those of one page change hands.
#[test]
fn nothing_is_lost_where_blocks_have_several_pages() {
    let (seed, ops) = (setting("PAGELAB_STRESS_SEED", 1), setting("PAGELAB_STRESS_OPS", 200_000));
    for block in [2, 4] {
        stress(4, PageCount::new(block), ops / 4, seed);
    }
}
