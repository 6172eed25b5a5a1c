//! What happens to lent memory besides being tag storage: other CMA, per-CPU lists, isolation.

use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::{AllocFlags, GfpFlags, ZoneType};
use pagelab_allocator::isolate::IsolateMode;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::{Order, PageCount, PfnRange};
use pagelab_migrate::emulator::Emulator;
use pagelab_migrate::tag_storage::cma::{CmaV2, CmaV3};
use pagelab_migrate::tag_storage::design::{Residence, TagStorageDesign, Terms};
use pagelab_migrate::tag_storage::metadata::Metadata;
use pagelab_migrate::vma::Prot;

use crate::crowd::Crowd;
use crate::machine::{CPU, DATA, Program, TAGS, boot, boot_on};

/// Whether a tagged request gets a page of an ordinary CMA area, which could be tagged.
fn may_use_other_cma(design: impl TagStorageDesign + 'static) -> bool {
    let area = PfnRange::from_len(DATA.start() + PageCount::new(0x1000), PageCount::new(0x600));
    let memory = PfnRange::new(DATA.start(), TAGS.end());
    let mut machine =
        MachineSpec::single(Geometry::PAGES_4K, KernelProfile::V6_12, ZoneType::Normal, memory);
    machine.cma.push(area);
    let mut emulator = boot_on(machine, vec![(DATA, TAGS)], design).unwrap();
    let mut crowd = Crowd::fill(&mut emulator);
    crowd.leave(&mut emulator, area, PfnRange::default());
    let gfp = GfpFlags::HIGHUSER_MOVABLE | GfpFlags::TAGGED | GfpFlags::MEMALLOC;
    let found = emulator.allocate(CPU, Order::ZERO, gfp);
    emulator.check().unwrap();
    found.is_ok_and(|id| area.contains(emulator.folios()[id].pfn()))
}

#[test]
fn stripping_cma_bars_every_area_and_metadata_only_tag_storage() {
    assert!(!may_use_other_cma(CmaV2));
    assert!(!may_use_other_cma(CmaV3));
    assert!(may_use_other_cma(Metadata));
}

/// RFC v3 without its change to the per-CPU lists.
#[derive(Debug)]
struct Unpatched {
    terms: fn(GfpFlags) -> Terms,
}

impl TagStorageDesign for Unpatched {
    fn name(&self) -> &'static str {
        "unpatched"
    }

    fn residence(&self) -> Residence {
        Residence::Pageblocks(MigrateType::Cma)
    }

    fn terms(&self, gfp: GfpFlags) -> Terms {
        (self.terms)(gfp)
    }
}

/// Whether a tagged request is given a page of tag storage that an untagged one has just freed.
fn reuses_cached(design: impl TagStorageDesign + 'static) -> bool {
    let mut emulator = boot(design, 1);
    let mut crowd = Crowd::fill(&mut emulator);
    let some = PfnRange::from_len(DATA.start() + PageCount::new(0x1000), PageCount::new(0x800));
    crowd.leave(&mut emulator, some, PfnRange::default());
    // Freed last, so that it is at the head of the movable per-CPU list.
    let cached = TAGS.iter().find_map(|pfn| crowd.at(pfn)).unwrap();
    emulator.free(CPU, cached);
    let gfp = GfpFlags::HIGHUSER_MOVABLE | GfpFlags::TAGGED;
    let id = emulator.allocate(CPU, Order::ZERO, gfp).unwrap();
    emulator.check().unwrap();
    TAGS.contains(emulator.folios()[id].pfn())
}

#[test]
fn per_cpu_lists_hand_cma_to_tagged_requests_unless_patched() {
    let barred = Unpatched {
        terms: |gfp| {
            let terms = Terms::unchanged(gfp);
            if gfp.contains(GfpFlags::TAGGED) { terms.barring(AllocFlags::CMA) } else { terms }
        },
    };
    assert!(reuses_cached(barred));
    assert!(!reuses_cached(CmaV2));
    assert!(!reuses_cached(CmaV3));
}

#[test]
fn what_is_freed_under_isolation_counts_only_afterwards() {
    let mut emulator = boot(CmaV3, 1);
    let mut crowd = Crowd::fill(&mut emulator);
    let half = PfnRange::from_len(TAGS.start(), PageCount::new(256));
    crowd.leave(&mut emulator, half, PfnRange::default());
    let free = |emulator: &Emulator| {
        let free = emulator.page_alloc().zones()[0].free_pages();
        (free.all.get(), free.cma.get())
    };
    let (all, cma) = free(&emulator);
    assert!((255..=256).contains(&cma), "the zero page's tag page may be among them");
    let mode = IsolateMode::CmaAlloc(MigrateType::Cma);
    emulator.isolate(TAGS, mode).unwrap();
    assert_eq!(free(&emulator), (all - cma, 0));
    crowd.leave(&mut emulator, TAGS, PfnRange::default());
    assert_eq!(free(&emulator), (all - cma, 0));
    emulator.undo_isolate(TAGS, mode);
    emulator.check().unwrap();
    assert_eq!(free(&emulator), (all - cma + 511, 511));
}

#[test]
fn tags_kept_aside_go_with_their_page() {
    let mut emulator = boot(CmaV3, 1);
    let mut crowd = Crowd::fill(&mut emulator);
    let spare = PfnRange::from_len(DATA.start() + PageCount::new(0x1000), PageCount::new(0x800));
    crowd.leave(&mut emulator, spare, PfnRange::default());
    let program = Program::start(&mut emulator, 1, Prot::TAGGED);
    program.touch(&mut emulator, 0).unwrap();
    let place = PfnRange::block(program.pfn(&emulator, 0), Order::ZERO);
    let taken = emulator.claim_range(CPU, place, IsolateMode::Other, GfpFlags::KERNEL).unwrap();
    emulator.check().unwrap();
    assert_eq!((program.marked(&emulator), emulator.tags().stashed()), (1, 1));
    program.dontneed(&mut emulator);
    assert_eq!(emulator.tags().stashed(), 0);
    emulator.release_range(CPU, taken.range);
}
