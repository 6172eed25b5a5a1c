//! The steps of the shared allocator's protocols that a canary can leave out.
//!
//! Outside of loom all are always taken, and asking costs nothing.

pub(super) use imp::Steps;

/// A step without which a page is lost, has two owners, or is counted wrongly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// A free looks at the type of the pageblock during its turn on the CPU's lists, not before.
    FreeLooksInTurn,
    /// A claim drains the CPUs' lists.
    ClaimDrains,
    /// And it does so after it has isolated the pageblocks, not before.
    ClaimIsolatesFirst,
    /// A claim is refused while another has isolated one of its pageblocks.
    ClaimsExclude,
    /// Before a range is taken, every frame of it is found free.
    ClaimTests,
    /// All lists of a zone are looked at together.
    WholeHoldsLists,
    /// Whoever gives a highatomic pageblock back reads and writes the reserve under one lock.
    UnreserveIsWhole,
}

#[cfg(not(any(all(loom, feature = "loom"), all(shuttle, feature = "shuttle"))))]
mod imp {
    use super::Step;

    /// All of them.
    #[derive(Clone, Copy, Debug)]
    pub(in crate::smp) struct Steps;

    impl Steps {
        pub(in crate::smp) const ALL: Self = Self;

        #[inline(always)]
        pub(in crate::smp) fn has(self, _step: Step) -> bool {
            true
        }
    }
}

#[cfg(any(all(loom, feature = "loom"), all(shuttle, feature = "shuttle")))]
mod imp {
    use super::Step;

    /// All of them but one at most.
    #[derive(Clone, Copy, Debug)]
    pub(in crate::smp) struct Steps(Option<Step>);

    impl Steps {
        pub(in crate::smp) const ALL: Self = Self(None);

        pub(in crate::smp) fn without(step: Step) -> Self {
            Self(Some(step))
        }

        pub(in crate::smp) fn has(self, step: Step) -> bool {
            self.0 != Some(step)
        }
    }
}
