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
    fn add(&mut self, map: &TagMap, index: usize, entry: &Entry) {
        let Some(mapping) = entry.mapping().filter(|page| page.tags == Tags::OnAccess) else {
            return;
        };
        let frame = mapping.folio().frame();
        if entry.is_migration() {
            self.moving += 1;
        } else if map.is_tag_storage(frame) {
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

/// The most bits of a frame's number that one pass over the pages sorts by.
const DIGIT_BITS: u32 = 9;

/// Positions of pages, ascending by frame: pages stay where they are, positions are small.
fn by_frame(pages: &[Waiting]) -> Vec<u16> {
    let mut positions: Vec<u16> = (0..1 << BATCH_BITS).take(pages.len()).collect();
    if pages.is_sorted_by_key(|page| page.frame) {
        return positions;
    }
    let first = pages[0].frame.get();
    let differ = pages.iter().fold(0, |bits, page| bits | (page.frame.get() ^ first));
    let bits = u64::BITS - differ.leading_zeros();
    // Passes of the same width: as few as there can be, and no wider than they have to.
    let width = bits.div_ceil(bits.div_ceil(DIGIT_BITS));
    let mut sorted = positions.clone();
    for from in (0..bits).step_by(width as usize) {
        sort_by_digit(pages, from..from + width, &positions, &mut sorted);
        core::mem::swap(&mut positions, &mut sorted);
    }
    positions
}

/// Sorts positions by some bits of the frames, and leaves those alone that differ in none of them.
fn sort_by_digit(pages: &[Waiting], bits: Range<u32>, positions: &[u16], sorted: &mut [u16]) {
    let mask = (1 << (bits.end - bits.start)) - 1;
    let digit = |page: &Waiting| {
        usize::try_from(page.frame.get() >> bits.start & mask).expect("fewer digits than counts")
    };
    let mut ends = [0_u16; 1 << DIGIT_BITS];
    pages.iter().for_each(|page| ends[digit(page)] += 1);
    let mut start = 0;
    ends.iter_mut().for_each(|end| start += core::mem::replace(end, start));
    for &position in positions {
        let end = &mut ends[digit(&pages[usize::from(position)])];
        sorted[usize::from(*end)] = position;
        *end += 1;
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
        for at in by_frame(waiting) {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pages_ascend_by_frame(
            frames in prop::collection::vec(prop_oneof![0u64..2000, 0u64..1 << 40], 0..300),
        ) {
            let page = |&frame: &u64| Waiting { frame: Pfn::new(frame), index: 0, demand: None };
            let pages: Vec<Waiting> = frames.iter().map(page).collect();
            let mut expected: Vec<usize> = (0..pages.len()).collect();
            expected.sort_by_key(|&at| frames[at]);
            let positions: Vec<usize> = by_frame(&pages).into_iter().map(usize::from).collect();
            prop_assert_eq!(positions, expected);
        }
    }
}
