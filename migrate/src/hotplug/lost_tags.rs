//! What becomes of tags when pages move to memory that keeps none. Migration copies tags and never
//! asks the target (`copy_highpage()`); what happens is left to the implementation, and here they
//! are dropped, so that every tag reads as zero.

/// A tag: four bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Tag(u8);

impl Tag {
    /// What memory without tags reads as.
    pub const ZERO: Self = Self(0);

    /// The tag with this number.
    #[must_use]
    pub const fn new(raw: u8) -> Option<Self> {
        if raw < 16 { Some(Self(raw)) } else { None }
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// The tags that a heap draws from, each as likely as any other. Linux: what `PR_MTE_TAG_MASK`
/// leaves to the `IRG` instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TagSet(u16);

impl TagSet {
    /// All sixteen.
    pub const ALL: Self = Self(u16::MAX);
    /// All but zero, which untagged pointers have: what heaps use.
    pub const NONZERO: Self = Self(u16::MAX - 1);

    /// The tags whose bits are set; without any, `IRG` gives zero.
    #[must_use]
    pub const fn new(mask: u16) -> Self {
        Self(if mask == 0 { 1 } else { mask })
    }

    /// Whether a heap may draw `tag`.
    #[must_use]
    pub const fn contains(self, tag: Tag) -> bool {
        self.0 >> tag.0 & 1 == 1
    }

    /// Parts of the tagged granules whose next access faults once their tags are dropped, where
    /// checks are synchronous: those whose pointers do not hold zero.
    #[must_use]
    pub const fn faulting(self) -> Share {
        Share { of: self.0.count_ones(), part: Self(self.0 & !1).0.count_ones() }
    }
}

/// So many of so many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    /// How many.
    pub part: u32,
    /// Of how many, at least one.
    pub of: u32,
}

/// Granules with tags in a page of 4 KiB: 16 bytes each.
pub const GRANULES_PER_PAGE: u64 = 4096 / 16;

/// Granules that lost their tags. One whose tag was zero reads as before; every other is corrupt,
/// whether or not somebody notices.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LostTags {
    /// Granules that had a tag before.
    pub granules: u64,
    /// Those whose next access by their pointer faults, in synchronous mode.
    pub faults: u64,
}

impl LostTags {
    /// Counts granules whose pointers hold `tags`, after all tags in memory were dropped.
    #[must_use]
    pub fn count(tags: impl IntoIterator<Item = Tag>) -> Self {
        let mut lost = Self::default();
        for tag in tags {
            lost.granules += 1;
            lost.faults += u64::from(tag != Tag::ZERO);
        }
        lost
    }
}

impl core::ops::AddAssign for LostTags {
    fn add_assign(&mut self, rhs: Self) {
        self.granules += rhs.granules;
        self.faults += rhs.faults;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all() -> impl Iterator<Item = Tag> {
        (0..16).filter_map(Tag::new)
    }

    #[test]
    fn q9_uniform_tags() {
        assert_eq!(TagSet::ALL.faulting(), Share { part: 15, of: 16 });
        assert_eq!(LostTags::count(all()), LostTags { granules: 16, faults: 15 });
    }

    #[test]
    fn q9_heaps_that_leave_zero_out() {
        assert_eq!(TagSet::NONZERO.faulting(), Share { part: 15, of: 15 });
        let lost = LostTags::count(all().filter(|tag| TagSet::NONZERO.contains(*tag)));
        assert_eq!(lost, LostTags { granules: 15, faults: 15 });
    }

    #[test]
    fn tags_are_four_bits() {
        assert_eq!((Tag::new(15).map(Tag::get), Tag::new(16)), (Some(15), None));
        assert_eq!(TagSet::new(0).faulting(), Share { part: 0, of: 1 });
        assert_eq!(GRANULES_PER_PAGE, 256);
    }

    #[test]
    fn counts_add_up() {
        let mut sum = LostTags::count(all());
        sum += LostTags::count([Tag::ZERO]);
        assert_eq!(sum, LostTags { granules: 17, faults: 15 });
    }

    proptest! {
        /// One granule with each tag of a set is the set's share.
        #[test]
        fn shares_are_counts(mask in 1_u16..) {
            let set = TagSet::new(mask);
            let lost = LostTags::count(all().filter(|tag| set.contains(*tag)));
            let share = set.faulting();
            prop_assert_eq!((lost.faults, lost.granules), (share.part.into(), share.of.into()));
        }
    }
}
