//! Allocators for several threads: one handle a thread.

use crate::Peer;

/// A thread's handle of an allocator that several threads use. [`Peer::new`] gives the handle of
/// one thread alone.
pub trait Shared: Peer<Block: Send> + Send {
    /// One allocator, and a handle of it for each of `threads`.
    fn handles(threads: usize) -> Vec<Self>;

    /// Called by a thread that is about to use the handle, with the thread's number.
    fn bind(&mut self, _thread: usize) {}
}

/// The handle of one thread alone.
pub(crate) fn only<S: Shared>() -> S {
    S::handles(1).pop().expect("one handle for one thread")
}
