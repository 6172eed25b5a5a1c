//! Pages are counted while they move between the zone and a CPU's list.
//!
//! Linux: `zone_page_state_snapshot()` against `drain_pages_zone()`, whose answer may be off by
//! what is on its way. Here the lists of all CPUs and the zone are held together, so that no page
//! is missed or counted twice.

use pagelab_allocator::{profile::KernelProfile, smp::Step, sync::Arc, units::PageCount};
use pagelab_loom_tests::{PAGE, model, share, thread, tiny};
use pagelab_percpu::Locked;

const PAGES: u64 = 64;

/// Runs a drain against a count.
fn race(without: Option<Step>) {
    let (shared, [mut cpu, _other]) =
        share::<Locked, 2>(tiny(KernelProfile::V6_12, PAGES, 2), without);
    let page = cpu.alloc_pages(&PAGE).expect("all is free");
    cpu.free_pages(page);
    let draining = thread::spawn({
        let shared = Arc::clone(&shared);
        move || shared.drain_all()
    });
    let seen = shared.whereabouts();
    draining.join().expect("the drain ends");
    assert_eq!(seen.held, PageCount::ZERO, "nobody holds a page: {seen:?}");
    assert_eq!(seen.free + seen.cached, PageCount::new(PAGES), "every page is somewhere: {seen:?}");
    shared.check().expect("lists, links and counters agree");
}

#[test]
fn every_page_is_counted_once() {
    model(|| race(None));
}

/// The protocol with one step left out, which loom must reject.
#[cfg(loom)]
mod canaries {
    use pagelab_allocator::smp::Step;
    use pagelab_loom_tests::refutes;

    use super::race;

    #[test]
    fn canary_lists_are_counted_one_by_one() {
        assert!(refutes(|| race(Some(Step::WholeHoldsLists))));
    }
}
