//! All tag regions of a machine, with one dense numbering of their blocks.

use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::units::{Order, PageCount, Pfn, PfnRange};

use super::formula::Formula;
use super::region::{RegionError, TagRegion, Use};

/// A block of tag storage: an index into per-block tables, dense over all regions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TagBlockId(u32);

impl TagBlockId {
    /// The raw index.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The index into per-block tables.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The block of table entry `index`.
    ///
    /// # Panics
    ///
    /// Panics when a table has more than 2^32 entries.
    #[must_use]
    pub fn from_index(index: usize) -> Self {
        Self(u32::try_from(index).expect("fewer than 2^32 tag blocks"))
    }
}

/// How many references one data allocation holds on one block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    /// The block.
    pub block: TagBlockId,
    /// Its data pages within the allocation.
    pub pages: u32,
}

/// A frame outside every data range was asked for its tags.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0} has no tag storage")]
pub struct NoTagStorage(pub Pfn);

/// The tag regions of a machine. Linux (RFC): `tag_regions[]`.
#[derive(Clone, Debug, Default)]
pub struct TagMap {
    /// By start of the data range; the second field is the number of the region's first block.
    regions: Vec<(TagRegion, u32)>,
    blocks: u32,
    formula: Formula,
}

impl TagMap {
    /// A map of `regions` on a machine of `geometry`.
    ///
    /// # Errors
    ///
    /// A [`RegionError`] when a region does not suit the buddy system, when two data ranges or two
    /// tag ranges overlap, or when tag storage is data of a region that is not [nested].
    ///
    /// [nested]: TagMap::is_nested
    pub fn new(
        mut regions: Vec<TagRegion>,
        geometry: Geometry,
        formula: Formula,
    ) -> Result<Self, RegionError> {
        regions.sort_by_key(|region| region.data().start());
        for (at, region) in regions.iter().enumerate() {
            let nested = is_nested(region, &regions);
            region.validate(geometry, if nested { Use::Fixed } else { Use::Lent })?;
            for other in regions.iter().skip(at + 1) {
                if region.data().overlaps(other.data()) {
                    return Err(RegionError::Overlap(other.data()));
                }
                if region.tags().overlaps(other.tags()) {
                    return Err(RegionError::Overlap(other.tags()));
                }
            }
            if let Some(own) = regions.iter().find(|r| r.tags().overlaps(region.data()))
                && !nested
            {
                return Err(RegionError::Overlap(own.tags()));
            }
        }
        let mut blocks = 0;
        let regions = regions
            .into_iter()
            .map(|region| {
                let first = blocks;
                blocks += u32::try_from(region.blocks()).expect("fewer than 2^32 tag blocks");
                (region, first)
            })
            .collect();
        Ok(Self { regions, blocks, formula })
    }

    /// The regions, ascending by data.
    pub fn regions(&self) -> impl Iterator<Item = &TagRegion> {
        self.regions.iter().map(|(region, _)| region)
    }

    /// Whether the region holds the tags of tag storage: its data is part of another region's
    /// tags. Such a region can never be lent, or tags would have to move. See
    /// [`super::placement`].
    #[must_use]
    pub fn is_nested(&self, region: &TagRegion) -> bool {
        self.regions().any(|other| other.tags().covers(region.data()))
    }

    /// Whether the block belongs to a [nested] region.
    ///
    /// [nested]: TagMap::is_nested
    ///
    /// # Panics
    ///
    /// Panics when there is no such block.
    #[must_use]
    pub fn is_nested_block(&self, block: TagBlockId) -> bool {
        self.is_nested(self.locate(block).0)
    }

