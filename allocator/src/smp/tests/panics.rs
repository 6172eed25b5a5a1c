//! A panic while lists lie elsewhere than in their slots: nothing is lost.

use pagelab_percpu::{Asymmetric, Locked};

use super::{machine, panics};
use crate::gfp::GfpFlags;
use crate::isolate::IsolateMode;
use crate::profile::KernelProfile;
use crate::smp::*;

const PAGE: AllocRequest = AllocRequest::new(Order::ZERO, GfpFlags::HIGHUSER_MOVABLE);

/// Has `work` panic on a machine all of whose CPUs have pages on their lists.
fn loses_nothing<P: Exclusive + Default>(work: fn(&SharedAllocator<P>, &mut Cpu<P>)) {
    let (shared, mut cpus) =
        SharedAllocator::<P>::share(machine(KernelProfile::V6_12)).expect("one zone");
    for cpu in &mut cpus {
        let pages = cpu.alloc_pages(&PAGE).expect("free memory");
        cpu.free_pages(pages);
    }
    let lists = || shared.zones[0].remotes.iter().map(|of| of.with(|lists| lists.pcp.count()));
    let (before, stats) = (shared.whereabouts(), shared.stats());
    let cached: Vec<PageCount> = lists().collect();
    // A second one would hide what the first one swapped.
    for _ in 0..2 {
        assert_eq!(panics(|| work(&shared, &mut cpus[1])), "as the test wants");
        assert_eq!(lists().collect::<Vec<_>>(), cached, "each CPU has its own");
        assert_eq!((shared.whereabouts(), shared.check()), (before, Ok(())));
        assert_eq!(shared.stats(), stats);
    }
    // Everybody goes on.
    let pages = cpus[1].alloc_pages(&PAGE).expect("free memory");
    cpus[0].free_pages(pages);
    shared.drain_all();
    assert_eq!(shared.whereabouts().free, before.free + before.cached);
    assert_eq!(shared.check(), Ok(()));
}

#[test]
fn a_look_at_the_whole_zone() {
    loses_nothing::<Locked>(|shared, _| shared.zones[0].whole(|_| panic!("as the test wants")));
    loses_nothing::<Asymmetric>(|shared, _| shared.zones[0].whole(|_| panic!("as the test wants")));
}

#[test]
fn work_with_the_lists_of_one_cpu() {
    loses_nothing::<Locked>(|_, cpu| cpu.with_locked(0, |_| panic!("as the test wants")));
    loses_nothing::<Asymmetric>(|_, cpu| cpu.with_locked(0, |_| panic!("as the test wants")));
}

/// What left a list before the panic is counted.
#[test]
fn what_came_to_a_list_is_counted() {
    let (shared, mut cpus) =
        SharedAllocator::<Locked>::share(machine(KernelProfile::V6_12)).expect("one zone");
    let pages = cpus[0].alloc_pages(&PAGE).expect("free memory");
    cpus[0].free_pages(pages);
    let stats = shared.stats();
    panics(|| {
        cpus[0].with_locked(0, |locked| {
            locked.zones[0].drain_cpu(CpuId::BOOT, &mut crate::event::Silent);
            panic!("as the test wants");
        });
    });
    assert_eq!((shared.stats(), shared.check()), (stats, Ok(())));
}

/// A claim of an area, and which parts of it come.
const AREA: PfnRange = PfnRange::new(Pfn::new(8192), Pfn::new(8704));

/// Takes parts of a claim until that panics; says how, and how many parts were told before it.
fn take_panics(parts: &[(u64, u64)], bad_part: Option<usize>) -> (String, usize) {
    let (shared, mut cpus) =
        SharedAllocator::<Locked>::share(machine(KernelProfile::V6_12)).expect("one zone");
    let mode = IsolateMode::CmaAlloc(MigrateType::Cma);
    let claim = SharedClaim::claim(&shared, AREA, mode).expect("all is free");
    let at = |pages: u64| Pfn::new(AREA.start().get().wrapping_add(pages));
    let parts = parts.iter().map(|&(start, end)| (PfnRange::new(at(start), at(end)), ()));
    let mut told = Vec::new();
    let said = panics(|| {
        claim.take(&mut cpus[0], parts, |(), taken| {
            told.push(taken.expect("all is free").into_raw());
            assert_ne!(Some(told.len()), bad_part, "as the test wants");
        });
    });
    drop(claim);
    let held: PageCount = told.iter().map(|part| part.len()).sum();
    assert_eq!(shared.check(), Ok(()), "{said}");
    assert_eq!(shared.whereabouts().held, held, "what was told of is held, and nothing else");
    for part in &told {
        part.iter().for_each(|pfn| cpus[0].free_raw(pfn, Order::ZERO));
    }
    shared.drain_all();
    assert_eq!((shared.whereabouts().held, shared.check()), (PageCount::ZERO, Ok(())));
    (said, told.len())
}

/// What a part shares a block with belongs to nobody: it is given back whatever happens.
#[test]
fn parts_of_a_claim() {
    let (said, told) = take_panics(&[(1, 3), (9, 12), (20, 22)], Some(2));
    assert!(said.contains("as the test wants") && told == 2, "{said}");
    assert_eq!(take_panics(&[(1, 3), (2, 4)], None), ("parts ascend".to_owned(), 1));
    assert_eq!(take_panics(&[(1, 3), (511, 513)], None), ("parts of the range".to_owned(), 1));
}
