//! A page is moved while its last user gives it back.
//!
//! Linux: `migrate_pages()` against `folio_put()` of munmap. Whoever moves the page takes it out of
//! the map, and puts it back only if it still has a reference (`folio_try_get()`); the last put, by
//! whichever of the two, frees the frame in which the page lies then, once.

use pagelab_loom_tests::mm::{end, machine};
use pagelab_loom_tests::{model, thread};
use pagelab_migrate::smp::page_table::Access;
use pagelab_migrate::smp::{Placement, Step};

/// Runs a migration against munmap, then looks at every page.
fn race(missing: Option<Step>) {
    let (memory, [mut here, mut there]) = machine::<2>(missing);
    let table = memory.new_table(1);
    memory.map(&mut here, &table, 0, Placement::Taggable).expect("all is free");
    let frame = table.access(0, Access::Read, |frame| frame).expect("it is mapped");
    let unmapping = thread::spawn({
        let (memory, table) = (memory.clone(), table.clone());
        move || memory.unmap(&mut there, &table, 0)
    });
    let _moved = memory.migrate_frame(&mut here, frame, Placement::Taggable);
    unmapping.join().expect("munmap ends");
    end(&memory, &mut here, vec![table]);
}

#[test]
fn a_page_that_moves_is_freed_once() {
    model(|| race(None));
}

/// The protocol with one step left out, which loom must reject.
#[cfg(loom)]
mod canaries {
    use pagelab_loom_tests::refutes;
    use pagelab_migrate::smp::Step;

    use super::race;

    #[test]
    fn canary_a_page_that_is_gone_is_put_back() {
        assert!(refutes(|| race(Some(Step::PutbackLooks))));
    }
}
