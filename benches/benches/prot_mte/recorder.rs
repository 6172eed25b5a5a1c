//! Which pages moved where.

use std::sync::Arc;

use pagelab_migrate::mover::Moved;
use pagelab_migrate::note::Note;
use pagelab_migrate::prelude::*;
use pagelab_migrate::smp::{Contents, Copies};
use parking_lot::Mutex;

/// From where to where.
pub(crate) type Moves = Vec<(Pfn, Pfn)>;

/// Hears of moves, and keeps them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder(pub(crate) Moves);

impl Sink for Recorder {
    const ENABLED: bool = false;

    fn emit(&mut self, _: Event) {}

    fn note<N: core::any::Any>(&mut self, note: impl FnOnce() -> N) {
        self.0.extend(moved(note).map(|moved| (moved.from, moved.to)));
    }
}

/// Keeps the moves on memory that threads share, those that happen together in one list.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedRecorder(pub(crate) Arc<Mutex<Vec<Moves>>>);

impl Contents for SharedRecorder {
    fn copy(&self, from: Pfn, to: Pfn) {
        self.0.lock().push(vec![(from, to)]);
    }

    fn start_copies(&self, pages: &mut dyn Iterator<Item = (Pfn, Pfn)>) -> Copies {
        self.0.lock().push(pages.collect());
        Copies::DONE
    }

    fn copy_tags(&self, _from: Pfn, _to: Pfn) {}

    fn clear(&self, _frame: Pfn) {}
}

/// The move that a note is about, if it is about one.
#[inline(always)]
pub(crate) fn moved<N: core::any::Any>(note: impl FnOnce() -> N) -> Option<Moved> {
    if core::any::TypeId::of::<N>() != core::any::TypeId::of::<Note>() {
        return None;
    }
    match (&note() as &dyn core::any::Any).downcast_ref() {
        Some(Note::Moved(moved)) => Some(*moved),
        _ => None,
    }
}
