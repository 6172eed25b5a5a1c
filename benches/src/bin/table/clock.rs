//! The clock: the only place of the command that looks at one.
#![expect(clippy::disallowed_methods, reason = "what is timed is the result")]

use std::time::{Duration, Instant};

/// Time since it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// Nanoseconds of one of `operations`, until now.
    pub(crate) fn per(self, operations: u32) -> f64 {
        self.elapsed().as_secs_f64() * 1e9 / f64::from(operations)
    }

    /// Repeats batches of operations until `slice` is over; says how many operations there were.
    pub(crate) fn repeat(self, slice: Duration, mut batch: impl FnMut() -> u32) -> u32 {
        let mut operations = 0;
        loop {
            operations += batch();
            if self.elapsed() >= slice {
                return operations;
            }
        }
    }
}
