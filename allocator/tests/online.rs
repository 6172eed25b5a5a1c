//! Memory that leaves one zone and joins another: spans follow, every frame has one zone, and a
//! wrong choice of the zone shows.

use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::buddy::Placement;
use pagelab_allocator::contig::ClaimError;
use pagelab_allocator::event::Silent;
use pagelab_allocator::frame::Frame;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::{GfpFlags, ZoneType};
use pagelab_allocator::hotplug::Hotplug;
use pagelab_allocator::isolate::IsolateMode;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::online::OnlineTo;
use pagelab_allocator::page_alloc::{AllocRequest, NotAllocated, PageAllocator};
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::restore::{ListedBlock, MachineState, RestoreError};
use pagelab_allocator::units::{CpuId, NodeId, Order, Pfn, PfnRange};
use pagelab_allocator::watermark::Tunables;
use pagelab_allocator::zone::ZoneSpec;

type Machine = PageAllocator<Silent>;

const fn range(start: u64, end: u64) -> PfnRange {
    PfnRange::new(Pfn::new(start), Pfn::new(end))
}

/// DMA32 below MOVABLE, all free, as it would have been dumped.
fn dumped() -> MachineState {
    let (low, high) = (range(0x1000, 0x3000), range(0x3000, 0x5000));
    let zone = |kind, span| ZoneSpec { kind, node: NodeId::new(0), span };
    let (geometry, profile) = (Geometry::PAGES_4K, KernelProfile::V6_1);
    let mut spec = MachineSpec::single(geometry, profile, ZoneType::Dma32, low);
    spec.zones = vec![zone(ZoneType::Dma32, low), zone(ZoneType::Movable, high)];
    spec.memory.push(high);
    PageAllocator::boot(&spec, Silent).expect("a machine that fits").state()
}

fn machine() -> Machine {
    let mut state = dumped();
    state.make_room();
    PageAllocator::restore(&state, Silent).expect("a machine that was dumped")
}

fn leave(alloc: &mut Machine, range: PfnRange) {
    let zone = alloc.zone_index(range.start()).expect("memory of a zone");
    alloc.by_hand(zone, CpuId::BOOT).withdraw(range);
    alloc.adjust_managed(zone, range.len(), Hotplug::Leaves);
}

/// The kind of zone that the memory joined.
fn join(alloc: &mut Machine, range: PfnRange, to: OnlineTo) -> ZoneType {
    let order = alloc.geometry().pageblock_order();
    for block in range.blocks(order) {
        assert!(!alloc.is_online(block));
        let joined = alloc.move_to_zone(NodeId::new(0), PfnRange::block(block, order), to);
        assert_eq!(alloc.zone_index(block), joined);
        assert!(alloc.is_online(block));
    }
    let zone = alloc.zone_index(range.start()).expect("it has joined a zone");
    for (pfn, order) in range.chunks(alloc.geometry().max_order()) {
        let mut hand = alloc.by_hand(zone, CpuId::BOOT);
        hand.put_by_type(pfn, order, Placement::Tail).expect("memory that nobody has");
    }
    alloc.adjust_managed(zone, range.len(), Hotplug::Joins);
    alloc.recompute_marks(&Tunables::default());
    alloc.zones()[zone].kind()
}

fn span(alloc: &Machine, kind: ZoneType) -> PfnRange {
    alloc.zones().iter().find(|zone| zone.kind() == kind).expect("a zone").span()
}

/// The zones of the text of /proc/buddyinfo.
fn listed(alloc: &Machine) -> Vec<String> {
    let text = alloc.snapshot().buddyinfo().to_string();
    text.lines().map(|line| line.split_whitespace().nth(3).expect("a zone").to_owned()).collect()
}

