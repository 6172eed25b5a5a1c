//! Proofs about concurrency: small programs, run under every schedule.
//!
//! A file in `tests/` holds one race: the protocol that must hold, and a canary that breaks it and
//! must be found. With `--cfg loom` a model is explored exhaustively, up to the number of
//! preemptions in `LOOM_MAX_PREEMPTIONS`; without it the same body runs once on real threads, so
//! that the models always compile and their assertions hold at least in one schedule.

pub mod mm;

#[cfg(loom)]
#[doc(no_inline)]
pub use loom::{model, thread};
#[cfg(not(loom))]
#[doc(no_inline)]
pub use std::thread;

/// Runs `body` once: without loom there is only the schedule that happens.
#[cfg(not(loom))]
pub fn model<F>(body: F)
where
    F: Fn() + Sync + Send + 'static,
{
    body();
}

/// Whether some schedule of `body` panics. It must not do so while it holds a lock: loom's guards
/// cannot be dropped then, and the process aborts.
#[must_use]
pub fn refutes<F>(body: F) -> bool
where
    F: Fn() + Sync + Send + 'static,
{
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| model(body))).is_err()
}
