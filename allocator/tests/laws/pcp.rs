//! Per-CPU lists, seen through single requests and their events. The sizes are those of a guest of
//! 512 MiB, whose refills and drains were measured.

use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::event::Event;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::{AllocFlags, GfpFlags, ZoneType};
use pagelab_allocator::migratetype::{MigrateType, TypeSet};
use pagelab_allocator::page_alloc::{AllocRequest, PageAllocator, Pages};
use pagelab_allocator::profile::KernelProfile::{self, V6_1, V6_12};
use pagelab_allocator::profile::MovablePcp;
use pagelab_allocator::units::{CpuId, Order, PageCount};

use crate::machine::{PROFILES, range};

const BOOT: CpuId = CpuId::BOOT;
const USER: AllocRequest = AllocRequest::new(Order::ZERO, GfpFlags::HIGHUSER_MOVABLE);

fn guest(profile: KernelProfile) -> MachineSpec {
    let memory = range(0x1000, 0x1000 + 116_232);
    MachineSpec::single(Geometry::PAGES_4K, profile, ZoneType::Normal, memory)
}

fn boot(spec: &MachineSpec) -> PageAllocator<Vec<Event>> {
    PageAllocator::boot(spec, Vec::new()).expect("a machine that boots")
}

/// Allocates `pages` single pages; the sizes of the refills on the way, in pages.
fn take(alloc: &mut PageAllocator<Vec<Event>>, pages: usize) -> (Vec<Pages>, Vec<usize>) {
    let (mut got, mut refills) = (Vec::new(), Vec::new());
    for _ in 0..pages {
        alloc.sink_mut().clear();
        got.push(alloc.alloc_pages(BOOT, &USER).expect("enough memory"));
        let events = alloc.sink().iter();
        let taken = events.filter(|event| matches!(event, Event::ZoneLocked { .. })).count();
        refills.extend((taken > 0).then_some(taken));
    }
    (got, refills)
}

/// Frees everything; the sizes of the drains on the way, in pages.
fn give(alloc: &mut PageAllocator<Vec<Event>>, pages: Vec<Pages>) -> Vec<usize> {
    let mut drains = Vec::new();
    for pages in pages {
        alloc.sink_mut().clear();
        alloc.free_pages(BOOT, pages);
        let events = alloc.sink().iter();
        let given = events.filter(|event| matches!(event, Event::PcpuDrain { .. })).count();
        drains.extend((given > 0).then_some(given));
    }
    drains
}

#[test]
fn refills_and_drains_have_the_measured_sizes() {
    let mut old = boot(&guest(V6_1));
    let (pages, refills) = take(&mut old, 3000);
    assert!(refills.iter().all(|&refill| refill == 31), "{refills:?}");
    assert_eq!(give(&mut old, pages)[..5], [31, 62, 124, 248, 496]);
    let mut new = boot(&guest(V6_12));
    let (pages, refills) = take(&mut new, 20_000);
    assert_eq!(refills[..8], [31, 62, 124, 248, 496, 992, 992, 992]);
    assert_eq!(give(&mut new, pages)[0], 992);
    for alloc in [old, new] {
        alloc.check().unwrap();
    }
}

#[test]
fn high_orders_in_a_row_gather_where_there_is_cache_for_them() {
    // How many blocks of two pages come back until all are given back, by the CPU's share of cache.
    let gathered = |profile, cache_slice| {
        let mut spec = guest(profile);
        spec.cache_slice = PageCount::new(cache_slice);
        let mut alloc = boot(&spec);
        let request = AllocRequest::new(Order::of(1), GfpFlags::HIGHUSER_MOVABLE);
        let pairs: Vec<_> = (0..64).map(|_| alloc.alloc_pages(BOOT, &request).unwrap()).collect();
        let singles = take(&mut alloc, 64).0;
        give(&mut alloc, singles);
        alloc.drain_all();
        pairs.into_iter().position(|pages| {
            alloc.free_pages(BOOT, pages);
            alloc.zones()[0].pcp(BOOT).count() == PageCount::ZERO
        })
    };
    // A batch has 31 pages here. More than three of them of cache are enough to wait for one.
    assert_eq!([0, 93, 94].map(|slice| gathered(V6_12, slice)), [1, 1, 15].map(Some));
    // 6.1 has other rules, by which nothing is too much yet.
    assert_eq!([0, 94].map(|slice| gathered(V6_1, slice)), [None, None]);
}

#[test]
fn the_page_freed_last_is_handed_out_first() {
    for profile in PROFILES {
        let mut alloc = boot(&guest(profile));
        let (mut pages, _) = take(&mut alloc, 3);
        let last = pages.pop().map(|pages| pages.pfn());
        let first = pages.remove(0);
        let pfn = first.pfn();
        alloc.free_pages(BOOT, first);
        let again = alloc.alloc_pages(BOOT, &USER).unwrap();
        assert_eq!(again.pfn(), pfn);
        let next = alloc.alloc_pages(BOOT, &USER).unwrap();
        assert_eq!(Some(next.pfn()), last.map(|pfn| pfn + PageCount::new(1)), "in refill order");
    }
}

#[test]
fn lists_belong_to_a_cpu() {
    let mut spec = guest(V6_1);
    spec.cpus = 2;
    let mut alloc = boot(&spec);
    let (pages, _) = take(&mut alloc, 1);
    assert_eq!(alloc.zones()[0].pcp(BOOT).count().get(), 30);
    for pages in pages {
        alloc.free_pages(CpuId::new(1), pages);
    }
    assert_eq!(alloc.zones()[0].pcp(CpuId::new(1)).count().get(), 1);
    alloc.drain_all();
    assert_eq!(alloc.zones()[0].pcp_pages(), PageCount::ZERO);
}

