//! The table of one address space, behind one lock. Linux: a page table with its split lock.

use core::fmt::{self, Debug, Formatter};

use pagelab_allocator::sync::{Arc, Mutex, MutexGuard};
use pagelab_allocator::units::Pfn;

use crate::smp::anon_vma::AnonVma;
use crate::smp::folio::SharedFolio;
use crate::smp::slab::{FolioCache, FolioRef, Slab};

/// What a store through an entry does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Write {
    /// It is made.
    Allowed,
    /// It faults and gets a page of its own first: the page may be shared.
    CopyFirst,
}

/// What an entry says of tags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tags {
    /// The range is not PROT_MTE.
    Untagged,
    /// It is, and the next access faults to find tag storage. Linux (RFC): `PAGE_FAULT_ON_ACCESS`.
    OnAccess,
    /// Tags may be read and written: the page's tag block is reserved.
    Tagged,
}

/// Whether a page can be accessed through an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// The entry has a reference.
    Present,
    /// The page is about to move. The entry has no reference. Linux: a migration entry.
    Migration,
}

/// How an address space maps a page.
#[derive(Clone)]
pub struct Mapping {
    // A handle of the page, without its padding: two words in all, and in an entry as well.
    slab: Arc<Slab>,
    at: u8,
    stage: Stage,
    /// What a store does.
    pub write: Write,
    /// What it says of tags.
    pub tags: Tags,
}

impl Debug for Mapping {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { write, tags, .. } = self;
        let mut mapping = f.debug_struct("Mapping");
        mapping.field("folio", self.folio()).field("write", write).field("tags", tags).finish()
    }
}

impl Mapping {
    pub(crate) fn new(folio: FolioRef, write: Write, tags: Tags) -> Self {
        Self { slab: folio.slab, at: folio.at, stage: Stage::Present, write, tags }
    }

    /// The page.
    #[must_use]
    pub fn folio(&self) -> &SharedFolio {
        self.slab.folio(self.at)
    }

    /// A handle of the page.
    pub(crate) fn handle(&self) -> FolioRef {
        FolioRef { slab: Arc::clone(&self.slab), at: self.at }
    }

    /// Whether it maps this page.
    pub(crate) fn maps(&self, folio: &FolioRef) -> bool {
        self.at == folio.at && Arc::ptr_eq(&self.slab, &folio.slab)
    }

    /// The page is about to move; the entry's reference is the caller's.
    /// Linux: `make_readable_migration_entry()` and its like.
    pub(crate) const fn start_migration(&mut self) {
        self.stage = Stage::Migration;
    }

    /// It is there again; the entry has a reference of the caller's.
    pub(crate) const fn end_migration(&mut self) {
        self.stage = Stage::Present;
    }

    /// Linux: `pte_same()`.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.slab, &other.slab)
            && (self.at, self.write, self.tags) == (other.at, other.write, other.tags)
    }
}

/// What is at one address: nothing, a page, or a page that is about to move. Linux: `pte_t`.
#[derive(Clone, Debug, Default)]
pub struct Entry(Option<Mapping>);

/// Why an address cannot be accessed as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing is there.
    #[error("nothing is mapped there")]
    NotMapped,
    /// The page moves. Linux: `migration_entry_wait()`.
    #[error("the page is being moved")]
    Moving,
    /// It must be copied before a store.
    #[error("the page is copied before it is written")]
    CopyFirst,
    /// It needs tag storage.
    #[error("the page needs tag storage")]
    NoTags,
}

/// An access of a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Loads.
    Read,
    /// Stores.
    Write,
}

/// The entries of an address space.
#[derive(Debug)]
pub struct SharedTable {
    entries: Mutex<Vec<Entry>>,
    folios: FolioCache,
}

impl Entry {
    /// A page, with the reference that the caller has.
    pub(crate) fn new(mapping: Mapping) -> Self {
        Self(Some(Mapping { stage: Stage::Present, ..mapping }))
    }

    /// Whether nothing is there. Linux: `pte_none()`.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a page is there that is about to move. Linux: `is_migration_entry()`.
    #[must_use]
    pub fn is_migration(&self) -> bool {
        self.mapping().is_some_and(|mapping| mapping.stage == Stage::Migration)
    }

