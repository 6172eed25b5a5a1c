//! Reading and writing files through the page cache, and giving reclaim its turns.

use pagelab_allocator::event::Sink;
use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::units::{CpuId, Order};

use crate::cleancache::Copies;
use crate::emulator::{AllocateError, Emulator};
use crate::folio::{FolioId, FolioKind};
use crate::page_cache::{CacheEntry, FileId, FilePage};
use crate::reclaim::lru::LruKind;
use crate::reclaim::swap::{SwapError, SwapSpec};
use crate::reclaim::{AfterWrite, KswapdRun, Reclaim, Refault, Wake};

/// Pages that readahead asks for. Linux: `readahead_gfp_mask()`.
pub const READAHEAD: GfpFlags =
    GfpFlags::HIGHUSER_MOVABLE.union(GfpFlags::NORETRY).union(GfpFlags::NOWARN);

/// Pages that are about to be written. Linux: `__filemap_get_folio()` with `FGP_WRITE`.
pub const WRITE: GfpFlags = GfpFlags::HIGHUSER_MOVABLE.union(GfpFlags::WRITE);

/// Where a page of a file was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileAccess {
    /// In memory.
    Hit,
    /// Nowhere: it was read from the disk, or is new.
    Miss,
    /// It had been in memory and was dropped; it was read from the disk again.
    Refault(Refault),
    /// It had been in memory and was dropped; a copy was left in tag storage.
    Copied(Refault),
}

/// Why a page of a file could not be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// There is no such file.
    #[error("no file {}", .0.get())]
    NoSuchFile(FileId),
    /// No memory.
    #[error(transparent)]
    Allocate(#[from] AllocateError),
}

impl<S: Sink> Emulator<S> {
    /// A new file without pages. Linux: `iget_locked()`.
    pub fn create_file(&mut self) -> FileId {
        self.memory.reclaim.cache.create()
    }

    /// Removes a file: its pages are freed, dirty or not. Linux: `truncate_inode_pages_final()`.
    ///
    /// # Errors
    ///
    /// [`FileError::NoSuchFile`].
    pub fn remove_file(&mut self, cpu: CpuId, file: FileId) -> Result<(), FileError> {
        if !self.memory.reclaim.cache.has(file) {
            return Err(FileError::NoSuchFile(file));
        }
        for id in self.memory.reclaim.cache.remove(file) {
            self.uncache(cpu, id);
        }
        self.forget_copies(Copies::OfFile(file));
        Ok(())
    }

    /// Reads a page of a file. Linux: `filemap_read()`, with readahead of what was asked for.
    ///
    /// # Errors
    ///
    /// [`FileError`].
    pub fn read_file(&mut self, cpu: CpuId, page: FilePage) -> Result<FileAccess, FileError> {
        let (access, id) = match self.cached(cpu, page, READAHEAD) {
            // What readahead cannot have is asked for once more, in earnest.
            Err(FileError::Allocate(_)) => self.cached(cpu, page, GfpFlags::HIGHUSER_MOVABLE)?,
            outcome => outcome?,
        };
        self.memory.reclaim.mark_accessed(id);
        Ok(access)
    }

    /// Writes a page of a file: it is dirty until it is written back.
    /// Linux: `generic_perform_write()`.
    ///
    /// # Errors
    ///
    /// [`FileError`].
    pub fn write_file(&mut self, cpu: CpuId, page: FilePage) -> Result<FileAccess, FileError> {
        let (access, id) = self.cached(cpu, page, WRITE)?;
        self.memory.mover(cpu).mark_dirty(id, page);
        self.memory.reclaim.mark_accessed(id);
        Ok(access)
    }

    /// Brings a page of a file into the cache with the wishes of a recorded request; it is dirty
    /// when they say that it is about to be written. Linux: `__filemap_get_folio()`.
    ///
    /// # Errors
    ///
    /// [`FileError`].
    pub fn cache_page(
        &mut self,
        cpu: CpuId,
        page: FilePage,
        gfp: GfpFlags,
    ) -> Result<FileAccess, FileError> {
        let (access, id) = self.cached(cpu, page, gfp)?;
        if gfp.contains(GfpFlags::WRITE) {
            self.memory.mover(cpu).mark_dirty(id, page);
        }
        Ok(access)
    }