#[test]
fn a_bulk_request_leaves_no_allocation_events() {
    for profile in PROFILES {
        let mut alloc = boot(&guest(profile));
        let single = |events: &[Event]| {
            events.iter().filter(|event| matches!(event, Event::PageAlloc { .. })).count()
        };
        let got = alloc.alloc_pages_bulk(BOOT, GfpFlags::HIGHUSER_MOVABLE, 40);
        assert_eq!((got.len(), single(alloc.sink())), (40, 0));
        assert!(alloc.alloc_pages_bulk(BOOT, GfpFlags::KERNEL, 0).is_empty());
        let got = alloc.alloc_pages_bulk(BOOT, GfpFlags::HIGHUSER_MOVABLE, 1);
        assert_eq!((got.len(), single(alloc.sink())), (1, 1));
        // More than the zone has above its low mark: one ordinary page.
        let got = alloc.alloc_pages_bulk(BOOT, GfpFlags::HIGHUSER_MOVABLE, 116_232);
        assert_eq!((got.len(), single(alloc.sink())), (1, 2));
        alloc.check().unwrap();
    }
}

#[test]
fn huge_pages_have_lists_of_their_own() {
    for profile in PROFILES {
        let mut alloc = boot(&guest(profile));
        let req = AllocRequest::new(Order::of(9), GfpFlags::TRANSHUGE);
        let huge = alloc.alloc_pages(BOOT, &req).unwrap();
        let cached = |alloc: &PageAllocator<Vec<Event>>| alloc.zones()[0].pcp_pages().get();
        assert_eq!(cached(&alloc), 512, "a refill brings two");
        let mut refill = alloc.sink().iter().filter_map(|event| match event {
            Event::ZoneLocked { pfn, .. } => Some(*pfn),
            _ => None,
        });
        let other = refill.next_back().expect("two blocks left the buddy lists");
        alloc.sink_mut().clear();
        alloc.free_pages(BOOT, huge);
        // Two are more than the high mark: the older one goes.
        let (order, migratetype) = (Order::of(9), MigrateType::Movable);
        let drained = Event::PcpuDrain { pfn: other, order, migratetype };
        assert_eq!(alloc.sink().last(), Some(&drained), "{profile:?}");
        assert_eq!(cached(&alloc), 512);
        let req = AllocRequest::new(Order::of(4), GfpFlags::KERNEL);
        let pages = alloc.alloc_pages(BOOT, &req).unwrap();
        alloc.free_pages(BOOT, pages);
        assert_eq!(cached(&alloc), 512, "order 4 is never cached");
    }
}

/// Takes everything but the lent memory, so that only that can be handed out.
fn exhaust(alloc: &mut PageAllocator<Vec<Event>>) {
    for order in [10, 0] {
        let gfp = GfpFlags::KERNEL | GfpFlags::MEMALLOC;
        let req = AllocRequest::new(Order::of(order), gfp);
        while alloc.alloc_pages_slow(BOOT, &req).is_some() {}
    }
}

#[test]
fn a_barred_request_gets_cached_lent_pages_where_the_kernel_lets_it() {
    for (rule, leaks) in [(MovablePcp::OnlyWithCma, false), (MovablePcp::Always, true)] {
        for profile in PROFILES {
            let mut spec = guest(profile);
            spec.cma = vec![range(0x2000, 0x3000)];
            spec.movable_pcp = Some(rule);
            let mut alloc = boot(&spec);
            exhaust(&mut alloc);
            let user = AllocRequest { gfp: USER.gfp | GfpFlags::MEMALLOC, ..USER };
            assert!(alloc.alloc_pages_slow(BOOT, &user).is_some());
            let got = alloc.alloc_pages_slow(BOOT, &user.barring(AllocFlags::CMA));
            assert_eq!(got.is_some(), leaks, "{profile:?} {rule:?}");
        }
    }
}

#[test]
fn tag_storage_of_the_first_series_is_never_cached_for_others() {
    for profile in PROFILES {
        let mut spec = guest(profile);
        spec.types = TypeSet::WITH_METADATA;
        spec.reserved = vec![range(0x2000, 0x3000)];
        let mut alloc = boot(&spec);
        alloc.init_lent(range(0x2000, 0x3000), MigrateType::Metadata).unwrap();
        exhaust(&mut alloc);
        let user = AllocRequest { gfp: USER.gfp | GfpFlags::MEMALLOC, ..USER };
        let granted = user.granting(AllocFlags::METADATA);
        let lent = alloc.alloc_pages_slow(BOOT, &granted).expect("lent memory is free");
        assert_eq!(alloc.pageblock_type(lent.pfn()), Some(MigrateType::Metadata));
        assert!(alloc.zones()[0].pcp_pages() > PageCount::ZERO, "the refill brought more");
        assert!(alloc.alloc_pages_slow(BOOT, &user).is_none(), "not from the cache either");
        let free = alloc.zones()[0].free_pages().metadata.get();
        alloc.free_pages(BOOT, lent);
        assert_eq!(alloc.zones()[0].free_pages().metadata.get(), free + 1, "past the lists");
        alloc.check().unwrap();
    }
}
