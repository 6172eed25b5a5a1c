//! A value of one CPU, which others reach rarely: Linux's per-CPU page lists, for threads.
//!
//! A [`Slot`] is split into one [`Owner`] and any number of [`Remote`] handles. What keeps the two
//! apart is a [`Protocol`]: with [`Asymmetric`] the owner pays two plain stores and one load, and
//! the remote a system call; with [`Locked`] both pay one atomic read-modify-write.
//!
//! ```
//! use pagelab_percpu::{Asymmetric, Slot};
//!
//! let (mut owner, remote) = Slot::new(vec![1, 2, 3], Asymmetric::new()).split();
//! assert_eq!(owner.with(Vec::pop), Some(3));
//! let drained = std::thread::spawn(move || remote.with(std::mem::take));
//! assert_eq!(drained.join().expect("the drain ends"), [1, 2]);
//! assert_eq!(owner.with(Vec::pop), None);
//! ```

mod asymmetric;
mod fence;
mod flag;
mod locked;
mod membarrier;
mod protocol;
#[expect(unsafe_code, reason = "the one module that reaches into a cell shared by threads")]
mod slot;
mod step;
mod sync;

#[doc(hidden)]
pub use crate::step::Step;
pub use crate::{
    asymmetric::Asymmetric,
    fence::Fence,
    locked::Locked,
    protocol::Protocol,
    slot::{Exclusive, LockedSlot, Owner, Remote, Slot},
};
