//! Tag storage for all pages of a range at once, as if each was accessed.
//! Linux: `MADV_POPULATE_WRITE` after `mprotect(PROT_MTE)`.
//!
//! What faults take one by one (`mprotect.rs`) is taken for all: the table's lock, a count for the
//! pages of a block, a claim for neighbouring blocks. No page is held meanwhile. Instead each entry
//! is looked at again once its frame's tags are reserved, and gets them if the page still lies
//! there: an entry that maps a page has a reference, without which nobody moves or frees it, and it
//! stays while the table's lock is held.

use core::ops::Range;

use pagelab_allocator::smp::{Cpu, Exclusive};
use pagelab_allocator::units::Pfn;

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
    index: usize,
    /// Where it lay.
    frame: Pfn,
    /// The demand that counts it in its tag block, unless it had tags already, or can have none.
    demand: Option<usize>,
}

/// What a look at a table found.
#[derive(Debug, Default)]
struct Found {
    waiting: Vec<Waiting>,
    /// Pages in tag storage.
    inside: Vec<(usize, Pfn)>,
    /// Pages about to move.
    moving: usize,
}

impl Found {
    fn add(&mut self, map: &TagMap, index: usize, entry: &Entry) {
        let (mapping, moves) = match entry {
            Entry::None => return,
            Entry::Migration(mapping) => (mapping, true),
            Entry::Present(mapping) => (mapping, false),
        };
        if mapping.tags != Tags::OnAccess {
            return;
        }
        let frame = mapping.folio.frame();
        if moves {
            self.moving += 1;
        } else if map.is_tag_storage(frame) {
            self.inside.push((index, frame));
        } else {
            // Demands are numbered once they are sorted.
            let demand = (!mapping.folio.is_tagged()).then_some(0);
            self.waiting.push(Waiting { index, frame, demand });
        }
    }
}

/// Reads where the pages lie, and nothing else: cache misses then come all at once.
fn look_ahead(entries: &[Entry]) {
    let frames = entries.iter().filter_map(Entry::present).map(|page| page.folio.frame().get());
    core::hint::black_box(frames.fold(0, |seen, frame| seen ^ frame));
}

/// Positions of pages, ascending by frame. Words are sorted faster than pages.
fn by_frame(pages: &[Waiting]) -> impl Iterator<Item = usize> + use<> {
    let key = |(at, page): (u64, &Waiting)| page.frame.get() << BATCH_BITS | at;
    let mut keys: Vec<u64> = (0..).zip(pages).map(key).collect();
    keys.sort_unstable();
    let position = |key: u64| key & ((1 << BATCH_BITS) - 1);
    keys.into_iter().map(move |key| usize::try_from(position(key)).expect("below the batch"))
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
        look_ahead(&entries[range.clone()]);
        range.for_each(|index| found.add(map, index, &entries[index]));
        drop(entries);
        if !found.inside.is_empty() {
            // Tag storage has no tags: these go elsewhere, and are looked at again there.
            let mut inside = core::mem::take(&mut found.inside);
            inside.sort_unstable_by_key(|&(_, frame)| frame);
            let frames: Vec<Pfn> = inside.iter().map(|&(_, frame)| frame).collect();
            self.migrate_frames(cpu, &frames, Placement::Taggable);
            let entries = table.lock();
            inside.iter().for_each(|&(index, _)| found.add(map, index, &entries[index]));
        }
        let demands = self.reserve_waiting(cpu, &mut found.waiting);
        self.make_accessible(cpu, table, &found, &demands)
    }

    /// Reserves for pages.
    fn reserve_waiting(&self, cpu: &mut Cpu<P>, waiting: &mut [Waiting]) -> Vec<Demand> {
        let mut demands: Vec<Demand> = Vec::with_capacity(waiting.len());
        let map = self.tags.map();
        for at in by_frame(waiting) {
            let page = &mut waiting[at];
            let wants = page.demand.take().and_then(|_| map.block_of(page.frame));
            let Some(block) = wants else { continue };
            match demands.last_mut() {
                Some(last) if last.block == block => last.pages += 1,
                _ => demands.push(Demand::new(map, block)),
            }
            page.demand = Some(demands.len() - 1);
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
            let counted = page.demand.is_some_and(|at| demands[at].is_met);
            match self.waiting_at(&mut entries[page.index], page.frame) {
                Some(mapping) if counted || mapping.folio.is_tagged() => {
                    mapping.tags = Tags::Tagged;
                    sum.tagged += 1;
                    // Another address space may have been faster, and the page counts once.
                    if counted && !mapping.folio.try_tag() {
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
        let Entry::Present(mapping) = entry else { return None };
        let looks = self.steps.has(Step::PopulateLooksAgain);
        let there = !looks || mapping.folio.frame() == frame;
        (there && mapping.tags == Tags::OnAccess).then_some(mapping)
    }
}
