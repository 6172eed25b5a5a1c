//! Random programs on a small machine, under every design, with a full check after every step.

use std::sync::Arc;

use pagelab_allocator::event::Silent;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::{Order, PageCount, Pfn, PfnRange};
use pagelab_migrate::emulator::Emulator;
use pagelab_migrate::fault::Access;
use pagelab_migrate::folio::{FolioId, PinTerm, SpaceId, VirtPage};
use pagelab_migrate::tag_storage::catalogue::Design;
use pagelab_migrate::tag_storage::clean_store::CleanKey;
use pagelab_migrate::tag_storage::design::TagStorageDesign;
use pagelab_migrate::tag_storage::taggable_hw::TaggableHw;
use pagelab_migrate::vma::{Backing, Prot, ShmemId, VirtRange};

use crate::machine::{CPU, Layout};

/// A linear congruential generator: enough to vary programs.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// 1536 frames of data and 48 of tag storage; pageblocks of 8 frames.
fn boot(design: Arc<dyn TagStorageDesign>, profile: KernelProfile, block: u64) -> Emulator<Silent> {
    let data = PfnRange::from_len(Pfn::new(0x1000), PageCount::new(1536));
    let tags = PfnRange::from_len(data.end(), PageCount::new(48));
    let geometry = Geometry::new(12, Order::of(3), Order::of(5)).unwrap();
    let fixed = PfnRange::from_len(tags.end(), PageCount::new(24));
    Layout { geometry, profile, block, data, tags, fixed, cma: None }.boot(design).unwrap()
}

struct Churn {
    emulator: Emulator<Silent>,
    dice: Dice,
    spaces: Vec<SpaceId>,
    shmem: ShmemId,
    raw: Vec<FolioId>,
    pins: Vec<(FolioId, PinTerm)>,
}

const BASE: u64 = 0x1_0000;
const SPAN: u64 = 256;

impl Churn {
    fn new(mut emulator: Emulator<Silent>, seed: u64) -> Self {
        let shmem = emulator.create_shmem();
        let (mut raw, mut dice) = (Vec::new(), Dice(seed));
        let gfp = GfpFlags::HIGHUSER_MOVABLE | GfpFlags::MEMALLOC;
        while let Ok(id) = emulator.allocate(CPU, Order::ZERO, gfp) {
            raw.push(id);
        }
        // Room here and there: tag storage is full of data, too.
        while raw.len() > 700 {
            let at = dice.below(u64::try_from(raw.len()).unwrap());
            emulator.free(CPU, raw.swap_remove(usize::try_from(at).unwrap()));
        }
        // Some of the data in tag storage is held for long, so that reservations fail.
        let map = emulator.tags().ledger().map();
        let in_storage = |id: &&FolioId| map.is_tag_storage(emulator.folios()[**id].pfn());
        let held: Vec<_> = raw.iter().filter(in_storage).step_by(3).copied().collect();
        let mut pins = Vec::new();
        for id in held {
            emulator.pin(CPU, id, PinTerm::Short).unwrap();
            pins.push((id, PinTerm::Short));
        }
        Self { emulator, dice, spaces: Vec::new(), shmem, raw, pins }
    }

    fn range(&mut self) -> VirtRange {
        let start = self.dice.below(SPAN);
        let len = 1 + self.dice.below((SPAN - start).min(100));
        VirtRange::from_len(VirtPage::new(BASE + start), len)
    }

    fn space(&mut self) -> SpaceId {
        if self.spaces.is_empty() {
            self.spaces.push(self.emulator.create_space());
        }
        let at = self.dice.below(u64::try_from(self.spaces.len()).unwrap());
        self.spaces[usize::try_from(at).unwrap()]
    }

