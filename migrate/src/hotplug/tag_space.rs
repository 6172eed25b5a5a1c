//! Where the tags of memory lie when memory itself keeps them: a carve-out, at a fixed ratio.

use pagelab_allocator::units::{PageCount, Pfn, PfnRange};

use crate::tag_storage::region::DATA_PER_TAG;

/// Bits of tags for a cache line of 64 bytes: 4 bits for 16 bytes.
pub const TAG_BITS_PER_LINE: u8 = 16;

/// Whether the memory that holds tags could be tagged itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TagRange {
    /// It has no tags of its own.
    Untagged,
    /// It has: another 32nd of the 32nd.
    Tagged,
}

/// Pages that the tags of `data` take. A host that gives a guest memory by hotplug sets as much
/// aside, and the guest knows nothing of it.
#[must_use]
pub const fn carve_out(data: PageCount, of: TagRange) -> PageCount {
    let tags = data.get().div_ceil(DATA_PER_TAG);
    PageCount::new(match of {
        TagRange::Untagged => tags,
        TagRange::Tagged => tags + tags.div_ceil(DATA_PER_TAG),
    })
}

/// Why tags cannot lie there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TagSpaceError {
    /// Too short for all of the data.
    #[error("{tags} holds the tags of fewer pages than {data} has")]
    TooSmall {
        /// The data.
        data: PfnRange,
        /// The tags.
        tags: PfnRange,
    },
    /// Data that would hold its own tags, and change with them.
    #[error("data {data} and tags {tags} overlap")]
    Overlap {
        /// The data.
        data: PfnRange,
        /// The tags.
        tags: PfnRange,
    },
}

/// A linear map from data to the memory with its tags, which may be another range altogether: DDR
/// for CXL memory, say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TagSpace {
    data: PfnRange,
    tags: PfnRange,
}

impl TagSpace {
    /// The tags of `data` from the start of `tags` on.
    ///
    /// # Errors
    ///
    /// [`TagSpaceError`] when `tags` is too small or overlaps the data.
    pub const fn new(data: PfnRange, tags: PfnRange) -> Result<Self, TagSpaceError> {
        if tags.len().get() < carve_out(data.len(), TagRange::Untagged).get() {
            return Err(TagSpaceError::TooSmall { data, tags });
        }
        if data.overlaps(tags) {
            return Err(TagSpaceError::Overlap { data, tags });
        }
        Ok(Self { data, tags })
    }

    /// The frame with the tags of `data`; `None` for a frame whose tags lie elsewhere.
    #[must_use]
    pub fn frame_of(self, data: Pfn) -> Option<Pfn> {
        let at = self.data.contains(data).then(|| (data - self.data.start()).get());
        at.map(|at| self.tags.start() + PageCount::new(at / DATA_PER_TAG))
    }

    /// The frames whose tags lie in the frame `tags`.
    #[must_use]
    pub fn data_of(self, tags: Pfn) -> Option<PfnRange> {
        let at = self.tags.contains(tags).then(|| (tags - self.tags.start()).get())?;
        let start = self.data.start() + PageCount::new(at * DATA_PER_TAG);
        self.data.intersect(PfnRange::from_len(start, PageCount::new(DATA_PER_TAG)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 18;
    const MIB: u64 = 1 << 8;

    #[test]
    fn sixteen_bits_a_line_are_a_32nd() {
        assert_eq!(u64::from(TAG_BITS_PER_LINE) * DATA_PER_TAG, 64 * 8);
    }

    #[test]
    fn row_40_carve_out_of_cxl_memory() {
        let data = PageCount::new(64 * GIB);
        assert_eq!(carve_out(data, TagRange::Untagged).get(), 2 * GIB);
        let tagged = carve_out(data, TagRange::Tagged).get();
        assert_eq!(tagged, 2 * GIB + 64 * MIB);
        assert_eq!((tagged - 2 * GIB) * 1024, data.get(), "one 1024th more");
    }

    #[test]
    fn row_40_tags_in_another_range() {
        let data = PfnRange::from_len(Pfn::new(0x100_0000), PageCount::new(64 * GIB));
        let tags = PfnRange::from_len(Pfn::new(0x8_0000), PageCount::new(2 * GIB));
        let space = TagSpace::new(data, tags).unwrap();
        assert_eq!(space.frame_of(data.start()), Some(tags.start()));
        let last = data.end() - PageCount::new(1);
        assert_eq!(space.frame_of(last), Some(tags.end() - PageCount::new(1)));
        assert_eq!((space.frame_of(data.end()), space.data_of(tags.end())), (None, None));
        let short = PfnRange::new(tags.start(), tags.end() - PageCount::new(1));
        let error = TagSpace::new(data, short).unwrap_err();
        assert_eq!(error, TagSpaceError::TooSmall { data, tags: short });
        let tags = PfnRange::from_len(data.start(), PageCount::new(2 * GIB));
        let error = TagSpace::new(data, tags).unwrap_err();
        assert_eq!(error, TagSpaceError::Overlap { data, tags });
    }

    #[test]
    fn row_41_a_host_sets_aside_for_a_guest() {
        assert_eq!(carve_out(PageCount::new(GIB), TagRange::Untagged).get(), 32 * MIB);
    }

    #[test]
    fn both_ways_agree() {
        let data = PfnRange::new(Pfn::new(1000), Pfn::new(1100));
        let tags = PfnRange::new(Pfn::new(10), Pfn::new(20));
        let space = TagSpace::new(data, tags).unwrap();
        for frame in data.iter() {
            let holder = space.frame_of(frame).unwrap();
            let held =
                tags.iter().filter(|tag| space.data_of(*tag).is_some_and(|d| d.contains(frame)));
            assert_eq!(held.collect::<Vec<_>>(), [holder]);
        }
        assert_eq!(space.data_of(Pfn::new(13)).unwrap().len(), PageCount::new(4), "the last few");
        assert_eq!(space.data_of(Pfn::new(14)), None, "room without data");
    }
}
