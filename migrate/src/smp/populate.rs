//! Tag storage for all pages of a range at once, as if each was accessed.
//! Linux: `MADV_POPULATE_WRITE` after `mprotect(PROT_MTE)`.
//!
//! What faults take one by one (`mprotect.rs`) is taken for all: the table's lock, a count for the
//! pages of a block, a claim for neighbouring blocks. No page is held meanwhile. Instead each entry
//! is looked at again once its frame's tags are reserved, and gets them if the page still lies
//! there: an entry that maps a page has a reference, without which nobody moves or frees it, and it
//! stays while the table's lock is held.

use core::num::NonZeroU32;
use core::ops::Range;

use pagelab_allocator::smp::{Cpu, Exclusive};
use pagelab_allocator::units::{Pfn, PfnRange};

use crate::smp::page_table::{Entry, Mapping, SharedTable, Tags};
use crate::smp::positions::positions_by_frame;
use crate::smp::reserve::Demand;
use crate::smp::step::Step;
use crate::smp::{Placement, SharedMemory};
use crate::tag_storage::map::TagMap;

/// Entries that are looked at under one hold of the table's lock: two to the power of this.
const BATCH_BITS: u32 = 12;

/// What came of a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Populated {
    /// Pages that got accessible.
    pub tagged: usize,
    /// Pages that are left to their next access: page, entry or tag block are in the hands of
    /// others, or no region holds their tags.
    pub left: usize,
}

/// A page that waits for tag storage.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// Where it lay.
    frame: Pfn,
    index: u32,
    /// The demand that counts it in its tag block, from one on, unless it had tags already, or can
    /// have none.
    demand: Option<NonZeroU32>,
}

/// What a look at a table found.
#[derive(Debug, Default)]
struct Found {
    waiting: Vec<Waiting>,
    /// Pages in tag storage.
    inside: Vec<usize>,
    /// Where these lie.
    leaving: Vec<Pfn>,
    /// Pages about to move.
    moving: usize,
}

impl Found {
    /// Room for as many pages in tag storage as there may be: a list that grows is written twice.
    #[cold]
    fn reserve_inside(&mut self) {
        self.inside.reserve(self.waiting.capacity());
        self.leaving.reserve(self.waiting.capacity());
    }

    fn add(&mut self, map: &TagMap, index: usize, entry: &Entry) {
        let Some(mapping) = entry.mapping().filter(|page| page.tags == Tags::OnAccess) else {
            return;
        };
        let frame = mapping.folio().frame();
        if entry.is_migration() {
            self.moving += 1;
        } else if map.is_tag_storage(frame) {
            if self.inside.is_empty() {
                self.reserve_inside();
            }
            self.inside.push(index);
            self.leaving.push(frame);
        } else {
            // Demands are numbered once they are sorted.
            let demand = (!mapping.folio().is_tagged()).then_some(NonZeroU32::MIN);
            let index = u32::try_from(index).expect("a table has fewer than 2^32 pages");
            self.waiting.push(Waiting { index, frame, demand });
        }
    }
}

impl<P: Exclusive> SharedMemory<P> {
    /// Finds tag storage for the pages of `range` that wait for it and makes them accessible.
    ///
    /// # Panics
    ///
    /// Panics when the table is shorter.
    pub fn populate_tags(
        &self,
        cpu: &mut Cpu<P>,
        table: &SharedTable,
        range: Range<usize>,
    ) -> Populated {
        self.admit_with(cpu, table.anon());
        let mut sum = Populated::default();
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min(start + (1 << BATCH_BITS));
            let part = self.populate_batch(cpu, table, start..end);
            sum.tagged += part.tagged;
            sum.left += part.left;
            start = end;
        }
        sum
    }

    fn populate_batch(
        &self,
        cpu: &mut Cpu<P>,
        table: &SharedTable,
        range: Range<usize>,
    ) -> Populated {
        let (map, mut found) = (self.tags.map(), Found::default());
        found.waiting.reserve(range.len());
        let entries = table.lock();
        let batch = range.clone().zip(&entries[range]);
        batch.for_each(|(index, entry)| found.add(map, index, entry));
        drop(entries);
        if !found.inside.is_empty() {
            // Tag storage has no tags: these go elsewhere, and are looked at again there.
            let inside = core::mem::take(&mut found.inside);
            let mut leaving = core::mem::take(&mut found.leaving);
            leaving.sort_unstable();
            self.migrate_frames(cpu, &leaving, Placement::Taggable);
            let entries = table.lock();
            inside.into_iter().for_each(|index| found.add(map, index, &entries[index]));
        }
        let demands = self.reserve_waiting(cpu, &mut found.waiting);
        self.make_accessible(cpu, table, &found, &demands)
    }

    /// Reserves for the pages that need it, all pages of a block in one demand; tells each which.
    fn reserve_waiting(&self, cpu: &mut Cpu<P>, waiting: &mut [Waiting]) -> Vec<Demand> {
        let mut demands: Vec<Demand> = Vec::with_capacity(waiting.len());
        let (map, mut covered) = (self.tags.map(), PfnRange::new(Pfn::new(0), Pfn::new(0)));
        for at in positions_by_frame(waiting, |page| page.frame) {
            let page = &mut waiting[usize::from(at)];
            if page.demand.take().is_none() {
                continue;
            }
            match demands.last_mut() {
                Some(last) if covered.contains(page.frame) => last.add_page(),
                _ => {
                    let Some((block, group)) = map.group_of(page.frame) else { continue };
                    covered = group;
                    demands.push(Demand::new(block));
                }
            }
            page.demand = u32::try_from(demands.len()).ok().and_then(NonZeroU32::new);
        }
        self.reserve_blocks(cpu, &mut demands);
        demands
    }

    /// Lets programs access the pages that still lie where they were, and gives back what was
    /// reserved for others.
    fn make_accessible(
        &self,
        cpu: &mut Cpu<P>,
        table: &SharedTable,
        found: &Found,
        demands: &[Demand],
    ) -> Populated {
        let mut sum = Populated { tagged: 0, left: found.moving + found.inside.len() };
        let mut surplus = Vec::new();
        let mut entries = table.lock();
        for page in &found.waiting {
            let counted = page.demand.is_some_and(|nth| demands[nth.get() as usize - 1].is_met());
            match self.waiting_at(&mut entries[page.index as usize], page.frame) {
                Some(mapping) if counted || mapping.folio().is_tagged() => {
                    mapping.tags = Tags::Tagged;
                    sum.tagged += 1;
                    // Another address space may have been faster, and the page counts once.
                    if counted && !mapping.folio().try_tag_locked(self.steps) {
                        surplus.push(page.frame);
                    }
                }
                _ => {
                    sum.left += 1;
                    surplus.extend(counted.then_some(page.frame));
                }
            }
        }
        drop(entries);
        surplus.into_iter().for_each(|frame| self.release_tags(cpu, frame));
        sum
    }

    /// The page that an entry maps, if it waits for tags and lies in `frame`.
    fn waiting_at<'a>(&self, entry: &'a mut Entry, frame: Pfn) -> Option<&'a mut Mapping> {
        let mapping = entry.present_mut()?;
        let looks = self.steps.has(Step::PopulateLooksAgain);
        let there = !looks || mapping.folio().frame() == frame;
        (there && mapping.tags == Tags::OnAccess).then_some(mapping)
    }
}
