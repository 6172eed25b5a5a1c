//! A page is freed while its pageblock is being isolated.
//!
//! Linux: `free_unref_page()` against `alloc_contig_range()`, which isolates first and drains the
//! per-CPU lists afterwards. A page freed before the isolation may wait on a per-CPU list, from
//! which the drain fetches it; a page freed after it goes straight to an isolated list. Draining
//! first, or looking at the pageblock's type before one's turn on the list, leaves a gap in which a
//! freed page hides on a per-CPU list: the claim finds nobody who holds it, and does not get it.

use pagelab_allocator::{
    isolate::IsolateMode,
    profile::KernelProfile,
    smp::{SharedClaim, Step},
    units::{PageCount, PfnRange},
};
use pagelab_loom_tests::{PAGE, PAGEBLOCK, model, share, thread, tiny};
use pagelab_percpu::{Asymmetric, Exclusive, Locked};

const PAGES: u64 = 64;

/// By which door the page comes back.
#[derive(Clone, Copy)]
enum Door {
    /// The lists of a CPU. Linux: `free_unref_page()`.
    Cpu,
    /// Past them, as chosen pages do. Linux: `put_page_back_buddy()`.
    Buddy,
}

/// Runs a free against a claim of the page's pageblock, which then must succeed.
fn race<P: Exclusive + Default + Send + Sync + 'static>(without: Option<Step>, door: Door) {
    let (shared, [mut cpu, mut other]) =
        share::<P, 2>(tiny(KernelProfile::V6_12, PAGES, 2), without);
    // The list has room for two pages afterwards, so that a free need not grow it.
    let spare = [(); 2].map(|()| cpu.alloc_pages(&PAGE).expect("all is free"));
    let page = cpu.alloc_pages(&PAGE).expect("all is free");
    spare.into_iter().for_each(|pages| cpu.free_pages(pages));
    let block = PfnRange::block(page.pfn().align_down(PAGEBLOCK), PAGEBLOCK);
    let freeing = thread::spawn(move || match door {
        Door::Cpu => cpu.free_pages(page),
        Door::Buddy => cpu.put_back(page),
    });
    let claim = SharedClaim::claim(&shared, block, IsolateMode::Other).expect("all is movable");
    freeing.join().expect("the freeing thread ends");

    assert_eq!(claim.next_busy(block.start()), None, "nobody holds a page");
    let claimed = claim.commit(&mut other);
    assert!(claimed.is_ok(), "a page hides on a list: {claimed:?}");
    let pages = shared.whereabouts();
    assert_eq!(pages.held, PAGEBLOCK.pages(), "what was claimed");
    assert_eq!(pages.free + pages.cached + pages.held, PageCount::new(PAGES));
    shared.check().expect("lists, links and counters agree");
}

#[test]
fn isolate_then_drain_finds_every_freed_page() {
    model(|| race::<Locked>(None, Door::Cpu));
}

#[test]
fn also_where_the_owner_takes_no_lock() {
    model(|| race::<Asymmetric>(None, Door::Cpu));
}

#[test]
fn also_a_page_that_is_put_back() {
    model(|| race::<Locked>(None, Door::Buddy));
}

/// The protocol with one step left out, which loom must reject.
#[cfg(loom)]
mod canaries {
    use pagelab_allocator::smp::Step;
    use pagelab_loom_tests::refutes;
    use pagelab_percpu::Locked;

    use super::{Door, race};

    fn is_needed(step: Step) {
        assert!(refutes(move || race::<Locked>(Some(step), Door::Cpu)));
    }

    #[test]
    fn canary_drain_then_isolate_misses_a_page() {
        is_needed(Step::ClaimIsolatesFirst);
    }

    #[test]
    fn canary_without_a_drain_a_page_is_missed() {
        is_needed(Step::ClaimDrains);
    }

    #[test]
    fn canary_the_type_is_looked_at_too_early() {
        is_needed(Step::FreeLooksInTurn);
    }
}
