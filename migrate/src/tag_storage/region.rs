//! Geometry of tag storage: which tag pages hold the tags of which data pages.
//!
//! A tag is 4 bits for 16 bytes, so one tag page serves [`DATA_PER_TAG`] data pages of any page
//! size. The mapping is fixed by hardware and linear within a [`TagRegion`]. Because memory may be
//! interleaved, tag pages can only be told apart in *blocks*; a block is the unit of reservation.

use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::units::{PageCount, Pfn, PfnRange};

use super::formula::Formula;

/// Data pages whose tags fill one tag page: 4 bits for 16 bytes.
pub const DATA_PER_TAG: u64 = 32;

/// The unit in which the device tree states a block size, in bytes.
const BLOCK_SIZE_UNIT: u64 = 4096;

/// Why memory cannot be tag storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegionError {
    /// The `block-size` is zero or not a multiple of 4 KiB.
    #[error("block size {0:#x} is not a multiple of 4 KiB")]
    BlockSize(u64),
    /// The tag range must be made of whole blocks.
    #[error("tag range {tags} is not a multiple of {block_pages} pages")]
    PartialBlock {
        /// The tag range.
        tags: PfnRange,
        /// Pages per block.
        block_pages: PageCount,
    },
    /// The tag range must be made of whole pageblocks, or its migratetype cannot be its own.
    #[error("tag range {0} is not aligned to pageblocks")]
    Unaligned(PfnRange),
    /// The tags of the last data pages would lie outside the tag range.
    #[error("tag range {tags} is too small for data {data}")]
    TooSmall {
        /// The data range.
        data: PfnRange,
        /// The tag range.
        tags: PfnRange,
    },
    /// A group of data pages that share a block must not be cut by natural alignment.
    #[error("data range {data} does not start on a multiple of {group} pages")]
    StraddlingGroups {
        /// The data range.
        data: PfnRange,
        /// Data pages per block.
        group: PageCount,
    },
    /// A frame cannot have, or hold, two sets of tags.
    #[error("{0} overlaps another range of the same kind")]
    Overlap(PfnRange),
    /// The data range or the tag range has no pages.
    #[error("a tag region without pages")]
    Empty,
    /// The zone boundary does not lie strictly inside the tag range, on a block.
    #[error("{boundary} does not split {tags} into blocks")]
    Split {
        /// The zone boundary.
        boundary: Pfn,
        /// The tag range.
        tags: PfnRange,
    },
}

/// Pages in the smallest run of tag storage that the kernel can reserve: the least common multiple
/// of the page size and the hardware's block size. Linux (RFC v3): `get_block_size_pages()`.
///
/// # Errors
///
/// [`RegionError::BlockSize`] unless `block_size` (bytes) is a positive multiple of 4 KiB.
pub fn block_pages(page_size: u64, block_size: u64) -> Result<PageCount, RegionError> {
    if block_size == 0 || !block_size.is_multiple_of(BLOCK_SIZE_UNIT) {
        return Err(RegionError::BlockSize(block_size));
    }
    Ok(PageCount::new(block_size / greatest_common_divisor(page_size, block_size)))
}

/// Euclid's algorithm.
fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Whether tag storage may be used as data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// While it holds no tags.
    Lent,
    /// Never.
    Fixed,
}

/// Data memory and the memory that holds its tags. Linux (RFC): `struct tag_region`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TagRegion {
    data: PfnRange,
    tags: PfnRange,
    block_pages: PageCount,
}

impl TagRegion {
    /// A region whose tags lie in `tags`, reserved `block_pages` at a time.
    ///
    /// # Errors
    ///
    /// A [`RegionError`] when a range is empty, `tags` is not made of whole blocks or does not
    /// cover `data`, or both ranges overlap (no tag page may describe itself).
    pub fn new(
        data: PfnRange,
        tags: PfnRange,
        block_pages: PageCount,
    ) -> Result<Self, RegionError> {
        if data.is_empty() || tags.is_empty() || block_pages == PageCount::ZERO {
            return Err(RegionError::Empty);
        }
        if !tags.len().get().is_multiple_of(block_pages.get()) {
            return Err(RegionError::PartialBlock { tags, block_pages });
        }
        if tags.len().get() * DATA_PER_TAG < data.len().get() {
            return Err(RegionError::TooSmall { data, tags });
        }
        if data.overlaps(tags) {
            return Err(RegionError::Overlap(tags));
        }
        Ok(Self { data, tags, block_pages })
    }

