//! Boot: what the lists look like before the first allocation.

use pagelab_allocator::boot::{BootError, MachineSpec};
use pagelab_allocator::event::{Event, Silent};
use pagelab_allocator::frame::Frame;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::{GfpFlags, ZoneType};
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::page_alloc::{AllocError, AllocRequest, NotAllocated, PageAllocator};
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::{CpuId, Order, PageCount, Pfn, PfnRange};

const PROFILES: [KernelProfile; 2] = [KernelProfile::V6_1, KernelProfile::V6_12];

fn range(start: u64, end: u64) -> PfnRange {
    PfnRange::new(Pfn::new(start), Pfn::new(end))
}

fn spec(profile: KernelProfile) -> MachineSpec {
    MachineSpec::single(Geometry::PAGES_4K, profile, ZoneType::Dma, range(0x4_0000, 0x4_8000))
}

#[test]
fn lists_ascend_after_boot() {
    for profile in PROFILES {
        let alloc = PageAllocator::boot(&spec(profile), Silent).unwrap();
        alloc.check().unwrap();
        let buddy = alloc.zones()[0].buddy();
        let heads: Vec<_> = buddy.free_list(Order::of(10), MigrateType::Movable).collect();
        let expected: Vec<_> = (0x4_0000..0x4_8000).step_by(0x400).map(Pfn::new).collect();
        assert_eq!(heads, expected);
    }
}

#[test]
fn a_reserved_hole_leaves_smaller_blocks() {
    let mut spec = spec(KernelProfile::V6_1);
    spec.reserved = vec![range(0x4_0000, 0x4_0103)];
    let alloc = PageAllocator::boot(&spec, Silent).unwrap();
    alloc.check().unwrap();
    let first =
        |order| alloc.zones()[0].buddy().free_list(Order::of(order), MigrateType::Movable).next();
    assert_eq!(first(0), Some(Pfn::new(0x4_0103)));
    assert_eq!(first(2), Some(Pfn::new(0x4_0104)));
    assert_eq!(first(9), Some(Pfn::new(0x4_0200)));
    assert_eq!(alloc.frame(Pfn::new(0x4_0102)), Frame::Reserved);
    assert_eq!(alloc.zones()[0].managed(), PageCount::new(0x8000 - 0x103));
}

#[test]
fn cma_areas_are_lent_and_merge_with_each_other_only() {
    for profile in PROFILES {
        let mut spec = spec(profile);
        spec.cma = vec![range(0x4_4000, 0x4_4e00)];
        let alloc = PageAllocator::boot(&spec, Silent).unwrap();
        alloc.check().unwrap();
        let zone = &alloc.zones()[0];
        assert_eq!(zone.free_pages().cma, PageCount::new(0xe00));
        assert_eq!(zone.free_pages().all, PageCount::new(0x8000));
        let of = |order| zone.buddy().free_list(Order::of(order), MigrateType::Cma).count();
        assert_eq!((of(10), of(9)), (3, 1));
    }
}

#[test]
fn bad_machines_are_refused() {
    let mut bad = spec(KernelProfile::V6_1);
    bad.cma = vec![range(0x4_4001, 0x4_4200)];
    let error = PageAllocator::boot(&bad, Silent).unwrap_err();
    assert_eq!(error, BootError::NotPageblocks(range(0x4_4001, 0x4_4200), PageCount::new(512)));
    bad.cma = vec![range(0x5_0000, 0x5_0200)];
    let error = PageAllocator::boot(&bad, Silent).unwrap_err();
    assert_eq!(error, BootError::NotMemory(range(0x5_0000, 0x5_0200)));
    bad.cma = vec![range(0x4_4000, 0x4_4200)];
    bad.reserved = vec![range(0x4_4100, 0x4_4101)];
    let error = PageAllocator::boot(&bad, Silent).unwrap_err();
    assert_eq!(error, BootError::MemoryOverlaps(bad.cma[0], bad.reserved[0]));
    let mut tiny = spec(KernelProfile::V6_1);
    tiny.memory = vec![range(0x4_0000, 0x4_0100)];
    assert!(matches!(PageAllocator::boot(&tiny, Silent), Err(BootError::TooSmall(..))));
}

#[test]
fn a_free_that_is_none_is_named() {
    let mut alloc = PageAllocator::boot(&spec(KernelProfile::V6_1), Silent).unwrap();
    let req = AllocRequest::new(Order::of(4), GfpFlags::KERNEL);
    let (pfn, order) = alloc.alloc_pages(CpuId::BOOT, &req).unwrap().into_raw();
    let pages = alloc.reclaim(pfn, order).unwrap();
    alloc.free_pages(CpuId::BOOT, pages);
    assert_eq!(alloc.reclaim(pfn, order), Err(NotAllocated::Free(pfn)));
    let unknown = Pfn::new(0x9_0000);
    assert_eq!(alloc.reclaim(unknown, order), Err(NotAllocated::NoSuchFrame(unknown)));
    let large = AllocRequest::new(Order::of(11), GfpFlags::KERNEL);
    let error = alloc.alloc_pages(CpuId::BOOT, &large).unwrap_err();
    assert_eq!(error, AllocError::OrderTooLarge(Order::of(11), Order::of(10)));
}

#[test]
fn parts_of_a_block_can_be_freed() {
    for profile in PROFILES {
        let mut alloc = PageAllocator::boot(&spec(profile), Silent).unwrap();
        let req = AllocRequest::new(Order::of(9), GfpFlags::HIGHUSER_MOVABLE);
        let (pfn, _) = alloc.alloc_pages(CpuId::BOOT, &req).unwrap().into_raw();
        let part = PfnRange::from_len(pfn + PageCount::new(3), PageCount::new(100));
        alloc.free_part(CpuId::BOOT, part).unwrap();
        alloc.check().unwrap();
        assert_eq!(alloc.free_part(CpuId::BOOT, part), Err(NotAllocated::Free(part.start())));
        for rest in [
            PfnRange::from_len(pfn, PageCount::new(3)),
            PfnRange::new(part.end(), pfn + PageCount::new(512)),
        ] {
            alloc.free_part(CpuId::BOOT, rest).unwrap();
        }
        alloc.drain_all();
        alloc.check().unwrap();
        assert_eq!(alloc.zones()[0].free_pages().all, PageCount::new(0x8000));
    }
}

#[test]
fn the_first_fallback_takes_the_lowest_largest_block() {
    let mut alloc = PageAllocator::boot(&spec(KernelProfile::V6_1), Vec::new()).unwrap();
    let req = AllocRequest::new(Order::ZERO, GfpFlags::KERNEL);
    let pages = alloc.alloc_pages(CpuId::BOOT, &req).unwrap();
    assert_eq!(pages.pfn(), Pfn::new(0x4_0000));
    let events = alloc.sink();
    let Event::Extfrag(extfrag) = events[0] else { panic!("{:?}", events[0]) };
    assert_eq!((extfrag.pfn, extfrag.fallback_order), (Pfn::new(0x4_0000), Order::of(10)));
    let refills = events.iter().filter(|e| matches!(e, Event::ZoneLocked { .. })).count();
    assert_eq!(refills, 7, "the batch of a zone of 128 MiB");
    assert_eq!(alloc.pageblock_type(Pfn::new(0x4_0200)), Some(MigrateType::Unmovable));
    alloc.check().unwrap();
}
