//! Checking a machine from first principles.

use std::collections::BTreeMap;

use pagelab_allocator::check::{Violation, same};
use pagelab_allocator::event::Sink;
use pagelab_allocator::frame::Frame;

use crate::emulator::Emulator;
use crate::folio::{FolioId, Mapping, VirtPage};
use crate::page_table::Pte;
use crate::vma::Vma;

impl<S: Sink> Emulator<S> {
    /// Recomputes every counter and relation of the machine.
    ///
    /// - Allocator, folios, spaces and counts are consistent in themselves.
    /// - Page tables and folios agree on every mapping.
    /// - A tagged page has its tags, in tag storage or aside; in tag storage itself only aside,
    ///   unless the hardware can do otherwise.
    /// - No page is mapped tagged and accessible without tag storage.
    /// - A reserved block's frames are allocated, and to nobody.
    ///
    /// # Errors
    ///
    /// The first [`Violation`].
    pub fn check(&self) -> Result<(), Violation> {
        self.memory.check()?;
        self.tags.check()?;
        for (id, space) in &self.spaces {
            space.check().map_err(|found| found.within(format_args!("space {}", id.get())))?;
        }
        self.check_mappings()?;
        self.check_tagged_folios()?;
        self.check_blocks()
    }

    /// Every entry belongs to a mapping of its folio, and every mapping has all its entries.
    fn check_mappings(&self) -> Result<(), Violation> {
        let mut entries: BTreeMap<FolioId, u64> = BTreeMap::new();
        for (id, space) in &self.spaces {
            for (page, pte) in space.table().iter() {
                let folio = pte.folio().expect("listed entries are not empty");
                let pages = self.memory.folios[folio].order().pages().get();
                let first = VirtPage::new(page.get() - page.get() % pages);
                let at = Mapping { space: *id, page: first };
                let is_known = self.memory.folios.mappings(folio).any(|mapping| mapping == at);
                same(format_args!("{folio} behind {page} knows of {at:?}"), is_known, true)?;
                *entries.entry(folio).or_default() += 1;
                self.check_tagged_entry(folio, space.vma_at(page), pte)?;
            }
        }
        for (id, folio) in self.memory.folios.iter() {
            let mapped = u64::try_from(self.memory.folios.map_count(id)).expect("a count");
            let expected = mapped * folio.order().pages().get();
            let found = entries.get(&id).copied().unwrap_or_default();
            same(format_args!("entries of {id} with {mapped} mappings"), found, expected)?;
        }
        Ok(())
    }

    fn check_tagged_entry(
        &self,
        id: FolioId,
        vma: Option<&Vma>,
        pte: Pte,
    ) -> Result<(), Violation> {
        let tagged = vma.is_some_and(Vma::is_tagged) && !pte.faults_on_access();
        let has_tags = !tagged || self.is_taggable_now(id);
        same(format_args!("{id}, accessible with tags, has tag storage"), has_tags, true)
    }

    fn check_tagged_folios(&self) -> Result<(), Violation> {
        for (id, folio) in self.memory.folios.iter().filter(|(_, folio)| folio.is_tagged()) {
            for pfn in folio.range().iter() {
                let (stored, aside) = (self.tags.is_reserved(pfn), self.tags.is_stashed(pfn));
                let impossible = stored && self.tags.is_untaggable(pfn);
                same(format_args!("{id} is tagged at {pfn}, tag storage"), impossible, false)?;
                same(format_args!("tags of {id} at {pfn} are aside"), aside, !stored)?;
            }
        }
        Ok(())
    }

    fn check_blocks(&self) -> Result<(), Violation> {
        let (map, blocks) = (self.tags.ledger().map(), self.tags.ledger().blocks());
        for block in map.ids().filter(|block| blocks.is_reserved(*block)) {
            for pfn in map.range(block).iter() {
                let held = matches!(self.frame(pfn), Frame::Allocated { .. } | Frame::Reserved);
                let owns = held && self.memory.rmap.folio_at(pfn).is_none();
                same(format_args!("tag block {} owns {pfn}", block.get()), owns, true)?;
            }
        }
        Ok(())
    }
}
