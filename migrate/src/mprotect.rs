//! mprotect, and what it leaves to the next access.

use pagelab_allocator::event::Sink;
use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::units::CpuId;

use crate::emulator::Emulator;
use crate::folio::{FolioId, SpaceId};
use crate::mapping::MmError;
use crate::tag_storage::design::Protecting;
use crate::vma::{Prot, VirtRange};

impl<S: Sink> Emulator<S> {
    /// Changes the rights of `range`. When `PROT_MTE` is new, nothing is reserved and nothing
    /// moves: every populated page that carries no tags yet faults at its next access, unless the
    /// design reserves at once. Linux: `mprotect()`; RFC v1: the lazy patch, and
    /// PAGE_METADATA_NONE.
    ///
    /// # Errors
    ///
    /// [`MmError::Space`] when a page is not mapped or may not be tagged; nothing changes then.
    /// [`MmError::Pinned`] when the range would cut a pinned large folio.
    pub fn mprotect(
        &mut self,
        cpu: CpuId,
        space: SpaceId,
        range: VirtRange,
        prot: Prot,
    ) -> Result<(), MmError> {
        self.space_mut(space)?.check_protect(range, prot)?;
        self.split_at(cpu, space, range.start())?;
        self.split_at(cpu, space, range.end())?;
        let changed = self.space_mut(space)?.protect(range, prot)?;
        if self.tags.is_empty() {
            return Ok(());
        }
        for before in changed.iter().filter(|vma| !vma.is_tagged() && prot.contains(Prot::MTE)) {
            let entries: Vec<_> = self.spaces[&space].table().range(before.range()).collect();
            for (page, pte) in entries {
                let id = pte.folio().expect("listed entries are not empty");
                if !self.is_taggable_now(id) && !self.reserve_at_once(cpu, id) {
                    self.space_mut(space)?.table_mut().set(page, pte.faulting());
                }
            }
        }
        Ok(())
    }

    /// Reserves storage without waiting, if the design wants it now; says whether that was done.
    fn reserve_at_once(&mut self, cpu: CpuId, id: FolioId) -> bool {
        self.tags.design().protecting() == Protecting::AtOnce
            && self.reserve_folio(cpu, id, GfpFlags::NOWAIT).is_ok()
    }

    /// Marks a folio that lost its tag storage wherever a tagged range maps it.
    /// Linux (RFC v3): the entry that `set_pte_at()` writes when `mte_sync_tags()` finds no
    /// storage.
    pub(crate) fn fault_on_access(&mut self, id: FolioId) {
        let pages = self.memory.folios[id].order().pages().get();
        let mappings: Vec<_> = self.memory.folios.mappings(id).collect();
        for at in mappings {
            let space = self.spaces.get_mut(&at.space).expect("mapped folios name live spaces");
            if !space.vma_at(at.page).is_some_and(|vma| vma.is_tagged()) {
                continue;
            }
            for page in (0..pages).map(|offset| at.page.plus(offset)) {
                let pte = space.table().get(page).faulting();
                space.table_mut().set(page, pte);
            }
        }
    }
}
