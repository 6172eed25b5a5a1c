//! Who needs which block of tag storage. Linux (RFC v3): arch/arm64/kernel/mte_tag_storage.c.
//!
//! A block's count is the number of pages with tags in it; at zero it is lent out as CMA memory. A
//! count that is not zero is raised and lowered by anyone without a lock. From zero it is raised by
//! a reserver that holds the region's mutex and has taken the block from the allocator; to zero it
//! is lowered under a second lock, under which the block goes back as well. A free therefore never
//! waits for a reserver, which may have to wait for pages to move.

use core::ops::Range;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use pagelab_allocator::smp::{Cpu, Exclusive, Steps};
use pagelab_allocator::sync::Mutex;
use pagelab_allocator::sync::atomic::AtomicU32;
use pagelab_allocator::units::{Order, Pfn, PfnRange};

use crate::smp::SharedMemory;
use crate::smp::step::Step;
use crate::tag_storage::map::{TagBlockId, TagMap};
use crate::tag_storage::region::TagRegion;

/// Why tag storage was not reserved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReserveError {
    /// No region holds tags of that frame. Linux: `-ERANGE`.
    #[error("the frame has no tag storage")]
    NoTagStorage,
    /// The block could not be emptied, or somebody else claims next to it. Linux: `-EBUSY`.
    #[error("the tag block is in use")]
    Busy,
}

/// The blocks of all regions.
#[derive(Debug)]
pub struct SharedTagBlocks {
    map: TagMap,
    regions: Vec<Region>,
    counts: Vec<AtomicU32>,
}

/// The locks of a region.
#[derive(Debug)]
pub(super) struct Region {
    /// Its blocks, which are numbered in a row.
    blocks: Range<usize>,
    /// Where they lie.
    place: TagRegion,
    /// Linux (RFC): `tag_blocks_lock`.
    pub(super) reservers: Mutex<()>,
    /// Linux (RFC): the lock of the xarray `tag_blocks_reserved`.
    pub(super) releases: Mutex<()>,
}

impl Region {
    /// Whether the block lies in it.
    pub(super) fn has(&self, block: TagBlockId) -> bool {
        self.blocks.contains(&block.index())
    }

    /// Whether each of its blocks is a page.
    pub(super) fn has_single_pages(&self) -> bool {
        self.place.block_pages() == Order::ZERO.pages()
    }

    /// The frames of a block of it.
    pub(super) fn range(&self, block: TagBlockId) -> PfnRange {
        self.place.block_range((block.index() - self.blocks.start) as u64)
    }
}

impl SharedTagBlocks {
    pub(super) fn new(map: TagMap) -> Self {
        let mut first = 0;
        let regions = map.regions().map(|region| {
            let end = first + usize::try_from(region.blocks()).expect("fewer than 2^32 tag blocks");
            let blocks = core::mem::replace(&mut first, end)..end;
            Region { blocks, place: *region, reservers: Mutex::new(()), releases: Mutex::new(()) }
        });
        let regions = regions.collect();
        let counts = map.ids().map(|_| AtomicU32::new(0)).collect();
        Self { map, regions, counts }
    }

    /// Which block holds whose tags.
    #[must_use]
    pub const fn map(&self) -> &TagMap {
        &self.map
    }

    /// Pages with tags in `block`; zero while it is lent out.
    ///
    /// # Panics
    ///
    /// Panics when there is no such block.
    #[must_use]
    pub fn count(&self, block: TagBlockId) -> u32 {
        self.counts[block.index()].load(Acquire)
    }

    pub(super) fn region(&self, block: TagBlockId) -> &Region {
        let region = self.regions.iter().find(|region| region.has(block));
        region.expect("a block lies in a region")
    }

    /// Counts more pages, if the block is reserved.
    pub(super) fn try_get(&self, block: TagBlockId, pages: u32) -> bool {
        let more = |count: u32| (count > 0).then(|| count + pages);
        self.counts[block.index()].fetch_update(AcqRel, Relaxed, more).is_ok()
    }

    /// Counts the first pages of a block that was just taken from the allocator.
    pub(super) fn get_first(&self, block: TagBlockId, pages: u32, steps: Steps<Step>) {
        let order = if steps.has(Step::CountPublishes) { Release } else { Relaxed };
        self.counts[block.index()].store(pages, order);
    }

    /// Counts one page less, unless it is the last.
    fn try_put(&self, block: TagBlockId, steps: Steps<Step>) -> bool {
        let order = if steps.has(Step::CountPublishes) { AcqRel } else { Relaxed };
        let fewer = |count: u32| (count > 1).then(|| count - 1);
        self.counts[block.index()].fetch_update(order, Relaxed, fewer).is_ok()
    }

    /// Counts one page less; says whether it was the last.
    fn put(&self, block: TagBlockId, steps: Steps<Step>) -> bool {
        let count = &self.counts[block.index()];
        if steps.has(Step::LastPutLooksAgain) {
            let fewer = count.fetch_update(AcqRel, Relaxed, |count| count.checked_sub(1));
            let Ok(before) = fewer else { panic!("a tagged page's block is reserved") };
            return before == 1;
        }
        count.store(0, Release);
        true
    }
}

impl<P: Exclusive> SharedMemory<P> {
    /// Counts one page less in the tag block of `frame`, which is lent out again after the last.
    /// Linux (RFC v3): `free_tag_storage()`.
    ///
    /// # Panics
    ///
    /// Panics when `frame` has no tag storage, or its block is not reserved.
    pub fn release_tags(&self, cpu: &mut Cpu<P>, frame: Pfn) {
        self.admit(cpu);
        let block = self.tags.map.block_of(frame).expect("a tagged page has tag storage");
        if self.tags.try_put(block, self.steps) {
            return;
        }
        let releases = self.tags.region(block).releases.lock();
        let last = self.tags.put(block, self.steps);
        let _releases = self.steps.has(Step::LastPutGivesBack).then_some(releases);
        if last {
            for tags in self.tags.map.range(block).iter() {
                let page = self.alloc.reclaim(tags, Order::ZERO);
                cpu.free_pages(page.expect("a reserved block is allocated"));
            }
        }
    }
}
