//! Which zone serves, on machines of several zones, nodes and page sizes.

use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::contig::ContigClaim;
use pagelab_allocator::event::Silent;
use pagelab_allocator::fallback::Grouping;
use pagelab_allocator::frame::{Frame, Movability};
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::{GfpFlags, ZoneType};
use pagelab_allocator::isolate::IsolateMode;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::page_alloc::{AllocRequest, NotAllocated, PageAllocator};
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::{CpuId, NodeId, Order, Pfn, PfnRange};

use crate::machine::{PROFILES, bare, range, zone};

const BOOT: CpuId = CpuId::BOOT;

/// Four zones of one block each.
fn four(profile: KernelProfile) -> PageAllocator {
    let mut spec = bare(Geometry::PAGES_4K, profile, range(0, 0x1000));
    spec.zones = ZoneType::ALL
        .into_iter()
        .zip((0..).step_by(0x400))
        .map(|(kind, start)| zone(kind, 0, range(start, start + 0x400)))
        .collect();
    PageAllocator::boot(&spec, Silent).expect("a machine that boots")
}

/// The kinds of the zones that serve requests of order 10 until none is left.
#[track_caller]
fn check(gfp: GfpFlags, expected: &[ZoneType]) {
    for profile in PROFILES {
        let mut alloc = four(profile);
        let req = AllocRequest::new(Order::of(10), gfp);
        let mut served = Vec::new();
        while let Ok(pages) = alloc.alloc_pages(BOOT, &req) {
            served.push(alloc.zone_of(pages.pfn()).expect("a zone").kind());
        }
        assert_eq!(served, expected, "{profile:?}");
    }
}

#[test]
fn zones_are_tried_from_the_highest_allowed_down() {
    use ZoneType::{Dma, Dma32, Movable, Normal};
    let any = GfpFlags::MEMALLOC;
    check(GfpFlags::HIGHUSER_MOVABLE | any, &[Movable, Normal, Dma32, Dma]);
    check(GfpFlags::HIGHUSER | any, &[Normal, Dma32, Dma]);
    check(GfpFlags::KERNEL | GfpFlags::MOVABLE | any, &[Normal, Dma32, Dma]);
    check(GfpFlags::KERNEL | GfpFlags::DMA32 | any, &[Dma32, Dma]);
    check(GfpFlags::KERNEL | GfpFlags::DMA | any, &[Dma]);
    // Those who could have used a higher zone leave the reserve of the lower ones alone.
    check(GfpFlags::KERNEL, &[Normal]);
    check(GfpFlags::KERNEL | GfpFlags::DMA32, &[Dma32]);
    check(GfpFlags::KERNEL | GfpFlags::DMA, &[Dma]);
}

#[test]
fn the_own_node_first_and_the_nearest_next() {
    for profile in PROFILES {
        let mut spec = bare(Geometry::PAGES_4K, profile, range(0, 0x1000));
        let nodes = (0u8..4).zip((0..).step_by(0x400));
        spec.zones = nodes
            .map(|(node, start)| zone(ZoneType::Normal, node, range(start, start + 0x400)))
            .collect();
        let mut alloc = PageAllocator::boot(&spec, Silent).unwrap();
        let mut req = AllocRequest::new(Order::of(10), GfpFlags::KERNEL);
        req.node = NodeId::new(2);
        let strict = AllocRequest { gfp: req.gfp | GfpFlags::THISNODE, ..req };
        let node = |alloc: &mut PageAllocator, req: &AllocRequest| {
            let pages = alloc.alloc_pages(BOOT, req).ok()?;
            Some(pages.pfn().get() / 0x400)
        };
        assert_eq!(node(&mut alloc, &strict), Some(2));
        assert_eq!(node(&mut alloc, &strict), None);
        let rest: Vec<_> = core::iter::from_fn(|| node(&mut alloc, &req)).collect();
        assert_eq!(rest, [1, 3, 0]);
        req.node = NodeId::new(9);
        assert_eq!(node(&mut alloc, &req), None, "there is no such node");
    }
}

