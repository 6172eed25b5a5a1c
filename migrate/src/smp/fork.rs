//! A second address space with the same pages, and the copy before the first store.
//! Linux: `dup_mmap()`, `copy_page_range()`, `do_wp_page()`.

use pagelab_allocator::page_alloc::AllocError;
use pagelab_allocator::smp::{Cpu, Exclusive};
use pagelab_allocator::sync::Arc;
use pagelab_allocator::units::Order;

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
    ///
    /// A page that may be pinned stays the parent's, as a device writes where the parent reads; the
    /// child gets its copy at once. Linux: `copy_present_page()`.
    ///
    /// # Errors
    ///
    /// [`AllocError`] when there is no memory for such a copy; there is no child then.
    pub fn fork(
        &self,
        cpu: &mut Cpu<P>,
        parent: &SharedTable,
    ) -> Result<Arc<SharedTable>, AllocError> {
        self.admit_with(cpu, parent.anon());
        let pages = parent.lock().len();
        let child = Arc::new(SharedTable::new(Arc::clone(parent.anon()), pages));
        let linked_first = self.steps.has(Step::LinkBeforeCopy);
        if linked_first {
            parent.anon().link(Arc::clone(&child));
        }
        let pinned = self.copy_range(parent, &child);
        if !linked_first {
            parent.anon().link(Arc::clone(&child));
        }
        let mut pinned = pinned.into_iter();
        let copied = pinned.try_for_each(|page| {
            let copied = self.copy_pinned(cpu, &child, &page);
            self.put(cpu, page.folio());
            copied
        });
        pinned.for_each(|page| self.put(cpu, page.folio()));
        match copied {
            Ok(()) => Ok(child),
            Err(failed) => {
                self.exit(cpu, child);
                Err(failed)
            }
        }
    }

    /// Copies the entries under the locks of both tables; returns those of pinned pages, with a
    /// reference. Whoever pins looks at the entry again, and sees that it was copied.
    /// Linux: `copy_pte_range()`.
    fn copy_range(&self, parent: &SharedTable, child: &SharedTable) -> Vec<Mapping> {
        let mut pinned = Vec::new();
        let mut from = parent.lock();
        let mut to = child.lock();
        for (from, to) in from.iter_mut().zip(to.iter_mut()) {
            let Some(mapping) = from.mapping_mut() else { continue };
            let writes = core::mem::replace(&mut mapping.write, Write::CopyFirst);
            if let Some(mapping) = from.present() {
                // A page that may not be written was copied for whoever pinned it.
                let is_pinned = writes == Write::Allowed && mapping.folio().is_maybe_pinned();
                if is_pinned && self.steps.has(Step::ForkSparesPinned) {
                    mapping.folio().get();
                    pinned.push(mapping.clone());
                    from.mapping_mut().expect("it is present").write = Write::Allowed;
                    continue;
                }
                if self.steps.has(Step::CopyTakesReference) {
                    mapping.folio().get();
                }
            }
            *to = from.clone();
        }
        pinned
    }

    /// Maps a copy of the parent's page. Whoever has the child's table by now may have mapped
    /// something else.
    fn copy_pinned(
        &self,
        cpu: &mut Cpu<P>,
        child: &SharedTable,
        page: &Mapping,
    ) -> Result<(), AllocError> {
        let Some(copy) = self.new_copy(cpu, child, page)? else {
            return Err(AllocError::OutOfMemory(Order::ZERO));
        };
        let index = page.folio().index();
        let mut entries = child.lock();
        let unused = match entries[index].is_none() {
            true => {
                entries[index] = Entry::new(copy);
                None
            }
            false => Some(copy),
        };
        drop(entries);
        unused.into_iter().for_each(|copy| self.put(cpu, copy.folio()));
        Ok(())
    }

    /// Gives `table` a page of its own at `index` if a store there needs one. A page that nobody
    /// else knows is kept. A page with tags stays shared while there is no tag storage for a copy:
    /// the access is made again, and faults again. Linux: `do_wp_page()`, `wp_page_copy()`.
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
        self.admit_with(cpu, table.anon());
        let Some(shared) = self.reuse_or_get(table, index) else { return Ok(()) };
        let copied = self.copy_page(cpu, table, index, &shared);
        self.put(cpu, shared.folio());
        copied
    }

    /// Makes a page that has no other user writable; else returns it, with a reference.
    fn reuse_or_get(&self, table: &SharedTable, index: usize) -> Option<Mapping> {
        let mut entries = table.lock();
        let mapping = entries[index].present_mut()?;
        if mapping.write == Write::Allowed {
            return None;
        }
        if mapping.folio().references() == 1 {
            mapping.write = Write::Allowed;
            return None;
        }
        mapping.folio().get();
        Some(mapping.clone())
    }

    /// Maps a copy of `shared` if it is still there, and if it was made.
    fn copy_page(
        &self,
        cpu: &mut Cpu<P>,
        table: &SharedTable,
        index: usize,
        shared: &Mapping,
    ) -> Result<(), AllocError> {
        let Some(copy) = self.new_copy(cpu, table, shared)? else { return Ok(()) };
        let folio = copy.handle();
        // The entry's reference goes with the page that was there, or with the one that is not
        // used.
        let unused = table.replace(index, shared, copy).map_or(folio, |old| old.handle());
        self.put(cpu, &unused);
        Ok(())
    }

    /// A copy for `table` of a page that the caller holds, with one reference. Tags are copied to
    /// storage that is reserved for them; there is no copy as long as it cannot be.
    /// Linux: `wp_page_copy()`, `copy_highpage()`.
    fn new_copy(
        &self,
        cpu: &mut Cpu<P>,
        table: &SharedTable,
        page: &Mapping,
    ) -> Result<Option<Mapping>, AllocError> {
        let placement = match page.tags {
            Tags::Untagged => Placement::Anywhere,
            Tags::OnAccess | Tags::Tagged => Placement::Taggable,
        };
        let copy = self.new_folio(cpu, table, page.folio().index(), placement)?;
        let (from, to) = (page.folio().frame(), copy.frame());
        if page.tags == Tags::Tagged {
            if self.reserve_tags(cpu, to).is_err() {
                self.put(cpu, &copy);
                return Ok(None);
            }
            // Nobody else maps it: this is the first.
            let _first = copy.try_tag(self.steps);
            self.contents.copy_tags(from, to);
        }
        self.contents.copy(from, to);
        Ok(Some(Mapping::new(copy, Write::Allowed, page.tags)))
    }
}
