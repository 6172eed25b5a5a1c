//! Four CPUs allocate, free, claim, drain and count at once.
//!
//! Too large for loom; `--cfg shuttle` runs it under random schedules. The invariants are those of
//! the small models together: no page has two owners, none is lost, every count is whole.

#![cfg(not(loom))]

use pagelab_allocator::{
    isolate::IsolateMode,
    page_alloc::Pages,
    profile::KernelProfile,
    smp::{Cpu, SharedClaim, Step},
    sync::Arc,
    units::{PageCount, Pfn, PfnRange},
};
use pagelab_loom_tests::{PAGE, share, thread, tiny};
use pagelab_percpu::{Asymmetric, Exclusive};
use rand_pcg::{
    Pcg32,
    rand_core::{Rng, SeedableRng},
};

const PAGES: u64 = 128;
const STEPS: u32 = 12;

/// What a thread ends with: the frames that it still holds.
fn work<P: Exclusive>(mut cpu: Cpu<P>) -> (Cpu<P>, Vec<Pages>, Vec<PfnRange>) {
    let mut rng = Pcg32::seed_from_u64(u64::try_from(cpu.id().index()).expect("few CPUs"));
    let (mut held, mut claimed) = (Vec::new(), Vec::new());
    let shared = Arc::clone(cpu.shared());
    for _ in 0..STEPS {
        match rng.next_u32() % 8 {
            0..4 => held.extend(cpu.alloc_pages(&PAGE)),
            4..6 => held.pop().into_iter().for_each(|pages| cpu.free_pages(pages)),
            6 => {
                let start = Pfn::new(u64::from(rng.next_u32()) % PAGES);
                let range = PfnRange::from_len(start, PageCount::new(1));
                let claim = SharedClaim::claim(&shared, range, IsolateMode::Other);
                let taken = claim.and_then(|claim| claim.commit(&mut cpu));
                claimed.extend(taken.map(|taken| taken.into_raw()));
            }
            _ => {
                let seen = shared.whereabouts();
                assert_eq!(seen.free + seen.cached + seen.held, PageCount::new(PAGES));
            }
        }
    }
    (cpu, held, claimed)
}

/// Runs four CPUs, then looks at who has what.
fn race<P: Exclusive + Default + Send + Sync + 'static>(without: Option<Step>) {
    let alloc = tiny(KernelProfile::V6_12, PAGES, 4);
    let (shared, cpus) = share::<P, 4>(alloc, without);
    let threads: Vec<_> = cpus.into_iter().map(|cpu| thread::spawn(|| work(cpu))).collect();
    let ended: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("it ends")).collect();
    let mut frames = Vec::new();
    for (_, held, claimed) in &ended {
        frames.extend(held.iter().map(Pages::pfn));
        frames.extend(claimed.iter().map(|range| range.start()));
    }
    let all = u64::try_from(frames.len()).expect("few frames");
    frames.sort_unstable();
    frames.dedup();
    assert_eq!(u64::try_from(frames.len()), Ok(all), "a page has two owners");
    assert_eq!(shared.whereabouts().held, PageCount::new(all));
    shared.check().expect("lists, links and counters agree");
}

#[test]
fn four_cpus_at_once() {
    pagelab_loom_tests::model(|| race::<Asymmetric>(None));
}

#[cfg(shuttle)]
#[test]
fn canary_a_claim_does_not_test_its_range() {
    assert!(pagelab_loom_tests::refutes(|| race::<Asymmetric>(Some(Step::ClaimTests))));
}
