//! What belongs to another machine, and CPUs that nobody has any more.

use pagelab_percpu::Locked;

use super::{machine, panics};
use crate::gfp::GfpFlags;
use crate::isolate::IsolateMode;
use crate::profile::KernelProfile;
use crate::smp::*;

const PAGE: AllocRequest = AllocRequest::new(Order::ZERO, GfpFlags::HIGHUSER_MOVABLE);
const AREA: PfnRange = PfnRange::new(Pfn::new(8192), Pfn::new(8704));
const MODE: IsolateMode = IsolateMode::CmaAlloc(MigrateType::Cma);

/// A machine and the first of its CPUs.
type Machine = (Arc<SharedAllocator<Locked>>, Cpu<Locked>);

fn two() -> [Machine; 2] {
    [(); 2].map(|()| {
        let (shared, mut cpus) =
            SharedAllocator::share(machine(KernelProfile::V6_12)).expect("one zone");
        (shared, cpus.swap_remove(0))
    })
}

#[test]
fn a_claim_refuses_the_cpu_of_another_machine() {
    let [(shared, mut own), (other, mut foreign)] = two();
    assert!(own.is_of(&shared) && !foreign.is_of(&shared));
    let claim = || SharedClaim::claim(&shared, AREA, MODE).expect("all is free");
    let said = [
        panics(|| claim().commit(&mut foreign)),
        panics(|| claim().take(&mut foreign, [(AREA, ())], |(), _| {})),
        panics(|| claim().offline(&mut foreign)),
        panics(|| SharedClaim::claim_each(&shared, &mut foreign, &[AREA], MODE)),
    ];
    assert_eq!(said, ["a CPU of another machine"; 4]);
    for machine in [&shared, &other] {
        assert_eq!(machine.pageblocks(MigrateType::Isolate), 0, "the isolation ended");
        assert_eq!((machine.whereabouts().held, machine.check()), (PageCount::ZERO, Ok(())));
    }
    claim().commit(&mut own).map(|taken| own.free_contig_range(taken)).expect("all is free");
}

/// A handle is a number: where nobody holds the block it is a forged one.
#[test]
fn the_block_of_another_machine_is_a_forged_handle() {
    let [(shared, mut own), (other, mut foreign)] = two();
    let pages = own.alloc_pages(&PAGE).expect("free memory");
    let pfn = pages.pfn();
    let before = other.whereabouts();
    let forged = "block is not allocated with this order";
    assert_eq!(panics(|| foreign.free_pages(pages)), forged);
    assert_eq!((other.whereabouts(), other.check()), (before, Ok(())));
    let claim = SharedClaim::claim(&shared, AREA, MODE).expect("all is free");
    let taken = claim.commit(&mut own).expect("all is free");
    assert_eq!(panics(|| foreign.free_contig_range(taken)), forged);
    assert_eq!((other.whereabouts(), other.check()), (before, Ok(())));
    let beyond = Pages::new(Pfn::new(1 << 20), Order::ZERO);
    assert_eq!(panics(|| foreign.free_pages(beyond)), "the block of a handle lies in a zone");
    // The owner still has both.
    assert_eq!(shared.whereabouts().held, AREA.len() + PageCount::new(1));
    own.free_raw(pfn, Order::ZERO);
    AREA.iter().for_each(|pfn| own.free_raw(pfn, Order::ZERO));
    assert_eq!((shared.whereabouts().held, shared.check()), (PageCount::ZERO, Ok(())));
}

/// Where somebody holds such a block, it is the handle of that one: nothing tells them apart.
#[test]
fn a_block_that_both_machines_hold_is_freed_where_its_handle_goes() {
    let [(_, mut own), (other, mut foreign)] = two();
    let pages = own.alloc_pages(&PAGE).expect("free memory");
    let same = foreign.alloc_pages(&PAGE).expect("free memory");
    assert_eq!(pages.pfn(), same.pfn(), "machines alike");
    foreign.free_pages(pages);
    assert_eq!((other.whereabouts().held, other.check()), (PageCount::ZERO, Ok(())));
    panics(|| foreign.free_pages(same));
}

/// The pages on the lists of a CPU that is gone are drained like those of any other.
#[test]
fn a_cpu_that_is_dropped_leaves_its_pages_to_the_machine() {
    let [(shared, mut own), _] = two();
    let held = own.alloc_pages(&PAGE).expect("free memory");
    let again = own.alloc_pages(&PAGE).expect("free memory");
    own.free_pages(again);
    let before = shared.whereabouts();
    assert!(before.cached > PageCount::ZERO, "its list is not empty");
    drop(own);
    assert_eq!((shared.whereabouts(), shared.check()), (before, Ok(())));
    shared.drain_all();
    let (free, cached) = (before.free + before.cached, PageCount::ZERO);
    assert_eq!(shared.whereabouts(), Whereabouts { free, cached, ..before });
    // Its counters count, and whoever has a page still has it.
    assert_eq!(shared.stats().pgalloc.iter().sum::<u64>(), 2);
    assert_eq!(shared.reclaim(held.pfn(), Order::ZERO), Ok(held));
}
