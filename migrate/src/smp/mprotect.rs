//! PROT_MTE of memory that is mapped already, and the fault that finds its tag storage.
//! Linux (RFC v3): `change_pte_range()`, `handle_page_missing_tag_storage()`.

use core::ops::Range;

use pagelab_allocator::smp::{Cpu, Exclusive};
use pagelab_allocator::units::Pfn;

use crate::smp::folio::SharedFolio;
use crate::smp::page_table::{Entry, Mapping, SharedTable, Tags};
use crate::smp::step::Step;
use crate::smp::tag_blocks::ReserveError;
use crate::smp::{Placement, SharedMemory};

/// How a fault for tag storage ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TagFault {
    /// The page can be accessed, or there was nothing to do.
    Done,
    /// Page, entry or tag block are in the hands of others: the access is made again, and may fault
    /// again. Linux: `VM_FAULT_RETRY`.
    Retry,
    /// The page lay in tag storage and has moved: the access faults again.
    Moved,
    /// No region holds tags of the page's frame: however often it is made, the access fails.
    /// Linux (RFC v3): `-ERANGE`, which ends in `VM_FAULT_SIGBUS`.
    NoTagStorage,
}

impl SharedTable {
    /// The pages of `range` may have tags, from the next access to each. Linux: `mprotect(2)`.
    ///
    /// # Panics
    ///
    /// Panics when the table is shorter.
    pub fn mprotect_mte(&self, range: Range<usize>) {
        let mut entries = self.lock();
        let mappings = entries[range].iter_mut().filter_map(Entry::mapping_mut);
        for mapping in mappings.filter(|mapping| mapping.tags == Tags::Untagged) {
            mapping.tags = Tags::OnAccess;
        }
    }
}

impl<P: Exclusive> SharedMemory<P> {
    /// Finds tag storage for the page at `index` and makes it accessible.
    ///
    /// The page is held meanwhile, so that neither munmap frees it nor migration moves it, and its
    /// frame is the one that is reserved for. Linux (RFC v3): `handle_page_missing_tag_storage()`.
    ///
    /// # Panics
    ///
    /// Panics when the table is shorter.
    pub fn tag_fault(&self, cpu: &mut Cpu<P>, table: &SharedTable, index: usize) -> TagFault {
        self.admit_with(cpu, table.anon());
        let entries = table.lock();
        let missing = |mapping: &&Mapping| mapping.tags == Tags::OnAccess;
        if entries[index].is_migration() {
            return TagFault::Retry;
        }
        let mapping = entries[index].present().filter(missing).cloned();
        let Some(mapping) = mapping else { return TagFault::Done };
        let held = self.steps.has(Step::FaultTakesReference);
        if held {
            mapping.folio().get();
        }
        drop(entries);
        let frame = mapping.folio().frame();
        let outside = !self.tags.map().is_tag_storage(frame);
        let fault = outside.then(|| self.tag_page(cpu, table, index, &mapping));
        if held {
            self.put(cpu, mapping.folio());
        }
        fault.unwrap_or_else(|| self.leave_tag_storage(cpu, frame))
    }

    /// Reserves for the page that `mapping` was read of, and lets programs access it there.
    fn tag_page(
        &self,
        cpu: &mut Cpu<P>,
        table: &SharedTable,
        index: usize,
        mapping: &Mapping,
    ) -> TagFault {
        let fault = self.tag_folio(cpu, mapping.folio());
        let mut to = mapping.clone();
        to.tags = Tags::Tagged;
        if fault == TagFault::Done && table.replace(index, mapping, to).is_none() {
            // Whatever is there by now, the next access meets it.
            return TagFault::Retry;
        }
        fault
    }

    /// Reserves for a page that the caller holds and marks it, if nobody has.
    fn tag_folio(&self, cpu: &mut Cpu<P>, folio: &SharedFolio) -> TagFault {
        if folio.is_tagged() {
            return TagFault::Done;
        }
        let frame = folio.frame();
        match self.reserve_tags(cpu, frame) {
            Ok(()) => {}
            Err(ReserveError::NoTagStorage) => return TagFault::NoTagStorage,
            Err(ReserveError::Busy) => return TagFault::Retry,
        }
        if !folio.try_tag(self.steps) {
            // Another address space's fault was faster, and the page counts once.
            self.release_tags(cpu, frame);
        }
        TagFault::Done
    }

    /// Tag storage has no tags: the page goes elsewhere, without being held.
    /// Linux (RFC v3): `replace_folio_with_tagged()`.
    fn leave_tag_storage(&self, cpu: &mut Cpu<P>, frame: Pfn) -> TagFault {
        match self.migrate_frame(cpu, frame, Placement::Taggable) {
            Ok(_) => TagFault::Moved,
            Err(_) => TagFault::Retry,
        }
    }
}
