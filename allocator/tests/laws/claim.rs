//! Isolation and claims on ranges, on the usual sizes: pageblocks of order 9, blocks up to
//! order 10.

use pagelab_allocator::contig::{ClaimError, ContigClaim, ContigRange};
use pagelab_allocator::event::{Event, Isolator, Silent};
use pagelab_allocator::frame::Movability;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::{GfpFlags, ZoneType};
use pagelab_allocator::isolate::{IsolateError, IsolateMode};
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::page_alloc::{AllocRequest, PageAllocator, Pages};
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::{CpuId, Order, PageCount, Pfn, PfnRange};
use pagelab_allocator::zone::Zone;

use crate::machine::{PROFILES, bare, range, zone};

const BOOT: CpuId = CpuId::BOOT;

fn machine(profile: KernelProfile) -> PageAllocator {
    let spec = bare(Geometry::PAGES_4K, profile, range(0, 0x1000));
    PageAllocator::boot(&spec, Silent).expect("a machine that boots")
}

fn get(alloc: &mut PageAllocator, order: u8, gfp: GfpFlags) -> Pages {
    alloc.alloc_pages(BOOT, &AllocRequest::new(Order::of(order), gfp)).expect("enough memory")
}

fn list(zone: &Zone, order: u8, mt: MigrateType) -> Vec<u64> {
    zone.buddy().free_list(Order::of(order), mt).map(Pfn::get).collect()
}

/// Isolates `part` of a wholly free machine and undoes it.
#[track_caller]
fn check_isolation(part: PfnRange, left: u64) {
    for profile in PROFILES {
        let mut zone = machine(profile).zones()[0].clone();
        zone.start_isolate(part, IsolateMode::Other, &mut Silent).expect("all is free");
        zone.check().expect("consistent");
        assert_eq!(zone.free_pages().all.get(), left, "{profile:?}: isolated pages do not count");
        zone.test_isolated(part, &mut Silent).expect("isolated and free");
        zone.undo_isolate(part, IsolateMode::Other, &mut Silent);
        zone.check().expect("consistent");
        assert_eq!(zone.free_pages().all.get(), 0x1000);
        assert_eq!(list(&zone, 10, MigrateType::Movable).len(), 4, "{profile:?}: halves merged");
        assert!(list(&zone, 10, MigrateType::Isolate).is_empty());
    }
}

#[test]
fn isolating_a_part_of_a_larger_block_and_undoing_it_merges_again() {
    check_isolation(range(0x000, 0x200), 0xe00);
    check_isolation(range(0x200, 0x400), 0xe00);
    check_isolation(range(0x400, 0x800), 0xc00);
    check_isolation(range(0x200, 0xa00), 0x800);
    check_isolation(range(0x3ff, 0x401), 0xc00);
}

#[test]
fn the_cut_halves_have_the_types_of_their_pageblocks() {
    for profile in PROFILES {
        let mut zone = machine(profile).zones()[0].clone();
        zone.start_isolate(range(0x600, 0x800), IsolateMode::Other, &mut Silent).unwrap();
        assert_eq!(list(&zone, 9, MigrateType::Movable), [0x400]);
        assert_eq!(list(&zone, 9, MigrateType::Isolate), [0x600]);
    }
}

/// What probes on the kernel's functions show of an isolation that cuts a block, and of its end,
/// which takes the half off its list and puts it back so that the two merge.
#[test]
fn isolation_tells_what_probes_show() {
    let (pfn, order) = (Pfn::new(0x400), Order::of(9));
    let (isolate, movable) = (MigrateType::Isolate, MigrateType::Movable);
    let back = [
        Event::IsolateFreePage {
            pfn,
            order,
            taken: order.pages(),
            isolator: Isolator::EndOfIsolation,
        },
        Event::SetPageblockMigratetype { pfn, migratetype: movable },
        Event::PutbackIsolated { pfn, order, migratetype: movable },
    ];
    let old = [
        Event::SetPageblockMigratetype { pfn, migratetype: isolate },
        Event::MoveFreepagesBlock { pfn, migratetype: isolate },
        Event::SplitFreePage { pfn, order: Order::of(10), offset: order.pages() },
    ];
    let new = [Event::MoveFreepagesBlockIsolate { pfn, migratetype: isolate }];
    for (profile, begun) in [(KernelProfile::V6_1, &old[..]), (KernelProfile::V6_12, &new[..])] {
        let mut zone = machine(profile).zones()[0].clone();
        let (part, mut events) = (range(0x400, 0x600), Vec::new());
        zone.start_isolate(part, IsolateMode::Other, &mut events).unwrap();
        zone.undo_isolate(part, IsolateMode::Other, &mut events);
        assert_eq!(events, [begun, &back[..]].concat(), "{profile:?}");
    }
}

