//! A value behind a protocol, and its handles. All unsafe code of the crate is in this file.
//!
//! It rests on two facts. At any time one owner at most asks for a turn: [`Owner`] is not `Clone`,
//! its only door takes `&mut self`, and [`Slot::split`] consumes the slot. And turns never overlap:
//! that is what [`Exclusive`] promises, and what the models in `loom-tests/` explore.

use std::{cell::Cell, marker::PhantomData};

use crossbeam_utils::CachePadded;

use crate::{
    asymmetric::Asymmetric,
    locked::Locked,
    protocol::Protocol,
    sync::{Arc, UnsafeCell},
};

/// A promise that a protocol keeps turns apart.
///
/// # Safety
///
/// As long as calls of [`Protocol::owner`] do not overlap each other, no two pieces of work, of
/// owner or remotes, may run at the same time, and each must happen after the whole of the one
/// before it.
pub unsafe trait Exclusive: Protocol {}

// SAFETY: either the remote sees that the owner is busy, or the owner sees the claim: a fence
// stands between the store and the load on both sides. Remotes, and an owner that stepped back,
// hold one mutex. `loom-tests/tests/owner_vs_drain.rs` and `drain_vs_drain.rs` explore the
// schedules.
unsafe impl Exclusive for Asymmetric {}

// SAFETY: one flag, raised by an atomic exchange that acquires and lowered by a store that
// releases.
unsafe impl Exclusive for Locked {}

/// A value of one CPU.
#[derive(Debug)]
pub struct Slot<T, P = Asymmetric> {
    protocol: P,
    value: UnsafeCell<T>,
}

/// A slot whose two sides pay the same.
pub type LockedSlot<T> = Slot<T, Locked>;

// SAFETY: `with` and `with_owner` lend the value to one thread at a time, which may differ from the
// thread that made it: `Send` is all that is asked of the value.
unsafe impl<T: Send, P: Exclusive + Sync> Sync for Slot<T, P> {}

impl<T, P: Exclusive> Slot<T, P> {
    /// A slot that holds `value`.
    #[must_use]
    pub fn new(value: T, protocol: P) -> Self {
        Self { protocol, value: UnsafeCell::new(value) }
    }

    /// The slot's one owner, and a remote handle, which can be cloned. The slot moves to cache
    /// lines of its own.
    #[must_use]
    pub fn split(self) -> (Owner<T, P>, Remote<T, P>) {
        let slot = Arc::new(CachePadded::new(self));
        (Owner { slot: Arc::clone(&slot), not_sync: PhantomData }, Remote { slot })
    }

    /// Lends the value to the owner. Only [`Owner::with`] calls it.
    #[inline(always)]
    fn with_owner<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let lend = |value: *mut T| {
            // SAFETY: the pointer is valid as long as `self`; `Exclusive` keeps all other work away
            // meanwhile, since calls of this function do not overlap.
            work(unsafe { &mut *value })
        };
        self.protocol.owner(
            #[inline(always)]
            || self.value.with_mut(lend),
        )
    }

    /// Lends the value to a remote.
    fn with_remote<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: the pointer is valid as long as `self`; `Exclusive` keeps all other work away
        // meanwhile.
        self.protocol.remote(|| self.value.with_mut(|value| work(unsafe { &mut *value })))
    }
}

/// The one handle of the thread that uses the value all the time. It may move to another thread,
/// but is never shared:
///
/// ```compile_fail,E0277
/// fn share<T: Sync>(_: T) {}
/// share(pagelab_percpu::Slot::new(0, pagelab_percpu::Locked::new()).split().0);
/// ```
#[derive(Debug)]
pub struct Owner<T, P = Asymmetric> {
    slot: Arc<CachePadded<Slot<T, P>>>,
    not_sync: PhantomData<Cell<()>>,
}

impl<T, P: Exclusive> Owner<T, P> {
    /// Runs `work` on the value, waiting for a remote that has claimed it.
    ///
    /// `work` must not ask a remote handle of the same slot for the value: it would wait for
    /// itself. If it panics, the value stays as it left it, and others go on.
    #[inline(always)]
    pub fn with<R>(&mut self, work: impl FnOnce(&mut T) -> R) -> R {
        self.slot.with_owner(work)
    }
}

/// A handle of those who need the value rarely, from any thread.
#[derive(Debug)]
pub struct Remote<T, P = Asymmetric> {
    slot: Arc<CachePadded<Slot<T, P>>>,
}

impl<T, P: Exclusive> Remote<T, P> {
    /// Runs `work` on the value, waiting for the owner and for other remotes.
    ///
    /// `work` must not ask any handle of the same slot for the value: it would wait for itself. If
    /// it panics, the value stays as it left it, and others go on.
    ///
    /// # Panics
    ///
    /// Panics before `work` if the kernel refuses a barrier that it granted when the slot was made,
    /// as under a seccomp filter that was installed since.
    pub fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        self.slot.with_remote(work)
    }
}

impl<T, P> Clone for Remote<T, P> {
    fn clone(&self) -> Self {
        Self { slot: Arc::clone(&self.slot) }
    }
}
