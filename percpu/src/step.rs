//! The steps of the asymmetric protocol that a canary can leave out.

/// A step without which two threads can have the value at once, or one does not see what the other
/// did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The owner's half of the fence.
    LightFence,
    /// The owner looks at the claim before it touches the value.
    OwnerLooks,
    /// And it does so with Acquire.
    OwnerAcquires,
    /// The remote's half of the fence.
    HeavyFence,
    /// The remote waits until the owner is not busy.
    RemoteWaits,
    /// One remote at a time.
    RemotesQueue,
}
