//! Two pages whose tags share a block of tag storage get them at once.
//!
//! Linux (RFC v3): two calls of `reserve_tag_storage()` queue on `tag_blocks_lock`, and the second
//! looks again whether the block is reserved. The block is taken from the allocator once, and
//! counts both pages.

use pagelab_allocator::units::Pfn;
use pagelab_loom_tests::mm::{DATA, TAGS, end, machine};
use pagelab_loom_tests::{model, thread};
use pagelab_migrate::smp::Step;

/// Runs two reservations against each other, then gives both back.
fn race(missing: Option<Step>) {
    let (memory, [mut here, mut there]) = machine::<2>(missing);
    let (one, two) = (DATA.start(), Pfn::new(DATA.start().get() + 1));
    let reserving = thread::spawn({
        let memory = memory.clone();
        move || memory.reserve_tags(&mut there, two).map(|()| there)
    });
    let here_too = memory.reserve_tags(&mut here, one);
    let mut there = reserving.join().expect("the reservation ends").expect("nobody is in the way");
    here_too.expect("nobody is in the way");
    let block = memory.tags().map().block_at(TAGS.start()).expect("tag storage");
    assert_eq!(memory.tags().count(block), 2, "pages with tags");
    memory.release_tags(&mut there, two);
    memory.release_tags(&mut here, one);
    end(&memory, &mut here, vec![]);
}

#[test]
fn both_pages_count_in_one_block() {
    model(|| race(None));
}

/// The protocol with one step left out, which loom must reject.
#[cfg(loom)]
mod canaries {
    use pagelab_loom_tests::refutes;
    use pagelab_migrate::smp::Step;

    use super::race;

    #[test]
    fn canary_reservers_do_not_queue() {
        assert!(refutes(|| race(Some(Step::ReserversQueue))));
    }

    #[test]
    fn canary_the_second_does_not_look_again() {
        assert!(refutes(|| race(Some(Step::ReserverLooksAgain))));
    }
}
