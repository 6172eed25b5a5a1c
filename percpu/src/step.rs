//! The steps of the asymmetric protocol that a canary can leave out.
//!
//! Outside of loom all are always taken, and asking costs nothing.

pub(crate) use imp::Steps;

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

#[cfg(not(all(loom, feature = "loom")))]
mod imp {
    use super::Step;

    /// All of them.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Steps;

    impl Steps {
        pub(crate) const ALL: Self = Self;

        #[inline(always)]
        pub(crate) fn has(self, _step: Step) -> bool {
            true
        }
    }
}

#[cfg(all(loom, feature = "loom"))]
mod imp {
    use super::Step;

    /// All of them but one at most.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Steps(Option<Step>);

    impl Steps {
        pub(crate) const ALL: Self = Self(None);

        pub(crate) fn without(step: Step) -> Self {
            Self(Some(step))
        }

        pub(crate) fn has(self, step: Step) -> bool {
            self.0 != Some(step)
        }
    }
}
