//! Address spaces: the mapped ranges and the page table of one process.
//!
//! A space knows ranges and entries, not folios; `Emulator` keeps both sides in step.

use std::collections::BTreeMap;

use pagelab_allocator::check::{Violation, same};

use crate::folio::VirtPage;
use crate::page_table::PageTable;
use crate::vma::{Backing, Prot, VirtRange, Vma};

/// Where the search for unused addresses begins.
const MMAP_BASE: VirtPage = VirtPage::new(0x1_0000);

/// Why a range could not be mapped or changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpaceError {
    /// `PROT_MTE` needs anonymous or shared memory. Linux: `-EINVAL`.
    #[error("{0} cannot be tagged")]
    NotTaggable(VirtRange),
    /// The range has no pages. Linux: `-EINVAL`.
    #[error("empty range")]
    Empty,
    /// Something is mapped there already. Linux: `-EEXIST` of `MAP_FIXED_NOREPLACE`.
    #[error("{0} is mapped already")]
    Occupied(VirtRange),
    /// A page of the range is not mapped. Linux: `-ENOMEM`.
    #[error("{0} is not mapped")]
    Unmapped(VirtPage),
}

/// The mapped ranges and the page table of one process. Linux: `struct mm_struct`.
///
/// Invariants, checked by [`AddressSpace::check`]:
///
/// - Ranges do not overlap, and no two neighbours could be one.
/// - Only ranges that may be tagged are.
/// - Every entry of the page table lies in a range.
#[derive(Clone, Debug, Default)]
pub struct AddressSpace {
    vmas: BTreeMap<VirtPage, Vma>,
    table: PageTable,
}

impl AddressSpace {
    /// A space with nothing mapped.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The range that holds `page`. Linux: `vma_lookup()`.
    #[must_use]
    pub fn vma_at(&self, page: VirtPage) -> Option<&Vma> {
        let (_, vma) = self.vmas.range(..=page).next_back()?;
        vma.range().contains(page).then_some(vma)
    }

    /// The ranges, ascending.
    pub fn vmas(&self) -> impl Iterator<Item = &Vma> {
        self.vmas.values()
    }

    /// The page table.
    #[must_use]
    pub const fn table(&self) -> &PageTable {
        &self.table
    }

    /// The page table, for whoever keeps folios and entries in step.
    pub(crate) const fn table_mut(&mut self) -> &mut PageTable {
        &mut self.table
    }

    /// The lowest unused addresses for `pages` pages, at a multiple of `align` pages.
    /// Linux: `get_unmapped_area()`, bottom up.
    ///
    /// # Panics
    ///
    /// Panics when `align` is zero.
    #[must_use]
    pub fn unmapped_area(&self, pages: u64, align: u64) -> VirtRange {
        let mut at = MMAP_BASE.get().next_multiple_of(align);
        for vma in self.vmas.values() {
            if at + pages <= vma.range().start().get() {
                break;
            }
            at = at.max(vma.range().end().get()).next_multiple_of(align);
        }
        VirtRange::from_len(VirtPage::new(at), pages)
    }

    /// Maps `range`, populating nothing. Linux: `mmap()` with `MAP_FIXED_NOREPLACE`.
    ///
    /// # Errors
    ///
    /// [`SpaceError`] when the range is empty, in use, or may not have tags that `prot` asks for.
    pub fn map(
        &mut self,
        range: VirtRange,
        prot: Prot,
        backing: Backing,
    ) -> Result<(), SpaceError> {
        if range.is_empty() {
            return Err(SpaceError::Empty);
        }
        if prot.contains(Prot::MTE) && !backing.allows_tags() {
            return Err(SpaceError::NotTaggable(range));
        }
        if self.overlapping(range).next().is_some() {
            return Err(SpaceError::Occupied(range));
        }
        self.insert(Vma::new(range, prot, backing));
        Ok(())
    }

    /// Forgets the mapped parts of `range`; the caller has removed their entries.
    /// Linux: the range part of `do_vmi_munmap()`.
    pub(crate) fn unmap(&mut self, range: VirtRange) {
        for vma in self.take_overlapping(range) {
            self.put_outside(&vma, range);
        }
    }

    /// Gives `range` the rights `prot`; tags can be added but never taken away. Returns the parts
    /// whose rights changed, as they were before. Linux: `mprotect()`.
    ///
    /// # Errors
    ///
    /// [`SpaceError`] when a page is not mapped or may not have tags; nothing changes then. (Linux
    /// changes the ranges before the first hole.)
    pub(crate) fn protect(&mut self, range: VirtRange, prot: Prot) -> Result<Vec<Vma>, SpaceError> {
        self.check_protect(range, prot)?;
        let mut changed = Vec::new();
        for vma in self.take_overlapping(range) {
            // Linux keeps VM_MTE whatever the new protection says.
            let kept = prot | (vma.prot() & Prot::MTE);
            let before = vma.part(range, vma.prot()).expect("the range overlaps");
            let after = vma.part(range, kept).expect("the range overlaps");
            self.put_outside(&vma, range);
            self.insert(after);
            if before != after {
                changed.push(before);
            }
        }
        Ok(changed)
    }