#[test]
fn memory_at_an_edge_joins_a_zone_that_had_none() {
    let mut alloc = machine();
    assert_eq!(listed(&alloc), ["DMA32", "Movable"]);
    leave(&mut alloc, range(0x3000, 0x3800));
    assert_eq!(span(&alloc, ZoneType::Movable), range(0x3800, 0x5000));
    assert_eq!(alloc.zone_index(Pfn::new(0x3000)), None);
    assert_eq!(alloc.frame(Pfn::new(0x3000)), Frame::Reserved);
    alloc.check().unwrap();
    assert_eq!(join(&mut alloc, range(0x3000, 0x3400), OnlineTo::Default), ZoneType::Normal);
    // What follows is around neither zone.
    assert_eq!(join(&mut alloc, range(0x3400, 0x3800), OnlineTo::Default), ZoneType::Normal);
    assert_eq!(span(&alloc, ZoneType::Normal), range(0x3000, 0x3800));
    assert_eq!(listed(&alloc), ["DMA32", "Normal", "Movable"]);
    alloc.check().unwrap();
    let request = AllocRequest::new(Order::ZERO, GfpFlags::KERNEL);
    let pages = alloc.alloc_pages(CpuId::BOOT, &request).expect("there is memory");
    assert!(range(0x3000, 0x3800).contains(pages.pfn()), "{}", pages.pfn());
    alloc.free_pages(CpuId::BOOT, pages);
    leave(&mut alloc, range(0x4c00, 0x5000));
    assert_eq!(span(&alloc, ZoneType::Movable), range(0x3800, 0x4c00));
    alloc.check().unwrap();
}

#[test]
fn a_hole_stays_in_the_span() {
    let mut alloc = machine();
    leave(&mut alloc, range(0x3800, 0x4000));
    assert_eq!(span(&alloc, ZoneType::Movable), range(0x3000, 0x5000));
    assert!(!alloc.is_online(Pfn::new(0x3800)));
    assert_eq!(join(&mut alloc, range(0x3800, 0x4000), OnlineTo::Default), ZoneType::Movable);
    alloc.check().unwrap();
    // All that is left beside the hole goes as well, and the span closes over it.
    leave(&mut alloc, range(0x3800, 0x4000));
    leave(&mut alloc, range(0x3000, 0x3800));
    assert_eq!(span(&alloc, ZoneType::Movable), range(0x4000, 0x5000));
}

#[test]
fn a_zone_may_lie_in_a_hole_of_another() {
    let mut alloc = machine();
    let hole = range(0x3600, 0x3800);
    leave(&mut alloc, range(0x3400, 0x3800));
    assert_eq!(join(&mut alloc, hole, OnlineTo::Kernel), ZoneType::Normal);
    assert!(span(&alloc, ZoneType::Movable).covers(span(&alloc, ZoneType::Normal)));
    let kind = |pfn| alloc.zone_of(Pfn::new(pfn)).map(|zone| zone.kind());
    assert_eq!(kind(0x33ff), Some(ZoneType::Movable));
    assert_eq!(kind(0x3600), Some(ZoneType::Normal));
    assert_eq!(kind(0x37ff), Some(ZoneType::Normal));
    assert_eq!(kind(0x3800), Some(ZoneType::Movable));
    alloc.check().unwrap();
    let rest = range(0x3400, 0x3600);
    assert_eq!(
        alloc.zone_for_online(NodeId::new(0), rest, OnlineTo::Default),
        ZoneType::Movable,
        "the other zone begins behind it"
    );
    assert_eq!(join(&mut alloc, rest, OnlineTo::Movable), ZoneType::Movable);
    alloc.check().unwrap();
    let across = range(0x3400, 0x3800);
    let refused = alloc.start_isolate(across, IsolateMode::MemOffline);
    assert_eq!(refused, Err(ClaimError::BadRange(across)));
    let state = alloc.state();
    let copy = PageAllocator::restore(&state, Silent).expect("zones that share no pageblock");
    assert_eq!(copy.state(), state);
    assert_eq!(copy.zone_index(Pfn::new(0x3600)), alloc.zone_index(Pfn::new(0x3600)));
    copy.check().unwrap();
}

