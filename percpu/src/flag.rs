//! A flag that is lowered again whatever happens.

use crate::sync::atomic::{AtomicBool, Ordering};

/// A flag that this thread raised. Dropping it lowers the flag with a Release, so that who finds it
/// lowered finds all that was done meanwhile.
#[derive(Debug)]
pub(crate) struct Raised<'a>(&'a AtomicBool);

impl<'a> Raised<'a> {
    /// Raises a flag that no other thread raises: a plain store, which orders nothing.
    #[inline(always)]
    pub(crate) fn by_store(flag: &'a AtomicBool) -> Self {
        flag.store(true, Ordering::Relaxed);
        Self(flag)
    }

    /// Raises a flag that others raise too, unless one of them has. Not `swap`: raising it a second
    /// time would be one more store, which loom lets follow the other thread's lowering.
    #[inline(always)]
    pub(crate) fn by_exchange(flag: &'a AtomicBool) -> Option<Self> {
        let raised = flag.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
        raised.ok().map(|_| Self(flag))
    }
}

impl Drop for Raised<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