    /// Checks what the buddy system needs: lent tags in whole pageblocks, and no naturally aligned
    /// block of data pages up to a group's length that is cut by a group boundary.
    ///
    /// # Errors
    ///
    /// [`RegionError::Unaligned`] or [`RegionError::StraddlingGroups`].
    pub fn validate(&self, geometry: Geometry, usage: Use) -> Result<(), RegionError> {
        if usage == Use::Lent && !self.tags.is_aligned(geometry.pageblock_order()) {
            return Err(RegionError::Unaligned(self.tags));
        }
        let group = self.group();
        if !self.data.start().get().is_multiple_of(group.get()) && group.get().is_power_of_two() {
            return Err(RegionError::StraddlingGroups { data: self.data, group });
        }
        Ok(())
    }

    /// The data pages.
    #[must_use]
    pub const fn data(&self) -> PfnRange {
        self.data
    }

    /// The pages that hold the tags of the data pages.
    #[must_use]
    pub const fn tags(&self) -> PfnRange {
        self.tags
    }

    /// Pages per block.
    #[must_use]
    pub const fn block_pages(&self) -> PageCount {
        self.block_pages
    }

    /// Data pages per block.
    #[must_use]
    pub const fn group(&self) -> PageCount {
        PageCount::new(self.block_pages.get() * DATA_PER_TAG)
    }

    /// Blocks in the region.
    #[must_use]
    pub const fn blocks(&self) -> u64 {
        self.tags.len().get() / self.block_pages.get()
    }

    /// The number, within the region, of the block that holds the tags of `pfn`; `None` when `pfn`
    /// is not a data page of this region. Linux (RFC): `page_to_tag_block()`.
    #[must_use]
    pub fn block_index(&self, pfn: Pfn) -> Option<u64> {
        // Division, not a mask: a block of three pages is legal.
        self.data.contains(pfn).then(|| (pfn - self.data.start()).get() / self.group().get())
    }

    /// The frames of block number `index` of the region.
    ///
    /// # Panics
    ///
    /// Panics when the region has no such block.
    #[must_use]
    pub fn block_range(&self, index: u64) -> PfnRange {
        let start = self.tags.start() + PageCount::new(index * self.block_pages.get());
        assert!(start < self.tags.end(), "no such tag block");
        PfnRange::from_len(start, self.block_pages)
    }

    /// The frames that hold the tags of `pfn` and of its group.
    #[must_use]
    pub fn block(&self, pfn: Pfn) -> Option<PfnRange> {
        self.block_index(pfn).map(|index| self.block_range(index))
    }

    /// The data pages whose tags block number `index` holds; shorter at the end of the region.
    #[must_use]
    pub fn covered(&self, index: u64) -> PfnRange {
        let start = self.data.start() + PageCount::new(index * self.group().get());
        let end = (start + self.group()).min(self.data.end());
        PfnRange::new(start.min(end), end)
    }

