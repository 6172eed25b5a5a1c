//! What makes no sense is refused by name, and refusing loses nothing.

use pagelab_allocator::boot::{BootError, MachineSpec};
use pagelab_allocator::event::Silent;
use pagelab_allocator::frame::Movability;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::{GfpFlags, ZoneType};
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::page_alloc::{AllocError, AllocRequest, NotAllocated, PageAllocator, Pages};
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::{CpuId, Order, PageCount, Pfn, PfnRange};

const PROFILES: [KernelProfile; 2] = [KernelProfile::V6_1, KernelProfile::V6_12];

fn range(start: u64, end: u64) -> PfnRange {
    PfnRange::new(Pfn::new(start), Pfn::new(end))
}

/// 128 MiB, of which the first 2 MiB are reserved.
fn spec(profile: KernelProfile) -> MachineSpec {
    let memory = range(0x4_0000, 0x4_8000);
    let mut spec = MachineSpec::single(Geometry::PAGES_4K, profile, ZoneType::Dma, memory);
    spec.reserved = vec![range(0x4_0000, 0x4_0200)];
    spec
}

#[track_caller]
fn check_all_free(alloc: &mut PageAllocator) {
    alloc.drain_all();
    alloc.check().expect("consistent");
    assert_eq!(alloc.zones()[0].free_pages().all, PageCount::new(0x8000 - 0x200));
}

#[track_caller]
fn refused<T: core::fmt::Debug>(got: Result<T, NotAllocated>, error: NotAllocated, words: &str) {
    let got = got.expect_err("nothing was allocated there");
    assert_eq!((got, got.to_string()), (error, words.to_owned()));
}

#[test]
fn a_double_free_is_refused_and_loses_nothing() {
    for profile in PROFILES {
        for order in [0, 3, 4, 9, 10].map(Order::of) {
            let mut alloc = PageAllocator::boot(&spec(profile), Silent).unwrap();
            let req = AllocRequest::new(order, GfpFlags::KERNEL);
            let (pfn, order) = alloc.alloc_pages(CpuId::BOOT, &req).unwrap().into_raw();
            let pages = alloc.reclaim(pfn, order).unwrap();
            alloc.free_pages(CpuId::BOOT, pages);
            // Once while it may be on a per-CPU list, once when it is not.
            for _ in 0..2 {
                let again = alloc.reclaim(pfn, order);
                refused(again, NotAllocated::Free(pfn), &format!("frame {pfn} is free"));
                let part = alloc.free_part(CpuId::BOOT, PfnRange::block(pfn, order));
                assert_eq!(part, Err(NotAllocated::Free(pfn)));
                alloc.drain_all();
            }
            check_all_free(&mut alloc);
        }
    }
}

#[test]
fn a_free_of_half_free_memory_frees_nothing() {
    for profile in PROFILES {
        let mut alloc = PageAllocator::boot(&spec(profile), Silent).unwrap();
        let req = AllocRequest::new(Order::of(4), GfpFlags::KERNEL);
        let (pfn, order) = alloc.alloc_pages(CpuId::BOOT, &req).unwrap().into_raw();
        let (low, high) = (PfnRange::block(pfn, Order::of(3)), pfn + PageCount::new(8));
        alloc.free_part(CpuId::BOOT, PfnRange::block(high, Order::of(3))).unwrap();
        let whole = alloc.free_part(CpuId::BOOT, PfnRange::block(pfn, order));
        assert_eq!(whole, Err(NotAllocated::Free(high)));
        assert_eq!(alloc.reclaim(pfn, order), Err(NotAllocated::Free(high)));
        alloc.free_part(CpuId::BOOT, low).unwrap();
        check_all_free(&mut alloc);
    }
}

#[test]
fn frames_that_nobody_allocated_are_refused() {
    for profile in PROFILES {
        let mut alloc = PageAllocator::boot(&spec(profile), Silent).unwrap();
        for raw in [0, 0x3_ffff, 0x4_8000, u64::MAX >> 12] {
            let pfn = Pfn::new(raw);
            let words = format!("frame {pfn} is in no zone");
            refused(alloc.reclaim(pfn, Order::ZERO), NotAllocated::NoSuchFrame(pfn), &words);
        }
        let kept = Pfn::new(0x4_0010);
        let words = format!("frame {kept} is reserved");
        refused(alloc.reclaim(kept, Order::ZERO), NotAllocated::Reserved(kept), &words);
        let odd = Pfn::new(0x4_0401);
        let words = format!("frame {odd} is not aligned to order 1");
        let misaligned = NotAllocated::Misaligned(odd, Order::of(1));
        refused(alloc.reclaim(odd, Order::of(1)), misaligned, &words);
        let (large, max) = (Order::of(11), Order::of(10));
        let too_large = NotAllocated::OrderTooLarge(large, max);
        let words = "order 11 is larger than the largest order 10";
        refused(alloc.reclaim(Pfn::new(0x4_0800), large), too_large, words);
        check_all_free(&mut alloc);
    }
}

