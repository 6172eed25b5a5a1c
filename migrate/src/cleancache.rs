//! Clean copies of file pages in tag storage: the door by which a page cache comes in.
//! Linux: mm/cleancache.c (until 5.16).

use pagelab_allocator::event::Sink;
use pagelab_allocator::units::{Order, Pfn, PfnRange};

use crate::emulator::Emulator;
use crate::tag_storage::clean_store::CleanKey;

impl<S: Sink> Emulator<S> {
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
