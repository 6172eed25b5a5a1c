//! Every short history on eight frames.

use pagelab_allocator::contig::ContigClaim;
use pagelab_allocator::gfp::{AllocFlags, GfpFlags};
use pagelab_allocator::isolate::IsolateMode;
use pagelab_allocator::page_alloc::AllocRequest;
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::{CpuId, Order};

use crate::history::Pair;
use crate::machine::{PROFILES, bare, geometry, range};
use crate::naive::Verdict;
use crate::subject::Fault;

#[derive(Clone, Copy, Debug)]
enum Step {
    Movable,
    Barred,
    Kernel,
    KernelPair,
    FreeFirst,
    FreeLastToTail,
    Drain,
    Claim,
}

const STEPS: [Step; 8] = [
    Step::Movable,
    Step::Barred,
    Step::Kernel,
    Step::KernelPair,
    Step::FreeFirst,
    Step::FreeLastToTail,
    Step::Drain,
    Step::Claim,
];

fn alloc(pair: &mut Pair, order: u8, gfp: GfpFlags, barred: AllocFlags) -> Verdict {
    let req = AllocRequest::new(Order::of(order), gfp).barring(barred);
    pair.alloc(CpuId::BOOT, &req)
}

fn free(pair: &mut Pair, at: usize) -> Verdict {
    if at >= pair.naive.held.len() {
        return Ok(());
    }
    let (pfn, order) = pair.naive.held.remove(at);
    let alloc = &mut pair.subject.alloc;
    let pages = alloc.reclaim(pfn, order).map_err(|error| error.to_string())?;
    let range = pages.range();
    if at == 0 {
        alloc.free_pages(CpuId::BOOT, pages);
    } else {
        alloc.free_to_tail(pages);
    }
    pair.naive.take_back(range)
}

fn apply(pair: &mut Pair, step: Step) -> Verdict {
    let user = GfpFlags::HIGHUSER_MOVABLE;
    match step {
        Step::Movable => alloc(pair, 0, user, AllocFlags::empty()),
        Step::Barred => alloc(pair, 0, user, AllocFlags::CMA),
        Step::Kernel => alloc(pair, 0, GfpFlags::KERNEL, AllocFlags::empty()),
        Step::KernelPair => alloc(pair, 1, GfpFlags::KERNEL, AllocFlags::empty()),
        Step::FreeFirst => free(pair, 0),
        Step::FreeLastToTail => free(pair, pair.naive.held.len().saturating_sub(1).max(1)),
        Step::Drain => {
            pair.subject.alloc.drain_all();
            Ok(())
        }
        Step::Claim => {
            let mode = IsolateMode::Other;
            let alloc = &mut pair.subject.alloc;
            let Ok(claim) = ContigClaim::claim(alloc, range(3, 5), mode) else { return Ok(()) };
            let Ok(contig) = claim.commit(CpuId::BOOT) else { return Ok(()) };
            contig.into_raw().iter().try_for_each(|pfn| pair.naive.hand_out(pfn, Order::ZERO))
        }
    }
}

fn explore(pair: &Pair, depth: u32, path: &mut Vec<Step>, seen: &mut u64) {
    for step in STEPS {
        let mut next = pair.clone();
        path.push(step);
        let verdict = apply(&mut next, step).and_then(|()| next.naive.laws(&next.subject));
        assert_eq!(verdict, Ok(()), "{path:?} on {:?}", next.subject.spec);
        *seen += 1;
        if depth > 1 {
            explore(&next, depth - 1, path, seen);
        }
        path.pop();
    }
}

fn check(profile: KernelProfile, max: u8, depth: u32) {
    let mut spec = bare(geometry(1, max), profile, range(0, 8));
    spec.cma = vec![range(6, 8)];
    let mut seen = 0;
    explore(&Pair::new(&spec, Fault::None), depth, &mut Vec::new(), &mut seen);
    let steps = STEPS.len() as u64;
    assert_eq!(seen, (1..=depth).map(|n| steps.pow(n)).sum::<u64>());
}

#[test]
fn every_history_of_six_steps_on_eight_frames() {
    PROFILES.into_iter().for_each(|profile| check(profile, 2, 6));
}

#[test]
fn every_history_of_five_steps_with_larger_blocks() {
    PROFILES.into_iter().for_each(|profile| check(profile, 3, 5));
}