#[test]
fn an_order_that_is_too_large_takes_nothing() {
    for profile in PROFILES {
        let mut alloc = PageAllocator::boot(&spec(profile), Silent).unwrap();
        for order in (11..=15).map(Order::of) {
            let req = AllocRequest::new(order, GfpFlags::KERNEL);
            let error = alloc.alloc_pages(CpuId::BOOT, &req).unwrap_err();
            assert_eq!(error, AllocError::OrderTooLarge(order, Order::of(10)));
            assert!(alloc.alloc_pages_fast(CpuId::BOOT, &req).is_none());
        }
        check_all_free(&mut alloc);
    }
}

#[test]
fn memory_smaller_than_a_pageblock_is_refused() {
    for pages in [1, 2, 511] {
        let mut tiny = spec(KernelProfile::V6_1);
        tiny.reserved.clear();
        tiny.memory = vec![range(0x4_0000, 0x4_0000 + pages)];
        let error = PageAllocator::boot(&tiny, Silent).unwrap_err();
        assert_eq!(error, BootError::TooSmall(PageCount::new(pages), PageCount::new(512)));
        assert!(error.to_string().contains("is smaller than a pageblock"), "{error}");
    }
}

#[test]
fn lending_what_is_in_use_is_refused() {
    let mut alloc = PageAllocator::boot(&spec(KernelProfile::V6_1), Silent).unwrap();
    for (lent, error) in [
        (range(0x4_0200, 0x4_0400), BootError::NotReserved(range(0x4_0200, 0x4_0400))),
        (
            range(0x4_0000, 0x4_0100),
            BootError::NotPageblocks(range(0x4_0000, 0x4_0100), PageCount::new(512)),
        ),
        (range(0x4_7e00, 0x4_8200), BootError::CrossesZones(range(0x4_7e00, 0x4_8200))),
    ] {
        assert_eq!(alloc.init_lent(lent, MigrateType::Cma), Err(error));
    }
    let metadata = alloc.init_lent(range(0x4_0000, 0x4_0200), MigrateType::Metadata);
    assert_eq!(metadata, Err(BootError::NoSuchType(MigrateType::Metadata)));
    check_all_free(&mut alloc);
    alloc.init_lent(range(0x4_0000, 0x4_0200), MigrateType::Cma).unwrap();
    alloc.check().unwrap();
    assert_eq!(alloc.zones()[0].free_pages().all, PageCount::new(0x8000));
}

/// Two handles of one block, which only raw numbers can make, and one of them is used up.
#[track_caller]
fn stale(door: impl Fn(&mut PageAllocator, Pages)) {
    for profile in PROFILES {
        for order in [0, 3, 4, 9, 10].map(Order::of) {
            let mut alloc = PageAllocator::boot(&spec(profile), Silent).expect("a machine");
            let req = AllocRequest::new(order, GfpFlags::KERNEL);
            let (pfn, order) =
                alloc.alloc_pages(CpuId::BOOT, &req).expect("free memory").into_raw();
            let [first, second] =
                [(); 2].map(|()| alloc.reclaim(pfn, order).expect("an allocated block"));
            alloc.free_pages(CpuId::BOOT, first);
            let door = core::panic::AssertUnwindSafe(|| door(&mut alloc, second));
            assert!(std::panic::catch_unwind(door).is_err(), "order {order}");
            check_all_free(&mut alloc);
        }
    }
}

#[test]
fn a_stale_handle_opens_no_door() {
    stale(|alloc, pages| alloc.free_pages(CpuId::BOOT, pages));
    stale(|alloc, pages| alloc.free_to_tail(pages));
    stale(|alloc, pages| alloc.putback_isolated_page(pages));
    stale(|alloc, pages| alloc.set_movability(&pages, Movability::Movable));
}

#[test]
fn a_block_at_the_end_of_all_numbers_is_refused() {
    let mut alloc = PageAllocator::boot(&spec(KernelProfile::V6_1), Silent).unwrap();
    for order in [0, 9].map(Order::of) {
        let pfn = Pfn::new(u64::MAX - (order.pages().get() - 1));
        assert_eq!(alloc.reclaim(pfn, order), Err(NotAllocated::NoSuchFrame(pfn)));
    }
}
