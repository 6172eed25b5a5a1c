//! A page is moved while the process that has it forks.
//!
//! Linux: `remove_migration_ptes()` against `dup_mmap()`. The child is linked to the page's
//! `anon_vma` before entries are copied (`anon_vma_fork()` before `copy_page_range()`), and walks
//! come to a parent before its child. A migration entry that fork copies is therefore met in the
//! child; one that nobody meets would make its process wait for ever.

use pagelab_loom_tests::mm::{end, machine};
use pagelab_loom_tests::{model, thread};
use pagelab_migrate::smp::page_table::{Access, SharedTable};
use pagelab_migrate::smp::{Placement, Step};

/// Runs a migration against fork, then has the child write.
fn race(missing: Option<Step>) {
    let (memory, [mut here, mut there]) = machine::<2>(missing);
    let parent = memory.new_table(1);
    memory.map(&mut here, &parent, 0, Placement::Taggable).expect("all is free");
    let frame = parent.access(0, Access::Read, |frame| frame).expect("it is mapped");
    let moving = thread::spawn({
        let memory = memory.clone();
        move || memory.migrate_frame(&mut there, frame, Placement::Taggable).is_ok()
    });
    let child = memory.fork(&mut here, &parent).expect("nothing is copied");
    let _moved = moving.join().expect("the migration ends");
    let read = |table: &SharedTable| table.access(0, Access::Read, |frame| frame);
    assert_eq!(read(&parent), read(&child), "parent and child share the page");
    memory.write_fault(&mut here, &child, 0).expect("there is memory");
    assert_ne!(read(&parent), read(&child), "the child writes its own");
    end(&memory, &mut here, vec![parent, child]);
}

/// Runs a migration against fork and the parent's munmap: while the walk is between the two, the
/// child's entry is all that is left of the page.
fn race_with_munmap(missing: Option<Step>) {
    let (memory, [mut here, mut there]) = machine::<2>(missing);
    let parent = memory.new_table(1);
    memory.map(&mut here, &parent, 0, Placement::Taggable).expect("all is free");
    let frame = parent.access(0, Access::Read, |frame| frame).expect("it is mapped");
    let forking = thread::spawn({
        let (memory, parent) = (memory.clone(), parent.clone());
        move || {
            let child = memory.fork(&mut there, &parent).expect("nothing is copied");
            memory.unmap(&mut there, &parent, 0);
            child
        }
    });
    let _moved = memory.migrate_frame(&mut here, frame, Placement::Taggable);
    let child = forking.join().expect("it ends");
    child.access(0, Access::Read, |_| ()).expect("the child has the page");
    end(&memory, &mut here, vec![parent, child]);
}

#[test]
fn the_child_keeps_what_the_parent_unmaps() {
    model(|| race_with_munmap(None));
}

#[test]
fn parent_and_child_find_the_page() {
    model(|| race(None));
}

/// The protocol with one step left out, which loom must reject.
#[cfg(loom)]
mod canaries {
    use pagelab_loom_tests::refutes;
    use pagelab_migrate::smp::Step;

    use super::{race, race_with_munmap};

    #[test]
    fn canary_the_child_is_linked_last() {
        assert!(refutes(|| race(Some(Step::LinkBeforeCopy))));
    }

    #[test]
    fn canary_fork_takes_no_reference() {
        assert!(refutes(|| race(Some(Step::CopyTakesReference))));
    }

    #[test]
    fn canary_the_child_that_keeps_the_page_is_linked_last() {
        assert!(refutes(|| race_with_munmap(Some(Step::LinkBeforeCopy))));
    }
}
