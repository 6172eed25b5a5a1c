//! Checking a machine from first principles.

use std::collections::BTreeMap;

use pagelab_allocator::event::Sink;
use pagelab_allocator::frame::Frame;

use crate::emulator::Emulator;
use crate::folio::{Folio, FolioFlags, FolioId, FolioKind, Mapping, VirtPage};
use crate::reclaim::lru::{LruKind, LruList};
use crate::reclaim::swap::SwapSlot;

impl<S: Sink> Emulator<S> {
    /// Recomputes every counter and relation of the machine.
    ///
    /// - Allocator, folios, spaces and counts are consistent in themselves.
    /// - Page tables and folios agree on every mapping.
    /// - A tagged page has its tags, in tag storage or aside; in tag storage itself only aside,
    ///   unless the hardware can do otherwise.
    /// - No page is mapped tagged and accessible without tag storage.
    /// - Page cache, LRU lists and swap hold what folios and page tables say.
    /// - A reserved block's frames are allocated, and to nobody.
    ///
    /// # Errors
    ///
    /// The first violation, in words with both numbers.
    pub fn check(&self) -> Result<(), String> {
        self.memory.check().map_err(|e| e.to_string())?;
        self.tags.check()?;
        for (id, space) in &self.spaces {
            space.check().map_err(|e| format!("space {}: {e}", id.get()))?;
        }
        self.check_mappings()?;
        self.check_reclaim()?;
        self.check_tagged_folios()?;
        self.check_blocks()
    }

    /// Every entry belongs to a mapping of its folio, and every mapping has all its entries.
    fn check_mappings(&self) -> Result<(), String> {
        // No two entries are the same, and each belongs to a mapping: when their number is right,
        // every mapping has all of its entries. Only when it is not, somebody has to count by folio.
        let mut found = 0_u64;
        for (id, space) in &self.spaces {
            for (page, pte) in space.table().iter() {
                let folio = pte.folio().expect("listed entries are not empty");
                let pages = self.memory.folios[folio].order().pages().get();
                let first = VirtPage::new(page.get() - page.get() % pages);
                let at = Mapping { space: *id, page: first };
                if !self.memory.folios.mappings(folio).any(|mapping| mapping == at) {
                    return Err(format!("{folio} behind {page} does not know of {at:?}"));
                }
                found += 1;
                self.check_tagged_entry(folio, space.vma_at(page), pte)?;
            }
        }
        let mapped = |(id, folio): (FolioId, &Folio)| {
            let mapped = u64::try_from(self.memory.folios.map_count(id)).expect("a count");
            mapped * folio.order().pages().get()
        };
        if self.memory.folios.iter().map(mapped).sum::<u64>() == found {
            return Ok(());
        }
        self.find_wrong_count()
    }

    /// The first folio that has more or fewer entries than its mappings need.
    fn find_wrong_count(&self) -> Result<(), String> {
        let mut entries: BTreeMap<FolioId, u64> = BTreeMap::new();
        for space in self.spaces.values() {
            for folio in space.table().iter().filter_map(|(_, pte)| pte.folio()) {
                *entries.entry(folio).or_default() += 1;
            }
        }
        for (id, folio) in self.memory.folios.iter() {
            let mapped = u64::try_from(self.memory.folios.map_count(id)).expect("a count");
            let expected = mapped * folio.order().pages().get();
            let found = entries.get(&id).copied().unwrap_or_default();
            if found != expected {
                return Err(format!("{id} has {found} entries, {mapped} mappings"));
            }
        }
        Ok(())
    }

    /// Page cache and folios agree; exactly what can be reclaimed is listed; entries and swap slots
    /// agree.
    fn check_reclaim(&self) -> Result<(), String> {
        let (reclaim, folios) = (&self.memory.reclaim, &self.memory.folios);
        reclaim.lru.check()?;
        reclaim.cache.check()?;
        for (page, id) in reclaim.cache.iter() {
            let knows = folios.get(id).and_then(Folio::file_page);
            if knows != Some(page) {
                return Err(format!("{page:?} is {id}, which is {knows:?}"));
            }
        }
        let (mut cached, mut dirty, mut written) = (0, 0, 0);
        for (id, folio) in folios.iter() {
            cached += u64::from(folio.file_page().is_some());
            dirty += u64::from(folio.flags.contains(FolioFlags::DIRTY));
            written += u64::from(folio.flags.contains(FolioFlags::WRITEBACK));
            let kind = match folio.kind() {
                FolioKind::Anon if folio.is_mapped() => Some(LruKind::Anon),
                FolioKind::File if folio.file_page().is_some() => Some(LruKind::File),
                _ => None,
            };
            let listed = reclaim.lru.list_of(id).map(LruList::kind);
            if listed != kind {
                return Err(format!("{id} is listed as {listed:?}, should be {kind:?}"));
            }
        }
        let found = [cached, dirty, written];
        let counted = [reclaim.cache.pages(), reclaim.dirty_pages(), reclaim.writeback_pages()];
        if found != counted {
            return Err(format!("cached, dirty, being written: {found:?}, {counted:?} counted"));
        }
        let mut slots: BTreeMap<SwapSlot, u32> = BTreeMap::new();
        for (_, slot) in self.spaces.values().flat_map(|space| space.table().all_swapped()) {
            *slots.entry(slot).or_default() += 1;
        }
        reclaim.swap.check(&slots.into_iter().collect::<Vec<_>>())
    }