    /// Whether [`AddressSpace::protect`] would succeed.
    ///
    /// # Errors
    ///
    /// The same.
    pub(crate) fn check_protect(&self, range: VirtRange, prot: Prot) -> Result<(), SpaceError> {
        if range.is_empty() {
            return Err(SpaceError::Empty);
        }
        self.check_mapped(range)?;
        let refuses = |vma: &&Vma| prot.contains(Prot::MTE) && !vma.backing().allows_tags();
        let refusing = self.overlapping(range).find(refuses);
        refusing.map_or(Ok(()), |vma| Err(SpaceError::NotTaggable(vma.range())))
    }

    /// Whether every page of `range` is mapped.
    ///
    /// # Errors
    ///
    /// [`SpaceError::Unmapped`] with the first page that is not.
    pub fn check_mapped(&self, range: VirtRange) -> Result<(), SpaceError> {
        let mut at = range.start();
        while at < range.end() {
            at = self.vma_at(at).ok_or(SpaceError::Unmapped(at))?.range().end();
        }
        Ok(())
    }

    /// A space with the same ranges and an empty page table. Linux: `dup_mmap()`.
    #[must_use]
    pub(crate) fn same_ranges(&self) -> Self {
        Self { vmas: self.vmas.clone(), table: PageTable::default() }
    }

    /// Ranges that touch `range`, ascending.
    pub fn overlapping(&self, range: VirtRange) -> impl Iterator<Item = &Vma> {
        let before = self.vma_at(range.start()).map_or(range.start(), |vma| vma.range().start());
        self.vmas.range(before..range.end()).map(|(_, vma)| vma)
    }

    fn take_overlapping(&mut self, range: VirtRange) -> Vec<Vma> {
        let found: Vec<_> = self.overlapping(range).copied().collect();
        for vma in &found {
            self.vmas.remove(&vma.range().start());
        }
        found
    }

    /// Puts back the parts of `vma` before and behind `range`.
    fn put_outside(&mut self, vma: &Vma, range: VirtRange) {
        let whole = vma.range();
        let head = VirtRange::new(whole.start(), range.start().max(whole.start()));
        let tail = VirtRange::new(range.end().min(whole.end()), whole.end());
        for part in [head, tail].into_iter().filter_map(|side| vma.part(side, vma.prot())) {
            self.insert(part);
        }
    }

    /// Inserts a range and merges it with its neighbours. Linux: `vma_merge()`.
    fn insert(&mut self, mut vma: Vma) {
        let before = self.vmas.range(..vma.range().start()).next_back().map(|(_, vma)| *vma);
        if let Some(merged) = before.and_then(|before| before.merged(&vma)) {
            vma = merged;
        }
        let after = self.vmas.get(&vma.range().end()).copied();
        if let Some((after, merged)) = after.and_then(|a| Some((a, vma.merged(&a)?))) {
            self.vmas.remove(&after.range().start());
            vma = merged;
        }
        self.vmas.insert(vma.range().start(), vma);
    }

    /// Recomputes the invariants.
    ///
    /// # Errors
    ///
    /// The first [`Violation`].
    pub fn check(&self) -> Result<(), Violation> {
        let mut previous: Option<&Vma> = None;
        for vma in self.vmas.values() {
            same(format_args!("{vma:?} is empty"), vma.range().is_empty(), false)?;
            let is_allowed = !vma.is_tagged() || vma.backing().allows_tags();
            same(format_args!("{vma:?} may have its rights"), is_allowed, true)?;
            if let Some(before) = previous {
                let (a, b) = (before.range(), vma.range());
                same(format_args!("{a} overlaps {b}"), a.end() > b.start(), false)?;
                let unmerged = before.merged(vma).is_some();
                same(format_args!("{a} can be merged with {b}"), unmerged, false)?;
            }
            previous = Some(vma);
        }
        self.table.check()?;
        let inside = |vma: &Vma| self.table.entries(vma.range()).count();
        let inside: usize = self.vmas.values().map(inside).sum();
        if u64::try_from(inside) == Ok(self.table.len()) {
            return Ok(());
        }
        self.find_stray_entry()
    }

