//! A page is freed while its pageblock is being isolated.
//!
//! Linux: `free_unref_page()` against `alloc_contig_range()`, which isolates first and drains the
//! per-CPU lists afterwards. A page freed before the isolation may wait on a per-CPU list, from
//! which the drain fetches it; a page freed after it goes straight to an isolated list. Draining
//! first leaves a gap in which a freed page hides on a per-CPU list.

use pagelab_allocator::{
    boot::MachineSpec,
    event::Silent,
    geometry::Geometry,
    gfp::{AllocFlags, ZoneType},
    isolate::IsolateMode,
    migratetype::MigrateType,
    page_alloc::PageAllocator,
    profile::KernelProfile,
    rmqueue::ZoneRequest,
    sync::{Arc, Mutex},
    units::{CpuId, Order, PageCount, Pfn, PfnRange},
    zone::Zone,
};
use pagelab_loom_tests::{model, refutes, thread};

const PAGES: PageCount = PageCount::new(64);
const PAGEBLOCK: Order = Order::of(1);

/// A zone of small pageblocks, and its one page that is in use.
fn machine() -> (Zone, Pfn) {
    let geometry = Geometry::new(12, PAGEBLOCK, Order::of(2)).expect("a tiny geometry");
    let memory = PfnRange::from_len(Pfn::new(0), PAGES);
    let spec = MachineSpec::single(geometry, KernelProfile::V6_12, ZoneType::Normal, memory);
    let alloc = PageAllocator::boot(&spec, Silent).expect("a small machine");
    let mut zone = alloc.zones()[0].clone();
    let request = ZoneRequest {
        order: Order::ZERO,
        migratetype: MigrateType::Movable,
        flags: AllocFlags::empty(),
    };
    let page = zone.alloc(CpuId::BOOT, request, &mut Silent).expect("all is free");
    (zone, page)
}

/// Runs a free against `claim`, which isolates and drains, then looks for the page.
fn race(claim: fn(&Mutex<Zone>, PfnRange)) {
    let (zone, page) = machine();
    let block = PfnRange::block(page.align_down(PAGEBLOCK), PAGEBLOCK);
    let zone = Arc::new(Mutex::new(zone));
    let freeing = thread::spawn({
        let zone = Arc::clone(&zone);
        move || zone.lock().free(CpuId::BOOT, page, Order::ZERO, &mut Silent)
    });
    claim(&zone, block);
    freeing.join().expect("the freeing thread ends");

    let zone = zone.lock().clone();
    zone.test_isolated(block, &mut Silent).expect("every page of the block is free and isolated");
    let free = zone.free_pages().all + block.len() + zone.pcp_pages();
    assert_eq!(free, PAGES, "free, isolated and cached pages");
    zone.check().expect("lists, links and counters agree");
}

#[test]
fn isolate_then_drain_finds_every_freed_page() {
    model(|| {
        race(|zone, block| {
            zone.lock()
                .start_isolate(block, IsolateMode::Other, &mut Silent)
                .expect("all is movable");
            zone.lock().drain_all(&mut Silent);
        });
    });
}

#[test]
#[cfg_attr(not(loom), ignore = "only loom explores the schedule that fails")]
fn canary_drain_then_isolate_misses_a_page() {
    assert!(refutes(|| {
        race(|zone, block| {
            zone.lock().drain_all(&mut Silent);
            zone.lock()
                .start_isolate(block, IsolateMode::Other, &mut Silent)
                .expect("all is movable");
        });
    }));
}
