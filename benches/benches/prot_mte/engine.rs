//! A second CPU copies beside the one that moves pages, which helps where it would wait.
//! Linux: copies by several threads or a DMA engine, as proposed for `migrate_pages()`.

use core::hint::spin_loop;
use core::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;

use pagelab_migrate::prelude::*;
use pagelab_migrate::smp::{Contents, Copies};
use parking_lot::Mutex;

use crate::copier::Copier;
use crate::recorder::Moves;

/// Pages that a CPU copies at a time.
const PART: usize = 8;

/// Pages that two CPUs copy: each from its end, so that neither asks for lines of the other's.
#[derive(Debug)]
struct Batch {
    copier: Copier,
    moves: Moves,
    /// Parts of them that nobody has begun.
    rest: Mutex<Range<usize>>,
    /// Pages that were copied.
    copied: AtomicUsize,
}

impl Batch {
    fn new(copier: Copier, moves: Moves) -> Self {
        let rest = Mutex::new(0..moves.len().div_ceil(PART));
        Self { copier, moves, rest, copied: AtomicUsize::new(0) }
    }

    /// Copies one part after the other.
    fn copy(&self, next: fn(&mut Range<usize>) -> Option<usize>) {
        let begin = || next(&mut self.rest.lock());
        while let Some(part) = begin().and_then(|part| self.moves.chunks(PART).nth(part)) {
            self.copier.copy_all(part.iter().copied());
            self.copied.fetch_add(part.len(), Ordering::Release);
        }
    }

    /// Helps, until all are copied.
    fn finish(&self) {
        self.copy(Range::next_back);
        while self.copied.load(Ordering::Acquire) < self.moves.len() {
            spin_loop();
        }
    }
}

/// A thread that copies for as long as somebody may send it batches.
#[derive(Debug)]
pub(crate) struct Engine {
    copier: Copier,
    batches: Sender<Arc<Batch>>,
}

impl Engine {
    /// Starts it; `ready` is what its CPU does first.
    pub(crate) fn start(copier: Copier, ready: impl FnOnce() + Send + 'static) -> Self {
        let (batches, inbox) = channel();
        let (up, is_up) = channel();
        thread::spawn(move || {
            ready();
            up.send(()).expect("somebody waits");
            run(&inbox);
        });
        is_up.recv().expect("the thread runs");
        Self { copier, batches }
    }
}

/// Copies, and never sleeps: the next batch is microseconds away.
fn run(inbox: &Receiver<Arc<Batch>>) {
    loop {
        match inbox.try_recv() {
            Ok(batch) => batch.copy(Range::next),
            Err(TryRecvError::Empty) => spin_loop(),
            Err(TryRecvError::Disconnected) => return,
        }
    }
}

impl Contents for Engine {
    fn copy(&self, from: Pfn, to: Pfn) {
        self.copier.copy(from, to);
    }

    fn start_copies(&self, pages: &mut dyn Iterator<Item = (Pfn, Pfn)>) -> Copies {
        // A list that grows is written twice.
        let mut moves = Vec::with_capacity(pages.size_hint().1.unwrap_or(0));
        moves.extend(pages);
        let batch = Arc::new(Batch::new(self.copier.clone(), moves));
        self.batches.send(Arc::clone(&batch)).expect("the thread runs");
        Copies::until(move || batch.finish())
    }

    fn copy_tags(&self, from: Pfn, to: Pfn) {
        self.copier.copy_tags(from, to);
    }

    fn clear(&self, frame: Pfn) {
        self.copier.clear(frame);
    }
}
