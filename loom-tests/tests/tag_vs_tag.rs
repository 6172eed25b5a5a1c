//! Two address spaces tag the page that they share, or come to share, at once.
//!
//! Linux: `try_page_mte_tagging()` in two `set_pte_at()`, under the locks of two page tables. One
//! of the two tags the page, and the page counts once in its tag block; the other gives back what
//! it reserved. Here the tag is a plain store where the entry's reference is the only one, so that
//! whoever has no other must see what others did who had one.

use pagelab_loom_tests::mm::{Memory, TAGS, end, machine};
use pagelab_loom_tests::{model, thread};
use pagelab_migrate::smp::page_table::{Access, SharedTable};
use pagelab_migrate::smp::{Placement, Step};

/// How the other thread comes to the page that both tag.
#[derive(Clone, Copy)]
enum Other {
    /// Its table is a child that was forked before.
    Shares,
    /// The same, and it unmaps the page once it has tagged it.
    Leaves,
    /// It forks the table itself.
    Forks,
}

/// Pages in the tag block of the model.
fn count(memory: &Memory) -> u32 {
    let block = memory.tags().map().block_at(TAGS.start()).expect("tag storage");
    memory.tags().count(block)
}

/// Runs the tagging of both tables.
fn race(other: Other, missing: Option<Step>) {
    let (memory, [mut here, mut there]) = machine::<2>(missing);
    // The block is reserved for the other page of it: only the page itself is in question.
    let neighbour = memory.new_table(1);
    let parent = memory.new_table(1);
    for table in [&neighbour, &parent] {
        memory.map(&mut here, table, 0, Placement::Taggable).expect("all is free");
        table.mprotect_mte(0..1);
    }
    assert_eq!(memory.populate_tags(&mut here, &neighbour, 0..1).tagged, 1);
    let child = match other {
        Other::Shares | Other::Leaves => memory.fork(&mut here, &parent).ok(),
        Other::Forks => None,
    };
    let tagging = thread::spawn({
        let (memory, parent) = (memory.clone(), parent.clone());
        move || {
            let fork = || memory.fork(&mut there, &parent).expect("nothing is copied");
            let child = child.unwrap_or_else(fork);
            let got = memory.populate_tags(&mut there, &child, 0..1);
            if matches!(other, Other::Leaves) {
                memory.unmap(&mut there, &child, 0);
            }
            (child, got.left)
        }
    });
    let got = memory.populate_tags(&mut here, &parent, 0..1);
    let (child, left) = tagging.join().expect("it ends");
    assert_eq!((got.tagged, left), (1, 0), "nobody is in the way");
    assert_eq!(count(&memory), 2, "each page counts once");
    let reads = |table: &SharedTable| table.access(0, Access::Read, |frame| frame);
    reads(&parent).expect("its tags are reserved");
    end(&memory, &mut here, vec![neighbour, parent, child]);
    assert_eq!(count(&memory), 0, "nobody has tags");
}

#[test]
fn a_shared_page_counts_once() {
    model(|| race(Other::Shares, None));
}

#[test]
fn what_another_tagged_and_left_is_seen() {
    model(|| race(Other::Leaves, None));
}

#[test]
fn a_page_that_fork_shares_counts_once() {
    model(|| race(Other::Forks, None));
}

/// The protocol with one step left out, which loom must reject.
#[cfg(loom)]
mod canaries {
    use pagelab_loom_tests::refutes;
    use pagelab_migrate::smp::Step;

    use super::{Other, race};

    #[test]
    fn canary_the_store_is_plain_though_others_know_the_page() {
        assert!(refutes(|| race(Other::Shares, Some(Step::TagLooksForOthers))));
    }

    #[test]
    fn canary_fork_makes_the_page_known() {
        assert!(refutes(|| race(Other::Forks, Some(Step::TagLooksForOthers))));
    }

    #[test]
    fn canary_the_store_is_plain_though_another_is_about_to_leave() {
        assert!(refutes(|| race(Other::Leaves, Some(Step::TagLooksForOthers))));
    }
}
