//! The seam to the outside world of threads: the only file that names parking_lot, loom or shuttle.
//!
//! Two gates must be open before loom's types appear: `--cfg loom`, and the feature `loom`. A host
//! program that runs its own loom models therefore does not change ours by accident. Likewise for
//! shuttle.

#[doc(inline)]
pub use imp::{Arc, Mutex, MutexGuard, atomic};
pub(crate) use imp::{ZeroedBytes, lock_patiently, lock_spinning, zeroed_bytes};

#[cfg(not(any(all(loom, feature = "loom"), all(shuttle, feature = "shuttle"))))]
mod imp {
    pub use std::sync::{Arc, atomic};

    use crossbeam_utils::Backoff;
    use pagelab_zeroed::Zeroed;
    pub use parking_lot::{Mutex, MutexGuard};

    /// A table of bytes that starts as zeros.
    pub(crate) type ZeroedBytes = Zeroed<atomic::AtomicU8>;

    /// Such a table, which starts `skew` bytes behind a page.
    pub(crate) fn zeroed_bytes(len: usize, skew: usize) -> ZeroedBytes {
        Zeroed::skewed(len, skew)
    }

    /// Looks at a mutex that another thread holds before this one goes to sleep, some 0.4 ms: long
    /// enough for the longest drain, and short beside the time slice of a holder that has lost its
    /// processor. Ever more time passes between two looks: a holder that comes back at once finds
    /// the zone's lists still in its caches.
    const LOOKS: u32 = 600;

    /// Holds a mutex that others hold for so short a time that to sleep and be woken takes longer.
    /// Linux: `spin_lock()`.
    #[inline]
    pub(crate) fn lock_spinning<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.try_lock().unwrap_or_else(|| spin(mutex))
    }

    #[cold]
    fn spin<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        let backoff = Backoff::new();
        for _ in 0..LOOKS {
            backoff.spin();
            if !mutex.is_locked()
                && let Some(guard) = mutex.try_lock()
            {
                return guard;
            }
        }
        mutex.lock()
    }

    /// Pauses between two looks at a mutex that is held for nanoseconds, again and again: some 1.5
    /// microseconds, in which a holder comes back dozens of times and finds all in its caches.
    const PAUSES: u32 = 64;

    /// Holds a mutex that others hold so often, and for so short a time, that to look for a gap all
    /// the time makes them slow.
    #[inline]
    pub(crate) fn lock_patiently<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.try_lock().unwrap_or_else(|| wait(mutex))
    }

    #[cold]
    fn wait<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        for _ in 0..LOOKS {
            (0..PAUSES).for_each(|_| core::hint::spin_loop());
            // Half of the time it is free: to look first would fetch the line twice.
            if let Some(guard) = mutex.try_lock() {
                return guard;
            }
        }
        mutex.lock()
    }
}

#[cfg(any(all(loom, feature = "loom"), all(shuttle, feature = "shuttle")))]
mod imp {
    use std::sync::PoisonError;

    #[cfg(all(loom, feature = "loom"))]
    use loom::sync;
    #[cfg(all(shuttle, feature = "shuttle"))]
    use shuttle::sync;
    pub use sync::{Arc, MutexGuard, atomic};

    /// A table of bytes: a model checker's are not made of zeros.
    pub(crate) type ZeroedBytes = Vec<atomic::AtomicU8>;

    /// Such a table, wherever it starts.
    pub(crate) fn zeroed_bytes(len: usize, _skew: usize) -> ZeroedBytes {
        (0..len).map(|_| atomic::AtomicU8::new(0)).collect()
    }

    /// In a model it is always another thread's turn.
    pub(crate) fn lock_spinning<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock()
    }

    /// The same.
    pub(crate) fn lock_patiently<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock()
    }

    /// The model checker's mutex with the interface of parking_lot's: a panic does not poison it.
    #[derive(Debug)]
    pub struct Mutex<T>(sync::Mutex<T>);

    impl<T> Mutex<T> {
        /// An unlocked mutex that owns `value`.
        #[must_use]
        pub fn new(value: T) -> Self {
            Self(sync::Mutex::new(value))
        }

        /// Waits until no other thread holds the lock, then holds it.
        pub fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        /// Holds the lock unless another thread does.
        pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }

        /// The value, without locking: nobody else can hold the lock.
        pub fn get_mut(&mut self) -> &mut T {
            self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
        }

        /// The value of a mutex that is no longer shared.
        pub fn into_inner(self) -> T {
            self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
        }
    }
}
