//! The CPU that moves pages copies them as well.
#![expect(unsafe_code, reason = "who moves pages says that nobody else accesses them")]

use std::sync::Arc;

use pagelab_migrate::mover::Moved;
use pagelab_migrate::prelude::*;
use pagelab_migrate::smp::{Contents, Copies};

use crate::frames::Frames;
use crate::recorder::{Moves, moved};

/// Hears of moves, and copies. Whoever has one keeps the rule of [`Frames`]: `SharedMemory` and the
/// emulator do so for pages that move.
#[derive(Clone, Debug)]
pub(crate) struct Copier(Arc<Frames>);

impl Copier {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Frames::new()))
    }

    /// Writes into pages that nobody uses but the caller, who will move them.
    pub(crate) fn write_anew(&self, moves: &[Moves]) {
        // SAFETY: nobody else uses them.
        unsafe { self.0.write_anew(moves.iter().flatten().map(|(from, _)| *from)) };
    }

    /// Copies pages that move together, no frame of which is there twice.
    pub(crate) fn copy_all(&self, pages: impl Iterator<Item = (Pfn, Pfn)>) {
        // SAFETY: pages that move are accessed by nobody; the rest is as the caller says.
        unsafe { self.0.copy_all(pages) };
    }

    /// Whether pages were copied that nobody uses but the caller.
    pub(crate) fn has_copied(&self, moves: &[Moves]) -> bool {
        // SAFETY: nobody else uses them.
        moves.iter().flatten().all(|&(from, to)| unsafe { self.0.are_alike(from, to) })
    }
}

impl Contents for Copier {
    fn copy(&self, from: Pfn, to: Pfn) {
        // SAFETY: pages that move are accessed by nobody.
        unsafe { self.0.copy(from, to) };
    }

    fn start_copies(&self, pages: &mut dyn Iterator<Item = (Pfn, Pfn)>) -> Copies {
        self.copy_all(pages);
        Copies::DONE
    }

    // With the bytes, as the emulator's moves.
    fn copy_tags(&self, _from: Pfn, _to: Pfn) {}

    // What a scene starts with is of no interest.
    fn clear(&self, _frame: Pfn) {}
}

impl Sink for Copier {
    const ENABLED: bool = false;

    fn emit(&mut self, _: Event) {}

    #[inline(always)]
    fn note<N: core::any::Any>(&mut self, note: impl FnOnce() -> N) {
        if let Some(Moved { from, to, .. }) = moved(note) {
            self.copy(from, to);
        }
    }
}
