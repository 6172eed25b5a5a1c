//! The protocol in which the owner pays next to nothing.

use crate::{
    fence::Fence,
    flag::Raised,
    protocol::Protocol,
    step::Step,
    steps::Steps,
    sync::{
        Backoff, Mutex,
        atomic::{AtomicBool, AtomicU8, Ordering, compiler_fence},
    },
};

/// Two flags, each stored by one side and read by the other, and a fence of which the remote side
/// carries the weight.
///
/// The owner raises `busy`, then looks at `asks`; a remote claims the value there, then looks at
/// `busy`. With a fence between the two on both sides at least one of them sees the other. An owner
/// that sees a claim steps back and queues for the mutex, which every remote holds during its turn.
#[derive(Debug)]
pub struct Asymmetric {
    busy: AtomicBool,
    /// What asks for more of the owner than to be busy: [`CLAIMED`], [`FENCED`]. Mostly nothing,
    /// and then one look tells.
    asks: AtomicU8,
    fence: Fence,
    steps: Steps<Step>,
    remotes: Mutex<()>,
}

/// A remote has the value or is waiting for it.
const CLAIMED: u8 = 1;
/// The owner's half of the fence is an instruction. Never changes.
const FENCED: u8 = 2;

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

    fn with_steps(fence: Fence, steps: Steps<Step>) -> Self {
        let asks = AtomicU8::new(asked_by(fence));
        let (busy, remotes) = (AtomicBool::new(false), Mutex::new(()));
        Self { busy, asks, fence, steps, remotes }
    }

    /// What is asked of the owner. A claim that is gone was taken back with a Release; Acquire
    /// makes what its remote did visible.
    #[inline(always)]
    fn asked(&self) -> u8 {
        let acquires = self.steps.has(Step::OwnerAcquires);
        self.asks.load(if acquires { Ordering::Acquire } else { Ordering::Relaxed })
    }

    /// The owner, which is busy, does what is asked of it.
    #[cold]
    #[inline(never)]
    fn attend(&self) {
        if self.steps.has(Step::LightFence) {
            self.fence.light();
        }
        if self.steps.has(Step::OwnerLooks) && self.asked() & CLAIMED != 0 {
            self.queue();
        }
    }

    /// Steps back and queues behind the remotes, then is busy again. It need not look for claims a
    /// second time: no remote is there while it holds the mutex, and whoever has it next finds the
    /// owner busy.
    fn queue(&self) {
        self.busy.store(false, Ordering::Release);
        let _lock = self.remotes.lock();
        self.busy.store(true, Ordering::Relaxed);
    }

    /// Waits for the end of the owner's turn.
    fn wait_for_owner(&self) {
        let backoff = Backoff::new();
        while self.busy.load(Ordering::Acquire) {
            backoff.snooze();
        }
    }
}

/// What a fence asks of the owner at every turn.
fn asked_by(fence: Fence) -> u8 {
    if fence.is_light() { 0 } else { FENCED }
}

/// A remote's claim, until it is dropped.
struct Claim<'a>(&'a Asymmetric);

impl<'a> Claim<'a> {
    fn new(of: &'a Asymmetric) -> Self {
        of.asks.store(asked_by(of.fence) | CLAIMED, Ordering::Relaxed);
        Self(of)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.asks.store(asked_by(self.0.fence), Ordering::Release);
    }
}

impl Default for Asymmetric {
    fn default() -> Self {
        Self::new()
    }
}

impl Protocol for Asymmetric {
    #[inline(always)]
    fn owner<R>(&self, work: impl FnOnce() -> R) -> R {
        let _busy = Raised::by_store(&self.busy);
        // The light fence, which costs nothing; where there is a heavier one it is asked for.
        compiler_fence(Ordering::SeqCst);
        if self.asked() != 0 {
            self.attend();
        }
        work()
    }

    fn remote<R>(&self, work: impl FnOnce() -> R) -> R {
        let _turn = self.steps.has(Step::RemotesQueue).then(|| self.remotes.lock());
        let _claim = Claim::new(self);
        if self.steps.has(Step::HeavyFence) {
            self.fence.heavy();
        }
        if self.steps.has(Step::RemoteWaits) {
            self.wait_for_owner();
        }
        work()
    }
}