    /// The page, if it is not about to move. Linux: `pte_present()`.
    #[must_use]
    pub fn present(&self) -> Option<&Mapping> {
        self.mapping().filter(|mapping| mapping.stage == Stage::Present)
    }

    /// The same, to be changed.
    pub(crate) fn present_mut(&mut self) -> Option<&mut Mapping> {
        self.mapping_mut().filter(|mapping| mapping.stage == Stage::Present)
    }

    /// The same, with the entry's reference.
    pub(crate) fn into_present(self) -> Option<Mapping> {
        self.0.filter(|mapping| mapping.stage == Stage::Present)
    }

    /// What it says of a page, moving or not.
    pub(crate) const fn mapping(&self) -> Option<&Mapping> {
        self.0.as_ref()
    }

    /// The same, to be changed.
    pub(crate) const fn mapping_mut(&mut self) -> Option<&mut Mapping> {
        self.0.as_mut()
    }

    /// The page, if it is about to move, to be changed. Linux: `is_migration_entry()`.
    pub(crate) fn migration_mut(&mut self) -> Option<&mut Mapping> {
        self.mapping_mut().filter(|mapping| mapping.stage == Stage::Migration)
    }

    /// The page, for an access.
    fn translate(&self, access: Access) -> Result<&Mapping, Fault> {
        let mapping = self.mapping().ok_or(Fault::NotMapped)?;
        if mapping.stage == Stage::Migration {
            return Err(Fault::Moving);
        }
        match (mapping.tags, access, mapping.write) {
            (Tags::OnAccess, ..) => Err(Fault::NoTags),
            (_, Access::Write, Write::CopyFirst) => Err(Fault::CopyFirst),
            _ => Ok(mapping),
        }
    }
}

impl SharedTable {
    pub(crate) fn new(anon: Arc<AnonVma>, pages: usize) -> Self {
        let mut entries = Vec::new();
        entries.resize_with(pages, Entry::default);
        Self { entries: Mutex::new(entries), folios: FolioCache::new(anon) }
    }

    /// The address spaces it descends from and those that descend from it.
    pub(crate) const fn anon(&self) -> &Arc<AnonVma> {
        self.folios.anon()
    }

    /// Where its pages' folios come from.
    pub(crate) const fn folios(&self) -> &FolioCache {
        &self.folios
    }

    /// Linux: `pte_offset_map_lock()`.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock()
    }

    /// What is at `index` at this moment.
    ///
    /// # Panics
    ///
    /// Panics when the table has no such entry, as all methods here.
    #[must_use]
    pub fn entry(&self, index: usize) -> Entry {
        self.lock()[index].clone()
    }

    /// Puts `to` where `from` is, if it is still there. Linux: `pte_same()`, `set_pte_at()`.
    pub(crate) fn replace(&self, index: usize, from: &Mapping, to: Mapping) -> Option<Mapping> {
        let mut entries = self.lock();
        let same = |at: &&Mapping| at.is_same(from);
        entries[index].present().filter(same)?;
        core::mem::replace(&mut entries[index], Entry::new(to)).into_present()
    }

    /// Lets a program access the page at `index`. The entry does not change during `work`, as if
    /// whoever changed it flushed the TLB and waited. If `work` panics, nothing else happens.
    ///
    /// # Errors
    ///
    /// The [`Fault`] that the access takes instead.
    pub fn access<R>(
        &self,
        index: usize,
        access: Access,
        work: impl FnOnce(Pfn) -> R,
    ) -> Result<R, Fault> {
        let entries = self.lock();
        entries[index].translate(access).map(|page| work(page.folio().frame()))
    }

    /// The page at `index`, without a reference. Linux: `ptep_get_lockless()`.
    pub(crate) fn peek(&self, index: usize, access: Access) -> Result<FolioRef, Fault> {
        let entries = self.lock();
        entries[index].translate(access).map(Mapping::handle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four of them share a cache line, and none lies across two.
    #[test]
    fn an_entry_is_two_words() {
        assert_eq!(size_of::<Entry>(), 16);
    }
}
