//! Memory goes offline while a page is allocated.
//!
//! Linux: `offline_pages()` against `rmqueue()`. The memory is isolated, the lists are drained, and
//! what is still in use is in the way (`-EBUSY`); otherwise no frame of it is handed out again.

use pagelab_allocator::{
    isolate::IsolateMode,
    profile::KernelProfile,
    smp::{SharedClaim, Step},
    units::{Pfn, PfnRange},
};
use pagelab_loom_tests::{PAGE, model, share, thread, tiny};
use pagelab_percpu::Locked;

const PAGES: u64 = 64;

/// Runs an allocation of all there is against the offlining of a part.
fn race(without: Option<Step>) {
    let (shared, [mut cpu, mut other]) =
        share::<Locked, 2>(tiny(KernelProfile::V6_12, PAGES, 2), without);
    let block = PfnRange::new(Pfn::new(0), Pfn::new(PAGES / 2));
    let allocating = thread::spawn(move || {
        let page = cpu.alloc_pages(&PAGE).expect("more is left").into_raw().0;
        (cpu, page)
    });
    let gone = SharedClaim::claim(&shared, block, IsolateMode::MemOffline)
        .and_then(|claim| claim.offline(&mut other))
        .is_ok();
    let (mut cpu, first) = allocating.join().expect("the allocation ends");
    let mut rest = vec![first];
    while let Ok(page) = cpu.alloc_pages(&PAGE) {
        rest.push(page.into_raw().0);
    }
    let used = rest.iter().any(|&page| block.contains(page));
    assert!(!(gone && used), "memory that is offline was handed out");
    assert!(gone || block.contains(first), "nothing was in the way");
    shared.check().expect("lists, links and counters agree");
}

#[test]
fn memory_in_use_stays() {
    model(|| race(None));
}

/// The protocol with one step left out, which loom must reject.
#[cfg(loom)]
mod canaries {
    use pagelab_allocator::smp::Step;
    use pagelab_loom_tests::refutes;

    use super::race;

    #[test]
    fn canary_the_range_is_not_tested() {
        assert!(refutes(|| race(Some(Step::ClaimTests))));
    }
}
