//! Tag storage changes hands between data of others and tags.
//!
//! Whoever finds a page tagged, or its block counted, uses what another has emptied; whoever gives
//! the last page back lends what others wrote to. Each must see all that the other did there. Linux
//! (RFC v3) has locks of the xarray for the blocks, and for the page `smp_wmb()` in
//! `set_page_mte_tagged()`. Here they are orderings of the atomics that are no lock's.

use std::sync::atomic::Ordering::Relaxed;

use pagelab_allocator::sync::Arc;
use pagelab_allocator::sync::atomic::AtomicU32;
use pagelab_allocator::units::Pfn;
use pagelab_loom_tests::mm::{DATA, TAGS, end, machine};
use pagelab_loom_tests::{PAGE, model, thread};
use pagelab_migrate::smp::{Placement, Step};

/// Two pages whose tags share the first block.
const ONE: Pfn = DATA.start();
const TWO: Pfn = Pfn::new(DATA.start().get() + 1);

/// What one thread does, and that it is done, by which nobody learns anything else.
fn flags() -> [Arc<AtomicU32>; 2] {
    [(); 2].map(|()| Arc::new(AtomicU32::new(0)))
}

/// A block is counted by one who did not empty it.
fn race_for_count(missing: Option<Step>) {
    let (memory, [mut here, mut there]) = machine::<2>(missing);
    let [emptied, ready] = flags();
    let reserving = thread::spawn({
        let (memory, emptied, ready) = (memory.clone(), emptied.clone(), ready.clone());
        move || {
            emptied.store(1, Relaxed);
            memory.reserve_tags(&mut there, ONE).expect("all is free");
            ready.store(1, Relaxed);
        }
    });
    let counted = ready.load(Relaxed) == 1 && memory.reserve_tags(&mut here, TWO).is_ok();
    let seen = emptied.load(Relaxed);
    reserving.join().expect("the reservation ends");
    assert!(!counted || seen == 1, "what was there has left");
    memory.release_tags(&mut here, ONE);
    if counted {
        memory.release_tags(&mut here, TWO);
    }
    end(&memory, &mut here, vec![]);
}

/// A shared page is found tagged by one who did not tag it.
fn race_for_page(missing: Option<Step>) {
    let (memory, [mut here, mut there]) = machine::<2>(missing);
    let [emptied, ready] = flags();
    let parent = memory.new_table(1);
    memory.map(&mut here, &parent, 0, Placement::Taggable).expect("all is free");
    parent.mprotect_mte(0..1);
    let child = memory.fork(&mut here, &parent).expect("nothing is copied");
    let tagging = thread::spawn({
        let (memory, parent) = (memory.clone(), parent.clone());
        let (emptied, ready) = (emptied.clone(), ready.clone());
        move || {
            emptied.store(1, Relaxed);
            assert_eq!(memory.populate_tags(&mut there, &parent, 0..1).tagged, 1);
            ready.store(1, Relaxed);
        }
    });
    let is_there = ready.load(Relaxed) == 1;
    let tagged = is_there && memory.populate_tags(&mut here, &child, 0..1).tagged == 1;
    let seen = emptied.load(Relaxed);
    tagging.join().expect("it ends");
    assert!(!tagged || seen == 1, "what was there has left");
    end(&memory, &mut here, vec![parent, child]);
}

/// A block is lent again by one who did not write all of the tags.
fn race_for_last(missing: Option<Step>) {
    let (memory, [mut here, mut there]) = machine::<2>(missing);
    let [wrote, _] = flags();
    memory.reserve_tags(&mut here, ONE).expect("all is free");
    memory.reserve_tags(&mut here, TWO).expect("it is reserved");
    let releasing = thread::spawn({
        let (memory, wrote) = (memory.clone(), wrote.clone());
        move || {
            wrote.store(1, Relaxed);
            memory.release_tags(&mut there, TWO);
        }
    });
    memory.release_tags(&mut here, ONE);
    let pages = core::iter::from_fn(|| here.alloc_pages(&PAGE).ok());
    let pages: Vec<_> = pages.map(|pages| pages.into_raw().0).collect();
    let seen = wrote.load(Relaxed);
    releasing.join().expect("the release ends");
    let lent = pages.contains(&TAGS.start());
    here.free_singles(&pages);
    assert!(!lent || seen == 1, "what was written there is over");
    end(&memory, &mut here, vec![]);
}

#[test]
fn whoever_counts_sees_what_left() {
    model(|| race_for_count(None));
}

#[test]
fn whoever_finds_tags_sees_what_left() {
    model(|| race_for_page(None));
}

#[test]
fn whoever_lends_sees_what_was_written() {
    model(|| race_for_last(None));
}

/// The protocol with one step left out, which loom must reject.
#[cfg(loom)]
mod canaries {
    use pagelab_loom_tests::refutes;
    use pagelab_migrate::smp::Step;

    use super::{race_for_count, race_for_last, race_for_page};

    #[test]
    fn canary_the_first_count_publishes_nothing() {
        assert!(refutes(|| race_for_count(Some(Step::CountPublishes))));
    }

    #[test]
    fn canary_the_tag_publishes_nothing() {
        assert!(refutes(|| race_for_page(Some(Step::TagPublishes))));
    }

    #[test]
    fn canary_a_put_publishes_nothing() {
        assert!(refutes(|| race_for_last(Some(Step::CountPublishes))));
    }
}
