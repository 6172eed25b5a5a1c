//! Reclaim on a small machine: what goes, what stays, what comes back; and random programs under
//! pressure, checked in full.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails; helpers are not #[test]")]

use std::sync::Arc;

use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::event::Silent;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::{GfpFlags, ZoneType};
use pagelab_allocator::isolate::IsolateMode;
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::{CpuId, Order, PageCount, Pfn, PfnRange};
use pagelab_migrate::emulator::{Emulator, EmulatorSpec, TagSpec};
use pagelab_migrate::fault::Access;
use pagelab_migrate::file_io::FileAccess;
use pagelab_migrate::folio::{PinTerm, SpaceId, VirtPage};
use pagelab_migrate::page_cache::{CacheEntry, FileId, FilePage};
use pagelab_migrate::reclaim::lru::LruList;
use pagelab_migrate::reclaim::swap::SwapSpec;
use pagelab_migrate::tag_storage::cma::CmaV3;
use pagelab_migrate::vma::{Backing, Prot, VirtRange};

const CPU: CpuId = CpuId::BOOT;
const PROFILES: [KernelProfile; 2] = [KernelProfile::V6_1, KernelProfile::V6_12];

/// 16 MiB of data, and its tag storage lent out as CMA.
fn boot(profile: KernelProfile) -> Emulator<Silent> {
    let data = PfnRange::from_len(Pfn::new(0x4000), PageCount::new(4096));
    let tags = PfnRange::from_len(data.end(), PageCount::new(128));
    let memory = PfnRange::new(data.start(), tags.end());
    let geometry = Geometry::new(12, Order::of(5), Order::of(7)).unwrap();
    let machine = MachineSpec::single(geometry, profile, ZoneType::Normal, memory);
    let tags = Some(TagSpec::single(data, tags, Arc::new(CmaV3)));
    Emulator::new(&EmulatorSpec { machine, tags }, Silent).unwrap()
}

fn swap(slots: u64) -> SwapSpec {
    SwapSpec { slots: PageCount::new(slots), pages_per_page: 3 }
}

fn page(file: FileId, index: u32) -> FilePage {
    FilePage { file, index }
}

fn program(emulator: &mut Emulator<Silent>, pages: u64, prot: Prot) -> SpaceId {
    let space = emulator.create_space();
    let range = VirtRange::from_len(VirtPage::new(0), pages);
    emulator.mmap(space, range, prot, Backing::Anon).unwrap();
    space
}

fn write(emulator: &mut Emulator<Silent>, space: SpaceId, at: u64) {
    emulator.access(CPU, space, VirtPage::new(at), Access::Write).unwrap();
}

#[test]
fn page_cache_gives_way_to_whoever_needs_memory() {
    for profile in PROFILES {
        let mut emulator = boot(profile);
        let file = emulator.create_file();
        for index in 0..6000 {
            assert_eq!(emulator.read_file(CPU, page(file, index)).unwrap(), FileAccess::Miss);
        }
        let stats = emulator.reclaim().stats;
        assert!(stats.allocstall > 0 && stats.pgsteal_direct > 1500, "{stats:?}");
        // The oldest went, and left its shadow.
        assert!(matches!(emulator.reclaim().cache.get(page(file, 0)), CacheEntry::Shadow(_)));
        let again = emulator.read_file(CPU, page(file, 0)).unwrap();
        assert!(matches!(again, FileAccess::Refault(_)));
        emulator.check().unwrap();
        emulator.remove_file(CPU, file).unwrap();
        emulator.check().unwrap();
        assert_eq!(emulator.reclaim().lru.total(), PageCount::ZERO);
    }
}

#[test]
fn kswapd_reclaims_up_to_the_high_mark_so_that_requests_need_not() {
    let mut emulator = boot(KernelProfile::V6_12);
    let file = emulator.create_file();
    for index in 0..6000 {
        emulator.read_file(CPU, page(file, index)).unwrap();
        if let Some(wake) = emulator.kswapd_wanted() {
            emulator.kswapd(CPU, wake);
        }
    }
    let stats = emulator.reclaim().stats;
    assert!(stats.kswapd_wakes > 1 && stats.kswapd_wakes == stats.pageoutrun, "{stats:?}");
    assert_eq!((stats.allocstall, stats.pgsteal_direct), (0, 0));
    assert_eq!(stats.pgsteal_kswapd, stats.pgsteal_file);
    emulator.check().unwrap();
}

