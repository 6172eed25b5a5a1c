//! Two threads claim different pages of one pageblock.
//!
//! Linux: `alloc_contig_range()` against itself. The pageblock is isolated by one at a time, the
//! other gets `-EBUSY` and tries again later; `cma_alloc()` holds a mutex to that end. If both went
//! on, the first to end would end the isolation of the other, who finds nobody in the way and yet
//! cannot take its page.

use pagelab_allocator::{
    isolate::IsolateMode,
    profile::KernelProfile,
    smp::{Cpu, SharedClaim, Step},
    sync::Arc,
    units::{PageCount, Pfn, PfnRange},
};
use pagelab_loom_tests::{model, share, thread, tiny};
use pagelab_percpu::Locked;

const PAGES: u64 = 64;

/// Claims one page; says how many it got.
fn claim(mut cpu: Cpu<Locked>, page: Pfn) -> PageCount {
    let shared = Arc::clone(cpu.shared());
    let range = PfnRange::from_len(page, PageCount::new(1));
    let Ok(claim) = SharedClaim::claim(&shared, range, IsolateMode::Other) else {
        return PageCount::ZERO;
    };
    let taken = claim.commit(&mut cpu);
    assert!(taken.is_ok(), "nobody is in the way: {taken:?}");
    range.len()
}

/// Runs two claims; whoever is not refused gets its page, and both are counted.
fn race(without: Option<Step>) {
    let (shared, cpus) = share::<Locked, 2>(tiny(KernelProfile::V6_12, PAGES, 2), without);
    let [first, second] = cpus;
    let second = thread::spawn(move || claim(second, Pfn::new(9)));
    let taken = claim(first, Pfn::new(8)) + second.join().expect("the claim ends");
    assert_eq!(shared.whereabouts().held, taken);
    shared.check().expect("lists, links and counters agree");
}

#[test]
fn each_claim_takes_its_page_or_is_refused() {
    model(|| race(None));
}

/// The protocol with one step left out, which loom must reject.
#[cfg(loom)]
mod canaries {
    use pagelab_allocator::smp::Step;
    use pagelab_loom_tests::refutes;

    use super::race;

    #[test]
    fn canary_the_second_claim_is_not_refused() {
        assert!(refutes(|| race(Some(Step::ClaimsExclude))));
    }
}