#[test]
fn frames_of_two_zones_are_freed_to_their_own() {
    let mut alloc = machine();
    leave(&mut alloc, range(0x3400, 0x3800));
    join(&mut alloc, range(0x3600, 0x3800), OnlineTo::Kernel);
    join(&mut alloc, range(0x3400, 0x3600), OnlineTo::Movable);
    for zone in 0..alloc.zones().len() {
        for block in range(0x3400, 0x3800).blocks(Order::of(9)) {
            if alloc.zone_index(block) == Some(zone) {
                let mut hand = alloc.by_hand(zone, CpuId::BOOT);
                let (mt, order) = (MigrateType::Movable, Order::of(9));
                hand.take_at(block, order, mt).expect("a free pageblock");
            }
        }
    }
    let crosses = NotAllocated::CrossesZones(Pfn::new(0x3400), Order::of(10));
    assert_eq!(alloc.reclaim(Pfn::new(0x3400), Order::of(10)), Err(crosses));
    alloc.free_part(CpuId::BOOT, range(0x3500, 0x3700)).expect("allocated frames");
    alloc.check().unwrap();
    alloc.drain_all();
    for (pfn, kind) in [(0x3500, ZoneType::Movable), (0x3600, ZoneType::Normal)] {
        assert!(matches!(alloc.frame(Pfn::new(pfn)), Frame::Free { .. }));
        assert_eq!(alloc.zone_of(Pfn::new(pfn)).map(|zone| zone.kind()), Some(kind));
    }
}

/// The canary: a machine that chooses another zone than Linux looks different.
#[test]
fn a_wrong_choice_is_noticed() {
    let after = |to| {
        let mut alloc = machine();
        leave(&mut alloc, range(0x3000, 0x3800));
        join(&mut alloc, range(0x3000, 0x3800), to);
        alloc
    };
    let (right, wrong) = (after(OnlineTo::Default), after(OnlineTo::Movable));
    assert_ne!(right.snapshot(), wrong.snapshot());
    assert_ne!(listed(&right), listed(&wrong));
    let watermarks = |alloc: &Machine| alloc.zones().last().map(|zone| *zone.watermarks());
    assert_ne!(watermarks(&right), watermarks(&wrong));
}

#[test]
fn a_dump_says_which_memory_is_there() {
    let mut alloc = machine();
    leave(&mut alloc, range(0x3800, 0x4000));
    let mut state = alloc.state();
    let copy = PageAllocator::restore(&state, Silent).expect("a hole in a zone");
    assert!(!copy.is_online(Pfn::new(0x3800)) && copy.is_online(Pfn::new(0x4000)));
    assert_eq!(copy.snapshot(), alloc.snapshot());
    copy.check().unwrap();
    let movable = state.zones.iter_mut().find(|zone| zone.spec.kind == ZoneType::Movable);
    let movable = movable.expect("a zone");
    let (pfn, order) = (Pfn::new(0x3800), Order::of(3));
    movable.free.push(ListedBlock { pfn, order, migratetype: MigrateType::Movable });
    let refused = PageAllocator::restore(&state, Silent).expect_err("nothing is there");
    assert_eq!(refused, RestoreError::Offline(pfn, order));
    let mut state = dumped();
    state.zones[1].room = range(0x3000, 0x4000);
    let refused = PageAllocator::restore(&state, Silent).expect_err("too little room");
    assert_eq!(refused, RestoreError::NoRoom(range(0x3000, 0x5000), range(0x3000, 0x4000)));
}

#[test]
fn a_machine_without_room_keeps_its_zones() {
    let mut alloc = PageAllocator::restore(&dumped(), Silent).expect("a machine that was dumped");
    leave(&mut alloc, range(0x3000, 0x3800));
    let block = range(0x3000, 0x3200);
    assert_eq!(alloc.move_to_zone(NodeId::new(0), block, OnlineTo::Default), None);
    assert!(!alloc.is_online(Pfn::new(0x3000)));
}