#[test]
fn what_is_read_twice_outlives_what_is_read_once() {
    let mut emulator = boot(KernelProfile::V6_12);
    let (hot, cold) = (emulator.create_file(), emulator.create_file());
    for _ in 0..2 {
        for index in 0..500 {
            emulator.read_file(CPU, page(hot, index)).unwrap();
        }
    }
    assert_eq!(emulator.reclaim().lru.pages(LruList::ActiveFile), PageCount::new(500));
    for index in 0..9000 {
        emulator.read_file(CPU, page(cold, index)).unwrap();
    }
    let kept =
        |index| matches!(emulator.reclaim().cache.get(page(hot, index)), CacheEntry::Present(_));
    assert!((0..500).all(kept));
}

#[test]
fn dirty_pages_are_written_before_they_go() {
    let mut emulator = boot(KernelProfile::V6_1);
    let file = emulator.create_file();
    for index in 0..6000 {
        emulator.write_file(CPU, page(file, index)).unwrap();
    }
    let reclaim = emulator.reclaim();
    let stats = reclaim.stats;
    assert!(stats.writeback_stalls > 0 && stats.nr_written >= stats.pgsteal_file, "{stats:?}");
    let left = reclaim.dirty_pages() + reclaim.writeback_pages();
    assert_eq!(stats.nr_dirtied, stats.nr_written + left);
    emulator.check().unwrap();
    emulator.write_back(CPU, 0, u64::MAX);
    emulator.write_back(CPU, u64::MAX, 0);
    assert_eq!(emulator.reclaim().dirty_pages() + emulator.reclaim().writeback_pages(), 0);
    emulator.check().unwrap();
}

#[test]
fn anonymous_memory_goes_to_swap_and_comes_back_with_its_tags() {
    for profile in PROFILES {
        let mut emulator = boot(profile);
        emulator.swap_on(swap(3000)).unwrap();
        let space = program(&mut emulator, 5500, Prot::TAGGED);
        (0..5500).for_each(|at| write(&mut emulator, space, at));
        let reclaim = emulator.reclaim();
        assert!(reclaim.stats.pswpout > 1000, "{:?}", reclaim.stats);
        assert_eq!(
            reclaim.swap.pool().len(),
            usize::try_from(reclaim.swap.used().get().div_ceil(3)).unwrap()
        );
        emulator.check().unwrap();
        let first = VirtPage::new(0);
        assert_eq!(emulator.translate(space, first), None);
        emulator.access(CPU, space, first, Access::Read).unwrap();
        let folio = emulator.translate(space, first).unwrap().folio;
        assert!(emulator.folios()[folio].is_tagged());
        assert_eq!(emulator.reclaim().stats.pswpin, 1);
        emulator.check().unwrap();
        let child = emulator.fork(space).unwrap();
        emulator.check().unwrap();
        emulator.exit(CPU, space).unwrap();
        emulator.exit(CPU, child).unwrap();
        emulator.check().unwrap();
        assert_eq!(emulator.reclaim().swap.used(), PageCount::ZERO);
        assert_eq!(emulator.reclaim().swap.pool().len(), 0);
    }
}

#[test]
fn large_folios_are_split_and_go_page_by_page() {
    for profile in PROFILES {
        let mut emulator = boot(profile);
        emulator.swap_on(swap(3000)).unwrap();
        let space = program(&mut emulator, 5504, Prot::READ_WRITE);
        let mut large = 0;
        for first in (0..5504).step_by(32).map(VirtPage::new) {
            match emulator.populate_huge(CPU, space, first, Order::of(5)) {
                Ok(_) => large += 1,
                Err(_) => {
                    let pages = first.get()..first.get() + 32;
                    pages.for_each(|at| write(&mut emulator, space, at));
                }
            }
        }
        assert!(large > 50 && !emulator.take_splits().is_empty(), "{large}");
        assert!(emulator.reclaim().stats.pswpout > 500, "{:?}", emulator.reclaim().stats);
        emulator.check().unwrap();
        (0..5504).for_each(|at| write(&mut emulator, space, at));
        emulator.check().unwrap();
        emulator.exit(CPU, space).unwrap();
        emulator.check().unwrap();
        assert_eq!(emulator.reclaim().lru.total(), PageCount::ZERO);
    }
}

