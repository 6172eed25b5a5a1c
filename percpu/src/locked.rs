//! The protocol of a lock, for comparison.

use crate::{
    flag::Raised,
    protocol::Protocol,
    sync::{Backoff, atomic::AtomicBool},
};

/// One flag that both sides raise: one atomic read-modify-write to enter, a plain store to leave,
/// and spinning in between, as with `pcp->lock`. It is not fair: beside an owner that takes turn
/// after turn a remote may wait for long.
#[derive(Debug)]
pub struct Locked {
    held: AtomicBool,
}

impl Locked {
    /// A lock that nobody holds.
    #[must_use]
    pub fn new() -> Self {
        Self { held: AtomicBool::new(false) }
    }

    /// The lock, once its holder has let go of it.
    #[cold]
    fn wait(&self) -> Raised<'_> {
        let backoff = Backoff::new();
        loop {
            backoff.snooze();
            if let Some(held) = Raised::by_exchange(&self.held) {
                return held;
            }
        }
    }
}

impl Default for Locked {
    fn default() -> Self {
        Self::new()
    }
}

impl Protocol for Locked {
    #[inline(always)]
    fn owner<R>(&self, work: impl FnOnce() -> R) -> R {
        self.remote(work)
    }

    #[inline(always)]
    fn remote<R>(&self, work: impl FnOnce() -> R) -> R {
        let _held = Raised::by_exchange(&self.held).unwrap_or_else(|| self.wait());
        work()
    }
}
