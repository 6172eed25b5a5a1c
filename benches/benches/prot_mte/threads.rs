//! The same machine and program as in `scene.rs`, on the memory that threads share.
//!
//! A machine cannot be cloned: each operation gets a new one, and the caches are filled with
//! something else first. The program's pages stand one after the other in its table, whatever their
//! frames are.

use std::collections::BTreeSet;
use std::sync::Arc;

use pagelab_allocator::page_alloc::PageAllocator;
use pagelab_allocator::profile::MovablePcp;
use pagelab_allocator::smp::{Cpu, SharedAllocator};
use pagelab_benches::workload::shuffle;
use pagelab_migrate::prelude::*;
use pagelab_migrate::smp::mprotect::TagFault;
use pagelab_migrate::smp::page_table::{Access, SharedTable};
use pagelab_migrate::smp::{Contents, Placement, SharedMemory};
use pagelab_migrate::tag_storage::formula::Formula;
use pagelab_migrate::tag_storage::map::TagMap;
use pagelab_migrate::tag_storage::region::TagRegion;

use crate::scene::{Block, DATA, FILL, MEMORY, PAGES, RESIDENT, ROOM, Spread, TAGS};

/// How the program's pages get tags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Manner {
    /// A fault each.
    Faults,
    /// The whole range at once.
    Populate,
}

/// A machine, a program, and another that has all other pages.
pub(crate) struct Shared {
    memory: SharedMemory,
    cpu: Cpu,
    others: Arc<SharedTable>,
    program: Arc<SharedTable>,
    len: usize,
}

impl Shared {
    /// The program is resident and its pages are as said; it has not asked for tags.
    pub(crate) fn new(block: Block, spread: Spread, contents: Box<dyn Contents>) -> Self {
        let mut shared = Self::empty(contents);
        let fill = if matches!(block, Block::Free | Block::Reserved) { RESIDENT } else { FILL };
        let mut frames = shared.fill(usize::try_from(fill).expect("a small machine"));
        if fill == FILL {
            let room = usize::try_from(ROOM).expect("a small machine");
            (0..room).for_each(|index| shared.unmap_other(index));
            frames[..room].fill(None);
        }
        let mut chosen = shared.choose(block, spread, &frames);
        chosen.truncate(PAGES);
        for &index in &chosen {
            shared.give(index, frames[index].expect("it is resident"));
        }
        if block == Block::Reserved {
            shared.tag_neighbours(&frames);
        }
        shared
    }

    fn empty(contents: Box<dyn Contents>) -> Self {
        let (geometry, profile) = (Geometry::PAGES_4K, KernelProfile::V6_12);
        let mut machine = MachineSpec::single(geometry, profile, ZoneType::Normal, MEMORY);
        machine.cma = vec![TAGS];
        machine.movable_pcp = Some(MovablePcp::OnlyWithCma);
        let alloc = PageAllocator::boot(&machine, Silent).expect("a possible machine");
        let (alloc, mut cpus) = SharedAllocator::share(alloc).expect("one zone");
        let region = TagRegion::new(DATA, TAGS, PageCount::new(1)).expect("a region");
        let map = TagMap::new(vec![region], geometry, Formula::Intent).expect("a region");
        let memory = SharedMemory::new(alloc, MEMORY, map, contents);
        let others = memory.new_table(usize::try_from(FILL).expect("a small machine"));
        let program = memory.new_table(PAGES);
        Self { memory, cpu: cpus.pop().expect("one CPU"), others, program, len: 0 }
    }

    /// Maps up to `pages` pages; says where they lie.
    fn fill(&mut self, pages: usize) -> Vec<Option<Pfn>> {
        let resident = (0..pages).map_while(|index| {
            let place = Placement::Anywhere;
            self.memory.map(&mut self.cpu, &self.others, index, place).ok()?;
            Some(self.others.access(index, Access::Read, |frame| frame).ok())
        });
        resident.collect()
    }

    fn unmap_other(&mut self, index: usize) {
        self.memory.unmap(&mut self.cpu, &self.others, index);
    }

    /// The pages that the program gets, in the order of its table.
    fn choose(&self, block: Block, spread: Spread, frames: &[Option<Pfn>]) -> Vec<usize> {
        let mut lent = vec![false; usize::try_from(TAGS.len().get()).expect("a small machine")];
        let tags = |frame: Pfn| usize::try_from((frame - TAGS.start()).get());
        let inside = frames.iter().flatten().filter(|frame| TAGS.contains(**frame));
        inside.for_each(|&frame| lent[tags(frame).expect("a small machine")] = true);
        let suits = |frame: Pfn| match block {
            Block::Free => true,
            Block::Reserved => frame.get() % 32 != 31,
            Block::Inside => TAGS.contains(frame),
            Block::Lent => {
                let map = self.memory.tags().map();
                map.block_of(frame).is_some_and(|block| lent[block.index()])
            }
        };
        let suiting = (0..frames.len()).filter(|&index| frames[index].is_some_and(suits));
        let mut chosen: Vec<usize> = suiting.collect();
        if spread == Spread::Scattered {
            let mut blocks = BTreeSet::new();
            shuffle(&mut chosen);
            let block = |index: usize| frames[index].expect("it is resident").get() / 32;
            chosen.retain(|&index| blocks.insert(block(index)));
        }
        chosen
    }

    /// The page goes from the others to the program: what was freed last is allocated next.
    fn give(&mut self, index: usize, frame: Pfn) {
        self.unmap_other(index);
        let at = self.len;
        self.memory
            .map(&mut self.cpu, &self.program, at, Placement::Anywhere)
            .expect("a free page");
        let got = self.program.access(at, Access::Read, |frame| frame);
        assert_eq!(got, Ok(frame), "the page that was given back");
        self.len += 1;
    }

    /// Reserves each block for a page of the others.
    fn tag_neighbours(&mut self, frames: &[Option<Pfn>]) {
        for (index, frame) in frames.iter().enumerate() {
            if frame.is_some_and(|frame| frame.get() % 32 == 31) {
                self.others.mprotect_mte(index..index + 1);
                let fault = self.memory.tag_fault(&mut self.cpu, &self.others, index);
                assert_eq!(fault, TagFault::Done, "its block is free");
            }
        }
    }

    /// How many pages get tags.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// `mprotect(PROT_MTE)` of all that the program has.
    pub(crate) fn protect(&mut self) {
        self.program.mprotect_mte(0..self.len);
    }

    /// Gets every page of the program its tags.
    pub(crate) fn touch(&mut self, manner: Manner) {
        if manner == Manner::Populate {
            let got = self.memory.populate_tags(&mut self.cpu, &self.program, 0..self.len);
            assert_eq!((got.tagged, got.left), (self.len, 0), "tag storage");
            return;
        }
        for index in 0..self.len {
            while self.memory.tag_fault(&mut self.cpu, &self.program, index) != TagFault::Done {}
        }
    }
}