    /// One step; refusals are part of life, only `check` must hold.
    fn step(&mut self) {
        let space = self.space();
        match self.dice.below(40) {
            0 => self.spaces.push(self.emulator.create_space()),
            1 if self.spaces.len() < 6 => self.spaces.extend(self.emulator.fork(space)),
            2 if self.dice.below(4) == 0 => {
                self.emulator.exit(CPU, space).unwrap();
                self.spaces.retain(|id| *id != space);
            }
            3..6 => {
                let range = self.range();
                let prot = if self.dice.below(2) == 0 { Prot::TAGGED } else { Prot::READ_WRITE };
                let offset = range.start().get() - BASE;
                let backing = match self.dice.below(4) {
                    0 => Backing::Shmem { id: self.shmem, offset },
                    1 if prot == Prot::READ_WRITE => Backing::File,
                    _ => Backing::Anon,
                };
                let _ = self.emulator.mmap(space, range, prot, backing);
            }
            6 => {
                let range = self.range();
                let _ = self.emulator.munmap(CPU, space, range);
            }
            7 => {
                let range = self.range();
                let _ = self.emulator.madvise_dontneed(CPU, space, range);
            }
            8..10 => {
                let range = self.range();
                let _ = self.emulator.mprotect(CPU, space, range, Prot::TAGGED);
            }
            10..12 => {
                let order = Order::of(u8::try_from(1 + self.dice.below(5)).unwrap());
                let page = self.range().start().get() & !(order.pages().get() - 1);
                let page = VirtPage::new(page);
                let _ = self.emulator.populate_huge(CPU, space, page, order);
            }
            12 => self.clean_copies(),
            13..15 => self.raw_pages(),
            15..17 => self.pin(space),
            17 => {
                let _ = self
                    .emulator
                    .claim_range(
                        CPU,
                        PfnRange::from_len(
                            Pfn::new(0x1000 + self.dice.below(1500)),
                            PageCount::new(9),
                        ),
                        pagelab_allocator::isolate::IsolateMode::Other,
                        GfpFlags::KERNEL,
                    )
                    .map(|taken| self.emulator.release_range(CPU, taken.range));
            }
            _ => {
                let start = self.dice.below(SPAN);
                let access = if self.dice.below(4) == 0 { Access::Read } else { Access::Write };
                for page in start..start + self.dice.below(24) {
                    let _ = self.emulator.access(CPU, space, VirtPage::new(BASE + page), access);
                }
            }
        }
    }

    fn clean_copies(&mut self) {
        for _ in 0..12 {
            let (object, index) = (self.dice.below(3), self.dice.below(20));
            match self.dice.below(4) {
                0 => _ = self.emulator.cleancache_get(CleanKey { object, index }),
                1 if index == 0 => self.emulator.cleancache_invalidate_object(object),
                _ => _ = self.emulator.cleancache_put(CleanKey { object, index }),
            }
        }
    }

    /// Whoever holds a block that migration split holds its pages.
    fn adopt_splits(&mut self) {
        for split in self.emulator.take_splits() {
            if self.raw.contains(&split.folio) {
                self.raw.extend(split.pages.into_iter().skip(1));
            }
        }
    }

    fn raw_pages(&mut self) {
        if (self.raw.len() > 750 || self.dice.below(2) == 0) && !self.raw.is_empty() {
            let at = self.dice.below(u64::try_from(self.raw.len()).unwrap());
            let at = usize::try_from(at).unwrap();
            if !self.emulator.folios()[self.raw[at]].is_pinned() {
                self.emulator.free(CPU, self.raw.swap_remove(at));
            }
            return;
        }
        let gfp = match self.dice.below(6) {
            0 => GfpFlags::KERNEL,
            1 => GfpFlags::HIGHUSER_MOVABLE | GfpFlags::TAGGED,
            2 => GfpFlags::ATOMIC | GfpFlags::MOVABLE | GfpFlags::TAGGED,
            _ => GfpFlags::HIGHUSER_MOVABLE,
        };
        let order = Order::of(u8::try_from(self.dice.below(4)).unwrap());
        self.raw.extend(self.emulator.allocate(CPU, order, gfp));
    }