#[test]
fn larger_pages_have_larger_pageblocks() {
    for geometry in [Geometry::PAGES_16K, Geometry::PAGES_64K] {
        let order = geometry.pageblock_order();
        let block = order.pages().get();
        for profile in PROFILES {
            let mut spec = bare(geometry, profile, range(0, 4 * block));
            spec.cma = vec![range(3 * block, 4 * block)];
            let mut alloc = PageAllocator::boot(&spec, Silent).unwrap();
            let req = AllocRequest::new(order, GfpFlags::TRANSHUGE);
            let huge = alloc.alloc_pages(BOOT, &req).unwrap();
            alloc.free_pages(BOOT, huge);
            let mode = IsolateMode::CmaAlloc(MigrateType::Cma);
            let lent = range(3 * block + 5, 3 * block + 9);
            let claim = ContigClaim::claim(&mut alloc, lent, mode).unwrap();
            let contig = claim.commit(BOOT).unwrap();
            alloc.check().unwrap();
            alloc.free_contig_range(BOOT, contig);
            alloc.drain_all();
            alloc.check().unwrap();
            let zone = &alloc.zones()[0];
            assert_eq!(zone.free_pages().all.get(), 4 * block);
            assert_eq!(zone.free_pages().cma.get(), block);
            assert_eq!(zone.buddy().nr_free(order), 4);
        }
    }
}

#[test]
fn a_pageblock_that_starts_in_a_hole_is_unmovable() {
    for profile in PROFILES {
        let (low, high) = (range(1, 0x9f), range(0x100, 0x1000));
        let mut spec =
            MachineSpec::single(Geometry::PAGES_4K, profile, ZoneType::Dma, range(1, 0x1000));
        spec.memory = vec![low, high];
        let alloc = PageAllocator::boot(&spec, Silent).unwrap();
        let census = |alloc: &PageAllocator| alloc.snapshot().zones[0].pageblocks.clone();
        let of = |alloc: &PageAllocator, mt| census(alloc).iter().find(|(t, _)| *t == mt).cloned();
        assert_eq!(of(&alloc, MigrateType::Unmovable), Some((MigrateType::Unmovable, 1)));
        assert_eq!(of(&alloc, MigrateType::Movable), Some((MigrateType::Movable, 7)));
        spec.memory = vec![range(1, 0x3ff), range(0x410, 0x1000)];
        let alloc = PageAllocator::boot(&spec, Silent).unwrap();
        assert_eq!(alloc.pageblock_type(Pfn::new(0x410)), Some(MigrateType::Unmovable));
        assert_eq!(alloc.pageblock_type(Pfn::new(0x600)), Some(MigrateType::Movable));
        alloc.check().unwrap();
    }
}

#[test]
fn without_grouping_user_pages_can_still_move() {
    for profile in PROFILES {
        let mut spec = bare(Geometry::PAGES_4K, profile, range(0, 0x800));
        spec.grouping = Some(Grouping::Disabled);
        let mut alloc = PageAllocator::boot(&spec, Silent).unwrap();
        let req = AllocRequest::new(Order::ZERO, GfpFlags::HIGHUSER_MOVABLE);
        let pages = alloc.alloc_pages(BOOT, &req).unwrap();
        let Frame::Allocated { movability, .. } = alloc.frame(pages.pfn()) else { panic!() };
        assert_eq!(movability, Movability::Movable);
    }
}

#[test]
fn blocks_do_not_cross_zones_on_their_way_back() {
    for profile in PROFILES {
        let mut spec = bare(Geometry::PAGES_4K, profile, range(0, 0x800));
        spec.zones = vec![
            zone(ZoneType::Dma32, 0, range(0, 0x3fc)),
            zone(ZoneType::Normal, 0, range(0x3fc, 0x800)),
        ];
        let mut alloc = PageAllocator::boot(&spec, Silent).unwrap();
        let req = AllocRequest::new(Order::ZERO, GfpFlags::KERNEL | GfpFlags::MEMALLOC);
        while alloc.alloc_pages_slow(BOOT, &req).is_some() {}
        let across = alloc.reclaim(Pfn::new(0x3f8), Order::of(3));
        assert_eq!(across, Err(NotAllocated::CrossesZones(Pfn::new(0x3f8), Order::of(3))));
        alloc.free_part(BOOT, PfnRange::new(Pfn::new(0), Pfn::new(0x800))).unwrap();
        alloc.drain_all();
        alloc.check().unwrap();
        let free: u64 = alloc.zones().iter().map(|zone| zone.free_pages().all.get()).sum();
        assert_eq!(free, 0x800);
    }
}
