//! The seam to the outside world of threads: the only file that names parking_lot, loom
//! or shuttle.
//!
//! As in the allocator, two gates must be open before loom's types appear: `--cfg loom`, and the
//! feature `loom`; likewise for shuttle.

pub(crate) use imp::{Arc, Backoff, Mutex, UnsafeCell, atomic};

#[cfg(not(any(all(loom, feature = "loom"), all(shuttle, feature = "shuttle"))))]
mod imp {
    pub(crate) use std::sync::{Arc, atomic};

    pub(crate) use crossbeam_utils::Backoff;
    pub(crate) use parking_lot::Mutex;

    pub(crate) use super::cell::UnsafeCell;
}

/// std's cell with the interface of loom's, which wants to know when an access ends.
#[cfg(not(all(loom, feature = "loom")))]
mod cell {
    #[derive(Debug)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline(always)]
        pub(crate) fn with_mut<R>(&self, access: impl FnOnce(*mut T) -> R) -> R {
            access(self.0.get())
        }
    }
}

#[cfg(any(all(loom, feature = "loom"), all(shuttle, feature = "shuttle")))]
mod imp {
    use std::sync::PoisonError;

    #[cfg(all(loom, feature = "loom"))]
    pub(crate) use loom::cell::UnsafeCell;
    #[cfg(all(loom, feature = "loom"))]
    use loom::{sync, thread};
    #[cfg(all(shuttle, feature = "shuttle"))]
    use shuttle::{sync, thread};
    pub(crate) use sync::Arc;
    use sync::MutexGuard;

    #[cfg(all(shuttle, feature = "shuttle"))]
    pub(crate) use super::cell::UnsafeCell;

    pub(crate) mod atomic {
        pub(crate) use std::sync::atomic::compiler_fence;

        pub(crate) use super::sync::atomic::{AtomicBool, AtomicU8, Ordering, fence};
    }

    /// The model checker's mutex with the interface of parking_lot's.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    /// Waiting: in a model it is always another thread's turn.
    #[derive(Debug)]
    pub(crate) struct Backoff;

    impl Backoff {
        pub(crate) fn new() -> Self {
            Self
        }

        pub(crate) fn snooze(&self) {
            thread::yield_now();
        }
    }
}
