//! fork: a second space that shares every page until one of them writes.

use pagelab_allocator::event::Sink;

use crate::emulator::Emulator;
use crate::folio::{Mapping, SpaceId};
use crate::mapping::MmError;
use crate::page_table::Pte;

impl<S: Sink> Emulator<S> {
    /// A copy of `parent`. Private pages become copy-on-write on both sides; the marker that an
    /// access has to look for tag storage is inherited; shared memory is mapped again at first
    /// touch. Linux: `dup_mmap()`, `copy_present_page()`.
    ///
    /// # Errors
    ///
    /// [`MmError::NoSuchSpace`].
    pub fn fork(&mut self, parent: SpaceId) -> Result<SpaceId, MmError> {
        let space = self.space_mut(parent)?;
        let child = space.same_ranges();
        let entries: Vec<(_, Pte)> = space.table().iter().collect();
        let child = self.adopt_space(child);
        for (page, pte) in entries {
            let vma = self.spaces[&parent].vma_at(page).expect("entries lie in ranges");
            if vma.is_shared() {
                continue;
            }
            let protected = pte.write_protected();
            for space in [parent, child] {
                self.space_mut(space)?.table_mut().set(page, protected);
            }
            let id = pte.folio().expect("listed entries are not empty");
            if page.get().is_multiple_of(self.memory.folios[id].order().pages().get()) {
                self.memory.folios.map(id, Mapping { space: child, page });
            }
        }
        let swapped: Vec<_> = self.spaces[&parent].table().all_swapped().collect();
        for (page, slot) in swapped {
            self.memory.reclaim.swap.share(slot);
            self.space_mut(child)?.table_mut().set(page, Pte::swapped(slot));
        }
        Ok(child)
    }
}
