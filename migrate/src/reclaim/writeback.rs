//! Writing dirty page cache: what waits, what is under way, and what happens when it ends.

use std::collections::VecDeque;

use pagelab_allocator::event::Sink;

use super::lru::LruList;
use crate::folio::{Folio, FolioFlags, FolioId};
use crate::mover::Mover;
use crate::page_cache::{CacheEntry, FilePage};

/// Where a page goes when its write ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AfterWrite {
    /// It keeps its place.
    Stay,
    /// It is the next to be dropped. Linux: `PG_reclaim`.
    Rotate,
}

/// Queues of pages, oldest first. Entries of pages that are not dirty or under way any more are
/// passed by when their turn comes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writeback {
    dirty: VecDeque<FilePage>,
    in_flight: VecDeque<(FilePage, AfterWrite)>,
    dirty_pages: u64,
    in_flight_pages: u64,
}

impl Writeback {
    pub(super) const fn dirty_pages(&self) -> u64 {
        self.dirty_pages
    }

    pub(super) const fn in_flight_pages(&self) -> u64 {
        self.in_flight_pages
    }

    /// A folio goes that is dirty or being written.
    pub(super) const fn forget(&mut self, folio: &Folio) {
        if folio.flags.contains(FolioFlags::DIRTY) {
            self.dirty_pages -= 1;
        }
        if folio.flags.contains(FolioFlags::WRITEBACK) {
            self.in_flight_pages -= 1;
        }
    }
}

impl<S: Sink> Mover<'_, S> {
    /// The cached folio of a page, if it is there and has `flag`.
    fn cached_with(&self, page: FilePage, flag: FolioFlags) -> Option<FolioId> {
        match self.reclaim.cache.get(page) {
            CacheEntry::Present(id) if self.folios[id].flags.contains(flag) => Some(id),
            _ => None,
        }
    }

    /// Marks a cached folio as changed. Linux: `folio_mark_dirty()`.
    pub(crate) fn mark_dirty(&mut self, id: FolioId, page: FilePage) {
        if self.folios[id].flags.contains(FolioFlags::DIRTY) {
            return;
        }
        self.folios.set_flag(id, FolioFlags::DIRTY);
        self.reclaim.writeback.dirty.push_back(page);
        self.reclaim.writeback.dirty_pages += 1;
        self.reclaim.stats.nr_dirtied += 1;
    }

    /// Begins to write a dirty folio; one that is being written already has to wait for that.
    /// Linux: `folio_start_writeback()`.
    pub(super) fn start_writeback(&mut self, id: FolioId, after: AfterWrite) {
        let folio = &self.folios[id];
        let page = folio.file_page().expect("only cached folios are dirty");
        if folio.flags.contains(FolioFlags::WRITEBACK) {
            self.reclaim.writeback.dirty.push_back(page);
            return;
        }
        self.folios.clear_flag(id, FolioFlags::DIRTY);
        self.folios.set_flag(id, FolioFlags::WRITEBACK);
        let writeback = &mut self.reclaim.writeback;
        writeback.dirty_pages -= 1;
        writeback.in_flight_pages += 1;
        writeback.in_flight.push_back((page, after));
    }

    /// Begins to write the oldest dirty pages, at most `most`; says how many.
    /// Linux: `wb_writeback()`.
    pub(crate) fn flush(&mut self, most: u64, after: AfterWrite) -> u64 {
        let (mut started, looks) = (0, self.reclaim.writeback.dirty.len());
        for _ in 0..looks {
            if started == most {
                break;
            }
            let Some(page) = self.reclaim.writeback.dirty.pop_front() else { break };
            if let Some(id) = self.cached_with(page, FolioFlags::DIRTY) {
                self.start_writeback(id, after);
                started += u64::from(!self.folios[id].flags.contains(FolioFlags::DIRTY));
            }
        }
        started
    }

    /// Ends the oldest writes, at most `most`; says how many. Linux: `folio_end_writeback()`.
    pub(crate) fn end_writeback(&mut self, most: u64) -> u64 {
        let mut ended = 0;
        while ended < most {
            let Some((page, after)) = self.reclaim.writeback.in_flight.pop_front() else { break };
            let Some(id) = self.cached_with(page, FolioFlags::WRITEBACK) else { continue };
            self.finish_write(id);
            ended += 1;
            let inactive = self.reclaim.lru.list_of(id) == Some(LruList::InactiveFile);
            if after == AfterWrite::Rotate && inactive {
                self.reclaim.lru.demote(id, LruList::InactiveFile);
                self.reclaim.stats.pgrotated += 1;
            }
        }
        ended
    }

    /// A write ended.
    fn finish_write(&mut self, id: FolioId) {
        self.folios.clear_flag(id, FolioFlags::WRITEBACK);
        self.reclaim.writeback.in_flight_pages -= 1;
        self.reclaim.stats.nr_written += 1;
    }

    /// Waits for the write of a folio, if there is one. Linux: `folio_wait_writeback()`.
    pub(crate) fn wait_on_writeback(&mut self, id: FolioId) {
        if self.folios[id].flags.contains(FolioFlags::WRITEBACK) {
            self.finish_write(id);
        }
    }
}
