//! The driver keeps track of what it holds, whatever becomes of it, and can give it all back.

use pagelab::background::Background;
use pagelab::drive::Driver;
use pagelab::logical::{ContigOwner, Op, PageId, PageSpan, Step};
use pagelab::machine::{self, MachinePlan};
use pagelab::plan::Design;
use pagelab_allocator::event::Silent;
use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::{CpuId, Order, PageCount};
use pagelab_migrate::emulator::Emulator;

struct Run {
    driver: Driver,
    next: u64,
}

impl Run {
    fn new(design: Design, profile: KernelProfile, cma: u64) -> Self {
        let background = Background { movable: PageCount::new(700), ..Background::default() };
        let plan = MachinePlan { memory: 32 << 20, cma, block_size: 4096, profile, background };
        let spec = machine::spec(&plan, design.build()).expect("it fits");
        let emulator = Emulator::new(&spec, Silent).expect("a machine");
        let driver = Driver::new(emulator, &background, None).expect("room for everything");
        Self { driver, next: 0 }
    }

    fn step(&mut self, op: Op) {
        self.driver.step(&Step { line: 0, timestamp: 0, cpu: CpuId::BOOT, pid: 1, op });
    }

    fn alloc(&mut self, order: u8, gfp: GfpFlags) -> PageId {
        let id = PageId(self.next);
        self.next += 1;
        self.step(Op::Alloc { id, order: Order::of(order), gfp });
        id
    }

    fn contig(&mut self, pages: u64, owner: ContigOwner) -> PageId {
        let id = PageId(self.next);
        self.next += 1;
        self.step(Op::AllocContig { id, pages: PageCount::new(pages), owner });
        id
    }

    fn free(&mut self, id: PageId, first: u32, pages: u32) {
        self.step(Op::Free { id, span: PageSpan { first, pages } });
    }

    /// Every page comes back, also a second time when there is nothing left.
    fn check(mut self) {
        self.driver.emulator().check().expect("consistent");
        self.driver.release_all().expect("nothing is lost");
        self.driver.emulator().check().expect("consistent");
        self.driver.release_all().expect("nothing is lost");
    }
}

const USER: GfpFlags = GfpFlags::HIGHUSER_MOVABLE;

fn everywhere(check: impl Fn(Design, KernelProfile)) {
    for design in Design::ALL {
        for profile in [KernelProfile::V6_1, KernelProfile::V6_12] {
            check(design, profile);
        }
    }
}

#[test]
fn all_kinds_of_memory_come_back() {
    everywhere(|design, profile| {
        let mut run = Run::new(design, profile, 4 << 20);
        let tagged = run.alloc(0, USER | GfpFlags::TAGGED);
        for gfp in [USER, GfpFlags::KERNEL, GfpFlags::KERNEL | GfpFlags::RECLAIMABLE] {
            for order in 0..=10 {
                run.alloc(order, gfp);
            }
        }
        let part = run.alloc(4, USER);
        run.free(part, 3, 2);
        run.step(Op::Tag { id: tagged, page: 0 });
        run.step(Op::Tag { id: part, page: 0 });
        for (pages, owner) in [(300, ContigOwner::Cma), (100, ContigOwner::Anyone)] {
            let range = run.contig(pages, owner);
            run.free(range, 10, 20);
            run.free(range, 40, 20);
            run.free(range, 15, 2);
        }
        run.check();
    });
}

#[test]
fn what_fails_leaves_nothing_behind() {
    everywhere(|design, profile| {
        let mut run = Run::new(design, profile, 0);
        for order in [0, 3, 9, 10, 11, 15] {
            for _ in 0..8000 >> order {
                let id = run.alloc(order, USER | GfpFlags::TAGGED);
                run.step(Op::Tag { id, page: 0 });
            }
        }
        let missing = run.contig(0, ContigOwner::Anyone);
        run.free(missing, 0, 1);
        run.free(PageId(1 << 40), 0, 1);
        assert!(run.driver.requests().failed() > 0);
        run.check();
    });
}

#[test]
fn a_block_that_migration_split_is_held_page_by_page() {
    everywhere(|design, profile| {
        let mut run = Run::new(design, profile, 0);
        let blocks: Vec<_> = (0..200).map(|_| run.alloc(4, USER)).collect();
        let singles: Vec<_> = (0..4200).map(|_| run.alloc(0, USER)).collect();
        for id in singles.iter().step_by(2) {
            run.free(*id, 0, 1);
        }
        // No block of 16 pages is free now, so none can move as it is.
        for _ in 0..8 {
            run.contig(512, ContigOwner::Anyone);
        }
        let splits = run.driver.emulator().mm_stats().thp_migration_split;
        assert!(splits > 0, "{} {profile:?}", design.name());
        for id in blocks.iter().step_by(3) {
            run.free(*id, 0, 16);
        }
        for id in blocks.iter().skip(1).step_by(3) {
            run.free(*id, 2, 5);
        }
        run.check();
    });
}

/// Flags of readahead tell page cache: it gives way, and what is freed later may be gone.
#[test]
fn page_cache_of_a_trace_gives_way() {
    for profile in [KernelProfile::V6_1, KernelProfile::V6_12] {
        let mut run = Run::new(Design::CmaV3, profile, 4 << 20);
        let ahead = USER | GfpFlags::NORETRY | GfpFlags::NOWARN;
        let pages: Vec<_> = (0..12_000).map(|_| run.alloc(0, ahead)).collect();
        let dirty: Vec<_> = (0..2_000).map(|_| run.alloc(0, USER | GfpFlags::WRITE)).collect();
        let tagged = pages[11_999];
        run.step(Op::Tag { id: tagged, page: 0 });
        assert_eq!(run.driver.requests().failed(), 0);
        assert_eq!(run.driver.tagging().not_mappable, 1, "files cannot be tagged");
        let reclaim = run.driver.emulator().reclaim();
        assert!(reclaim.stats.pgsteal_file > 4_000 && reclaim.stats.kswapd_wakes > 0);
        assert!(reclaim.stats.nr_dirtied == 2_000 && reclaim.dirty_pages() > 0);
        pages.into_iter().chain(dirty).for_each(|id| run.free(id, 0, 1));
        assert_eq!(run.driver.emulator().reclaim().cache.pages(), 0);
        run.check();
    }
}
