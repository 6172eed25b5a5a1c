//! Pageblocks kept back for high-order atomic requests.

use pagelab_allocator::event::Silent;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::{AllocFlags, GfpFlags, ZoneType};
use pagelab_allocator::highatomic::Unreserve;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::page_alloc::{AllocRequest, PageAllocator, Pages};
use pagelab_allocator::pcp::Thp;
use pagelab_allocator::profile::KernelProfile::{self, V6_1, V6_12};
use pagelab_allocator::units::{CpuId, Order, PageCount};

use crate::machine::{PROFILES, bare, range};

const BOOT: CpuId = CpuId::BOOT;

fn machine(profile: KernelProfile, pages: u64) -> PageAllocator {
    let mut spec = bare(Geometry::PAGES_4K, profile, range(0, pages));
    spec.thp = Thp::Absent;
    PageAllocator::boot(&spec, Silent).expect("a machine that boots")
}

fn atomic(alloc: &mut PageAllocator, order: u8) -> Pages {
    let req = AllocRequest::new(Order::of(order), GfpFlags::ATOMIC);
    alloc.alloc_pages(BOOT, &req.granting(AllocFlags::HIGHATOMIC)).expect("enough memory")
}

#[track_caller]
fn check_limit(profile: KernelProfile, pages: u64, order: u8, reserved: u64) {
    let mut alloc = machine(profile, pages);
    for _ in 0..6 {
        let _held = atomic(&mut alloc, order);
        alloc.check().expect("consistent");
    }
    assert_eq!(alloc.zones()[0].reserved_highatomic().get(), reserved);
}

#[test]
fn the_reserve_is_about_a_hundredth() {
    // Of 131072 pages: 1310 + 512, against 1310 rounded up to pageblocks.
    check_limit(V6_1, 0x2_0000, 9, 2048);
    check_limit(V6_12, 0x2_0000, 9, 1536);
    // Of 32768 pages: 327 + 512, against nothing, since 327 is less than a pageblock.
    check_limit(V6_1, 0x8000, 9, 1024);
    check_limit(V6_12, 0x8000, 9, 0);
    // 6.12 reserves all pageblocks of a larger block.
    check_limit(V6_1, 0x2_0000, 10, 2048);
    check_limit(V6_12, 0x2_0000, 10, 2048);
}

#[test]
fn used_reserves_are_missed_by_one_kernel_only() {
    for (profile, passes) in [(V6_1, false), (V6_12, true)] {
        let mut alloc = machine(profile, 0x2_0000);
        let held = atomic(&mut alloc, 9);
        assert_eq!(alloc.pageblock_type(held.pfn()), Some(MigrateType::HighAtomic));
        let zone = &alloc.zones()[0];
        let mark = PageCount::new(zone.free_pages().all.get() - 512);
        let free = zone.free_pages().all;
        let ok = |flags| zone.watermark_ok_with(free, Order::ZERO, mark, ZoneType::Normal, flags);
        assert_eq!(ok(AllocFlags::empty()), passes);
        assert!(ok(AllocFlags::NON_BLOCK), "those who may use the reserve count it");
    }
}

#[test]
fn the_last_reserved_pageblock_is_given_back_by_force_only() {
    for profile in PROFILES {
        let mut alloc = machine(profile, 0x2_0000);
        let held = atomic(&mut alloc, 4);
        let req = AllocRequest::new(Order::ZERO, GfpFlags::HIGHUSER_MOVABLE);
        assert!(!alloc.unreserve_highatomic(&req, Unreserve::Surplus));
        assert!(alloc.unreserve_highatomic(&req, Unreserve::All));
        assert_eq!(alloc.pageblock_type(held.pfn()), Some(MigrateType::Movable));
        assert_eq!(alloc.zones()[0].reserved_highatomic(), PageCount::ZERO);
        assert!(!alloc.unreserve_highatomic(&req, Unreserve::All), "nothing left");
        alloc.check().unwrap();
        alloc.free_pages(BOOT, held);
        alloc.check().unwrap();
    }
}

/// A page cached while its pageblock was reserved goes back to a highatomic list under 6.1, though
/// the pageblock is an ordinary one by then; it drags its free buddies along.
#[test]
fn a_cached_page_outlives_the_reservation_of_its_pageblock() {
    for profile in PROFILES {
        let mut alloc = machine(profile, 0x2_0000);
        let ordinary = AllocRequest::new(Order::ZERO, GfpFlags::KERNEL);
        let page = alloc.alloc_pages(BOOT, &ordinary).unwrap();
        let held = atomic(&mut alloc, 4);
        let pfn = page.pfn();
        assert_eq!(alloc.pageblock_type(pfn), Some(MigrateType::HighAtomic));
        alloc.free_pages(BOOT, page);
        assert!(alloc.unreserve_highatomic(&ordinary, Unreserve::All));
        alloc.drain_all();
        alloc.check().unwrap();
        let again = atomic(&mut alloc, 3);
        alloc.check().unwrap();
        for pages in [again, held] {
            alloc.free_pages(BOOT, pages);
        }
        alloc.drain_all();
        alloc.check().unwrap();
        assert_eq!(alloc.zones()[0].free_pages().all.get(), 0x2_0000);
    }
}

#[test]
fn only_those_who_cannot_wait_dip_into_the_reserve() {
    for profile in PROFILES {
        let mut alloc = machine(profile, 0x2_0000);
        let held = atomic(&mut alloc, 4);
        let all = AllocRequest::new(Order::of(10), GfpFlags::KERNEL | GfpFlags::MEMALLOC);
        while alloc.alloc_pages_slow(BOOT, &all).is_some() {}
        let block = held.pfn().align_down(Order::of(9));
        let pick = |alloc: &mut PageAllocator, gfp| {
            let req = AllocRequest::new(Order::of(5), gfp | GfpFlags::MEMALLOC);
            alloc.alloc_pages_slow(BOOT, &req).map(|pages| pages.pfn().align_down(Order::of(9)))
        };
        // The rest of the order-10 block beside the reserve serves ordinary requests first.
        while pick(&mut alloc, GfpFlags::KERNEL).is_some_and(|from| from != block) {}
        assert_eq!(pick(&mut alloc, GfpFlags::KERNEL), None);
        assert_eq!(pick(&mut alloc, GfpFlags::NOWAIT), Some(block));
        alloc.check().unwrap();
    }
}