#[test]
fn a_page_shared_by_fork_goes_for_both_and_comes_back_for_each() {
    let mut emulator = boot(KernelProfile::V6_12);
    emulator.swap_on(swap(4000)).unwrap();
    let parent = program(&mut emulator, 200, Prot::READ_WRITE);
    (0..200).for_each(|at| write(&mut emulator, parent, at));
    let child = emulator.fork(parent).unwrap();
    let hog = program(&mut emulator, 5000, Prot::READ_WRITE);
    (0..5000).for_each(|at| write(&mut emulator, hog, at));
    let gone = |emulator: &Emulator<Silent>, space| {
        (0..200).filter(|at| emulator.translate(space, VirtPage::new(*at)).is_none()).count()
    };
    assert!(gone(&emulator, parent) > 100);
    assert_eq!(gone(&emulator, parent), gone(&emulator, child));
    emulator.check().unwrap();
    (0..200).for_each(|at| write(&mut emulator, child, at));
    emulator.exit(CPU, parent).unwrap();
    emulator.check().unwrap();
}

#[test]
fn without_swap_anonymous_memory_stays_and_requests_fail() {
    let mut emulator = boot(KernelProfile::V6_12);
    let space = program(&mut emulator, 5500, Prot::READ_WRITE);
    let failed = (0..5500)
        .find(|at| emulator.access(CPU, space, VirtPage::new(*at), Access::Write).is_err());
    assert!(failed.is_some());
    assert_eq!(emulator.reclaim().stats.pgsteal_anon, 0);
    emulator.check().unwrap();
}

#[test]
fn a_claim_drops_clean_cache_and_moves_dirty_cache() {
    for profile in PROFILES {
        let mut emulator = boot(profile);
        let file = emulator.create_file();
        for index in 0..64 {
            match index % 2 {
                0 => emulator.read_file(CPU, page(file, index)).unwrap(),
                _ => emulator.write_file(CPU, page(file, index)).unwrap(),
            };
        }
        let CacheEntry::Present(id) = emulator.reclaim().cache.get(page(file, 5)) else { panic!() };
        let block = emulator.folios()[id].pfn().align_down(Order::of(5));
        let range = PfnRange::block(block, Order::of(5));
        let inside = |emulator: &Emulator<Silent>, odd: u32| {
            let cached = emulator.reclaim().cache.iter();
            let here = cached.filter(|(_, id)| range.contains(emulator.folios()[*id].pfn()));
            here.filter(|(page, _)| page.index % 2 == odd).count()
        };
        let (clean, dirty) = (inside(&emulator, 0), inside(&emulator, 1));
        assert!(clean > 0 && dirty > 0);
        let taken = emulator.claim_range(CPU, range, IsolateMode::Other, GfpFlags::KERNEL).unwrap();
        assert_eq!(taken.migrated, PageCount::new(u64::try_from(dirty).unwrap()));
        let stats = emulator.reclaim().stats;
        assert_eq!(stats.contig_dropped, u64::try_from(clean).unwrap());
        emulator.release_range(CPU, taken.range);
        emulator.check().unwrap();
    }
}

#[test]
fn a_pinned_page_never_goes() {
    let mut emulator = boot(KernelProfile::V6_12);
    emulator.swap_on(swap(4000)).unwrap();
    let space = program(&mut emulator, 5000, Prot::READ_WRITE);
    write(&mut emulator, space, 7);
    let folio = emulator.translate(space, VirtPage::new(7)).unwrap().folio;
    emulator.pin(CPU, folio, PinTerm::Short).unwrap();
    (0..5000).for_each(|at| write(&mut emulator, space, at));
    assert_eq!(emulator.translate(space, VirtPage::new(7)).map(|t| t.folio), Some(folio));
    emulator.exit(CPU, space).unwrap();
    emulator.check().unwrap();
    emulator.unpin(CPU, folio, PinTerm::Short);
    emulator.check().unwrap();
}

