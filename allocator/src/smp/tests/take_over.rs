//! Pages that a claim takes from their holder, against pages that are freed and taken one by one.

use proptest::prelude::*;

use super::panics;
use super::zone_text::{same, state};
use crate::boot::MachineSpec;
use crate::event::Silent;
use crate::gfp::ZoneType;
use crate::isolate::IsolateMode;
use crate::profile::KernelProfile;
use crate::smp::*;
use crate::vm_stat::VmStat;

const AREA: PfnRange = PfnRange::new(Pfn::new(4096), Pfn::new(5120));

const MODE: IsolateMode = IsolateMode::CmaAlloc(MigrateType::Cma);

/// How a claim comes by the pages.
#[derive(Clone, Copy)]
enum Manner {
    TakenOver,
    OneByOne,
}

/// A machine of one zone with an area.
fn machine(profile: KernelProfile) -> (Arc<SharedAllocator<Asymmetric>>, Vec<Cpu<Asymmetric>>) {
    let memory = PfnRange::new(Pfn::new(0), Pfn::new(8192));
    let mut spec = MachineSpec::single(Geometry::PAGES_4K, profile, ZoneType::Normal, memory);
    spec.cma = vec![AREA];
    let alloc = PageAllocator::boot(&spec, Silent).expect("a small machine");
    SharedAllocator::share(alloc).expect("one zone")
}

/// Some pages of an area are held, and all but every fourth of them claimed, `range` of it
/// isolated; says what the machine is then.
fn claim(
    profile: KernelProfile,
    held: &[Pfn],
    range: PfnRange,
    manner: Manner,
) -> (String, VmStat) {
    let (shared, mut cpus) = machine(profile);
    let cpu = &mut cpus[0];
    for &pfn in held {
        let _held = cpu.take_at(pfn, Order::ZERO).expect("a free page").into_raw();
    }
    let claimed: Vec<Pfn> = held.iter().copied().filter(|pfn| pfn.get() % 4 != 3).collect();
    let claim = SharedClaim::claim(&shared, range, MODE).expect("nobody else");
    match manner {
        Manner::TakenOver => {
            let mut told = Vec::new();
            claim.take_over(claimed.iter().copied(), |pfn| told.push(pfn));
            assert_eq!(told, claimed);
        }
        Manner::OneByOne => {
            for pfn in claimed {
                cpu.free_singles(&[pfn]);
                let page = [(PfnRange::block(pfn, Order::ZERO), ())];
                claim.take(cpu, page, |(), taken| assert_eq!(taken.err(), None));
            }
        }
    }
    drop(claim);
    assert_eq!(shared.check(), Ok(()));
    let stats = shared.stats();
    (shared.zones[0].whole(|core| state(&core.zones[0])), stats)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pages_taken_over_are_as_freed_and_taken(
        dense in prop::collection::btree_set(0u64..64, 1..60),
        sparse in prop::collection::btree_set(0u64..1024, 1..300),
    ) {
        let held: std::collections::BTreeSet<Pfn> =
            dense.union(&sparse).map(|at| Pfn::new(AREA.start().get() + at)).collect();
        let held: Vec<Pfn> = held.into_iter().collect();
        for profile in [KernelProfile::V6_1, KernelProfile::V6_12] {
            let (lists, counts) = claim(profile, &held, AREA, Manner::TakenOver);
            let (expected, counted) = claim(profile, &held, AREA, Manner::OneByOne);
            same(&lists, &expected, &format!("{profile:?}"));
            prop_assert_eq!(counts, counted);
        }
    }
}

/// A page alone in its pageblock would merge with the next one, but only if that is isolated, too.
#[test]
fn a_page_alone_merges_no_further_than_the_isolation() {
    let half = PfnRange::block(AREA.start(), Order::of(9));
    for profile in [KernelProfile::V6_1, KernelProfile::V6_12] {
        for (range, freed) in [(half, 512), (AREA, 1024)] {
            let held = [AREA.start() + PageCount::new(300)];
            let (lists, counts) = claim(profile, &held, range, Manner::TakenOver);
            let (expected, counted) = claim(profile, &held, range, Manner::OneByOne);
            same(&lists, &expected, &format!("{profile:?}"));
            assert_eq!((counts, counts.pgfree), (counted, freed), "{profile:?}");
        }
    }
}

#[test]
fn what_nobody_holds_as_a_page_is_not_taken_over() {
    for profile in [KernelProfile::V6_1, KernelProfile::V6_12] {
        let (shared, mut cpus) = machine(profile);
        let mut hold = |at: u64, order| {
            let pages = cpus[0].take_at(Pfn::new(AREA.start().get() + at), Order::of(order));
            pages.expect("a free block").into_raw().0
        };
        let (page, large) = (hold(7, 0), hold(8, 3));
        let claim = SharedClaim::claim(&shared, AREA, MODE).expect("nobody else");
        for nobodys in [AREA.start(), large, large + PageCount::new(1)] {
            let before = shared.whereabouts();
            let mut told = Vec::new();
            panics(|| claim.take_over([page, nobodys, page], |pfn| told.push(pfn)));
            assert_eq!((told, shared.whereabouts()), (vec![page], before), "{profile:?}");
        }
        drop(claim);
        assert_eq!(shared.check(), Ok(()));
    }
}

#[test]
#[should_panic(expected = "a page of the range")]
fn pages_beside_the_range_are_not_taken_over() {
    claim(KernelProfile::V6_12, &[AREA.end()], AREA, Manner::TakenOver);
}