/// Two ranges are isolated one after the other and merge while free; one of them ends first.
#[test]
fn ending_one_of_two_isolations_keeps_the_other() {
    let mut zone = machine(KernelProfile::V6_12).zones()[0].clone();
    let (low, high) = (range(0x400, 0x600), range(0x600, 0x800));
    zone.start_isolate(low, IsolateMode::Other, &mut Silent).unwrap();
    zone.start_isolate(high, IsolateMode::Other, &mut Silent).unwrap();
    // Taken and put back, the two become one isolated block of order 10.
    assert_eq!(
        zone.isolate_free_page(Pfn::new(0x400), Isolator::BlockScan, &mut Silent),
        Some(Order::of(9))
    );
    zone.free(BOOT, Pfn::new(0x400), Order::of(9), &mut Silent);
    assert_eq!(list(&zone, 10, MigrateType::Isolate), [0x400]);
    zone.undo_isolate(low, IsolateMode::Other, &mut Silent);
    zone.check().unwrap();
    assert_eq!(list(&zone, 9, MigrateType::Movable), [0x400]);
    assert_eq!(list(&zone, 9, MigrateType::Isolate), [0x600], "still nobody's to take");
    assert_eq!(zone.free_pages().all.get(), 0xe00);
    zone.undo_isolate(high, IsolateMode::Other, &mut Silent);
    assert!(list(&zone, 10, MigrateType::Movable).contains(&0x400));
}

#[test]
fn what_cannot_be_isolated() {
    for profile in PROFILES {
        let mut alloc = machine(profile);
        let pinned = get(&mut alloc, 4, GfpFlags::KERNEL);
        let block = pinned.pfn().align_down(Order::of(9));
        let part = PfnRange::block(block, Order::of(9));
        let refused = ContigClaim::claim(&mut alloc, part, IsolateMode::Other).unwrap_err();
        assert_eq!(refused, ClaimError::Isolate(IsolateError::Unmovable(pinned.pfn())));
        let mut zone = alloc.zones()[0].clone();
        zone.start_isolate(range(0x600, 0x800), IsolateMode::Other, &mut Silent).unwrap();
        let again =
            zone.start_isolate(range(0x400, 0xa00), IsolateMode::Other, &mut Silent).unwrap_err();
        assert_eq!(again, IsolateError::AlreadyIsolated(Pfn::new(0x600)));
        assert_eq!(zone.buddy().migratetype(Pfn::new(0x600)), MigrateType::Isolate);
        assert_ne!(zone.buddy().migratetype(Pfn::new(0x800)), MigrateType::Isolate);
        zone.check().unwrap();
        let outside = range(0xf00, 0x1100);
        let refused = ContigClaim::claim(&mut alloc, outside, IsolateMode::Other).unwrap_err();
        assert_eq!(refused, ClaimError::BadRange(outside));
    }
}

#[test]
fn lent_memory_goes_back_to_its_owner_only() {
    for profile in PROFILES {
        let mut spec = bare(Geometry::PAGES_4K, profile, range(0, 0x1000));
        spec.cma = vec![range(0x800, 0xc00)];
        let mut alloc = PageAllocator::boot(&spec, Silent).unwrap();
        let part = range(0x900, 0x910);
        let error = ContigClaim::claim(&mut alloc, part, IsolateMode::Other).unwrap_err();
        assert!(matches!(error, ClaimError::Isolate(IsolateError::Unmovable(_))));
        let mode = IsolateMode::CmaAlloc(MigrateType::Cma);
        let claim = ContigClaim::claim(&mut alloc, part, mode).unwrap();
        let contig = claim.commit(BOOT).unwrap();
        assert_eq!(alloc.zones()[0].free_pages().cma.get(), 0x400 - 0x10);
        assert_eq!(alloc.pageblock_type(Pfn::new(0x900)), Some(MigrateType::Cma));
        alloc.check().unwrap();
        alloc.free_contig_range(BOOT, contig);
        alloc.drain_all();
        assert_eq!(alloc.zones()[0].free_pages().cma.get(), 0x400);
    }
}

#[test]
fn a_claim_gives_head_and_tail_back() {
    for profile in PROFILES {
        let mut alloc = machine(profile);
        let part = range(0x403, 0x5f1);
        let contig =
            ContigClaim::claim(&mut alloc, part, IsolateMode::Other).unwrap().commit(BOOT).unwrap();
        alloc.check().unwrap();
        assert_eq!(contig.range(), part);
        assert_eq!(alloc.zones()[0].free_pages().all.get(), 0x1000 - part.len().get());
        let raw = contig.into_raw();
        let contig = ContigRange::reclaim(&alloc, raw).unwrap();
        alloc.free_contig_range(BOOT, contig);
        alloc.drain_all();
        alloc.check().unwrap();
        assert_eq!(alloc.zones()[0].free_pages().all.get(), 0x1000);
        assert_eq!(ContigRange::reclaim(&alloc, raw), Err(part.start()));
    }
}

