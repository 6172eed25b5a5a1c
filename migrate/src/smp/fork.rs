//! A second address space with the same pages, and the copy before the first store.
//! Linux: `dup_mmap()`, `copy_page_range()`, `do_wp_page()`.

use pagelab_allocator::page_alloc::AllocError;
use pagelab_allocator::smp::{Cpu, Exclusive};
use pagelab_allocator::sync::Arc;

use crate::smp::page_table::{Entry, Mapping, SharedTable, Tags, Write};
use crate::smp::step::Step;
use crate::smp::{Placement, SharedMemory};

impl<P: Exclusive> SharedMemory<P> {
    /// An address space with the pages of `parent`, none of which either writes before it has
    /// copied it.
    ///
    /// The child is linked for reverse mapping first, behind its parent. A walk that restores
    /// migration entries then either comes to the parent before they are copied, or finds the
    /// copies in the child. Linux: `anon_vma_fork()`, then `copy_page_range()`.
    #[must_use]
    pub fn fork(&self, parent: &SharedTable) -> Arc<SharedTable> {
        let pages = parent.lock().len();
        let child = Arc::new(SharedTable::new(Arc::clone(parent.anon()), pages));
        let linked_first = self.steps.has(Step::LinkBeforeCopy);
        if linked_first {
            parent.anon().link(Arc::clone(&child));
        }
        self.copy_range(parent, &child);
        if !linked_first {
            parent.anon().link(Arc::clone(&child));
        }
        child
    }

    /// Copies the entries under the locks of both tables. Linux: `copy_pte_range()`.
    fn copy_range(&self, parent: &SharedTable, child: &SharedTable) {
        let mut from = parent.lock();
        let mut to = child.lock();
        for (from, to) in from.iter_mut().zip(to.iter_mut()) {
            if let Some(mapping) = from.mapping_mut() {
                mapping.write = Write::CopyFirst;
            }
            if let Some(mapping) =
                from.present().filter(|_| self.steps.has(Step::CopyTakesReference))
            {
                mapping.folio.get();
            }
            *to = from.clone();
        }
    }

    /// Gives `table` a page of its own at `index` if a store there needs one. A page that nobody
    /// else knows is kept. Linux: `do_wp_page()`, `wp_page_copy()`.
    ///
    /// # Errors
    ///
    /// [`AllocError`] when there is no memory for the copy.
    pub fn write_fault(
        &self,
        cpu: &mut Cpu<P>,
        table: &SharedTable,
        index: usize,
    ) -> Result<(), AllocError> {
        let Some(shared) = self.reuse_or_get(table, index) else { return Ok(()) };
        let copied = self.copy_page(cpu, table, index, &shared);
        self.put(cpu, &shared.folio);
        copied
    }

    /// Makes a page that has no other user writable; else returns it, with a reference.
    fn reuse_or_get(&self, table: &SharedTable, index: usize) -> Option<Mapping> {
        let mut entries = table.lock();
        let Entry::Present(mapping) = &mut entries[index] else { return None };
        if mapping.write == Write::Allowed {
            return None;
        }
        if mapping.folio.references() == 1 {
            mapping.write = Write::Allowed;
            return None;
        }
        mapping.folio.get();
        Some(mapping.clone())
    }

    /// Maps a copy of `shared` if it is still there. A copy of a tagged page finds its tag storage
    /// when it is accessed.
    fn copy_page(
        &self,
        cpu: &mut Cpu<P>,
        table: &SharedTable,
        index: usize,
        shared: &Mapping,
    ) -> Result<(), AllocError> {
        let (placement, tags) = match shared.tags {
            Tags::Untagged => (Placement::Anywhere, Tags::Untagged),
            Tags::OnAccess | Tags::Tagged => (Placement::Taggable, Tags::OnAccess),
        };
        let copy = self.new_folio(cpu, table, index, placement)?;
        self.contents.copy(shared.folio.frame(), copy.frame());
        let mapped = Mapping { folio: Arc::clone(&copy), write: Write::Allowed, tags };
        // The entry's reference goes with the page that was there, or with the one that is not
        // used.
        let unused = table.replace(index, shared, mapped).map_or(copy, |old| old.folio);
        self.put(cpu, &unused);
        Ok(())
    }
}
