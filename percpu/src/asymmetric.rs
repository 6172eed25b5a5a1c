//! The protocol in which the owner pays next to nothing.

use crate::{
    fence::Fence,
    flag::Raised,
    protocol::Protocol,
    step::{Step, Steps},
    sync::{
        Backoff, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

/// Two flags, each stored by one side and read by the other, and a fence of which the remote side
/// carries the weight.
///
/// The owner raises `busy`, then looks at `claimed`; a remote raises `claimed`, then looks at
/// `busy`. With a fence between the two on both sides at least one of them sees the other. An owner
/// that sees a claim steps back and queues for the mutex, which every remote holds during its turn.
#[derive(Debug)]
pub struct Asymmetric {
    busy: AtomicBool,
    claimed: AtomicBool,
    fence: Fence,
    steps: Steps,
    remotes: Mutex<()>,
}

impl Asymmetric {
    /// With the fence that is cheapest for the owner on this system.
    #[must_use]
    pub fn new() -> Self {
        Self::with_fence(Fence::cheapest())
    }

    /// With a given fence, for both sides.
    #[must_use]
    pub fn with_fence(fence: Fence) -> Self {
        Self::with_steps(fence, Steps::ALL)
    }

    /// A protocol that lacks a step and therefore does not hold: canaries of the models.
    #[cfg(all(loom, feature = "loom"))]
    #[doc(hidden)]
    #[must_use]
    pub fn without(step: Step) -> Self {
        Self::with_steps(Fence::cheapest(), Steps::without(step))
    }

    fn with_steps(fence: Fence, steps: Steps) -> Self {
        let (busy, claimed) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { busy, claimed, fence, steps, remotes: Mutex::new(()) }
    }

    /// Whether a remote has the value or is waiting for it. A claim that is gone was taken back
    /// with a Release; Acquire makes what its remote did visible.
    #[inline(always)]
    fn is_claimed(&self) -> bool {
        let acquires = self.steps.has(Step::OwnerAcquires);
        let order = if acquires { Ordering::Acquire } else { Ordering::Relaxed };
        self.steps.has(Step::OwnerLooks) && self.claimed.load(order)
    }

    /// The owner's turn once it has stepped back: holding the mutex, as a remote would, but with no
    /// claim to make, for nobody else is in the way.
    #[cold]
    #[inline(never)]
    fn queue(&self) -> Turn<'_> {
        Turn::Queued { _lock: self.remotes.lock() }
    }

    /// Waits for the end of the owner's turn.
    fn wait_for_owner(&self) {
        let backoff = Backoff::new();
        while self.busy.load(Ordering::Acquire) {
            backoff.snooze();
        }
    }
}

/// What makes it the owner's turn, until it is dropped.
enum Turn<'a> {
    /// No remote is there.
    Busy { _flag: Raised<'a> },
    /// Remotes are kept out.
    Queued { _lock: MutexGuard<'a, ()> },
}

impl Default for Asymmetric {
    fn default() -> Self {
        Self::new()
    }
}

impl Protocol for Asymmetric {
    #[inline(always)]
    fn owner<R>(&self, work: impl FnOnce() -> R) -> R {
        let busy = Raised::by_store(&self.busy);
        if self.steps.has(Step::LightFence) {
            self.fence.light();
        }
        // The work is called in one place, so that it can be compiled into the caller.
        let _turn = if self.is_claimed() {
            drop(busy);
            self.queue()
        } else {
            Turn::Busy { _flag: busy }
        };
        work()
    }

    fn remote<R>(&self, work: impl FnOnce() -> R) -> R {
        let _turn = self.steps.has(Step::RemotesQueue).then(|| self.remotes.lock());
        let _claim = Raised::by_store(&self.claimed);
        if self.steps.has(Step::HeavyFence) {
            self.fence.heavy();
        }
        if self.steps.has(Step::RemoteWaits) {
            self.wait_for_owner();
        }
        work()
    }
}
