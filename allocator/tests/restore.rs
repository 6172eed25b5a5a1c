//! A machine written down and restored goes on as the original does.

use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::event::Event;
use pagelab_allocator::frame::Frame;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::{GfpFlags, ZoneType};
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::page_alloc::{AllocRequest, PageAllocator, Pages};
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::restore::{MachineState, RestoreError};
use pagelab_allocator::units::{CpuId, Order, PageCount, Pfn, PfnRange};

type Machine = PageAllocator<Vec<Event>>;

fn machine(profile: KernelProfile) -> Machine {
    let memory = PfnRange::new(Pfn::new(0x4_0000), Pfn::new(0x4_8000));
    let mut spec = MachineSpec::single(Geometry::PAGES_4K, profile, ZoneType::Dma, memory);
    spec.reserved = vec![PfnRange::new(Pfn::new(0x4_0000), Pfn::new(0x4_0123))];
    spec.cma = vec![PfnRange::new(Pfn::new(0x4_7000), Pfn::new(0x4_8000))];
    spec.cache_slice = PageCount::new(1 << 10);
    PageAllocator::boot(&spec, Vec::new()).expect("a machine that fits")
}

/// Requests of all kinds; every third block is freed again.
fn churn(alloc: &mut Machine, rounds: u8) -> Vec<Pages> {
    let reclaimable = GfpFlags::KERNEL | GfpFlags::RECLAIMABLE;
    let kinds = [GfpFlags::HIGHUSER_MOVABLE, GfpFlags::KERNEL, reclaimable];
    let mut held = Vec::new();
    for round in 0..rounds {
        for gfp in kinds {
            let request = AllocRequest::new(Order::of(round % 5), gfp);
            held.push(alloc.alloc_pages(CpuId::BOOT, &request).expect("there is memory"));
        }
        let at = usize::from(round) * 7 % held.len();
        alloc.free_pages(CpuId::BOOT, held.swap_remove(at));
    }
    held
}

#[test]
fn restored_machines_go_on_as_the_original() {
    for profile in [KernelProfile::V6_1, KernelProfile::V6_12] {
        let mut original = machine(profile);
        let held = churn(&mut original, 60);
        let state = original.state();
        let mut copy = PageAllocator::restore(&state, Vec::new()).unwrap();
        copy.check().unwrap();
        assert_eq!(copy.state(), state);
        assert_eq!(copy.snapshot(), original.snapshot());
        original.sink_mut().clear();
        for pages in held {
            let twin = copy.reclaim(pages.pfn(), pages.order()).unwrap();
            original.free_pages(CpuId::BOOT, pages);
            copy.free_pages(CpuId::BOOT, twin);
        }
        churn(&mut original, 90);
        churn(&mut copy, 90);
        assert_eq!(copy.sink(), original.sink());
        assert_eq!(copy.state(), original.state());
        copy.check().unwrap();
    }
}

#[test]
fn frames_on_no_list_can_be_freed_in_any_shape() {
    let mut copy =
        PageAllocator::restore(&machine(KernelProfile::V6_1).state(), Vec::new()).unwrap();
    assert!(matches!(copy.frame(Pfn::new(0x4_0010)), Frame::Allocated { .. }));
    let pages = copy.reclaim(Pfn::new(0x4_0010), Order::of(4)).unwrap();
    copy.free_pages(CpuId::BOOT, pages);
    copy.check().unwrap();
}

#[track_caller]
fn check_refused(damage: impl FnOnce(&mut MachineState), expected: RestoreError) {
    let mut state = machine(KernelProfile::V6_1).state();
    damage(&mut state);
    assert_eq!(PageAllocator::restore(&state, Vec::<Event>::new()).expect_err("damaged"), expected);
}

#[test]
fn contradictory_states_are_refused() {
    let span = PfnRange::new(Pfn::new(0x4_0000), Pfn::new(0x4_8000));
    let (far, order) = (Pfn::new(0x4_8000), Order::of(2));
    check_refused(
        |state| {
            let block = state.zones[0].free[0];
            state.zones[0].free.push(block);
        },
        RestoreError::ListedTwice(Pfn::new(0x4_0123), Order::ZERO),
    );
    check_refused(
        |state| {
            let mut buddy = state.zones[0].free[0];
            buddy.pfn = Pfn::new(buddy.pfn.get() ^ 1);
            state.zones[0].free.push(buddy);
        },
        RestoreError::Unmerged(Pfn::new(0x4_0122), Order::ZERO),
    );
    check_refused(
        |state| {
            state.zones[0].free[0].pfn = far;
            state.zones[0].free[0].order = order;
        },
        RestoreError::Misplaced(far, order, span),
    );
    check_refused(
        |state| state.zones[0].pageblocks.push((far, MigrateType::Cma)),
        RestoreError::ForeignPageblock(far, span),
    );
    check_refused(
        |state| {
            let mut block = state.zones[0].free.pop().unwrap();
            block.order = Order::of(4);
            state.zones[0].pcp[0].blocks.push(block);
        },
        RestoreError::NoSuchList(Order::of(4)),
    );
    check_refused(
        |state| {
            let zone = state.zones[0].clone();
            state.zones.push(zone);
        },
        RestoreError::ZonesOverlap(span, span),
    );
}
