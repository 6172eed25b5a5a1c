//! Mapping and unmapping: mmap, munmap, MADV_DONTNEED, exit, shared memory.

use pagelab_allocator::event::Sink;
use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::units::{CpuId, Order};

use crate::emulator::{AllocateError, Emulator};
use crate::folio::{FolioId, FolioKind, Mapping, SpaceId, VirtPage};
use crate::page_table::Pte;
use crate::reclaim::Refault;
use crate::reclaim::lru::LruKind;
use crate::space::{AddressSpace, SpaceError};
use crate::vma::{Backing, Prot, ShmemId, VirtRange, Vma};

/// Why an operation on an address space failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MmError {
    /// There is no such space.
    #[error("no space {}", .0.get())]
    NoSuchSpace(SpaceId),
    /// The range does not suit.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// Only part of a large folio was meant, and a pin keeps it whole.
    #[error("{0} is pinned and cannot be split")]
    Pinned(FolioId),
    /// No pages.
    #[error(transparent)]
    Allocate(#[from] AllocateError),
    /// There is no such shared memory, or no mapping may outlive it.
    #[error("shared memory {} does not exist or is mapped", .0.get())]
    Shmem(ShmemId),
    /// A large folio needs an aligned, unpopulated, anonymous place.
    #[error("{0} is no place for a folio of order {1}")]
    NoPlace(VirtPage, Order),
}

impl<S: Sink> Emulator<S> {
    /// A new space with nothing mapped. Linux: `mm_alloc()`.
    pub fn create_space(&mut self) -> SpaceId {
        self.adopt_space(AddressSpace::new())
    }

    pub(crate) fn adopt_space(&mut self, space: AddressSpace) -> SpaceId {
        self.spaces.add(space)
    }

    pub(crate) fn space_mut(&mut self, id: SpaceId) -> Result<&mut AddressSpace, MmError> {
        self.spaces.get_mut(&id).ok_or(MmError::NoSuchSpace(id))
    }

    /// Maps `range`, populating nothing. Linux: `mmap()` with `MAP_FIXED_NOREPLACE`.
    ///
    /// # Errors
    ///
    /// [`MmError`] when the range is in use, may not be tagged, or shows no shared memory.
    pub fn mmap(
        &mut self,
        space: SpaceId,
        range: VirtRange,
        prot: Prot,
        backing: Backing,
    ) -> Result<(), MmError> {
        if let Backing::Shmem { id, .. } = backing
            && !self.shmem.contains_key(&id)
        {
            return Err(MmError::Shmem(id));
        }
        Ok(self.space_mut(space)?.map(range, prot, backing)?)
    }

    /// Unmaps `range`; holes in it are fine. Linux: `munmap()`.
    ///
    /// # Errors
    ///
    /// [`MmError::Pinned`] when the range would cut a pinned large folio.
    pub fn munmap(&mut self, cpu: CpuId, space: SpaceId, range: VirtRange) -> Result<(), MmError> {
        self.zap(cpu, space, range)?;
        self.space_mut(space)?.unmap(range);
        Ok(())
    }

    /// Drops the pages of `range`, not the mapping. Linux: `madvise(MADV_DONTNEED)`.
    ///
    /// # Errors
    ///
    /// [`MmError::Space`] when a page is not mapped; [`MmError::Pinned`] as [`Emulator::munmap`].
    pub fn madvise_dontneed(
        &mut self,
        cpu: CpuId,
        space: SpaceId,
        range: VirtRange,
    ) -> Result<(), MmError> {
        self.space_mut(space)?.check_mapped(range)?;
        self.zap(cpu, space, range)
    }

    /// Ends a space and all of its mappings. Linux: `exit_mmap()`.
    ///
    /// # Errors
    ///
    /// [`MmError::NoSuchSpace`].
    pub fn exit(&mut self, cpu: CpuId, space: SpaceId) -> Result<(), MmError> {
        let ranges: Vec<_> = self.space_mut(space)?.vmas().map(Vma::range).collect();
        for range in ranges {
            self.zap(cpu, space, range)?;
        }
        self.spaces.remove(&space);
        Ok(())
    }

