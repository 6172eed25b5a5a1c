//! A page is pinned for a device while it is moved.
//!
//! Linux: `gup_fast_pte_range()`, and lookups by frame number, against `folio_migrate_mapping()`. A
//! pin is taken without a lock, and fails on a page that is frozen; a page is frozen only if nobody
//! but its mover has a reference (`folio_ref_freeze()`). To look at the count and then move is not
//! enough: the pin may come between the two. One that reads an entry looks at the entry again,
//! which no longer is what it was; one that has a frame number knows only by the frozen count.

use pagelab_loom_tests::mm::{end, machine};
use pagelab_loom_tests::{model, thread};
use pagelab_migrate::smp::gup::Pinned;
use pagelab_migrate::smp::page_table::Access;
use pagelab_migrate::smp::{Placement, Step};

/// How the device's driver knows the page.
#[derive(Clone, Copy)]
enum By {
    Address,
    Frame,
}

/// Runs a migration against a pin; the page must not move while it is pinned.
fn race(by: By, missing: Option<Step>) {
    let (memory, [mut here, mut there]) = machine::<2>(missing);
    let table = memory.new_table(1);
    memory.map(&mut here, &table, 0, Placement::Taggable).expect("all is free");
    let frame = table.access(0, Access::Read, |frame| frame).expect("it is mapped");
    let moving = thread::spawn({
        let memory = memory.clone();
        move || memory.migrate_frame(&mut there, frame, Placement::Taggable).is_ok()
    });
    let pinned = match by {
        By::Address => memory.pin(&mut here, &table, 0, Access::Write).ok(),
        By::Frame => memory.pin_frame(&mut here, frame),
    };
    let before = pinned.as_ref().map(Pinned::frame);
    let asked = matches!(by, By::Address) || before.is_none_or(|now| now == frame);
    assert!(asked, "the frame that was asked for");
    let _moved = moving.join().expect("the migration ends");
    let after = pinned.as_ref().map(Pinned::frame);
    assert_eq!(before, after, "the frame that the device uses");
    pinned.into_iter().for_each(|pinned| memory.unpin(&mut here, pinned));
    end(&memory, &mut here, vec![table]);
}

#[test]
fn a_pinned_page_stays() {
    model(|| race(By::Address, None));
}

#[test]
fn a_page_pinned_by_its_frame_stays() {
    model(|| race(By::Frame, None));
}

/// The protocol with one step left out, which loom must reject.
#[cfg(loom)]
mod canaries {
    use pagelab_loom_tests::refutes;
    use pagelab_migrate::smp::Step;

    use super::{By, race};

    #[test]
    fn canary_the_count_is_looked_at_and_not_frozen() {
        assert!(refutes(|| race(By::Frame, Some(Step::Freeze))));
    }

    #[test]
    fn canary_nothing_is_undone() {
        assert!(refutes(|| race(By::Address, Some(Step::Undo))));
    }
}
