//! A page is pinned for a device while the process that has it forks.
//!
//! Linux: `gup_fast_pte_range()` against `copy_present_page()`. Fork does not share a page that may
//! be pinned, as the next store would get its process a copy that the device does not see. Whoever
//! pins looks at the entry again and gives the pin back if fork has made it read-only meanwhile.

use pagelab_loom_tests::mm::{end, machine};
use pagelab_loom_tests::{model, thread};
use pagelab_migrate::smp::migrate::MoveError;
use pagelab_migrate::smp::page_table::Access;
use pagelab_migrate::smp::{Placement, Step};

/// Runs a pin against fork and the parent's next store.
fn race(missing: Option<Step>) {
    let (memory, [mut here, mut there]) = machine::<2>(missing);
    let parent = memory.new_table(1);
    memory.map(&mut here, &parent, 0, Placement::Taggable).expect("all is free");
    let pinning = thread::spawn({
        let (memory, parent) = (memory.clone(), parent.clone());
        move || (memory.pin(&mut there, &parent, 0, Access::Write).ok(), there)
    });
    let child = memory.fork(&mut here, &parent).expect("memory for a copy");
    memory.write_fault(&mut here, &parent, 0).expect("there is memory");
    let written = parent.access(0, Access::Write, |frame| frame).expect("it is the parent's own");
    let (pinned, mut there) = pinning.join().expect("the pin ends");
    if let Some(pinned) = pinned {
        let device = pinned.frame();
        memory.unpin(&mut there, pinned);
        assert_eq!(written, device, "where the parent and the device write");
    }
    end(&memory, &mut here, vec![parent, child]);
}

/// Runs fork against somebody who tries in vain to move the page that is pinned.
fn race_with_move(missing: Option<Step>) {
    let (memory, [mut here, mut there]) = machine::<2>(missing);
    let parent = memory.new_table(1);
    memory.map(&mut here, &parent, 0, Placement::Taggable).expect("all is free");
    let pinned = memory.pin(&mut here, &parent, 0, Access::Write).expect("it is mapped");
    let device = pinned.frame();
    let moving = thread::spawn({
        let memory = memory.clone();
        move || memory.migrate_frame(&mut there, device, Placement::Taggable)
    });
    let child = memory.fork(&mut here, &parent).expect("memory for a copy");
    assert_eq!(moving.join().expect("it ends"), Err(MoveError::InUse));
    memory.write_fault(&mut here, &parent, 0).expect("there is memory");
    let written = parent.access(0, Access::Write, |frame| frame).expect("it is the parent's own");
    memory.unpin(&mut here, pinned);
    assert_eq!(written, device, "where the parent and the device write");
    end(&memory, &mut here, vec![parent, child]);
}

#[test]
fn the_parent_keeps_what_the_device_uses() {
    model(|| race(None));
}

#[test]
fn the_parent_keeps_it_while_somebody_tries_to_move_it() {
    model(|| race_with_move(None));
}

/// The protocol with one step left out, which loom must reject.
#[cfg(loom)]
mod canaries {
    use pagelab_loom_tests::refutes;
    use pagelab_migrate::smp::Step;

    use super::{race, race_with_move};

    #[test]
    fn canary_fork_shares_a_pinned_page() {
        assert!(refutes(|| race(Some(Step::ForkSparesPinned))));
    }

    #[test]
    fn canary_fork_copies_the_migration_entry_of_a_pinned_page() {
        assert!(refutes(|| race_with_move(Some(Step::MigrationSparesPinned))));
    }
}
