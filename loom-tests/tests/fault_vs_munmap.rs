//! The fault that finds tag storage for a page, while the page is unmapped.
//!
//! Linux (RFC v3): `handle_page_missing_tag_storage()` against `zap_pte_range()`. The fault takes a
//! reference under the entry's lock, and looks at the entry again when it has reserved. If the
//! entry is gone, its reference is the last, and the page is freed with the tags that nobody used.

use pagelab_loom_tests::mm::{TAGS, end, machine};
use pagelab_loom_tests::{model, thread};
use pagelab_migrate::smp::{Placement, Step};

/// Runs the fault against munmap, then looks whether the block is lent out again.
fn race(missing: Option<Step>) {
    let (memory, [mut here, mut there]) = machine::<2>(missing);
    let table = memory.new_table(1);
    memory.map(&mut here, &table, 0, Placement::Taggable).expect("all is free");
    table.mprotect_mte(0..1);
    let unmapping = thread::spawn({
        let (memory, table) = (memory.clone(), table.clone());
        move || memory.unmap(&mut there, &table, 0)
    });
    let _fault = memory.tag_fault(&mut here, &table, 0);
    unmapping.join().expect("munmap ends");
    let block = memory.tags().map().block_at(TAGS.start()).expect("tag storage");
    assert_eq!(memory.tags().count(block), 0, "pages with tags");
    end(&memory, &mut here, vec![table]);
}

#[test]
fn tags_go_with_the_page() {
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
