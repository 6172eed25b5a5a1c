//! Tag storage is found for the pages of a range while one of them is moved, or unmapped.
//!
//! Linux has no such call; its rule is that of `handle_page_missing_tag_storage()` (RFC v3) with
//! `pte_same()`: an entry gets access to tags only if it still maps what was reserved for. Nobody
//! holds the pages meanwhile. What was reserved for a page that went elsewhere is given back.

use pagelab_loom_tests::mm::{TAGS, end, machine};
use pagelab_loom_tests::{model, thread};
use pagelab_migrate::smp::page_table::Access;
use pagelab_migrate::smp::{Placement, Step};

/// What the other thread does with the page.
#[derive(Clone, Copy)]
enum User {
    Moves,
    Unmaps,
}

/// Runs the call against the other thread; it may have to be made again.
fn race(user: User, missing: Option<Step>) {
    let (memory, [mut here, mut there]) = machine::<2>(missing);
    // The second page leaves no frame for the first but one whose tags lie elsewhere.
    let table = memory.new_table(2);
    for index in 0..2 {
        memory.map(&mut here, &table, index, Placement::Taggable).expect("all is free");
    }
    let frame = table.access(0, Access::Read, |frame| frame).expect("it is mapped");
    table.mprotect_mte(0..1);
    let other = thread::spawn({
        let (memory, table) = (memory.clone(), table.clone());
        move || match user {
            User::Moves => {
                let _moved = memory.migrate_frame(&mut there, frame, Placement::Taggable);
            }
            User::Unmaps => memory.unmap(&mut there, &table, 0),
        }
    });
    let got = memory.populate_tags(&mut here, &table, 0..2);
    other.join().expect("the other ends");
    match user {
        User::Moves => {
            let again = memory.populate_tags(&mut here, &table, 0..2);
            assert_eq!((got.tagged + again.tagged, again.left), (1, 0), "nobody is in the way");
            table.access(0, Access::Write, |_| ()).expect("it is accessible");
        }
        User::Unmaps => {
            let block = memory.tags().map().block_at(TAGS.start()).expect("tag storage");
            assert_eq!(memory.tags().count(block), 0, "pages with tags");
        }
    }
    end(&memory, &mut here, vec![table]);
}

#[test]
fn tags_are_reserved_for_the_frame_that_is_mapped() {
    model(|| race(User::Moves, None));
}

#[test]
fn tags_go_with_the_page() {
    model(|| race(User::Unmaps, None));
}

/// The protocol with one step left out, which loom must reject.
#[cfg(loom)]
mod canaries {
    use pagelab_loom_tests::refutes;
    use pagelab_migrate::smp::Step;

    use super::{User, race};

    #[test]
    fn canary_the_entry_is_not_looked_at_again() {
        assert!(refutes(|| race(User::Moves, Some(Step::PopulateLooksAgain))));
    }
}