    /// Number of blocks in all regions.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.blocks as usize
    }

    /// Whether the machine has no tag storage.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.blocks == 0
    }

    /// The arithmetic in use.
    #[must_use]
    pub const fn formula(&self) -> Formula {
        self.formula
    }

    /// Every block, ascending.
    pub fn ids(&self) -> impl Iterator<Item = TagBlockId> + use<> {
        (0..self.blocks).map(TagBlockId)
    }

    /// Pages of tag storage in all regions.
    #[must_use]
    pub fn tag_pages(&self) -> PageCount {
        self.regions().map(|region| region.tags().len()).sum()
    }

    /// Whether `pfn` is tag storage. Linux (RFC): `page_is_tag_storage()`.
    #[must_use]
    pub fn is_tag_storage(&self, pfn: Pfn) -> bool {
        self.regions().any(|region| region.tags().contains(pfn))
    }

    /// The block that holds the tags of `pfn`.
    #[must_use]
    pub fn block_of(&self, pfn: Pfn) -> Option<TagBlockId> {
        self.group_of(pfn).map(|(block, _)| block)
    }

    /// The block that holds the tags of `pfn`, and all data pages whose tags it holds.
    #[inline]
    #[must_use]
    pub fn group_of(&self, pfn: Pfn) -> Option<(TagBlockId, PfnRange)> {
        let (region, first) = self.region_of_data(pfn)?;
        let index = region.block_index(pfn)?;
        let block = TagBlockId(first + u32::try_from(index).expect("a block of the region"));
        Some((block, region.covered(index)))
    }

    /// The frames of `block`.
    ///
    /// # Panics
    ///
    /// Panics when there is no such block.
    #[must_use]
    pub fn range(&self, block: TagBlockId) -> PfnRange {
        let (region, index) = self.locate(block);
        region.block_range(index)
    }

    /// The data pages whose tags `block` holds.
    ///
    /// # Panics
    ///
    /// Panics when there is no such block.
    #[must_use]
    pub fn covered(&self, block: TagBlockId) -> PfnRange {
        let (region, index) = self.locate(block);
        region.covered(index)
    }

    /// The block that `pfn`, a page of tag storage, belongs to.
    #[must_use]
    pub fn block_at(&self, pfn: Pfn) -> Option<TagBlockId> {
        let (region, first) = self.regions.iter().find(|(r, _)| r.tags().contains(pfn))?;
        let index = (pfn - region.tags().start()).get() / region.block_pages().get();
        Some(TagBlockId(first + u32::try_from(index).expect("a block of the region")))
    }

    /// The blocks that an allocation references, ascending, and how often. The sum is the length
    /// of the allocation when the formula is [`Formula::Intent`].
    ///
    /// # Errors
    ///
    /// [`NoTagStorage`] with the first page outside every data range. RFC v1 and v2 warned and
    /// carried on; that left a tagged page without tags, so no formula here does.
    pub fn shares(&self, pfn: Pfn, order: Order) -> Result<Vec<Share>, NoTagStorage> {
        match self.formula {
            Formula::Intent => self.exact_shares(PfnRange::block(pfn, order)),
            Formula::AsCodedV2 | Formula::AsCodedV3 => self.coded_shares(pfn, order),
        }
    }

    /// Walks the pages of `range` one block at a time.
    fn exact_shares(&self, range: PfnRange) -> Result<Vec<Share>, NoTagStorage> {
        let mut shares = Vec::new();
        let mut at = range.start();
        while at < range.end() {
            let block = self.block_of(at).ok_or(NoTagStorage(at))?;
            let end = self.covered(block).end().min(range.end());
            let pages = u32::try_from((end - at).get()).expect("a block's pages");
            shares.push(Share { block, pages });
            at = end;
        }
        Ok(shares)
    }

    /// As many consecutive blocks as the published loops visit, each with the same share; blocks
    /// past the end of the region do not exist and are left out.
    fn coded_shares(&self, pfn: Pfn, order: Order) -> Result<Vec<Share>, NoTagStorage> {
        let (region, first) = self.region_of_data(pfn).ok_or(NoTagStorage(pfn))?;
        let index = region.block_index(pfn).ok_or(NoTagStorage(pfn))?;
        let wanted = self.formula.blocks(order, region.block_pages());
        let pages = u32::try_from(order.pages().get().min(region.group().get()))
            .expect("at most 2^15 pages");
        let end = (index + wanted).min(region.blocks());
        Ok((index..end)
            .map(|index| u32::try_from(index).expect("a block of the region"))
            .map(|index| Share { block: TagBlockId(first + index), pages })
            .collect())
    }

    fn region_of_data(&self, pfn: Pfn) -> Option<(&TagRegion, u32)> {
        let after = self.regions.partition_point(|(region, _)| region.data().start() <= pfn);
        let (region, first) = self.regions.get(after.checked_sub(1)?)?;
        region.data().contains(pfn).then_some((region, *first))
    }

    fn locate(&self, block: TagBlockId) -> (&TagRegion, u64) {
        assert!(block.0 < self.blocks, "no such tag block");
        let after = self.regions.partition_point(|(_, first)| *first <= block.0);
        let (region, first) = &self.regions[after - 1];
        (region, u64::from(block.0 - first))
    }
}

