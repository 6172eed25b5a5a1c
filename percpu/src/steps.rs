//! Which steps of a protocol are taken, so that canaries of the models can leave one out.
//!
//! Outside of models all are always taken, and asking costs nothing. `S` names the steps of one
//! protocol.

pub use imp::Steps;

#[cfg(not(any(all(loom, feature = "loom"), all(shuttle, feature = "shuttle"))))]
mod imp {
    use std::marker::PhantomData;

    /// All of them.
    #[derive(Clone, Copy, Debug)]
    pub struct Steps<S>(PhantomData<S>);

    impl<S: Copy> Steps<S> {
        /// All of them.
        pub const ALL: Self = Self(PhantomData);

        /// Whether the step is taken.
        #[inline(always)]
        #[must_use]
        pub const fn has(self, _step: S) -> bool {
            true
        }
    }
}

#[cfg(any(all(loom, feature = "loom"), all(shuttle, feature = "shuttle")))]
mod imp {
    /// All of them but one at most.
    #[derive(Clone, Copy, Debug)]
    pub struct Steps<S>(Option<S>);

    impl<S: Copy + PartialEq> Steps<S> {
        /// All of them.
        pub const ALL: Self = Self(None);

        /// All but one.
        #[must_use]
        pub const fn without(step: S) -> Self {
            Self(Some(step))
        }

        /// Whether the step is taken.
        #[must_use]
        pub fn has(self, step: S) -> bool {
            self.0 != Some(step)
        }
    }
}
