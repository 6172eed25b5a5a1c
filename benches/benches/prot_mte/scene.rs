//! A machine with a program on it, and the pages of the program that will get tags.

use std::sync::Arc;

use pagelab_benches::workload::shuffle;
use pagelab_migrate::prelude::*;

const CPU: CpuId = CpuId::BOOT;
pub(crate) const DATA: PfnRange = PfnRange::new(Pfn::new(0x4_0000), Pfn::new(0x6_0000));
pub(crate) const TAGS: PfnRange = PfnRange::new(Pfn::new(0x6_0000), Pfn::new(0x6_1000));
/// 512 MiB of data, and its tag storage in blocks of one page, each for 32 pages.
pub(crate) const MEMORY: PfnRange = PfnRange::new(DATA.start(), TAGS.end());
/// Pages of a program that fills memory, tag storage included: more than fit.
pub(crate) const FILL: u64 = 135_168;
/// Pages of a program beside which tag storage stays free.
pub(crate) const RESIDENT: u64 = 60_000;
/// Pages that it gives back, so that others can move.
pub(crate) const ROOM: u64 = 16_000;
/// Pages that get tags in one operation.
pub(crate) const PAGES: usize = 1024;
/// Where the program's memory starts.
const START: VirtPage = VirtPage::new(0x1000);

/// The state of the block that holds a page's tags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Block {
    /// Reserved for a neighbour.
    Reserved,
    /// Free.
    Free,
    /// Lent out and full of data, which can move.
    Lent,
    /// The page itself lies in tag storage and moves first, to where its block is lent.
    Inside,
}

/// Which pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Spread {
    /// One after the other: 32 of them share a block.
    Dense,
    /// A page of each of many blocks, in random order.
    Scattered,
}

/// A machine, a program, and what of it is to get tags.
#[derive(Clone)]
pub(crate) struct Scene<S: Sink> {
    pub(crate) emulator: Emulator<S>,
    space: SpaceId,
    mapped: VirtRange,
    pages: Vec<VirtPage>,
}

impl<S: Sink> Scene<S> {
    /// The program is resident and has asked for tags; its chosen pages are not touched yet.
    pub(crate) fn new(block: Block, spread: Spread, sink: S) -> Self {
        match block {
            Block::Free => Self::resident(RESIDENT, sink).choosing(spread, |_, _| true),
            Block::Reserved => {
                let mut scene = Self::resident(RESIDENT, sink);
                let neighbour = |page: &VirtPage| page.get() % 32 == 31;
                let neighbours = scene.pages.iter().copied().filter(neighbour).collect();
                scene = scene.choosing(spread, |_, page| !neighbour(&page));
                let chosen = core::mem::replace(&mut scene.pages, neighbours);
                scene.protect();
                scene.touch();
                scene.pages = chosen;
                scene
            }
            Block::Lent => Self::full(sink).choosing(spread, |scene, page| {
                scene.pfn(page).is_some_and(|pfn| DATA.contains(pfn) && scene.is_lent(pfn))
            }),
            Block::Inside => Self::full(sink).choosing(spread, |scene, page| {
                scene.pfn(page).is_some_and(|pfn| TAGS.contains(pfn))
            }),
        }
    }

    /// A program with `pages` resident pages, or as many as fit, without tags.
    fn resident(pages: u64, sink: S) -> Self {
        let (geometry, profile) = (Geometry::PAGES_4K, KernelProfile::V6_12);
        let machine = MachineSpec::single(geometry, profile, ZoneType::Normal, MEMORY);
        let tags = Some(TagSpec::single(DATA, TAGS, Arc::new(CmaV3)));
        let mut emulator =
            Emulator::new(&EmulatorSpec { machine, tags }, sink).expect("a possible machine");
        let space = emulator.create_space();
        let range = VirtRange::from_len(START, pages);
        emulator.mmap(space, range, Prot::READ_WRITE, Backing::Anon).expect("an empty space");
        let resident = range
            .iter()
            .take_while(|&page| emulator.access(CPU, space, page, Access::Write).is_ok())
            .collect();
        Self { emulator, space, mapped: range, pages: resident }
    }

    /// Memory so full that tag storage is lent out.
    fn full(sink: S) -> Self {
        let mut scene = Self::resident(FILL, sink);
        let room = VirtRange::from_len(START, ROOM);
        scene.emulator.madvise_dontneed(CPU, scene.space, room).expect("a mapped range");
        scene.pages.drain(..usize::try_from(ROOM).expect("a small machine"));
        scene
    }

    /// Chooses among the pages that suit.
    fn choosing(mut self, spread: Spread, suits: impl Fn(&Self, VirtPage) -> bool) -> Self {
        let mut pages = core::mem::take(&mut self.pages);
        pages.retain(|&page| suits(&self, page));
        if spread == Spread::Scattered {
            let mut blocks = std::collections::BTreeSet::new();
            shuffle(&mut pages);
            pages.retain(|&page| self.pfn(page).is_some_and(|pfn| blocks.insert(pfn.get() / 32)));
        }
        pages.truncate(PAGES);
        self.pages = pages;
        self
    }

    fn pfn(&self, page: VirtPage) -> Option<Pfn> {
        self.emulator.translate(self.space, page).map(|to| to.pfn)
    }

    /// Whether somebody's data lies where the tags of `pfn` belong.
    fn is_lent(&self, pfn: Pfn) -> bool {
        let map = self.emulator.tags().ledger().map();
        let Some(block) = map.block_of(pfn) else { return false };
        let frame = self.emulator.frame(map.range(block).start());
        let held = matches!(frame, pagelab_allocator::frame::Frame::Allocated { .. });
        held && !self.emulator.tags().is_reserved(pfn)
    }

    /// How many pages get tags.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.pages.len()).expect("a small machine")
    }

    /// `mprotect(PROT_MTE)` of all that the program has.
    pub(crate) fn protect(&mut self) {
        let protected = self.emulator.mprotect(CPU, self.space, self.mapped, Prot::TAGGED);
        protected.expect("a mapped range");
    }

    /// A write to each page, which faults and gets the page its tags.
    pub(crate) fn touch(&mut self) {
        for &page in &self.pages {
            let written = self.emulator.access(CPU, self.space, page, Access::Write);
            written.expect("tag storage");
        }
    }

    /// Pages that the program has in memory.
    pub(crate) fn resident_len(&self) -> u32 {
        u32::try_from(self.mapped.len()).expect("a small machine")
    }
}
