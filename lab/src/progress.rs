//! A progress bar on stderr, for whatever takes more than a second at a terminal.

use core::time::Duration;
use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget};

/// Nothing is shown before this much time has passed.
const PATIENCE: Duration = Duration::from_secs(1);
/// Operations between two looks at the clock.
const STRIDE: u64 = 4096;

/// Progress through a known number of operations. Silent where stderr is no terminal.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    steps: u64,
}

impl Progress {
    /// A run of `steps` operations, hidden so far.
    #[must_use]
    pub fn new(steps: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::hidden());
        Self { bar, steps: 0 }
    }

    /// One operation was carried out.
    pub fn step(&mut self) {
        self.steps += 1;
        if !self.steps.is_multiple_of(STRIDE) {
            return;
        }
        if self.bar.is_hidden() && self.bar.elapsed() > PATIENCE && std::io::stderr().is_terminal()
        {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.set_position(self.steps);
    }

    /// Takes the bar away.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}
