//! The fault that finds tag storage for a page, while the page is moved.
//!
//! Linux (RFC v3): `handle_page_missing_tag_storage()` against `migrate_pages()`. The fault takes a
//! reference under the entry's lock; a page with a surplus reference does not move, so that the
//! frame for which tag storage is reserved is the one that is mapped with tags.

use pagelab_loom_tests::mm::{end, machine};
use pagelab_loom_tests::{model, thread};
use pagelab_migrate::smp::mprotect::TagFault;
use pagelab_migrate::smp::page_table::Access;
use pagelab_migrate::smp::{Placement, Step};

/// Runs the fault against a migration; it may have to be taken again.
fn race(missing: Option<Step>) {
    let (memory, [mut here, mut there]) = machine::<2>(missing);
    // The second page leaves no frame for the first but one whose tags lie elsewhere.
    let table = memory.new_table(2);
    for index in 0..2 {
        memory.map(&mut here, &table, index, Placement::Taggable).expect("all is free");
    }
    let frame = table.access(0, Access::Read, |frame| frame).expect("it is mapped");
    table.mprotect_mte(0..1);
    let moving = thread::spawn({
        let memory = memory.clone();
        move || memory.migrate_frame(&mut there, frame, Placement::Taggable).is_ok()
    });
    let fault = memory.tag_fault(&mut here, &table, 0);
    let _moved = moving.join().expect("the migration ends");
    if fault == TagFault::Retry {
        assert_eq!(memory.tag_fault(&mut here, &table, 0), TagFault::Done, "nobody is in the way");
    }
    table.access(0, Access::Write, |_| ()).expect("it is accessible");
    end(&memory, &mut here, vec![table]);
}

#[test]
fn tags_are_reserved_for_the_frame_that_is_mapped() {
    model(|| race(None));
}

/// The protocol with one step left out, which loom must reject.
#[cfg(loom)]
mod canaries {
    use pagelab_loom_tests::refutes;
    use pagelab_migrate::smp::Step;

    use super::race;

    #[test]
    fn canary_the_fault_does_not_hold_the_page() {
        assert!(refutes(|| race(Some(Step::FaultTakesReference))));
    }
}
