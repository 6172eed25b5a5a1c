//! Bytes behind the frames: what a migration copies.

use std::sync::Arc;

use memmap2::{MmapMut, MmapOptions};
use pagelab_migrate::mover::Moved;
use pagelab_migrate::note::Note;
use pagelab_migrate::prelude::*;
use pagelab_migrate::smp::Contents;
use parking_lot::Mutex;

use crate::scene::MEMORY;

const PAGE: usize = 4096;
/// Tags of a page: four bits for 16 bytes.
const TAG_BYTES: usize = 128;

/// Every frame's bytes, and its tags apart from them, as the hardware has them.
#[derive(Debug)]
pub(crate) struct Frames {
    data: MmapMut,
    tags: MmapMut,
}

impl Frames {
    /// Written once, so that no copy waits for the kernel.
    fn new() -> Self {
        let pages = usize::try_from(MEMORY.len().get()).expect("a small machine");
        let map = |len| {
            let mut map = MmapOptions::new().len(len).map_anon().expect("memory for all frames");
            map.fill(0x5a);
            map
        };
        Self { data: map(pages * PAGE), tags: map(pages * TAG_BYTES) }
    }

    /// Linux: `copy_highpage()`, with the tags of arm64's.
    pub(crate) fn copy(&mut self, from: Pfn, to: Pfn) {
        let (from, to) = (index(from), index(to));
        self.data.copy_within(from * PAGE..(from + 1) * PAGE, to * PAGE);
        self.tags.copy_within(from * TAG_BYTES..(from + 1) * TAG_BYTES, to * TAG_BYTES);
    }
}

fn index(pfn: Pfn) -> usize {
    usize::try_from(pfn.get() - MEMORY.start().get()).expect("a frame of a small machine")
}

/// Hears of moves, and copies.
#[derive(Clone, Debug)]
pub(crate) struct Copier(pub(crate) Arc<Mutex<Frames>>);

impl Copier {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Frames::new())))
    }
}

impl Contents for Copier {
    fn copy(&self, from: Pfn, to: Pfn) {
        self.0.lock().copy(from, to);
    }

    fn copy_all(&self, pages: &mut dyn Iterator<Item = (Pfn, Pfn)>) {
        let mut frames = self.0.lock();
        pages.for_each(|(from, to)| frames.copy(from, to));
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
            self.0.lock().copy(from, to);
        }
    }
}

/// Hears of moves, and keeps them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder(pub(crate) Vec<(Pfn, Pfn)>);

impl Sink for Recorder {
    const ENABLED: bool = false;

    fn emit(&mut self, _: Event) {}

    fn note<N: core::any::Any>(&mut self, note: impl FnOnce() -> N) {
        self.0.extend(moved(note).map(|moved| (moved.from, moved.to)));
    }
}

/// Keeps the moves on memory that threads share.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedRecorder(pub(crate) Arc<Mutex<Vec<(Pfn, Pfn)>>>);

impl Contents for SharedRecorder {
    fn copy(&self, from: Pfn, to: Pfn) {
        self.0.lock().push((from, to));
    }

    fn copy_tags(&self, _from: Pfn, _to: Pfn) {}

    fn clear(&self, _frame: Pfn) {}
}

/// The move that a note is about, if it is about one.
#[inline(always)]
fn moved<N: core::any::Any>(note: impl FnOnce() -> N) -> Option<Moved> {
    if core::any::TypeId::of::<N>() != core::any::TypeId::of::<Note>() {
        return None;
    }
    match (&note() as &dyn core::any::Any).downcast_ref() {
        Some(Note::Moved(moved)) => Some(*moved),
        _ => None,
    }
}
