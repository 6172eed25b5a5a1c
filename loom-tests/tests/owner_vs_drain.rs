//! A CPU allocates a page from its own list while another CPU drains that list.
//!
//! Linux: `rmqueue_pcplist()` against `drain_pages_zone()`, both under `pcp->lock`. Here the owner
//! takes no lock: it says that it is busy, then looks whether its list is claimed; the drain claims
//! it, then looks whether the owner is busy. One of the two must see the other, so that each page
//! is either allocated or drained, and the list is never in two hands.

use pagelab_loom_tests::{model, thread};
use pagelab_percpu::{Asymmetric, Exclusive, Locked, Slot};

/// Pages on the list.
const PAGES: [u32; 2] = [1, 2];

/// Runs an allocation and a free of the owner against two drains, then counts the pages.
fn race<P: Exclusive + Send + Sync + 'static>(protocol: P) {
    let (mut owner, remote) = Slot::new(PAGES.to_vec(), protocol).split();
    let draining = thread::spawn({
        let remote = remote.clone();
        move || [remote.with(std::mem::take), remote.with(std::mem::take)].concat()
    });
    let page = owner.with(Vec::pop);
    owner.with(|list| list.extend(page));
    let mut pages = draining.join().expect("the drains end");
    pages.extend(remote.with(std::mem::take));
    pages.sort_unstable();
    assert_eq!(pages, PAGES, "drained, and left on the list");
}

#[test]
fn the_owner_allocates_while_a_remote_drains() {
    model(|| race(Asymmetric::new()));
}

#[test]
fn the_same_under_a_lock() {
    model(|| race(Locked::new()));
}

/// The protocol with one step left out, which loom must reject.
#[cfg(loom)]
mod canaries {
    use pagelab_loom_tests::refutes;
    use pagelab_percpu::{Asymmetric, Step};

    use super::race;

    fn is_needed(step: Step) {
        assert!(refutes(move || race(Asymmetric::without(step))));
    }

    #[test]
    fn canary_the_owner_does_not_look() {
        is_needed(Step::OwnerLooks);
    }

    #[test]
    fn canary_the_owner_looks_without_acquire() {
        is_needed(Step::OwnerAcquires);
    }

    #[test]
    fn canary_the_owner_has_no_fence() {
        is_needed(Step::LightFence);
    }

    #[test]
    fn canary_the_remote_has_no_fence() {
        is_needed(Step::HeavyFence);
    }

    #[test]
    fn canary_the_remote_does_not_wait() {
        is_needed(Step::RemoteWaits);
    }
}
