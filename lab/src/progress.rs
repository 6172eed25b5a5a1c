//! A progress bar on stderr, for whatever takes more than a second at a terminal.

use core::time::Duration;
use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget};

/// Nothing is shown before this much time has passed.
const PATIENCE: Duration = Duration::from_secs(1);
/// Operations between two looks at the clock.
const STRIDE: u64 = 4096;

/// Progress through a known number of operations, of one run or of several side by side. Silent
/// where stderr is no terminal.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// `steps` operations in all, hidden so far.
    #[must_use]
    pub fn new(steps: u64) -> Self {
        Self { bar: ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::hidden()) }
    }

    /// Counts the operations of one run.
    #[must_use]
    pub const fn meter(&self) -> Meter<'_> {
        Meter { progress: self, steps: 0 }
    }

    fn advance(&self, steps: u64) {
        if self.bar.is_hidden() && self.bar.elapsed() > PATIENCE && std::io::stderr().is_terminal()
        {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.inc(steps);
    }

    /// Takes the bar away.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}

/// One run's part of the progress.
#[derive(Debug)]
pub struct Meter<'a> {
    progress: &'a Progress,
    steps: u64,
}

impl Meter<'_> {
    /// One operation was carried out.
    pub fn step(&mut self) {
        self.steps += 1;
        if self.steps.is_multiple_of(STRIDE) {
            self.progress.advance(STRIDE);
        }
    }
}