    /// The first entry that lies in no range.
    fn find_stray_entry(&self) -> Result<(), Violation> {
        for (page, pte) in self.table.iter() {
            let is_mapped = self.vma_at(page).is_some();
            same(format_args!("{page}, where {pte:?} is, is mapped"), is_mapped, true)?;
        }
        for (page, slot) in self.table.all_swapped() {
            let is_mapped = self.vma_at(page).is_some();
            same(format_args!("{page}, where {slot:?} is, is mapped"), is_mapped, true)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folio::FolioId;
    use crate::page_table::Pte;
    use crate::vma::ShmemId;

    fn range(start: u64, end: u64) -> VirtRange {
        VirtRange::new(VirtPage::new(start), VirtPage::new(end))
    }

    fn anon(space: &mut AddressSpace, start: u64, end: u64, prot: Prot) {
        space.map(range(start, end), prot, Backing::Anon).unwrap();
    }

    #[track_caller]
    fn check(space: &AddressSpace, expected: &[(u64, u64, Prot)]) {
        space.check().unwrap();
        let got: Vec<_> = space
            .vmas()
            .map(|v| (v.range().start().get(), v.range().end().get(), v.prot()))
            .collect();
        assert_eq!(got, expected);
    }

    const RW: Prot = Prot::READ_WRITE;
    const TAGGED: Prot = Prot::TAGGED;

    #[test]
    fn neighbours_with_equal_rights_are_one_range() {
        let mut space = AddressSpace::new();
        anon(&mut space, 0, 4, RW);
        anon(&mut space, 8, 12, RW);
        anon(&mut space, 4, 8, RW);
        check(&space, &[(0, 12, RW)]);
        assert_eq!(
            space.map(range(11, 13), RW, Backing::Anon),
            Err(SpaceError::Occupied(range(11, 13)))
        );
    }

    #[test]
    fn protecting_a_part_splits_and_merges() {
        let mut space = AddressSpace::new();
        anon(&mut space, 0, 12, RW);
        assert_eq!(space.protect(range(4, 8), TAGGED).unwrap().len(), 1);
        check(&space, &[(0, 4, RW), (4, 8, TAGGED), (8, 12, RW)]);
        // Tags stay although the new rights do not name them.
        assert_eq!(space.protect(range(4, 8), RW).unwrap().len(), 0);
        assert_eq!(space.protect(range(0, 12), TAGGED).unwrap().len(), 2);
        check(&space, &[(0, 12, TAGGED)]);
        assert_eq!(space.protect(range(10, 14), RW), Err(SpaceError::Unmapped(VirtPage::new(12))));
    }

    #[test]
    fn unmapping_a_part_leaves_both_sides() {
        let mut space = AddressSpace::new();
        let id = ShmemId::new(3);
        space.map(range(10, 20), RW, Backing::Shmem { id, offset: 5 }).unwrap();
        space.unmap(range(12, 15));
        check(&space, &[(10, 12, RW), (15, 20, RW)]);
        assert_eq!(space.vma_at(VirtPage::new(12)), None);
        let tail = space.vma_at(VirtPage::new(16)).unwrap();
        assert_eq!(tail.shmem_page(VirtPage::new(16)), Some((id, 11)));
        space.map(range(12, 15), RW, Backing::Shmem { id, offset: 7 }).unwrap();
        check(&space, &[(10, 20, RW)]);
    }

    #[test]
    fn files_cannot_be_tagged() {
        let mut space = AddressSpace::new();
        let refused = Err(SpaceError::NotTaggable(range(0, 4)));
        assert_eq!(space.map(range(0, 4), TAGGED, Backing::File), refused);
        space.map(range(0, 4), RW, Backing::File).unwrap();
        anon(&mut space, 4, 8, RW);
        assert_eq!(space.protect(range(0, 8), TAGGED).map(|_| ()), refused);
        check(&space, &[(0, 4, RW), (4, 8, RW)]);
    }

    #[test]
    fn canary_an_entry_outside_every_range() {
        let mut space = AddressSpace::new();
        anon(&mut space, 0, 4, RW);
        for page in [1, 4] {
            space.check().unwrap();
            space
                .table_mut()
                .set(VirtPage::new(page), Pte::new(FolioId::new(page.try_into().unwrap())));
        }
        let said = space.check().unwrap_err().to_string();
        assert_eq!(said, "virtual page 0x4, where folio 4 is, is mapped: false instead of true");
    }

    #[test]
    fn unused_addresses_are_found_bottom_up() {
        let mut space = AddressSpace::new();
        let first = space.unmapped_area(10, 1);
        assert_eq!(first, VirtRange::from_len(MMAP_BASE, 10));
        space.map(first, RW, Backing::Anon).unwrap();
        assert_eq!(space.unmapped_area(512, 512).start().get(), 0x1_0200);
        assert_eq!(space.unmapped_area(1, 1).start().get(), 0x1_000a);
    }
}
