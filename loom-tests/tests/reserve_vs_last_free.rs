//! A page gets tags while the last other page of its tag block loses them.
//!
//! Linux (RFC v3): `reserve_tag_storage()` against `free_tag_storage()`, which takes the lock of
//! the xarray, lowers the count and gives the block back in one locked section. Here a count above
//! zero moves without a lock, so that the last free looks again; a reserver that finds zero waits
//! for the section to end before it claims the block.

use pagelab_allocator::units::Pfn;
use pagelab_loom_tests::mm::{DATA, TAGS, end, machine};
use pagelab_loom_tests::{model, thread};
use pagelab_migrate::smp::Step;

/// Runs a reservation against the release of another page, then gives it back.
fn race(missing: Option<Step>) {
    let (memory, [mut here, mut there]) = machine::<2>(missing);
    let (one, two) = (DATA.start(), Pfn::new(DATA.start().get() + 1));
    memory.reserve_tags(&mut here, one).expect("all is free");
    let releasing = thread::spawn({
        let memory = memory.clone();
        move || memory.release_tags(&mut there, one)
    });
    let reserved = memory.reserve_tags(&mut here, two);
    releasing.join().expect("the release ends");
    reserved.expect("nobody is in the way");
    let block = memory.tags().map().block_at(TAGS.start()).expect("tag storage");
    assert_eq!(memory.tags().count(block), 1, "pages with tags");
    memory.release_tags(&mut here, two);
    end(&memory, &mut here, vec![]);
}

#[test]
fn the_block_is_there_for_the_page_that_came() {
    model(|| race(None));
}

/// The protocol with one step left out, which loom must reject.
#[cfg(loom)]
mod canaries {
    use pagelab_loom_tests::refutes;
    use pagelab_migrate::smp::Step;

    use super::race;

    #[test]
    fn canary_the_last_release_does_not_look_again() {
        assert!(refutes(|| race(Some(Step::LastPutLooksAgain))));
    }

    #[test]
    fn canary_the_block_goes_back_after_the_lock() {
        assert!(refutes(|| race(Some(Step::LastPutGivesBack))));
    }
}