#[test]
fn a_busy_claim_ends_and_names_the_frame() {
    for profile in PROFILES {
        let mut alloc = machine(profile);
        let pages = get(&mut alloc, 0, GfpFlags::HIGHUSER_MOVABLE);
        let pfn = pages.pfn();
        let part = PfnRange::block(pfn.align_down(Order::of(9)), Order::of(9));
        let mut claim = ContigClaim::claim(&mut alloc, part, IsolateMode::Other).unwrap();
        let busy = claim.next_busy(part.start()).unwrap();
        assert_eq!((busy.pfn, busy.movability), (pfn, Movability::Movable));
        assert!(claim.next_busy(pfn + PageCount::new(1)).is_none());
        let target = get(claim.page_alloc(), 0, GfpFlags::HIGHUSER_MOVABLE);
        assert!(!part.contains(target.pfn()), "never from isolated memory");
        assert_eq!(claim.commit(BOOT).unwrap_err(), ClaimError::Busy(pfn));
        assert_ne!(alloc.pageblock_type(pfn), Some(MigrateType::Isolate));
        let mut claim = ContigClaim::claim(&mut alloc, part, IsolateMode::Other).unwrap();
        claim.page_alloc().free_pages(BOOT, pages);
        let contig = claim.commit(BOOT).unwrap();
        assert_eq!(contig.range(), part);
        alloc.free_pages(BOOT, target);
        alloc.check().unwrap();
    }
}

/// A block of order 10 is in use while its upper pageblock is isolated, then freed.
#[test]
fn a_large_block_freed_across_the_edge_of_an_isolation_is_cut() {
    for profile in PROFILES {
        let mut alloc = machine(profile);
        let pages = get(&mut alloc, 10, GfpFlags::HIGHUSER_MOVABLE);
        let upper = PfnRange::block(pages.pfn() + PageCount::new(512), Order::of(9));
        let mut claim = ContigClaim::claim(&mut alloc, upper, IsolateMode::Other).unwrap();
        claim.page_alloc().free_pages(BOOT, pages);
        claim.page_alloc().check().unwrap();
        let contig = claim.commit(BOOT).unwrap();
        assert_eq!(contig.range(), upper);
        alloc.check().unwrap();
        assert_eq!(alloc.zones()[0].free_pages().all.get(), 0x1000 - 512);
    }
}

#[test]
fn the_test_of_a_claim_is_an_event() {
    let spec = bare(Geometry::PAGES_4K, KernelProfile::V6_1, range(0, 0x1000));
    let mut alloc = PageAllocator::boot(&spec, Vec::new()).unwrap();
    let part = range(0x440, 0x450);
    let claim = ContigClaim::claim(&mut alloc, part, IsolateMode::Other).unwrap();
    assert_eq!(claim.commit(BOOT).unwrap().range(), part);
    let tested: Vec<_> = alloc
        .sink()
        .iter()
        .filter_map(|event| match event {
            Event::TestPagesIsolated { range, fin } => Some((*range, *fin)),
            _ => None,
        })
        .collect();
    // From the start of the free block around the range to the range's end.
    assert_eq!(tested, [(range(0x400, 0x450), Pfn::new(0x600))]);
}

#[test]
fn everything_in_zone_movable_can_be_isolated() {
    let mut spec = bare(Geometry::PAGES_4K, KernelProfile::V6_12, range(0, 0x1000));
    spec.zones = vec![zone(ZoneType::Movable, 0, range(0, 0x1000))];
    let mut alloc = PageAllocator::boot(&spec, Silent).unwrap();
    let pages = get(&mut alloc, 0, GfpFlags::HIGHUSER_MOVABLE);
    alloc.set_movability(&pages, Movability::Unmovable);
    let part = PfnRange::block(pages.pfn().align_down(Order::of(9)), Order::of(9));
    assert!(ContigClaim::claim(&mut alloc, part, IsolateMode::MemOffline).is_ok());
}

#[test]
fn a_compaction_target_leaves_more_than_the_min_mark() {
    for profile in PROFILES {
        for (reserve, given) in [(0xe00, false), (0xdff, true)] {
            let mut spec = bare(Geometry::PAGES_4K, profile, range(0, 0x1000));
            spec.tunables.min_free_kbytes = Some(reserve * 4);
            let mut alloc = PageAllocator::boot(&spec, Silent).unwrap();
            let half = get(&mut alloc, 8, GfpFlags::HIGHUSER_MOVABLE | GfpFlags::MEMALLOC);
            let target =
                alloc.isolate_free_page(half.pfn().buddy(Order::of(8)), Isolator::BlockScan);
            assert_eq!(target.is_some(), given, "0xf00 pages free, {reserve:#x} reserved");
        }
    }
}
