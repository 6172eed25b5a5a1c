//! Work in the background: making room and having tag storage ready. Linux: `kcompactd()`.
//!
//! A [`Worker`] is a value that is driven by hand, one [`step`](Worker::step) after the other, or
//! by a thread of the caller's, which [`run`](Worker::run)s it until its channel is closed.

use std::collections::VecDeque;

use crossbeam_channel::Receiver;
use pagelab_allocator::smp::{Asymmetric, Cpu, Exclusive};
use pagelab_allocator::sync::Arc;
use pagelab_allocator::units::{PageCount, Pfn, PfnRange};

use crate::smp::step::Step;
use crate::smp::{Placement, SharedMemory};

/// What a worker is asked to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// Moves what can move out of a range, page by page. Linux: `compact_zone()`, with one scanner.
    Compact(PfnRange),
    /// Reserves the tag block of a frame ahead of the page that will need it, and keeps it.
    Prepare(Pfn),
    /// Lends out again what was prepared and nobody uses.
    Lend,
    /// Empties all CPUs' lists. Linux: `drain_all_pages()`.
    Drain,
}

/// What one step came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Some work is done, or part of it.
    Worked,
    /// There is nothing to do.
    Idle,
}

/// What a worker has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WorkerStats {
    /// Pages that moved. Linux: `compact_migrate_scanned` and its like.
    pub moved: u64,
    /// Frames that were looked at and stayed as they were.
    pub stayed: u64,
    /// Tag blocks prepared.
    pub prepared: u64,
    /// Tag blocks that could not be.
    pub refused: u64,
}

/// Somebody who works in the background, with a CPU of its own. Linux: `pgdat->kcompactd`.
#[derive(Debug)]
#[must_use = "what it prepared stays reserved until it finishes"]
pub struct Worker<P = Asymmetric> {
    memory: Arc<SharedMemory<P>>,
    cpu: Cpu<P>,
    inbox: VecDeque<Work>,
    prepared: Vec<Pfn>,
    stats: WorkerStats,
}

impl<P: Exclusive> Worker<P> {
    /// A worker that has nothing to do yet.
    pub const fn new(memory: Arc<SharedMemory<P>>, cpu: Cpu<P>) -> Self {
        let stats = WorkerStats { moved: 0, stayed: 0, prepared: 0, refused: 0 };
        Self { memory, cpu, inbox: VecDeque::new(), prepared: Vec::new(), stats }
    }

    /// What it has done.
    #[must_use]
    pub const fn stats(&self) -> WorkerStats {
        self.stats
    }

    /// Takes work on, after all that it has. Linux: `wakeup_kcompactd()`.
    pub fn accept(&mut self, work: Work) {
        self.inbox.push_back(work);
    }

    /// Does a small part of the first work: a frame, a block. The same steps on the same machine
    /// come to the same, if nobody else is there.
    pub fn step(&mut self) -> Progress {
        let Some(work) = self.inbox.pop_front() else { return Progress::Idle };
        match work {
            Work::Compact(range) => self.compact(range),
            Work::Prepare(frame) => self.prepare(frame),
            Work::Lend => self.lend(),
            Work::Drain => self.memory.alloc().drain_all(),
        }
        Progress::Worked
    }

    /// Moves the page in the first frame of `range`, and leaves the rest for the next step.
    fn compact(&mut self, range: PfnRange) {
        if range.is_empty() {
            return;
        }
        let moved = self.memory.migrate_frame(&mut self.cpu, range.start(), Placement::Anywhere);
        match moved {
            Ok(_) => self.stats.moved += 1,
            Err(_) => self.stats.stayed += 1,
        }
        let rest = PfnRange::new(range.start() + PageCount::new(1), range.end());
        self.inbox.push_front(Work::Compact(rest));
    }

    fn prepare(&mut self, frame: Pfn) {
        match self.memory.reserve_tags(&mut self.cpu, frame) {
            Ok(()) => {
                self.prepared.push(frame);
                self.stats.prepared += 1;
            }
            Err(_) => self.stats.refused += 1,
        }
    }

    fn lend(&mut self) {
        for frame in self.prepared.drain(..) {
            self.memory.release_tags(&mut self.cpu, frame);
        }
    }

    /// Does all that `receive` brings until it brings nothing more, then finishes. Whoever stops
    /// the worker waits for the work at hand. Linux: `kcompactd()` until `kthread_should_stop()`.
    pub fn serve(mut self, mut receive: impl FnMut() -> Option<Work>) -> (Cpu<P>, WorkerStats) {
        while let Some(work) = receive() {
            self.accept(work);
            while self.step() == Progress::Worked {}
        }
        self.finish()
    }

    /// [`serve`](Self::serve)s a channel until all its senders are gone. What was sent before that
    /// is done.
    pub fn run(self, inbox: &Receiver<Work>) -> (Cpu<P>, WorkerStats) {
        self.serve(|| inbox.recv().ok())
    }

    /// Leaves the work that is left, and gives back what was prepared, and the CPU.
    pub fn finish(mut self) -> (Cpu<P>, WorkerStats) {
        if self.memory.steps.has(Step::StopLends) {
            self.lend();
        }
        (self.cpu, self.stats)
    }
}
