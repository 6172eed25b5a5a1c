//! Reference counts of tag blocks: who still needs which tags.

use std::collections::BTreeSet;

use super::map::{Share, TagBlockId};

/// The count that a reserved block has without any data page. Linux (RFC): the page reference that
/// the contiguous allocation itself leaves.
const BASE: u32 = 1;

/// Counts by block: zero when the block is lent out as data, else one plus the reserved data pages
/// whose tags it holds. Linux (RFC): the reference count of a block's first page, and the
/// `tag_blocks_reserved` xarray.
///
/// Counting pages, not allocations, is what lets a huge page be reserved whole and freed page by
/// page after a split.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TagBlocks {
    counts: Vec<u32>,
    reserved: usize,
    permanent: BTreeSet<TagBlockId>,
}

impl TagBlocks {
    /// `len` blocks, all lent out.
    #[must_use]
    pub fn new(len: usize) -> Self {
        Self { counts: vec![0; len], ..Self::default() }
    }

    /// Whether the block holds tags, not data.
    #[must_use]
    pub fn is_reserved(&self, block: TagBlockId) -> bool {
        self.count(block) != 0
    }

    /// The block's count: 0 when lent out, else 1 plus its reserved pages.
    #[must_use]
    pub fn count(&self, block: TagBlockId) -> u32 {
        self.counts[block.index()]
    }

    /// Number of reserved blocks.
    #[must_use]
    pub const fn reserved(&self) -> usize {
        self.reserved
    }

    /// Number of blocks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether there are no blocks at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Notes that the frames of `block` now belong to tag storage.
    ///
    /// # Panics
    ///
    /// Panics when the block is already reserved.
    pub fn reserve(&mut self, block: TagBlockId) {
        assert!(!self.is_reserved(block), "tag block reserved twice");
        self.counts[block.index()] = BASE;
        self.reserved += 1;
    }

    /// Keeps a reserved block for ever, whether or not any page needs it.
    ///
    /// # Panics
    ///
    /// Panics when the block is not reserved.
    pub fn keep(&mut self, block: TagBlockId) {
        assert!(self.is_reserved(block), "a block that is lent out cannot be kept");
        self.permanent.insert(block);
    }

    /// Whether the block is never given back.
    #[must_use]
    pub fn is_permanent(&self, block: TagBlockId) -> bool {
        self.permanent.contains(&block)
    }

    /// Adds the references of an allocation.
    ///
    /// # Panics
    ///
    /// Panics when the block is not reserved.
    pub fn add(&mut self, share: Share) {
        assert!(self.is_reserved(share.block), "reference to a block that is lent out");
        self.counts[share.block.index()] += share.pages;
    }

    /// Drops references; says whether the block is needed no longer. Its frames must then be given
    /// back, and the block counts as lent out.
    ///
    /// # Panics
    ///
    /// Panics when more references are dropped than were added.
    #[must_use]
    pub fn sub(&mut self, share: Share) -> Dropped {
        let count = &mut self.counts[share.block.index()];
        assert!(*count > share.pages, "more references dropped than held");
        *count -= share.pages;
        if *count > BASE || self.permanent.contains(&share.block) {
            return Dropped::StillNeeded;
        }
        *count = 0;
        self.reserved -= 1;
        Dropped::Unneeded
    }
}

/// What dropping references left behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dropped {
    /// Other pages keep their tags in the block.
    StillNeeded,
    /// The block's frames must be given back.
    Unneeded,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(block: usize, pages: u32) -> Share {
        Share { block: TagBlockId::from_index(block), pages }
    }

    #[test]
    fn the_last_page_releases_the_block() {
        let mut blocks = TagBlocks::new(2);
        blocks.reserve(share(1, 0).block);
        blocks.add(share(1, 2));
        assert_eq!((blocks.count(share(1, 0).block), blocks.reserved()), (3, 1));
        assert_eq!(blocks.sub(share(1, 1)), Dropped::StillNeeded);
        assert_eq!(blocks.sub(share(1, 1)), Dropped::Unneeded);
        assert_eq!((blocks.count(share(1, 0).block), blocks.reserved()), (0, 0));
    }

    #[test]
    #[should_panic(expected = "more references dropped")]
    fn dropping_too_much_is_a_bug() {
        let mut blocks = TagBlocks::new(1);
        blocks.reserve(share(0, 0).block);
        let _ = blocks.sub(share(0, 1));
    }
}
