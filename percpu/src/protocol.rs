//! How owner and remote take turns.

/// Runs work for an owner and for remotes, one at a time.
///
/// A protocol knows nothing of the value that the work is about: it is safe code that
/// [`Exclusive`](crate::Exclusive) vouches for. Work that asks for another turn of the same
/// protocol waits for itself, as with any lock; work that panics ends its turn.
pub trait Protocol {
    /// Runs `work` as the owner. The caller sees to it that such calls do not overlap.
    fn owner<R>(&self, work: impl FnOnce() -> R) -> R;

    /// Runs `work` as one of the remotes, which may all call at once.
    fn remote<R>(&self, work: impl FnOnce() -> R) -> R;
}
