//! Two CPUs drain the list of a third, which allocates meanwhile.
//!
//! Linux: two calls of `drain_pages_zone()` for one CPU, as from `drain_all_pages()` and from
//! `page_alloc_cpu_dead()`, queue on `pcp->lock`. Here they queue on the slot's mutex: a claim is
//! one flag for all, so that the first drain to end would withdraw the claim of the other.

use pagelab_loom_tests::{model, thread};
use pagelab_percpu::{Asymmetric, Exclusive, Slot};

/// Pages on the list.
const PAGES: [u32; 2] = [1, 2];

/// Runs two drains against each other and the owner, then counts the pages.
fn race<P: Exclusive + Send + Sync + 'static>(protocol: P) {
    let (mut owner, remote) = Slot::new(PAGES.to_vec(), protocol).split();
    let drains =
        [remote.clone(), remote].map(|remote| thread::spawn(move || remote.with(std::mem::take)));
    let page = owner.with(Vec::pop);
    owner.with(|list| list.extend(page));
    let mut pages = owner.with(std::mem::take);
    for drain in drains {
        pages.extend(drain.join().expect("the drain ends"));
    }
    pages.sort_unstable();
    assert_eq!(pages, PAGES, "allocated and drained");
}

#[test]
fn two_remotes_drain_one_after_the_other() {
    model(|| race(Asymmetric::new()));
}

/// The protocol with one step left out, which loom must reject.
#[cfg(loom)]
mod canaries {
    use pagelab_loom_tests::refutes;
    use pagelab_percpu::{Asymmetric, Step};

    use super::race;

    #[test]
    fn canary_the_remotes_do_not_queue() {
        assert!(refutes(|| race(Asymmetric::without(Step::RemotesQueue))));
    }
}
