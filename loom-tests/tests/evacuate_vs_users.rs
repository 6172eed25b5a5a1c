//! Tag storage is taken from the page that lies there while that page is used.
//!
//! Linux (RFC v3): `reserve_tag_storage()`, which is `alloc_contig_range()`, against
//! `zap_pte_range()`, `gup_fast_pte_range()` and lookups by frame number, and against the page's
//! own fault for tags. The page moves with its users or stays with them; the block is reserved only
//! once nobody is there, and whatever happened no frame is lost.

use pagelab_allocator::sync::Arc;
use pagelab_allocator::units::Pfn;
use pagelab_loom_tests::mm::{DATA, LockedCpu, Memory, TAGS, end, machine};
use pagelab_loom_tests::{model, thread};
use pagelab_migrate::smp::gup::Pinned;
use pagelab_migrate::smp::page_table::{Access, SharedTable};
use pagelab_migrate::smp::{Placement, Step};

/// What the user of the page does.
#[derive(Clone, Copy)]
enum User {
    Unmaps,
    Pins(By),
    Faults,
}

/// How a device's driver knows the page.
#[derive(Clone, Copy)]
enum By {
    Address,
    Frame,
}

/// All frames of the machine.
const PAGES: usize = 6;

/// A program whose only page lies in tag storage; says where in its table, and in which frame.
fn lend(memory: &Memory, cpu: &mut LockedCpu) -> (Arc<SharedTable>, usize, Pfn) {
    let table = memory.new_table(PAGES);
    let frame_at = |index| table.access(index, Access::Read, |frame| frame);
    let full = |index: &usize| memory.map(cpu, &table, *index, Placement::Anywhere).is_err();
    let mapped = (0..PAGES).find(full).unwrap_or(PAGES);
    let is_lent = |index: &usize| frame_at(*index).is_ok_and(|frame| TAGS.contains(frame));
    let lent = (0..mapped).find(is_lent).expect("a full machine lends tag storage");
    let others = (0..mapped).filter(|index| *index != lent);
    others.for_each(|index| memory.unmap(cpu, &table, index));
    let frame = frame_at(lent).expect("it is mapped");
    (table, lent, frame)
}

fn use_page(
    user: User,
    memory: &Memory,
    cpu: &mut LockedCpu,
    (table, index, frame): (&SharedTable, usize, Pfn),
) -> Option<Pinned> {
    match user {
        User::Unmaps => memory.unmap(cpu, table, index),
        User::Pins(By::Address) => return memory.pin(cpu, table, index, Access::Write).ok(),
        User::Pins(By::Frame) => return memory.pin_frame(cpu, frame),
        User::Faults => {
            let _fault = memory.tag_fault(cpu, table, index);
        }
    }
    None
}

/// Runs a reservation against a user of the page that is in its way.
fn race(user: User, missing: Option<Step>) {
    let (memory, [mut here, mut there]) = machine::<2>(missing);
    let (table, index, frame) = lend(&memory, &mut here);
    let block = memory.tags().map().block_at(frame).expect("tag storage");
    let tagged = memory.tags().map().covered(block).start();
    assert!(DATA.contains(tagged), "a frame with data");
    if matches!(user, User::Faults) {
        table.mprotect_mte(index..PAGES);
    }
    let reserving = thread::spawn({
        let memory = memory.clone();
        move || (memory.reserve_tags(&mut there, tagged), there)
    });
    let pinned = use_page(user, &memory, &mut here, (&table, index, frame));
    let before = pinned.as_ref().map(Pinned::frame);
    let (reserved, mut there) = reserving.join().expect("the reservation ends");
    assert_eq!(pinned.as_ref().map(Pinned::frame), before, "the frame that the device uses");
    let now = table.access(index, Access::Read, |frame| frame).ok();
    if reserved.is_ok() {
        assert_eq!(memory.tags().count(block), 1, "pages with tags");
        assert_ne!(now, Some(frame), "a page where tags are");
        memory.release_tags(&mut there, tagged);
    }
    pinned.into_iter().for_each(|pinned| memory.unpin(&mut here, pinned));
    end(&memory, &mut here, vec![table]);
}

#[test]
fn the_page_is_unmapped() {
    model(|| race(User::Unmaps, None));
}

#[test]
fn the_page_is_pinned() {
    model(|| race(User::Pins(By::Address), None));
}

#[test]
fn the_page_is_pinned_by_its_frame() {
    model(|| race(User::Pins(By::Frame), None));
}

#[test]
fn the_page_leaves_to_get_tags() {
    model(|| race(User::Faults, None));
}

/// The protocol with one step left out, which loom must reject.
#[cfg(loom)]
mod canaries {
    use pagelab_loom_tests::refutes;
    use pagelab_migrate::smp::Step;

    use super::{By, User, race};

    #[test]
    fn canary_a_page_that_is_gone_is_put_back() {
        assert!(refutes(|| race(User::Unmaps, Some(Step::PutbackLooks))));
    }

    #[test]
    fn canary_the_count_is_looked_at_and_not_frozen() {
        assert!(refutes(|| race(User::Pins(By::Frame), Some(Step::Freeze))));
    }

    #[test]
    fn canary_a_page_that_could_not_move_is_mapped_nowhere() {
        assert!(refutes(|| race(User::Faults, Some(Step::Undo))));
    }
}