    /// New shared memory without pages. Linux: `shmem_file_setup()`.
    pub fn create_shmem(&mut self) -> ShmemId {
        let id = ShmemId::new(self.next_shmem);
        self.next_shmem += 1;
        self.shmem.insert(id, Default::default());
        id
    }

    /// Frees shared memory that no range maps. Linux: the last `fput()`.
    ///
    /// # Errors
    ///
    /// [`MmError::Shmem`] when it does not exist or a range still maps it.
    pub fn destroy_shmem(&mut self, cpu: CpuId, id: ShmemId) -> Result<(), MmError> {
        let shows = |vma: &Vma| vma.shmem_page(vma.range().start()).is_some_and(|(o, _)| o == id);
        if self.spaces.values().any(|space| space.vmas().any(shows)) {
            return Err(MmError::Shmem(id));
        }
        let pages = self.shmem.remove(&id).ok_or(MmError::Shmem(id))?;
        for folio in pages.into_values() {
            self.drop_folio(cpu, folio);
        }
        Ok(())
    }

    /// Removes the entries of `range` and frees what nobody maps any more.
    /// Linux: `zap_page_range_single()`.
    fn zap(&mut self, cpu: CpuId, space: SpaceId, range: VirtRange) -> Result<(), MmError> {
        self.split_at(cpu, space, range.start())?;
        self.split_at(cpu, space, range.end())?;
        let entries = self.space_mut(space)?.table_mut().take(range);
        for &(page, pte) in &entries {
            let Some(id) = pte.folio() else { continue };
            let order = self.memory.folios[id].order();
            if page.get() % order.pages().get() + 1 == order.pages().get() {
                let first = VirtPage::new(page.get() + 1 - order.pages().get());
                self.unmap_folio(cpu, id, Mapping { space, page: first });
            }
        }
        for slot in entries.iter().filter_map(|(_, pte)| pte.swap_slot()) {
            self.memory.mover(cpu).put_swap(slot);
        }
        Ok(())
    }

    /// Drops one mapping of a folio, and the folio with its last one unless it is shared memory.
    pub(crate) fn unmap_folio(&mut self, cpu: CpuId, id: FolioId, at: Mapping) {
        self.memory.folios.unmap(id, at);
        let folio = &self.memory.folios[id];
        if !folio.is_mapped() && folio.kind() != FolioKind::Shmem {
            self.drop_folio(cpu, id);
        }
    }

    /// Frees an unmapped folio now, or with its last pin. Linux: `folio_put()`.
    pub(crate) fn drop_folio(&mut self, cpu: CpuId, id: FolioId) {
        if self.memory.folios[id].is_pinned() {
            self.memory.reclaim.lru.remove(id);
            self.lingering.insert(id);
        } else {
            self.free_folio(cpu, id);
        }
    }

    /// Splits the large folio that `page` cuts, if any. Linux: `split_huge_pmd()` with
    /// `split_folio()`; here page tables never map a part of a large folio.
    pub(crate) fn split_at(
        &mut self,
        cpu: CpuId,
        space: SpaceId,
        page: VirtPage,
    ) -> Result<(), MmError> {
        let Some(id) = self.space_mut(space)?.table().get(page).folio() else { return Ok(()) };
        let pages = self.memory.folios[id].order().pages().get();
        if page.get().is_multiple_of(pages) {
            return Ok(());
        }
        self.split(cpu, id)
    }

    /// Turns a large folio into single pages. Linux: `split_folio()`.
    ///
    /// # Errors
    ///
    /// [`MmError::Pinned`] when somebody holds a reference.
    pub fn split(&mut self, cpu: CpuId, id: FolioId) -> Result<(), MmError> {
        self.memory.mover(cpu).split(id).map_err(|_| MmError::Pinned(id))?;
        self.settle(cpu);
        Ok(())
    }

