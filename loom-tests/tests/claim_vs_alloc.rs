//! A page is allocated from a range that is being claimed.
//!
//! Linux: `rmqueue()` against `alloc_contig_range()`: what was allocated before the isolation is in
//! the way, and `test_pages_isolated()` finds it; nothing is allocated from the range afterwards.

use pagelab_allocator::{
    isolate::IsolateMode,
    profile::KernelProfile,
    smp::{SharedClaim, Step},
    units::{Order, PageCount, Pfn, PfnRange},
};
use pagelab_loom_tests::{PAGE, model, share, thread, tiny};
use pagelab_percpu::Locked;

const PAGES: u64 = 64;

/// What is asked for.
#[derive(Clone, Copy)]
enum Ask {
    /// Any page.
    Any,
    /// A page of the range, past the CPU's lists.
    OfRange,
}

/// Runs an allocation against a claim of all that the allocation could get.
fn race(without: Option<Step>, ask: Ask) {
    let (shared, [mut cpu, mut other]) =
        share::<Locked, 2>(tiny(KernelProfile::V6_12, PAGES, 2), without);
    let range = PfnRange::new(Pfn::new(0), Pfn::new(PAGES / 2));
    let allocating = thread::spawn(move || match ask {
        Ask::Any => Some(cpu.alloc_pages(&PAGE).expect("half is left").into_raw().0),
        Ask::OfRange => cpu.take_at(Pfn::new(3), Order::ZERO).map(|page| page.into_raw().0),
    });
    let claimed = SharedClaim::claim(&shared, range, IsolateMode::Other)
        .and_then(|claim| claim.commit(&mut other))
        .map_or(PageCount::ZERO, |taken| taken.range().len());
    let page = allocating.join().expect("the allocation ends");
    let inside = |page| range.contains(page) && claimed > PageCount::ZERO;
    assert!(!page.is_some_and(inside), "page {page:?} has two owners");
    let held = PageCount::new(page.map_or(0, |_| 1));
    assert_eq!(shared.whereabouts().held, claimed + held);
    shared.check().expect("lists, links and counters agree");
}

#[test]
fn a_claimed_page_is_not_allocated() {
    model(|| race(None, Ask::Any));
}

#[test]
fn a_claimed_page_is_not_chosen() {
    model(|| race(None, Ask::OfRange));
}

/// The protocol with one step left out, which loom must reject.
#[cfg(loom)]
mod canaries {
    use pagelab_allocator::smp::Step;
    use pagelab_loom_tests::refutes;

    use super::{Ask, race};

    #[test]
    fn canary_the_range_is_not_tested() {
        assert!(refutes(|| race(Some(Step::ClaimTests), Ask::Any)));
    }

    #[test]
    fn canary_the_range_has_a_chosen_page_and_is_not_tested() {
        assert!(refutes(|| race(Some(Step::ClaimTests), Ask::OfRange)));
    }
}
