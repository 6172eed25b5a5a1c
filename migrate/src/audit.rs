//! Checking a machine from first principles.

use std::collections::BTreeMap;

use pagelab_allocator::check::{Violation, same};
use pagelab_allocator::event::Sink;
use pagelab_allocator::frame::Frame;

use crate::emulator::Emulator;
use crate::folio::{Folio, FolioFlags, FolioId, FolioKind, Mapping, VirtPage};
use crate::page_cache::{CacheEntry, FileId, FilePage};
use crate::page_table::Pte;
use crate::reclaim::lru::{LruKind, LruList};
use crate::reclaim::swap::SwapSlot;
use crate::vma::Vma;

impl<S: Sink> Emulator<S> {
    /// Recomputes every counter and relation of the machine.
    ///
    /// - Allocator, folios, spaces and counts are consistent in themselves.
    /// - Page tables and folios agree on every mapping.
    /// - A tagged page has its tags, in tag storage or aside; in tag storage itself only aside,
    ///   unless the hardware can do otherwise.
    /// - No page is mapped tagged and accessible without tag storage.
    /// - Page cache, LRU lists and swap hold what folios and page tables say.
    /// - A page is cached, or a copy of it is in tag storage, never both.
    /// - A reserved block's frames are allocated, and to nobody.
    ///
    /// # Errors
    ///
    /// The first [`Violation`].
    pub fn check(&self) -> Result<(), Violation> {
        self.memory.check()?;
        self.tags.check()?;
        for (id, space) in self.spaces.iter() {
            space.check().map_err(|found| found.within(format_args!("space {}", id.get())))?;
        }
        self.check_mappings()?;
        self.check_reclaim()?;
        self.check_copies()?;
        self.check_tagged_folios()?;
        self.check_blocks()
    }

    /// Every entry belongs to a mapping of its folio, and every mapping has all its entries.
    fn check_mappings(&self) -> Result<(), Violation> {
        // No two entries are the same, and each belongs to a mapping: when their number is right,
        // every mapping has all of its entries. Only when it is not, somebody has to count by
        // folio.
        let mut found = 0_u64;
        for (id, space) in self.spaces.iter() {
            let listed = |vma| space.table().range(Vma::range(vma)).map(move |at| (vma, at));
            for (vma, (page, pte)) in space.vmas().flat_map(listed) {
                let folio = pte.folio().expect("listed entries are not empty");
                let pages = self.memory.folios[folio].order().pages().get();
                let first = VirtPage::new(page.get() - page.get() % pages);
                let at = Mapping { space: id, page: first };
                let is_known = self.memory.folios.mappings(folio).any(|mapping| mapping == at);
                same(format_args!("{folio} behind {page} knows of {at:?}"), is_known, true)?;
                found += 1;
                self.check_tagged_entry(folio, vma, pte)?;
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

    /// No copy is kept of a page that is in memory, or of one that was never dropped.
    fn check_copies(&self) -> Result<(), Violation> {
        let cache = &self.memory.reclaim.cache;
        for key in self.tags.clean().keys() {
            let (Ok(file), Ok(index)) = (u32::try_from(key.object), u32::try_from(key.index))
            else {
                continue;
            };
            let page = FilePage { file: FileId::new(file), index };
            let was_dropped = matches!(cache.get(page), CacheEntry::Shadow(_));
            let ours = cache.has(page.file);
            same(format_args!("{key:?} has a copy and is dropped"), was_dropped || !ours, true)?;
        }
        Ok(())
    }

    /// The first folio that has more or fewer entries than its mappings need.
    fn find_wrong_count(&self) -> Result<(), Violation> {
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
            same(format_args!("entries of {id} with {mapped} mappings"), found, expected)?;
        }
        Ok(())
    }

    /// Page cache and folios agree; exactly what can be reclaimed is listed; entries and swap slots
    /// agree.
    fn check_reclaim(&self) -> Result<(), Violation> {
        let (reclaim, folios) = (&self.memory.reclaim, &self.memory.folios);
        reclaim.lru.check()?;
        reclaim.cache.check()?;
        for (page, id) in reclaim.cache.iter() {
            let knows = folios.get(id).and_then(Folio::file_page);
            same(format_args!("page that {id} of the page cache is"), knows, Some(page))?;
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
            same(format_args!("LRU list of {id}"), listed, kind)?;
        }
        same("cached pages", reclaim.cache.pages(), cached)?;
        same("dirty pages", reclaim.dirty_pages(), dirty)?;
        same("pages being written", reclaim.writeback_pages(), written)?;
        let mut slots: BTreeMap<SwapSlot, u32> = BTreeMap::new();
        for (_, slot) in self.spaces.values().flat_map(|space| space.table().all_swapped()) {
            *slots.entry(slot).or_default() += 1;
        }
        reclaim.swap.check(&slots.into_iter().collect::<Vec<_>>())
    }

    fn check_tagged_entry(&self, id: FolioId, vma: &Vma, pte: Pte) -> Result<(), Violation> {
        let tagged = vma.is_tagged() && !pte.faults_on_access();
        let has_tags = !tagged || self.is_taggable_now(id);
        same(format_args!("{id}, accessible with tags, has tag storage"), has_tags, true)
    }

    fn check_tagged_folios(&self) -> Result<(), Violation> {
        if self.tags.is_empty() {
            // Tags that memory keeps by itself have no place of their own.
            return Ok(());
        }
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
        let said = emulator.check().unwrap_err().to_string();
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
            ": None instead of Some(Anon)",
        );
        caught(
            |emulator, _, page| emulator.memory.reclaim.cache.set(page, CacheEntry::Absent),
            "cached pages: 0 instead of 1",
        );
        caught(
            |emulator, space, page| {
                let other = mapped(emulator, space);
                emulator.memory.reclaim.cache.set(page, CacheEntry::Present(other));
            },
            "of the page cache is: None instead of Some(",
        );
        caught(
            |emulator, _, page| {
                let CacheEntry::Present(id) = emulator.memory.reclaim.cache.get(page) else {
                    panic!("it was written")
                };
                emulator.memory.folios.clear_flag(id, FolioFlags::DIRTY);
            },
            "dirty pages: 1 instead of 0",
        );
        caught(
            |emulator, space, _| {
                let table = emulator.spaces.get_mut(&space).unwrap().table_mut();
                table.set(VirtPage::new(1), Pte::swapped(SwapSlot::new(5)));
            },
            "users of swap slot 5: 0 instead of 1",
        );
        caught(
            |emulator, space, _| {
                let table = emulator.spaces.get_mut(&space).unwrap().table_mut();
                table.set(VirtPage::new(0), Pte::EMPTY);
            },
            "with 1 mappings: 0 instead of 1",
        );
    }
}
