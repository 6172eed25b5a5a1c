//! Taking one folio's memory away.

use pagelab_allocator::event::Sink;
use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::page_alloc::AllocRequest;
use pagelab_allocator::units::{Order, PageCount};

use super::swap::{SavedTags, SwapSlot, Swapped};
use crate::folio::{FolioFlags, FolioId, FolioKind};
use crate::memory::adopt;
use crate::mover::{Evicted, Mover};
use crate::page_cache::CacheEntry;

impl<S: Sink> Mover<'_, S> {
    /// Ends a folio and frees its frames. Linux: the end of `shrink_folio_list()`.
    pub(crate) fn free_folio(&mut self, id: FolioId) {
        let folio = self.folios.remove(id);
        self.reclaim.forget(id, &folio);
        self.rmap.clear(folio.range(), id);
        let pages = self.page_alloc.reclaim(folio.pfn(), folio.order());
        self.page_alloc.free_pages(self.cpu, pages.expect("a folio's frames are allocated"));
    }

    /// Whether a folio is page cache that can go without being written.
    pub(crate) fn is_clean_cache(&self, id: FolioId) -> bool {
        let flags = self.folios[id].flags;
        let busy = FolioFlags::DIRTY | FolioFlags::WRITEBACK | FolioFlags::PINNED;
        flags.contains(FolioFlags::CACHED) && !flags.intersects(busy)
    }

    /// Drops a clean page of the cache and leaves a shadow. Linux: `__remove_mapping()`.
    pub(crate) fn drop_cached(&mut self, id: FolioId) {
        let page = self.folios[id].file_page().expect("only cached folios are dropped");
        let age = self.reclaim.evict_at();
        self.reclaim.cache.set(page, CacheEntry::Shadow(age));
        self.log.dropped.push(page);
        self.free_folio(id);
    }

    /// Drops the clean page cache of a list of isolated folios; returns the others.
    /// Linux: `reclaim_clean_pages_from_list()`.
    pub(crate) fn drop_clean(&mut self, list: Vec<FolioId>) -> Vec<FolioId> {
        let (clean, others): (Vec<_>, Vec<_>) =
            list.into_iter().partition(|id| self.is_clean_cache(*id));
        for id in clean {
            self.reclaim.stats.contig_dropped += 1;
            self.drop_cached(id);
        }
        others
    }

    /// Writes a mapped anonymous page to swap and frees it; `false` when swap is full, or there is
    /// no memory for what is compressed. What page tables and tag storage have to know is logged.
    /// Linux: `add_to_swap()`, `try_to_unmap()`, `pageout()`.
    pub(super) fn swap_out(&mut self, id: FolioId) -> bool {
        if self.reclaim.swap.free_slots() == PageCount::ZERO || !self.grow_swap() {
            return false;
        }
        let mappings: Vec<_> = self.folios.mappings(id).collect();
        let folio = &self.folios[id];
        let tags = if folio.is_tagged() { SavedTags::Kept } else { SavedTags::None };
        let users = u32::try_from(mappings.len()).expect("fewer mappings than pages");
        let pfn = folio.pfn();
        let age = self.reclaim.evict_at();
        let slot = self.reclaim.swap.store(Swapped { users, age, tags });
        for &mapping in &mappings {
            self.folios.unmap(id, mapping);
        }
        self.free_folio(id);
        let after_moves = self.log.moves.len();
        self.log.evicted.push(Evicted { pfn, slot, mappings, after_moves });
        self.reclaim.stats.pswpout += 1;
        true
    }

    /// A page for the pool, if the next slot takes one. The last reserves may be used: the page
    /// frees several. Linux: `zs_malloc()` with `PF_MEMALLOC`.
    fn grow_swap(&mut self) -> bool {
        if !self.reclaim.swap.lacks_page() {
            return true;
        }
        let request = AllocRequest::new(Order::ZERO, GfpFlags::NOWARN | GfpFlags::MEMALLOC);
        let pages = self.page_alloc.alloc_pages_fast(self.cpu, &request);
        let pages = pages.or_else(|| self.page_alloc.alloc_pages_slow(self.cpu, &request));
        let Some(pages) = pages else {
            self.page_alloc.note_failure(&request);
            return false;
        };
        let id = adopt(self.page_alloc, self.folios, self.rmap, pages, FolioKind::Kernel);
        self.reclaim.swap.add_page(id);
        true
    }

    /// One entry less names a slot; pages of the pool that are not needed any more are freed.
    /// Linux: `swap_free()`, `zs_free()`.
    pub(crate) fn put_swap(&mut self, slot: SwapSlot) {
        self.reclaim.swap.put(slot);
        while let Some(id) = self.reclaim.swap.surplus_page() {
            self.free_folio(id);
        }
    }
}