/// A linear congruential generator: enough to vary programs.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Counters that say the same in two ways.
#[track_caller]
fn counters_agree(emulator: &Emulator<Silent>, what: &str) {
    let stats = emulator.reclaim().stats;
    let by_who = [stats.pgscan_kswapd + stats.pgscan_direct, stats.stolen()];
    let by_kind = [stats.pgscan_anon + stats.pgscan_file, stats.pgsteal_anon + stats.pgsteal_file];
    assert_eq!(by_who, by_kind, "{what}: {stats:?}");
    assert!(
        stats.stolen() <= by_who[0] && stats.pgsteal_anon == stats.pswpout,
        "{what}: {stats:?}"
    );
    assert!(stats.workingset_activate_anon <= stats.workingset_refault_anon, "{what}: {stats:?}");
    assert!(stats.workingset_activate_file <= stats.workingset_refault_file, "{what}: {stats:?}");
    assert_eq!(stats.pswpin, stats.workingset_refault_anon, "{what}: {stats:?}");
    let left = emulator.reclaim().dirty_pages() + emulator.reclaim().writeback_pages();
    assert!(stats.nr_written + left <= stats.nr_dirtied, "{what}: {stats:?}");
}

/// One random operation; refusals are part of the game.
fn act(emulator: &mut Emulator<Silent>, dice: &mut Dice, spaces: &mut Vec<SpaceId>, file: FileId) {
    let index = u32::try_from(dice.below(3000)).unwrap();
    let at = usize::try_from(dice.below(u64::try_from(spaces.len()).unwrap())).unwrap();
    let (space, from) = (spaces[at], dice.below(1100));
    match dice.below(20) {
        0..5 => drop((index..index + 8).map(|i| emulator.read_file(CPU, page(file, i))).count()),
        5..8 => drop((index..index + 8).map(|i| emulator.write_file(CPU, page(file, i))).count()),
        8..15 => {
            for at in from..from + 100 {
                let _ = emulator.access(CPU, space, VirtPage::new(at), Access::Write);
            }
        }
        15 => {
            let range = VirtRange::from_len(VirtPage::new(from), 64);
            emulator.mprotect(CPU, space, range, Prot::TAGGED).unwrap();
        }
        16 => drop(emulator.write_back(CPU, dice.below(64), dice.below(64))),
        17 if spaces.len() < 5 => spaces.push(emulator.fork(space).unwrap()),
        17 => {
            emulator.exit(CPU, spaces.swap_remove(at)).unwrap();
        }
        18 => drop(emulator.alloc_contig_pages(CPU, PageCount::new(32)).map(|taken| {
            emulator.release_range(CPU, taken.range);
        })),
        _ => {
            if let Some(wake) = emulator.kswapd_wanted() {
                emulator.kswapd(CPU, wake);
            }
        }
    }
}

fn churn(profile: KernelProfile, seed: u64) -> String {
    let mut emulator = boot(profile);
    emulator.swap_on(swap(1500)).unwrap();
    let file = emulator.create_file();
    let mut spaces = vec![program(&mut emulator, 1200, Prot::READ_WRITE)];
    for _ in 0..4 {
        spaces.push(program(&mut emulator, 1200, Prot::READ_WRITE));
    }
    let mut dice = Dice(seed);
    for step in 0..400 {
        act(&mut emulator, &mut dice, &mut spaces, file);
        emulator.check().unwrap_or_else(|what| panic!("seed {seed}, step {step}: {what}"));
        counters_agree(&emulator, &format!("seed {seed}, step {step}"));
        emulator.take_moves();
    }
    let shown = format!("{:?} {:?}", emulator.reclaim().stats, emulator.mm_stats());
    spaces.into_iter().for_each(|space| emulator.exit(CPU, space).unwrap());
    emulator.remove_file(CPU, file).unwrap();
    emulator.drain();
    emulator.check().unwrap();
    let usage = emulator.usage();
    assert_eq!(usage.unmovable + usage.movable, PageCount::new(1), "only the page of zeroes");
    shown
}

#[test]
fn random_programs_keep_every_invariant_and_one_seed_is_one_history() {
    for profile in PROFILES {
        let histories: Vec<_> = (0..4).map(|seed| churn(profile, seed)).collect();
        assert_eq!(histories[1], churn(profile, 1));
        assert_ne!(histories[1], histories[2]);
    }
}
