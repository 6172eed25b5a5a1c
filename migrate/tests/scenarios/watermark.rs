//! S7, S8 and S15: what it means to lose ALLOC_CMA, and what it means to lose __GFP_MOVABLE.

use std::collections::BTreeMap;

use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::event::Silent;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::{AllocFlags, GfpFlags, ZoneType};
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::page_alloc::{AllocRequest, PageAllocator};
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::{CpuId, Order, PageCount, Pfn, PfnRange};
use pagelab_migrate::alloc::{AllocFailure, FailureCause};
use pagelab_migrate::emulator::AllocateError;
use pagelab_migrate::tag_storage::cma::CmaV3;
use pagelab_migrate::tag_storage::design::{Residence, TagStorageDesign, Terms};
use pagelab_migrate::tag_storage::region::TagRegion;

use crate::crowd::Crowd;
use crate::machine::{CPU, DATA, TAGS, boot};

/// A zone of `free` pages of which the last `cma` are CMA, with pageblocks of two pages: where a
/// number is odd, one more page of the kind is in use.
fn zone(free: u64, cma: u64) -> PageAllocator<Silent> {
    let plain = free - cma;
    let first = Pfn::new(plain.next_multiple_of(2));
    let end = first + PageCount::new(cma.next_multiple_of(2));
    let memory = PfnRange::new(Pfn::new(0), end);
    let geometry = Geometry::new(12, Order::of(1), Order::of(1)).unwrap();
    let mut spec = MachineSpec::single(geometry, KernelProfile::V6_12, ZoneType::Normal, memory);
    if cma > 0 {
        spec.cma = vec![PfnRange::new(first, end)];
    }
    let mut alloc = PageAllocator::boot(&spec, Silent).unwrap();
    for (pages, end) in [(plain, first), (cma, end)] {
        if pages % 2 == 1 {
            let last = Pfn::new(end.get() - 1);
            let _held = alloc.take_at(CPU, last, Order::ZERO).unwrap();
        }
    }
    alloc.tick();
    let counted = alloc.zones()[0].counted();
    assert_eq!((counted.all.get(), counted.cma.get()), (free, cma));
    alloc
}

#[test]
fn s07_without_alloc_cma_free_cma_does_not_count() {
    let alloc = zone(1000, 800);
    let ok = |flags| {
        let (free, mark) = (PageCount::new(1000), PageCount::new(250));
        alloc.zones()[0].watermark_ok_with(free, Order::ZERO, mark, ZoneType::Normal, flags)
    };
    assert!(ok(AllocFlags::CMA));
    assert!(!ok(AllocFlags::empty()));
}

#[test]
fn s07_the_check_says_what_it_computed() {
    let alloc = zone(1000, 800);
    let (free, mark, order) = (PageCount::new(1000), PageCount::new(250), Order::ZERO);
    let sum = |flags| alloc.zones()[0].sum_with(free, order, mark, ZoneType::Normal, flags);
    let tagged = sum(AllocFlags::empty());
    assert_eq!(
        (tagged.free, tagged.unusable.cma, tagged.floor()),
        (free, PageCount::new(800), mark)
    );
    assert_eq!((tagged.unusable.pages(), tagged.is_ok()), (PageCount::new(800), false));
    let plain = sum(AllocFlags::CMA);
    assert_eq!((plain.unusable.pages(), plain.is_ok()), (PageCount::ZERO, true));
}

/// Whether a zone with this many free pages, some of them CMA, is above `mark`: for requests that
/// may use CMA, and for others.
fn above(free: u64, cma: u64, mark: u64) -> [bool; 2] {
    let alloc = zone(free, cma);
    let (free, mark) = (PageCount::new(free), PageCount::new(mark));
    [AllocFlags::CMA, AllocFlags::empty()].map(|flags| {
        alloc.zones()[0].watermark_ok_with(free, Order::ZERO, mark, ZoneType::Normal, flags)
    })
}

#[test]
fn s07_published_numbers() {
    // Johannes Weiner: 3.0 of which 1.4 are CMA, watermark 2.0. CMA is not tried first either.
    assert_eq!(above(3000, 1400, 2000), [true, false]);
    assert!(!takes_cma_first(3000, 1400));
    // A memory cache's report in kB: 4978632 free, 4893276 of them CMA, so 85356 are usable.
    let (free, cma, usable) = (4_978_632 / 4, 4_893_276 / 4, 85_356 / 4);
    assert_eq!(above(free, cma, usable), [true, false]);
    assert_eq!(above(free, cma, usable - 1), [true, true]);
}

