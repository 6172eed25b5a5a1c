//! Two threads isolate the same pageblock.
//!
//! Linux: `set_migratetype_isolate()` against itself: under `zone->lock` the second finds the
//! pageblock isolated and fails with `-EBUSY`, so that whoever ends an isolation ends its own.

use pagelab_allocator::{
    isolate::IsolateMode,
    migratetype::MigrateType,
    profile::KernelProfile,
    smp::{SharedAllocator, SharedClaim, Step},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    units::{Pfn, PfnRange},
};
use pagelab_loom_tests::{model, share, thread, tiny};
use pagelab_percpu::Locked;

const PAGES: u64 = 64;

/// Runs two claims of one pageblock; while one is in force, no other may be.
fn race(without: Option<Step>) {
    let (shared, _cpus) = share::<Locked, 2>(tiny(KernelProfile::V6_12, PAGES, 2), without);
    let block = PfnRange::new(Pfn::new(8), Pfn::new(10));
    let inside = Arc::new(AtomicUsize::new(0));
    let claim = move |shared: &SharedAllocator<Locked>, inside: &AtomicUsize| {
        let Ok(claim) = SharedClaim::claim(shared, block, IsolateMode::Other) else { return };
        assert_eq!(inside.fetch_add(1, Ordering::AcqRel), 0, "two isolations of one pageblock");
        inside.fetch_sub(1, Ordering::AcqRel);
        drop(claim);
    };
    let second = thread::spawn({
        let (shared, inside) = (Arc::clone(&shared), Arc::clone(&inside));
        move || claim(&shared, &inside)
    });
    claim(&shared, &inside);
    second.join().expect("one claim at a time");
    assert_eq!(shared.pageblocks(MigrateType::Isolate), 0);
    shared.check().expect("lists, links and counters agree");
}

#[test]
fn one_isolation_at_a_time() {
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
