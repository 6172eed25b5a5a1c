//! A page is copied by somebody else while it moves and is used.
//!
//! Linux: `migrate_folio_move()` where an engine copies, against `zap_pte_range()`, faults on the
//! same address and whoever allocates the frames next. Between the migration entry and the end of
//! the copies neither frame is accessed or given away: what is read is what was written, and no
//! copy writes into a page that came later.

use pagelab_allocator::sync::Arc;
use pagelab_allocator::sync::atomic::{AtomicU64, Ordering};
use pagelab_allocator::units::Pfn;
use pagelab_loom_tests::mm::{LockedCpu, Memory, TAGS, end, machine_with};
use pagelab_loom_tests::{model, thread};
use pagelab_migrate::smp::page_table::{Access, SharedTable};
use pagelab_migrate::smp::{Contents, Copies, Placement, Step};

/// What the user of the page does.
#[derive(Clone, Copy)]
enum User {
    Reads,
    /// Unmaps the page and maps a new one.
    Replaces,
    /// Maps new pages for as long as there is room, on all CPUs' lists as well.
    Fills,
}

/// What lies in each frame, copied by a thread of its own.
#[derive(Clone, Debug)]
struct Words(Arc<Vec<AtomicU64>>);

/// Pages that there is no room for.
const PAGES: usize = 5;
/// What was written into the page.
const WRITTEN: u64 = 7;

impl Words {
    /// For all frames of the machine, those of its hole included.
    fn new() -> Self {
        Self(Arc::new((0..TAGS.end().get()).map(|_| AtomicU64::new(0)).collect()))
    }

    fn at(&self, frame: Pfn) -> &AtomicU64 {
        &self.0[usize::try_from(frame.get()).expect("a tiny machine")]
    }
}

impl Contents for Words {
    fn copy(&self, from: Pfn, to: Pfn) {
        self.at(to).store(self.at(from).load(Ordering::Relaxed), Ordering::Relaxed);
    }

    fn start_copies(&self, pages: &mut dyn Iterator<Item = (Pfn, Pfn)>) -> Copies {
        let (words, pages): (_, Vec<_>) = (self.clone(), pages.collect());
        let copying = thread::spawn(move || {
            pages.into_iter().for_each(|(from, to)| words.copy(from, to));
        });
        Copies::until(move || copying.join().expect("the copies end"))
    }

    fn copy_tags(&self, _from: Pfn, _to: Pfn) {}

    fn clear(&self, frame: Pfn) {
        self.at(frame).store(0, Ordering::Relaxed);
    }
}

/// What an access finds, unless it has to wait.
fn read(table: &SharedTable, words: &Words) -> Option<u64> {
    table.access(0, Access::Read, |frame| words.at(frame).load(Ordering::Relaxed)).ok()
}

fn use_page(user: User, memory: &Memory, cpu: &mut LockedCpu, table: &SharedTable, words: &Words) {
    match user {
        User::Reads => {
            let found = read(table, words);
            assert!(found.is_none_or(|word| word == WRITTEN), "{found:?} in the page");
        }
        User::Replaces => {
            memory.unmap(cpu, table, 0);
            memory.map(cpu, table, 0, Placement::Taggable).expect("there is room");
        }
        User::Fills => {
            let map = |index| memory.map(cpu, table, index, Placement::Taggable);
            let full = (1..PAGES).map(map).any(|mapped| mapped.is_err());
            assert!(full, "there are as few frames as that");
        }
    }
}

/// Runs a migration whose copies take their time against a user of the page.
fn race(user: User, missing: Option<Step>) {
    let words = Words::new();
    let (memory, [mut here, mut there]) = machine_with::<2>(Box::new(words.clone()), missing);
    let table = memory.new_table(PAGES);
    memory.map(&mut here, &table, 0, Placement::Taggable).expect("all is free");
    let write = |frame: Pfn| words.at(frame).store(WRITTEN, Ordering::Relaxed);
    table.access(0, Access::Write, write).expect("it is mapped");
    let frame = table.access(0, Access::Read, |frame| frame).expect("it is mapped");
    let moving = thread::spawn({
        let memory = memory.clone();
        move || memory.migrate_frames(&mut there, &[frame], Placement::Taggable)
    });
    use_page(user, &memory, &mut here, &table, &words);
    let _moved = moving.join().expect("the move ends");
    let expected = match user {
        User::Reads | User::Fills => WRITTEN,
        User::Replaces => 0,
    };
    assert_eq!(read(&table, &words), Some(expected), "in the page");
    end(&memory, &mut here, vec![table]);
}

#[test]
fn the_page_is_read() {
    model(|| race(User::Reads, None));
}

#[test]
fn the_page_makes_room_for_another() {
    model(|| race(User::Replaces, None));
}

#[test]
fn the_page_leaves_its_frame_to_another() {
    model(|| race(User::Fills, None));
}

/// The protocol with one step left out, which loom must reject.
#[cfg(loom)]
mod canaries {
    use pagelab_loom_tests::refutes;
    use pagelab_migrate::smp::Step;

    use super::{User, race};

    #[test]
    fn canary_a_page_is_read_before_it_is_copied() {
        assert!(refutes(|| race(User::Reads, Some(Step::CopiesEnd))));
    }

    #[test]
    fn canary_a_copy_comes_too_late() {
        assert!(refutes(|| race(User::Replaces, Some(Step::CopiesEnd))));
    }

    #[test]
    fn canary_a_frame_is_given_away_before_it_is_copied() {
        assert!(refutes(|| race(User::Fills, Some(Step::CopiesEnd))));
    }
}
