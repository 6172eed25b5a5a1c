//! Pages that a claim takes from their holder, against pages that are freed and taken one by one.

use proptest::prelude::*;

use super::zone_text::{same, state};
use crate::boot::MachineSpec;
use crate::event::Silent;
use crate::gfp::ZoneType;
use crate::isolate::IsolateMode;
use crate::profile::KernelProfile;
use crate::smp::*;
use crate::vm_stat::VmStat;

const AREA: PfnRange = PfnRange::new(Pfn::new(4096), Pfn::new(5120));

/// How a claim comes by the pages.
#[derive(Clone, Copy)]
enum Manner {
    TakenOver,
    OneByOne,
}

/// Some pages of an area are held, and all but every fourth of them claimed; says what the machine
/// is then.
fn claim(profile: KernelProfile, held: &[Pfn], manner: Manner) -> (String, VmStat) {
    let memory = PfnRange::new(Pfn::new(0), Pfn::new(8192));
    let mut spec = MachineSpec::single(Geometry::PAGES_4K, profile, ZoneType::Normal, memory);
    spec.cma = vec![AREA];
    let alloc = PageAllocator::boot(&spec, Silent).expect("a small machine");
    let (shared, mut cpus) = SharedAllocator::<Asymmetric>::share(alloc).expect("one zone");
    let cpu = &mut cpus[0];
    for &pfn in held {
        let _held = cpu.take_at(pfn, Order::ZERO).expect("a free page").into_raw();
    }
    let claimed: Vec<Pfn> = held.iter().copied().filter(|pfn| pfn.get() % 4 != 3).collect();
    let mode = IsolateMode::CmaAlloc(MigrateType::Cma);
    let claim = SharedClaim::claim(&shared, AREA, mode).expect("nobody else");
    match manner {
        Manner::TakenOver => claim.take_over(claimed),
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
            let (lists, counts) = claim(profile, &held, Manner::TakenOver);
            let (expected, counted) = claim(profile, &held, Manner::OneByOne);
            same(&lists, &expected, &format!("{profile:?}"));
            prop_assert_eq!(counts, counted);
        }
    }
}

#[test]
#[should_panic(expected = "a page of the range")]
fn pages_beside_the_range_are_not_taken_over() {
    claim(KernelProfile::V6_12, &[AREA.end()], Manner::TakenOver);
}