/// Whether `region` holds the tags of another region's tags, and nobody those of its own.
fn is_nested(region: &TagRegion, all: &[TagRegion]) -> bool {
    all.iter().any(|other| other.tags().covers(region.data()))
        && !all.iter().any(|other| other.data().overlaps(region.tags()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, len: u64) -> PfnRange {
        PfnRange::from_len(Pfn::new(start), PageCount::new(len))
    }

    fn map(regions: &[(PfnRange, PfnRange, u64)], formula: Formula) -> TagMap {
        let regions = regions
            .iter()
            .map(|&(data, tags, block)| TagRegion::new(data, tags, PageCount::new(block)).unwrap())
            .collect();
        TagMap::new(regions, Geometry::PAGES_4K, formula).unwrap()
    }

    fn shares(map: &TagMap, pfn: u64, order: u8) -> Vec<(u32, u32)> {
        let shares = map.shares(Pfn::new(pfn), Order::of(order)).unwrap();
        shares.iter().map(|share| (share.block.get(), share.pages)).collect()
    }

    #[test]
    fn blocks_are_numbered_through() {
        let low = (range(0, 512 * 32), range(0x20000, 512), 1);
        let high = (range(0x8000, 512 * 32), range(0x20200, 512), 2);
        let map = map(&[high, low], Formula::Intent);
        assert_eq!((map.len(), map.tag_pages().get()), (512 + 256, 1024));
        let block = map.block_of(Pfn::new(0x8000 + 64)).unwrap();
        assert_eq!(block.get(), 513);
        assert_eq!(map.range(block), range(0x20202, 2));
        assert_eq!(map.covered(block), range(0x8040, 64));
        assert_eq!(map.group_of(Pfn::new(0x8000 + 64)), Some((block, range(0x8040, 64))));
        assert_eq!(map.block_at(Pfn::new(0x20203)), Some(block));
        assert_eq!(map.block_of(Pfn::new(0x7000)), None);
        assert!(map.is_tag_storage(Pfn::new(0x203ff)) && !map.is_tag_storage(Pfn::new(0x20400)));
    }

    #[test]
    fn shares_add_up_to_the_allocation() {
        let region = (range(0, 512 * 32), range(0x20000, 512), 1);
        let map_1 = map(&[region], Formula::Intent);
        assert_eq!(shares(&map_1, 33, 0), [(1, 1)]);
        assert_eq!(shares(&map_1, 32, 5), [(1, 32)]);
        assert_eq!(shares(&map_1, 64, 6), [(2, 32), (3, 32)]);
        assert_eq!(
            map_1.shares(Pfn::new(0x20000), Order::ZERO),
            Err(NoTagStorage(Pfn::new(0x20000)))
        );
    }

    #[test]
    fn blocks_of_three_pages_are_cut_by_natural_alignment() {
        let map = map(&[(range(0, 1536 * 32), range(0x20000, 1536), 3)], Formula::Intent);
        assert_eq!(shares(&map, 64, 6), [(0, 32), (1, 32)]);
        let shares = shares(&map, 512, 9);
        assert_eq!((shares.len(), shares.iter().map(|s| s.1).sum::<u32>()), (6, 512));
    }

    #[test]
    fn the_published_loops_visit_other_blocks() {
        let region = (range(0, 512 * 32), range(0x20000, 512), 2);
        let v2 = map(&[region], Formula::AsCodedV2);
        assert_eq!(shares(&v2, 0, 6), [(0, 64), (1, 64)]);
        let v3 = map(&[region], Formula::AsCodedV3);
        assert_eq!(shares(&v3, 0, 9), [(0, 64), (1, 64), (2, 64), (3, 64)]);
    }

    #[test]
    fn overlapping_regions_are_refused() {
        let one = TagRegion::new(range(0, 1024), range(0x20000, 512), PageCount::new(1)).unwrap();
        let same = TagRegion::new(range(512, 1024), range(0x20200, 512), PageCount::new(1));
        let tags = TagRegion::new(range(4096, 1024), range(0x20000, 512), PageCount::new(1));
        let own = TagRegion::new(range(0x20000, 1024), range(0x40000, 512), PageCount::new(1));
        for other in [same, tags, own] {
            let regions = vec![one, other.unwrap()];
            let map = TagMap::new(regions, Geometry::PAGES_4K, Formula::Intent);
            assert!(matches!(map, Err(RegionError::Overlap(_))));
        }
    }
}