    /// Cuts a region whose tags span two zones: a CMA area must lie in one. Linux (RFC v3):
    /// the zone loop of `mte_tag_storage_activate_regions()`.
    ///
    /// As coded in RFC v3 the data is cut 31 pages early: the last tag page of the first part keeps
    /// one data page, and everything behind is described by tags that are not its own.
    ///
    /// # Errors
    ///
    /// [`RegionError::Split`] when `boundary` is not a block boundary strictly inside the tags, or
    /// when all data lies before the cut.
    pub fn split_at_zone(
        &self,
        boundary: Pfn,
        formula: Formula,
    ) -> Result<(Self, Self), RegionError> {
        let refuse = RegionError::Split { boundary, tags: self.tags };
        if boundary <= self.tags.start() || !self.tags.contains(boundary) {
            return Err(refuse);
        }
        let tag_pages = (boundary - self.tags.start()).get();
        let covered = match formula {
            Formula::Intent | Formula::AsCodedV2 => tag_pages * DATA_PER_TAG,
            Formula::AsCodedV3 => (tag_pages - 1) * DATA_PER_TAG + 1,
        };
        let cut = self.data.start() + PageCount::new(covered);
        if !tag_pages.is_multiple_of(self.block_pages.get()) || cut >= self.data.end() {
            return Err(refuse);
        }
        let low = PfnRange::new(self.tags.start(), boundary);
        let high = PfnRange::new(boundary, self.tags.end());
        Ok((
            Self { data: PfnRange::new(self.data.start(), cut), tags: low, ..*self },
            Self { data: PfnRange::new(cut, self.data.end()), tags: high, ..*self },
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, len: u64) -> PfnRange {
        PfnRange::from_len(Pfn::new(start), PageCount::new(len))
    }

    fn region(data: PfnRange, tags: PfnRange, block: u64) -> TagRegion {
        TagRegion::new(data, tags, PageCount::new(block)).unwrap()
    }

    #[test]
    fn blocks_round_down_by_division() {
        let region = region(range(0, 32 * 300), range(0x10000, 300), 3);
        let tag_offset = |data: u64| region.block(Pfn::new(data)).unwrap().start().get() - 0x10000;
        assert_eq!(tag_offset(100 * 32), 99);
        assert_eq!(tag_offset(102 * 32 - 1), 99);
        assert_eq!(tag_offset(102 * 32), 102);
        assert_eq!(region.block(Pfn::new(32 * 300)), None);
        assert_eq!(region.covered(33), range(99 * 32, 96));
    }

    #[track_caller]
    fn refused(data: PfnRange, tags: PfnRange, block: u64, expected: RegionError) {
        assert_eq!(TagRegion::new(data, tags, PageCount::new(block)), Err(expected));
    }

    #[test]
    fn impossible_regions_are_refused() {
        let (data, tags) = (range(0, 1024), range(0x1000, 32));
        refused(data, range(0, 0), 1, RegionError::Empty);
        refused(
            data,
            range(0x1000, 31),
            1,
            RegionError::TooSmall { data, tags: range(0x1000, 31) },
        );
        refused(data, tags, 3, RegionError::PartialBlock { tags, block_pages: PageCount::new(3) });
        refused(data, range(1000, 32), 1, RegionError::Overlap(range(1000, 32)));
        assert_eq!(block_pages(4096, 0x1800), Err(RegionError::BlockSize(0x1800)));
    }

    #[test]
    fn the_buddy_system_needs_alignment() {
        let small = region(range(0, 1024), range(0x1000, 32), 1);
        assert_eq!(
            small.validate(Geometry::PAGES_4K, Use::Lent),
            Err(RegionError::Unaligned(range(0x1000, 32)))
        );
        let shifted = region(range(16, 1024), range(0x1000, 512), 1);
        assert!(matches!(
            shifted.validate(Geometry::PAGES_4K, Use::Lent),
            Err(RegionError::StraddlingGroups { .. })
        ));
        let aligned = region(range(32, 1024), range(0x1000, 512), 1);
        aligned.validate(Geometry::PAGES_4K, Use::Lent).unwrap();
        small.validate(Geometry::PAGES_4K, Use::Fixed).unwrap();
    }

    #[test]
    fn a_zone_split_keeps_every_page_with_its_tags() {
        let whole = region(range(0, 32 * 1024), range(0x8000, 1024), 1);
        let boundary = Pfn::new(0x8000 + 512);
        let (low, high) = whole.split_at_zone(boundary, Formula::Intent).unwrap();
        for pfn in whole.data().iter() {
            assert_eq!(low.block(pfn).or(high.block(pfn)), whole.block(pfn));
        }
        let (low, high) = whole.split_at_zone(boundary, Formula::AsCodedV3).unwrap();
        assert_eq!(low.data().len().get(), 512 * 32 - 31);
        assert_ne!(high.block(high.data().start()), whole.block(high.data().start()));
        assert!(whole.split_at_zone(Pfn::new(0x8000), Formula::Intent).is_err());
    }
}