    /// Takes a page out of the cache, if it is there. Linux: `truncate_inode_folio()`.
    pub fn uncache_page(&mut self, cpu: CpuId, page: FilePage) {
        let entry = self.memory.reclaim.cache.get(page);
        if entry == CacheEntry::Absent {
            return;
        }
        self.memory.reclaim.cache.set(page, CacheEntry::Absent);
        self.forget_copies(Copies::OfPage(page));
        if let CacheEntry::Present(id) = entry {
            self.uncache(cpu, id);
        }
    }

    fn uncache(&mut self, cpu: CpuId, id: FolioId) {
        self.memory.reclaim.forget(id, &self.memory.folios[id]);
        self.memory.folios.leave_cache(id);
        self.drop_folio(cpu, id);
    }

    /// The folio of a page of a file, from the cache or new. Linux: `filemap_get_pages()`.
    fn cached(
        &mut self,
        cpu: CpuId,
        page: FilePage,
        gfp: GfpFlags,
    ) -> Result<(FileAccess, FolioId), FileError> {
        let before = self.memory.reclaim.cache.get(page);
        if let CacheEntry::Present(id) = before {
            return Ok((FileAccess::Hit, id));
        }
        if !self.memory.reclaim.cache.has(page.file) {
            return Err(FileError::NoSuchFile(page.file));
        }
        let id = self.allocate_kind(cpu, Order::ZERO, gfp, FolioKind::File)?;
        let (access, refault) = self.came_back(page, before, gfp);
        self.memory.folios.set_file_page(id, page);
        self.memory.reclaim.cache.set(page, CacheEntry::Present(id));
        self.memory.reclaim.list(id, LruKind::File, Order::ZERO, refault);
        Ok((access, id))
    }

    /// Where a page that is not in memory comes from, and whether it was dropped too early. A page
    /// that is overwritten needs no copy. Linux: `workingset_refault()`, then `->readpage()`.
    fn came_back(
        &mut self,
        page: FilePage,
        before: CacheEntry,
        gfp: GfpFlags,
    ) -> (FileAccess, Refault) {
        let CacheEntry::Shadow(age) = before else { return (FileAccess::Miss, Refault::Cold) };
        let refault = self.memory.reclaim.refault(LruKind::File, age);
        if gfp.contains(GfpFlags::WRITE) {
            self.forget_copies(Copies::OfPage(page));
        } else if self.find_copy(page) {
            return (FileAccess::Copied(refault), refault);
        }
        (FileAccess::Refault(refault), refault)
    }

    /// Ends the oldest writes, at most `end`, then begins to write the oldest dirty pages, at most
    /// `begin`; says how many it did of each. Linux: `wb_workfn()` and the disk.
    pub fn write_back(&mut self, cpu: CpuId, end: u64, begin: u64) -> (u64, u64) {
        let mut mover = self.memory.mover(cpu);
        let ended = mover.end_writeback(end);
        (ended, mover.flush(begin, AfterWrite::Stay))
    }

    /// What kswapd should do now; `None` while it sleeps. Linux: `wakeup_kswapd()` happened.
    #[must_use]
    pub fn kswapd_wanted(&self) -> Option<Wake> {
        self.memory.kswapd_wanted()
    }

    /// Gives kswapd a turn. Linux: `kswapd()`.
    pub fn kswapd(&mut self, cpu: CpuId, wake: Wake) -> KswapdRun {
        let run = self.memory.mover(cpu).run_kswapd(wake);
        self.settle(cpu);
        run
    }

    /// Swap in memory. Linux: `swapon()` of a zram device.
    ///
    /// # Errors
    ///
    /// [`SwapError`] when it is too large, or not the first.
    pub fn swap_on(&mut self, spec: SwapSpec) -> Result<(), SwapError> {
        self.memory.reclaim.swap.turn_on(spec)
    }

    /// Linux's `vm.swappiness`, from 0 to 200.
    ///
    /// # Panics
    ///
    /// Panics above 200.
    pub fn set_swappiness(&mut self, swappiness: u32) {
        self.memory.reclaim.set_swappiness(swappiness);
    }

    /// Lists, page cache, swap and the counters of reclaim.
    #[must_use]
    pub const fn reclaim(&self) -> &Reclaim {
        &self.memory.reclaim
    }
}