#[test]
fn s07_a_tagged_request_fails_although_cma_is_free() {
    let mut emulator = boot(CmaV3, 2);
    let mut crowd = Crowd::fill(&mut emulator);
    let map = emulator.tags().ledger().map();
    let tags: Vec<_> = map.regions().map(TagRegion::tags).collect();
    // Above the low watermark with CMA, nothing without.
    crowd.leave(&mut emulator, tags[0], PfnRange::default());
    let some = PfnRange::from_len(DATA.start() + PageCount::new(0x1000), PageCount::new(500));
    crowd.leave(&mut emulator, some, PfnRange::default());
    let plain = GfpFlags::HIGHUSER_MOVABLE;
    let failed = emulator.allocate(CPU, Order::ZERO, plain | GfpFlags::TAGGED).unwrap_err();
    let cause = FailureCause::OnlyCmaFree;
    assert_eq!(failed, AllocateError::Alloc(AllocFailure { order: Order::ZERO, cause }));
    emulator.allocate(CPU, Order::ZERO, plain).unwrap();
    emulator.check().unwrap();
}

#[test]
fn s08_cma_goes_first_only_above_half() {
    let expected = [(100, 50, false), (100, 51, true), (101, 50, false), (101, 51, true)];
    for (free, cma, first) in expected {
        assert_eq!(takes_cma_first(free, cma), first, "{cma} of {free} pages");
    }
}

fn takes_cma_first(free: u64, cma: u64) -> bool {
    let mut alloc = zone(free, cma);
    let gfp = GfpFlags::HIGHUSER_MOVABLE | GfpFlags::MEMALLOC;
    let pages = alloc.alloc_pages(CpuId::BOOT, &AllocRequest::new(Order::ZERO, gfp)).unwrap();
    alloc.pageblock_type(pages.pfn()) == Some(MigrateType::Cma)
}

/// What Catalin Marinas first suggested: tagged requests are no longer movable.
#[derive(Debug)]
struct DropMovable;

impl TagStorageDesign for DropMovable {
    fn name(&self) -> &'static str {
        "drop-movable"
    }

    fn residence(&self) -> Residence {
        Residence::Pageblocks(MigrateType::Cma)
    }

    fn terms(&self, gfp: GfpFlags) -> Terms {
        let terms = Terms::unchanged(gfp);
        if gfp.contains(GfpFlags::TAGGED) { terms.dropping(GfpFlags::MOVABLE) } else { terms }
    }
}

/// Pageblocks by type, and tag pages that tagged requests took, after the same trace.
fn census(design: impl TagStorageDesign + 'static) -> (BTreeMap<MigrateType, usize>, usize) {
    let mut emulator = boot(design, 1);
    let tagged = GfpFlags::HIGHUSER_MOVABLE | GfpFlags::TAGGED;
    let mut in_storage = 0;
    for n in 0..6000 {
        let gfp = if n % 3 == 0 { GfpFlags::HIGHUSER_MOVABLE } else { tagged };
        let id = emulator.allocate(CPU, Order::ZERO, gfp).unwrap();
        let in_tags = TAGS.contains(emulator.folios()[id].pfn());
        in_storage += usize::from(in_tags && gfp == tagged);
    }
    emulator.check().unwrap();
    let mut types = BTreeMap::new();
    for block in DATA.blocks(Order::of(9)) {
        *types.entry(emulator.page_alloc().pageblock_type(block).unwrap()).or_default() += 1;
    }
    (types, in_storage)
}

#[test]
fn s15_unmovable_tagged_pages_change_pageblocks_and_movable_ones_do_not() {
    let (dropped, dropped_cma) = census(DropMovable);
    let (stripped, stripped_cma) = census(CmaV3);
    assert_eq!((dropped_cma, stripped_cma), (0, 0));
    let unmovable = |types: &BTreeMap<_, usize>| types.get(&MigrateType::Unmovable).copied();
    // 4000 tagged pages fill seven pageblocks and begin an eighth.
    assert!(unmovable(&dropped) >= Some(8), "{dropped:?}");
    // The zero page is kernel memory; the block that it came from is two pageblocks long.
    assert!(unmovable(&stripped) <= Some(2), "{stripped:?}");
}