    /// Lets every entry of a folio that was split name the page's own folio.
    pub(crate) fn remap_split(&mut self, pages: &[FolioId]) {
        for &id in pages {
            if self.memory.folios.get(id).is_none() {
                // It went to swap since.
                continue;
            }
            let mappings: Vec<_> = self.memory.folios.mappings(id).collect();
            for at in mappings {
                let space = self.spaces.get_mut(&at.space).expect("mapped folios name live spaces");
                let table = space.table_mut();
                let pte = table.get(at.page).naming(id);
                table.set(at.page, pte);
            }
        }
    }

    /// Puts a folio behind every page that it fills, from `at` on.
    /// Anonymous memory is listed for reclaim from then on.
    pub(crate) fn map_folio(
        &mut self,
        id: FolioId,
        at: Mapping,
        restrict: impl Fn(Pte) -> Pte,
        refault: Refault,
    ) {
        let pages = self.memory.folios[id].order().pages().get();
        let space = self.spaces.get_mut(&at.space).expect("the caller looked the space up");
        for offset in 0..pages {
            space.table_mut().set(at.page.plus(offset), restrict(Pte::new(id)));
        }
        self.memory.folios.map(id, at);
        let folio = &self.memory.folios[id];
        if folio.kind() == FolioKind::Anon && self.memory.reclaim.lru.list_of(id).is_none() {
            let order = folio.order();
            self.memory.reclaim.list(id, LruKind::Anon, order, refault);
        }
    }

    /// Populates an aligned, empty, anonymous place with one large folio, as a huge-page fault
    /// does. Linux: `do_huge_pmd_anonymous_page()`.
    ///
    /// # Errors
    ///
    /// [`MmError::NoPlace`] when the place does not suit; [`MmError::Allocate`] when there is no
    /// such folio, where Linux would fall back to single pages.
    pub fn populate_huge(
        &mut self,
        cpu: CpuId,
        space: SpaceId,
        page: VirtPage,
        order: Order,
    ) -> Result<FolioId, MmError> {
        let pages = order.pages().get();
        let place = VirtRange::from_len(page, pages);
        let mm = self.space_mut(space)?;
        let vma = mm.vma_at(page).copied().ok_or(SpaceError::Unmapped(page))?;
        let suits = page.get().is_multiple_of(pages)
            && vma.range().covers(place)
            && vma.backing() == Backing::Anon
            && mm.table().range(place).next().is_none()
            && mm.table().swapped(place).next().is_none();
        if !suits {
            return Err(MmError::NoPlace(page, order));
        }
        let gfp = user_gfp(&vma) | GfpFlags::COMP;
        let id = self.allocate_kind(cpu, order, gfp, FolioKind::Anon)?;
        let ready = !vma.is_tagged() || self.is_taggable_now(id);
        let restrict = |pte: Pte| if ready { pte } else { pte.faulting() };
        self.map_folio(id, Mapping { space, page }, restrict, Refault::Cold);
        Ok(id)
    }

    /// Whether the folio carries tags that have storage, or there is no tag storage to manage.
    pub(crate) fn is_taggable_now(&self, id: FolioId) -> bool {
        let folio = &self.memory.folios[id];
        self.tags.is_empty() || (folio.is_tagged() && self.tags.is_reserved(folio.pfn()))
    }
}

/// The wishes of a page fault in a range. Linux: `vma_alloc_zeroed_movable_folio()`.
pub(crate) fn user_gfp(vma: &Vma) -> GfpFlags {
    let plain = GfpFlags::HIGHUSER_MOVABLE | GfpFlags::ZERO;
    if vma.is_tagged() { plain | GfpFlags::TAGGED } else { plain }
}
