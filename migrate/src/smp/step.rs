//! The steps of the protocols here that a canary can leave out.

/// A step without which a page is lost, doubly owned, or tagged without tag storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// A folio whose last reference went while it was taken for moving is not put back.
    /// Linux: `folio_try_get()`.
    PutbackLooks,
    /// A folio changes its frame only while it is frozen. Linux: `folio_ref_freeze()`.
    Freeze,
    /// A page is mapped again only once it was copied. Linux: `dma_sync_wait()`, where an engine
    /// copies.
    CopiesEnd,
    /// What was to be moved and could not is mapped again. Linux: `remove_migration_ptes()`.
    Undo,
    /// A forked table is known to reverse mapping before entries are copied into it.
    /// Linux: `anon_vma_fork()` before `copy_page_range()`.
    LinkBeforeCopy,
    /// Fork takes a reference for each entry that it copies. Linux: `copy_present_pte()`.
    CopyTakesReference,
    /// Fork leaves a page that a device writes to the parent. Linux: `copy_present_page()`.
    ForkSparesPinned,
    /// Migration leaves the entry of a page that a device writes as it is, lest fork copies it.
    /// Linux: `folio_try_share_anon_rmap_pte()`.
    MigrationSparesPinned,
    /// A fault holds the page while it reserves. Linux: `folio_get()` under the entry's lock.
    FaultTakesReference,
    /// Who reserved for many pages looks whether each still lies where it did. Linux: `pte_same()`.
    PopulateLooksAgain,
    /// A tag is a plain store only where the entry's reference is the only one. Linux: none, as
    /// `try_page_mte_tagging()` always is a `test_and_set_bit()`.
    TagLooksForOthers,
    /// Whoever finds a page tagged sees what was done to have storage for its tags.
    /// Linux: `smp_wmb()` in `set_page_mte_tagged()`.
    TagPublishes,
    /// Whoever counts a page in a block sees what was done to it before, and whoever lends it again
    /// what was done there meanwhile. Linux: the locks of the xarray.
    CountPublishes,
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