    fn check_tagged_entry(
        &self,
        id: FolioId,
        vma: Option<&crate::vma::Vma>,
        pte: crate::page_table::Pte,
    ) -> Result<(), String> {
        let tagged = vma.is_some_and(crate::vma::Vma::is_tagged);
        if tagged && !pte.faults_on_access() && !self.is_taggable_now(id) {
            return Err(format!("{id} is accessible with tags, but has no tag storage"));
        }
        Ok(())
    }

    fn check_tagged_folios(&self) -> Result<(), String> {
        for (id, folio) in self.memory.folios.iter().filter(|(_, folio)| folio.is_tagged()) {
            for pfn in folio.range().iter() {
                let (stored, aside) = (self.tags.is_reserved(pfn), self.tags.is_stashed(pfn));
                if stored && self.tags.is_untaggable(pfn) {
                    return Err(format!("{id} has tags at {pfn}, which is tag storage"));
                }
                if stored == aside {
                    return Err(format!("tags of {id} at {pfn}: {stored} stored, {aside} aside"));
                }
            }
        }
        Ok(())
    }

    fn check_blocks(&self) -> Result<(), String> {
        let (map, blocks) = (self.tags.ledger().map(), self.tags.ledger().blocks());
        for block in map.ids().filter(|block| blocks.is_reserved(*block)) {
            for pfn in map.range(block).iter() {
                let held = matches!(self.frame(pfn), Frame::Allocated { .. } | Frame::Reserved);
                if !held || self.memory.rmap.folio_at(pfn).is_some() {
                    return Err(format!("tag block {} does not own {pfn}", block.get()));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use pagelab_allocator::boot::MachineSpec;
    use pagelab_allocator::event::Silent;
    use pagelab_allocator::profile::KernelProfile;

    use super::*;
    use crate::emulator::EmulatorSpec;
    use crate::fault::Access;
    use crate::folio::SpaceId;
    use crate::page_cache::{CacheEntry, FilePage};
    use crate::page_table::Pte;
    use crate::testing::{CPU, spec};
    use crate::vma::{Backing, Prot, VirtRange};

    /// A machine with a mapped page and a dirty page of a file.
    fn machine() -> (Emulator<Silent>, SpaceId, FilePage) {
        let machine: MachineSpec = spec(KernelProfile::V6_12, 512, None);
        let mut emulator = Emulator::new(&EmulatorSpec { machine, tags: None }, Silent).unwrap();
        let space = emulator.create_space();
        let range = VirtRange::from_len(VirtPage::new(0), 4);
        emulator.mmap(space, range, Prot::READ_WRITE, Backing::Anon).unwrap();
        emulator.access(CPU, space, VirtPage::new(0), Access::Write).unwrap();
        let page = FilePage { file: emulator.create_file(), index: 3 };
        emulator.write_file(CPU, page).unwrap();
        emulator.check().unwrap();
        (emulator, space, page)
    }

    #[track_caller]
    fn caught(spoil: impl FnOnce(&mut Emulator<Silent>, SpaceId, FilePage), expected: &str) {
        let (mut emulator, space, page) = machine();
        spoil(&mut emulator, space, page);
        let said = emulator.check().unwrap_err();
        assert!(said.contains(expected), "{said}");
    }

    #[test]
    fn canaries_of_reclaim() {
        let mapped = |emulator: &Emulator<Silent>, space| {
            emulator.translate(space, VirtPage::new(0)).unwrap().folio
        };
        caught(
            |emulator, space, _| {
                let id = mapped(emulator, space);
                emulator.memory.reclaim.lru.remove(id);
            },
            "is listed as None, should be Some(Anon)",
        );
        caught(
            |emulator, _, page| emulator.memory.reclaim.cache.set(page, CacheEntry::Absent),
            "cached, dirty, being written: [1, 1, 0], [0, 1, 0] counted",
        );
        caught(
            |emulator, space, page| {
                let other = mapped(emulator, space);
                emulator.memory.reclaim.cache.set(page, CacheEntry::Present(other));
            },
            "which is None",
        );
        caught(
            |emulator, _, page| {
                let CacheEntry::Present(id) = emulator.memory.reclaim.cache.get(page) else {
                    panic!("it was written")
                };
                emulator.memory.folios.clear_flag(id, FolioFlags::DIRTY);
            },
            "[1, 0, 0], [1, 1, 0] counted",
        );
        caught(
            |emulator, space, _| {
                let table = emulator.spaces.get_mut(&space).unwrap().table_mut();
                table.set(VirtPage::new(1), Pte::swapped(SwapSlot::new(5)));
            },
            "1 entries name slot 5, 0 counted",
        );
        caught(
            |emulator, space, _| {
                let table = emulator.spaces.get_mut(&space).unwrap().table_mut();
                table.set(VirtPage::new(0), Pte::EMPTY);
            },
            "has 0 entries, 1 mappings",
        );
    }
}
