//! Clean copies of file pages in tag storage: what the page cache leaves there, and the door by
//! which a host's own page cache comes in. Linux: mm/cleancache.c (until 5.16).
//!
//! Files of the emulator are objects by their numbers; a host that has files of its own takes other
//! numbers.

use pagelab_allocator::event::Sink;
use pagelab_allocator::units::{Order, Pfn, PfnRange};

use crate::emulator::Emulator;
use crate::page_cache::{FileId, FilePage};
use crate::tag_storage::clean_store::CleanKey;
use crate::tag_storage::design::Residence;

/// Which copies are worthless.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Copies {
    /// That of one page.
    OfPage(FilePage),
    /// Those of all pages of a file.
    OfFile(FileId),
}

impl From<FilePage> for CleanKey {
    fn from(page: FilePage) -> Self {
        Self { object: page.file.get().into(), index: page.index.into() }
    }
}

impl<S: Sink> Emulator<S> {
    /// Whether tag storage holds clean copies.
    fn keeps_copies(&self) -> bool {
        self.tags.design().residence() == Residence::CleanStore
    }

    /// Leaves a copy of a clean page that was dropped, if the design keeps copies.
    /// Linux: `__delete_from_page_cache()`, which called `cleancache_put_page()`.
    pub(crate) fn keep_copy(&mut self, page: FilePage) {
        if self.keeps_copies() {
            self.cleancache_put(page.into());
        }
    }

    /// Takes the copy of a page that is to be read; `true` when there was one.
    /// Linux: `do_mpage_readpage()`, which called `cleancache_get_page()`.
    pub(crate) fn find_copy(&mut self, page: FilePage) -> bool {
        self.keeps_copies() && self.cleancache_get(page.into()).is_some()
    }

    /// Drops the copies of a file, or of a page that is overwritten.
    pub(crate) fn forget_copies(&mut self, of: Copies) {
        match of {
            _ if !self.keeps_copies() => {}
            Copies::OfPage(page) => self.cleancache_invalidate(page.into()),
            Copies::OfFile(file) => self.cleancache_invalidate_object(file.get().into()),
        }
    }

    /// Leaves a copy of a clean page in tag storage, and says where. `None` when the design keeps
    /// no copies there, or tags fill it. The copy may vanish at any time.
    /// Linux: `cleancache_put_page()`.
    pub fn cleancache_put(&mut self, key: CleanKey) -> Option<Pfn> {
        let frame = self.tags.clean_mut().put(key)?;
        self.tags.wrote_data(PfnRange::block(frame, Order::ZERO));
        Some(frame)
    }

    /// Takes the copy of a page back, and says where it was; the page cache has the page then.
    /// Linux: `cleancache_get_page()`.
    pub fn cleancache_get(&mut self, key: CleanKey) -> Option<Pfn> {
        self.tags.clean_mut().get(key)
    }

    /// A page changed: its copy is worthless. Linux: `cleancache_invalidate_page()`.
    pub fn cleancache_invalidate(&mut self, key: CleanKey) {
        self.tags.clean_mut().invalidate(key);
    }

    /// A file is gone, with all its copies. Linux: `cleancache_invalidate_inode()`.
    pub fn cleancache_invalidate_object(&mut self, object: u64) {
        self.tags.clean_mut().invalidate_object(object);
    }
}
