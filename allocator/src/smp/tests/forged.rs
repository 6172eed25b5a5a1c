//! Handles and numbers of pages that are nobody's.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{machine, panics};
use crate::isolate::IsolateMode;
use crate::profile::KernelProfile;
use crate::smp::*;

/// A forged handle panics and nothing else: no page is lost, whatever the page's pageblock is.
#[test]
fn a_forged_free_loses_nothing() {
    let area = PfnRange::new(Pfn::new(8192), Pfn::new(8704));
    let far = Pfn::new(12_000);
    for (profile, singles) in [KernelProfile::V6_1, KernelProfile::V6_12]
        .into_iter()
        .flat_map(|profile| [(profile, false), (profile, true)])
    {
        let (shared, mut cpus) =
            SharedAllocator::<Asymmetric>::share(machine(profile)).expect("one zone");
        let cpu = &mut cpus[0];
        let req = AllocRequest::new(Order::ZERO, GfpFlags::HIGHUSER_MOVABLE);
        let held = cpu.alloc_pages(&req).expect("free memory");
        let mode = IsolateMode::CmaAlloc(MigrateType::Cma);
        let claim = SharedClaim::claim(&shared, area, mode).expect("nobody else");
        let more = cpu.alloc_pages(&req).expect("free memory");
        let before = shared.whereabouts();
        assert!(before.cached > PageCount::ZERO, "the list is not empty");
        for (pfn, order) in [(area.start(), 0), (area.start(), 4), (far, 0), (far, 9), (far, 10)] {
            let mut forged = || match singles {
                true => cpu.free_singles(&[pfn]),
                false => cpu.free_pages(Pages::new(pfn, Order::of(order))),
            };
            let tried = catch_unwind(AssertUnwindSafe(&mut forged));
            assert!(tried.is_err(), "{pfn} {order} is nobody's");
            assert_eq!(shared.whereabouts(), before, "{profile:?} {pfn} {order}");
        }
        drop(claim);
        assert_eq!(shared.check(), Ok(()), "{profile:?}");
        cpu.free_pages(held);
        cpu.free_pages(more);
        shared.drain_all();
        assert_eq!(shared.whereabouts().held, PageCount::ZERO, "{profile:?}");
    }
}

/// Nor does one that is put back.
#[test]
fn a_forged_block_is_not_put_back() {
    let far = Pfn::new(12_000);
    for profile in [KernelProfile::V6_1, KernelProfile::V6_12] {
        let mut plain = machine(profile);
        let (shared, mut cpus) =
            SharedAllocator::<Asymmetric>::share(machine(profile)).expect("one zone");
        let cpu = &mut cpus[0];
        let cached = cpu.take_at(far, Order::ZERO).expect("all is free");
        cpu.free_pages(cached);
        let held = cpu.take_at(far + PageCount::new(8), Order::of(3)).expect("all is free");
        let id = cpu.id();
        let alone = plain.take_at(id, held.pfn(), held.order()).expect("all is free");
        let before = (shared.whereabouts(), shared.stats());
        let lists = plain.snapshot().buddyinfo().to_string();
        // What is free, on a list of a CPU, held as another order, inside what is held, nowhere.
        let nobodys = [(100, 0), (1024, 9), (12_000, 0), (12_008, 0), (12_009, 0), (1 << 20, 0)];
        for (pfn, order) in nobodys.map(|(pfn, order)| (Pfn::new(pfn), Order::of(order))) {
            panics(|| cpu.put_back(Pages::new(pfn, order)));
            panics(|| plain.put_back(id, Pages::new(pfn, order)));
            assert_eq!((shared.whereabouts(), shared.stats()), before, "{profile:?} {pfn}");
            assert_eq!((shared.check(), plain.check()), (Ok(()), Ok(())), "{profile:?} {pfn}");
            assert_eq!(plain.snapshot().buddyinfo().to_string(), lists, "{profile:?} {pfn}");
        }
        cpu.put_back(held);
        plain.put_back(id, alone);
        shared.drain_all();
        assert_eq!((shared.whereabouts().held, shared.check()), (PageCount::ZERO, Ok(())));
    }
}

/// A forged number among pages of an isolated pageblock panics; those before it are free.
#[test]
fn a_forged_page_among_isolated_ones_loses_nothing() {
    for profile in [KernelProfile::V6_1, KernelProfile::V6_12] {
        let (shared, mut cpus) =
            SharedAllocator::<Asymmetric>::share(machine(profile)).expect("one zone");
        let area = PfnRange::new(Pfn::new(8192), Pfn::new(8704));
        let pages: Vec<Pfn> = area.iter().take(5).collect();
        for &pfn in pages.iter().filter(|pfn| **pfn != pages[3]) {
            let _held = cpus[0].take_at(pfn, Order::ZERO).expect("all is free").into_raw();
        }
        let mode = IsolateMode::CmaAlloc(MigrateType::Cma);
        let claim = SharedClaim::claim(&shared, area, mode).expect("nobody else");
        let mut forged = || cpus[0].free_singles(&pages);
        let tried = catch_unwind(AssertUnwindSafe(&mut forged));
        assert!(tried.is_err(), "one of them is nobody's");
        assert_eq!(shared.check(), Ok(()), "{profile:?}");
        assert_eq!(shared.stats().pgfree, 3, "{profile:?}");
        drop(claim);
        assert_eq!(shared.check(), Ok(()), "{profile:?}");
        assert_eq!(shared.whereabouts().held, PageCount::new(1), "{profile:?}");
    }
}
