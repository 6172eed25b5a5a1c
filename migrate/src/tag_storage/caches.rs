//! Dirty cache lines, as far as tag storage makes them dangerous.
//!
//! Tag storage is written in two ways: as data, and as tags. A dirty line of the old kind that is
//! written back after the block changed its use destroys what the new use stored. Two invalidations
//! prevent it; each can be left out to see that the model notices.

use pagelab_allocator::units::{Pfn, PfnRange};

use super::map::{TagBlockId, TagMap};
use super::page_set::PageSet;

/// Whether an invalidation is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Maintenance {
    /// As the architecture demands.
    #[default]
    Performed,
    /// Left out: the canary.
    Omitted,
}

/// Which lines are dirty, what was invalidated, and what was destroyed.
#[derive(Clone, Debug, Default)]
pub struct Caches {
    /// Frames of tag storage with dirty lines of data.
    data: PageSet,
    /// Data pages with dirty lines of tags.
    tags: PageSet,
    data_maintenance: Maintenance,
    tag_maintenance: Maintenance,
    data_invalidations: u64,
    tag_invalidations: u64,
    corruptions: u64,
}

impl Caches {
    /// Clean caches of a machine whose frames are `span`.
    #[must_use]
    pub fn new(span: PfnRange) -> Self {
        Self { data: PageSet::new(span), tags: PageSet::new(span), ..Self::default() }
    }

    /// Leaves invalidations out, or does them again: of data lines when a block is reserved, of tag
    /// lines when tagged pages are freed.
    pub fn set_maintenance(&mut self, data: Maintenance, tags: Maintenance) {
        (self.data_maintenance, self.tag_maintenance) = (data, tags);
    }

    /// The CPU stored data into frames of tag storage.
    pub fn wrote_data(&mut self, frames: PfnRange) {
        self.data.insert(frames);
    }

    /// The CPU stored tags of a data page.
    pub fn wrote_tags(&mut self, pfn: Pfn) {
        self.tags.insert(PfnRange::from_len(pfn, super::ONE_PAGE));
    }

    /// A block becomes tag storage. Linux (RFC): `dcache_inval_tags_poc()` over the block.
    pub fn reserved(&mut self, block: PfnRange) {
        self.data_invalidations += 1;
        if self.data_maintenance == Maintenance::Performed {
            self.data.remove(block);
        }
        self.corruptions += self.data.remove(block).get();
    }

    /// Tagged pages are freed. Linux (RFC): the tag-cache invalidation of `free_tag_storage()`,
    /// done for every page, not only for the last of a block.
    pub fn freed(&mut self, pages: PfnRange) {
        self.tag_invalidations += 1;
        if self.tag_maintenance == Maintenance::Performed {
            self.tags.remove(pages);
        }
    }

    /// A block becomes data.
    pub fn released(&mut self, map: &TagMap, block: TagBlockId) {
        self.corruptions += self.tags.remove(map.covered(block)).get();
    }

    /// Invalidations of data lines, one for each reserved block.
    #[must_use]
    pub const fn data_invalidations(&self) -> u64 {
        self.data_invalidations
    }

    /// Invalidations of tag lines, one for each freed allocation.
    #[must_use]
    pub const fn tag_invalidations(&self) -> u64 {
        self.tag_invalidations
    }

    /// Pages of tags or data that a late write-back destroyed.
    #[must_use]
    pub const fn corruptions(&self) -> u64 {
        self.corruptions
    }
}
