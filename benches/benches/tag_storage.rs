//! Times tag storage: what a tagged page costs by the state of the block that holds its tags.
//! Machine: 64 MiB of data behind 2 MiB of tag storage in blocks of one page, design RFC v3, kernel
//! 6.12, one CPU. Metadata only: no byte of a page and no tag is copied.
//!
//! Dimensions, as `group/case`; every operation starts from a snapshot of its own:
//!
//! * `allocate`: one page by `alloc_pages()` with `__GFP_TAGGED`. Cases: `untagged` (the same
//!   without the flag, to subtract), `block_reserved` (a neighbour has tags), `block_free`,
//!   `block_lent` (the block holds the data of a program, which moves away).
//! * `protect_and_touch`: `mprotect(PROT_MTE)` of one resident page of a program, then the write
//!   that faults. Cases: `block_reserved`, `block_free`, `block_lent` as above, and
//!   `page_in_storage` (the page itself lies in tag storage, so that it moves first, to where its
//!   block is lent).
//!
//! A snapshot is a clone, and sixteen of them are made before sixteen operations run: every one
//! finds its machine outside the nearest cache, as an interrupted program would.

use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion};
use pagelab_allocator::frame::Frame;
use pagelab_allocator::units::Order;
use pagelab_migrate::prelude::*;

const CPU: CpuId = CpuId::BOOT;
const DATA: PfnRange = PfnRange::new(Pfn::new(0x4_0000), Pfn::new(0x4_4000));
const TAGS: PfnRange = PfnRange::new(Pfn::new(0x4_4000), Pfn::new(0x4_4200));
/// Pages of the program: enough to have some in tag storage.
const FILL: u64 = 16_200;
/// Pages that it gives back, so that others can move.
const ROOM: u64 = 2_000;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .configure_from_args();
    allocate(&mut criterion);
    protect_and_touch(&mut criterion);
    criterion.final_summary();
}

/// A machine with a program on it, and which of its pages is meant.
#[derive(Clone)]
struct Scene {
    emulator: Emulator,
    space: SpaceId,
    page: VirtPage,
}

impl Scene {
    /// A program with `pages` resident pages from `page` on, without tags.
    fn new(pages: u64) -> Self {
        let memory = PfnRange::new(DATA.start(), TAGS.end());
        let (geometry, profile) = (Geometry::PAGES_4K, KernelProfile::V6_12);
        let machine = MachineSpec::single(geometry, profile, ZoneType::Normal, memory);
        let tags = Some(TagSpec::single(DATA, TAGS, Arc::new(CmaV3)));
        let mut emulator =
            Emulator::new(&EmulatorSpec { machine, tags }, Silent).expect("a possible machine");
        let (space, page) = (emulator.create_space(), VirtPage::new(0x1000));
        let range = VirtRange::from_len(page, pages);
        emulator.mmap(space, range, Prot::READ_WRITE, Backing::Anon).expect("an empty space");
        for page in range.iter() {
            emulator.access(CPU, space, page, Access::Write).expect("enough memory");
        }
        Self { emulator, space, page }
    }

    /// Memory so full that tag storage is lent out; `page` is one that `suits`.
    fn full(suits: impl Fn(&Self, Pfn) -> bool) -> Self {
        let mut scene = Self::new(FILL);
        let room = VirtRange::from_len(scene.page, ROOM);
        scene.emulator.madvise_dontneed(CPU, scene.space, room).expect("a mapped range");
        let rest = VirtRange::from_len(room.end(), FILL - ROOM);
        let found = rest.iter().find(|&page| {
            scene.emulator.translate(scene.space, page).is_some_and(|to| suits(&scene, to.pfn))
        });
        scene.page = found.expect("memory is full");
        scene
    }

    /// Whether somebody's data lies where the tags of `pfn` belong.
    fn is_lent(&self, pfn: Pfn) -> bool {
        let map = self.emulator.tags().ledger().map();
        let Some(block) = map.block_of(pfn) else { return false };
        let tags = self.emulator.frame(map.range(block).start());
        matches!(tags, Frame::Allocated { .. }) && !self.emulator.tags().is_reserved(pfn)
    }

    fn allocate(&mut self, gfp: GfpFlags) -> FolioId {
        self.emulator.allocate(CPU, Order::ZERO, gfp).expect("a page with tag storage")
    }

    fn protect_and_touch(&mut self) {
        let range = VirtRange::from_len(self.page, 1);
        self.emulator.mprotect(CPU, self.space, range, Prot::TAGGED).expect("a mapped page");
        self.emulator.access(CPU, self.space, self.page, Access::Write).expect("tag storage");
    }

    /// Blocks taken and pages moved away for it, so far.
    fn toll(&self) -> (u64, u64) {
        let stats = self.emulator.tags().stats();
        (stats.claimed_pages, stats.displaced_pages + stats.fault_migrations)
    }
}

/// Times `operation`, which claims and moves as many pages as `toll` says.
fn time(
    criterion: &mut Criterion,
    name: &str,
    scene: &Scene,
    toll: (u64, u64),
    operation: impl Fn(&mut Scene),
) {
    let mut after = scene.clone();
    operation(&mut after);
    let (before, after) = (scene.toll(), after.toll());
    assert_eq!((after.0 - before.0, after.1 - before.1), toll, "{name} is another case");
    criterion.bench_function(name, |bencher| {
        let timed = |mut scene: Scene| {
            operation(&mut scene);
            scene
        };
        bencher.iter_batched(|| scene.clone(), timed, BatchSize::NumIterations(16));
    });
}

fn allocate(criterion: &mut Criterion) {
    let (plain, tagged) =
        (GfpFlags::HIGHUSER_MOVABLE, GfpFlags::HIGHUSER_MOVABLE | GfpFlags::TAGGED);
    let with = |gfp| {
        move |scene: &mut Scene| {
            scene.allocate(gfp);
        }
    };
    let free = Scene::new(1);
    time(criterion, "allocate/untagged", &free, (0, 0), with(plain));
    time(criterion, "allocate/block_free", &free, (1, 0), with(tagged));
    let mut reserved = free;
    reserved.allocate(tagged);
    time(criterion, "allocate/block_reserved", &reserved, (0, 0), with(tagged));
    let lent = Scene::full(|_, _| true);
    time(criterion, "allocate/block_lent", &lent, (1, 1), with(tagged));
}

fn protect_and_touch(criterion: &mut Criterion) {
    let name = |case| format!("protect_and_touch/{case}");
    let free = Scene::new(2);
    time(criterion, &name("block_free"), &free, (1, 0), Scene::protect_and_touch);
    let mut reserved = free;
    reserved.protect_and_touch();
    reserved.page = reserved.page.plus(1);
    time(criterion, &name("block_reserved"), &reserved, (0, 0), Scene::protect_and_touch);
    let lent = Scene::full(Scene::is_lent);
    time(criterion, &name("block_lent"), &lent, (1, 1), Scene::protect_and_touch);
    let inside = Scene::full(|_, pfn| TAGS.contains(pfn));
    time(criterion, &name("page_in_storage"), &inside, (1, 2), Scene::protect_and_touch);
}