    fn pin(&mut self, space: SpaceId) {
        if self.pins.len() > 60 || self.dice.below(3) == 0 {
            if !self.pins.is_empty() {
                let at = self.dice.below(u64::try_from(self.pins.len()).unwrap());
                let (id, term) = self.pins.swap_remove(usize::try_from(at).unwrap());
                self.emulator.unpin(CPU, id, term);
            }
            return;
        }
        let page = VirtPage::new(BASE + self.dice.below(SPAN));
        let term = if self.dice.below(2) == 0 { PinTerm::Short } else { PinTerm::Long };
        let folio = match self.dice.below(3) {
            0 => self.raw.get(usize::try_from(self.dice.below(700)).unwrap()).copied(),
            _ => self.emulator.space(space).unwrap().table().get(page).folio(),
        };
        if let Some(id) = folio
            && self.emulator.pin(CPU, id, term).is_ok()
        {
            self.pins.push((id, term));
        }
    }

    fn end(mut self) {
        while let Some((id, term)) = self.pins.pop() {
            self.emulator.unpin(CPU, id, term);
        }
        for space in self.spaces {
            self.emulator.exit(CPU, space).unwrap();
        }
        self.emulator.destroy_shmem(CPU, self.shmem).unwrap();
        for id in self.raw {
            self.emulator.free(CPU, id);
        }
        self.emulator.check().unwrap();
        assert_eq!(self.emulator.folios().len(), 1, "only the zero page is left");
        let ledger = self.emulator.tags().ledger();
        assert_eq!(ledger.reserved_pages().get(), 1);
        assert_eq!(self.emulator.tags().stashed(), 0);
        assert_eq!(self.emulator.tags().caches().corruptions(), 0);
    }
}

/// Runs programs; returns how often a reservation failed, a fault migrated, and none helped.
fn churn(design: &Arc<dyn TagStorageDesign>) -> [u64; 3] {
    let mut totals = [0; 3];
    for (seed, profile) in (1..).zip([KernelProfile::V6_1, KernelProfile::V6_12].repeat(3)) {
        let block = 1 + seed % 3;
        let mut churn = Churn::new(boot(Arc::clone(design), profile, block), seed);
        for step in 0..300 {
            churn.step();
            churn.adopt_splits();
            if let Err(violation) = churn.emulator.check() {
                panic!("{}, seed {seed}, {profile:?}, step {step}: {violation}", design.name());
            }
        }
        let stats = churn.emulator.tags().stats();
        let seen = [stats.reserve_failures, stats.fault_migrations, stats.no_progress];
        totals = core::array::from_fn(|at| totals[at] + seen[at]);
        churn.end();
    }
    totals
}

#[test]
fn designs_that_never_wait() {
    for design in [Design::Carveout, Design::Cleancache] {
        assert_eq!(churn(&design.build()), [0; 3], "{design}");
    }
}

#[test]
fn designs_that_refuse() {
    for design in [Design::Metadata, Design::CmaV2, Design::CmaFilter] {
        let [failures, ..] = churn(&design.build());
        assert!(failures > 0, "{design}: too easy");
    }
    let [_, _, stuck] = churn(&Design::CmaV2.build());
    assert!(stuck > 0, "v2 faults for ever while a tag block is pinned");
}

#[test]
fn designs_that_repair() {
    for design in [
        Design::CmaV3,
        Design::DropMovable,
        Design::CmaFlag,
        Design::ZoneMovable,
        Design::NumaNode,
        Design::GrabAll,
    ] {
        let [failures, migrations, _] = churn(&design.build());
        assert!(failures > 0 && migrations > 0, "{design}: {failures}, {migrations}: too easy");
    }
}

#[test]
fn taggable_hardware() {
    for design in Design::ALL {
        let design: Arc<dyn TagStorageDesign> = Arc::new(TaggableHw::new(design.build()));
        churn(&design);
    }
}
