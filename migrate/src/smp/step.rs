//! The steps of the protocols here that a canary can leave out.
//!
//! Outside of loom all are always taken, and asking costs nothing.

pub(crate) use imp::Steps;

/// A step without which a page is lost, doubly owned, or tagged without tag storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Isolation fails for a folio whose last reference is gone. Linux: `folio_try_get()`.
    IsolationSpares,
    /// A folio changes its frame only while it is frozen. Linux: `folio_ref_freeze()`.
    Freeze,
    /// What was to be moved and could not is mapped again. Linux: `remove_migration_ptes()`.
    Undo,
    /// A forked table is known to reverse mapping before entries are copied into it.
    /// Linux: `anon_vma_fork()` before `copy_page_range()`.
    LinkBeforeCopy,
    /// Fork takes a reference for each entry that it copies. Linux: `copy_present_pte()`.
    CopyTakesReference,
    /// A fault holds the page while it reserves. Linux: `folio_get()` under the entry's lock.
    FaultTakesReference,
    /// One reserver of a region at a time. Linux (RFC): `tag_blocks_lock`.
    ReserversQueue,
    /// A reserver that queued looks whether the block is reserved by now.
    ReserverLooksAgain,
    /// Whoever gives the last page back looks whether another came meanwhile.
    LastPutLooksAgain,
    /// The block goes back in the same locked section in which its count falls to zero.
    LastPutGivesBack,
    /// A worker that stops gives back what it kept ready. Linux: the end of `kcompactd()`.
    StopLends,
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
        pub(crate) const fn has(self, _step: Step) -> bool {
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
