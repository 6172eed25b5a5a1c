//! Where tag storage lies, and which data it serves.

use pagelab_allocator::units::{PageCount, Pfn, PfnRange};
use pagelab_migrate::tag_storage::design::CarveOutTags;
use pagelab_migrate::tag_storage::region::DATA_PER_TAG;

/// Tag storage of a machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TagLayout {
    /// All of it: what can be lent, then what never can.
    pub tags: PfnRange,
    /// At its end, the tags of tag storage; empty unless the hardware keeps such.
    pub fixed: PfnRange,
    /// Memory that can carry tags, and the part of tag storage that holds them; that below 4 GiB
    /// first, tag storage itself last.
    pub regions: Vec<(PfnRange, PfnRange)>,
}

/// What tag storage is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grain {
    /// Tag storage comes in multiples of this, pageblocks and tag blocks alike.
    pub unit: u64,
    /// Memory that carries tags has to start on a multiple of this, if it is a power of two.
    pub group: u64,
}

impl Grain {
    /// Pages of tags for `pages`.
    fn share(self, pages: PageCount) -> PageCount {
        PageCount::new(pages.get().div_ceil(DATA_PER_TAG).next_multiple_of(self.unit))
    }

    fn suits(self, start: Pfn) -> bool {
        !self.group.is_power_of_two() || start.get().is_multiple_of(self.group)
    }
}

impl TagLayout {
    /// Tag storage at the top of `memory`, or, where that would cross `limit`, below it: lent
    /// memory may not cross zones.
    ///
    /// # Errors
    ///
    /// The pages that tag storage needs, when there is no room for them.
    pub fn place(
        memory: PfnRange,
        limit: Pfn,
        grain: Grain,
        hardware: CarveOutTags,
    ) -> Result<Self, PageCount> {
        let top = Self::at_the_top(memory, grain, hardware)?;
        if limit <= top.tags.start() || memory.end() <= limit {
            return Ok(top);
        }
        Self::below(memory, limit, grain, hardware)
    }

    fn at_the_top(
        memory: PfnRange,
        grain: Grain,
        hardware: CarveOutTags,
    ) -> Result<Self, PageCount> {
        let end = memory.end();
        let mut all = grain.share(memory.len());
        while all < memory.len() {
            let start = end - all;
            if hardware == CarveOutTags::Impossible {
                return Ok(Self::of_one(memory, start, end));
            }
            // Rounding may leave too little for the data; then a little more is tag storage.
            let fixed = end - grain.share(all);
            let enough =
                |tags: PageCount| tags.get() * DATA_PER_TAG >= (start - memory.start()).get();
            if start < fixed && enough(fixed - start) && grain.suits(start) {
                return Ok(Self::of_one(memory, start, fixed));
            }
            all += PageCount::new(grain.unit);
        }
        Err(all)
    }

    /// Tags from `start`, their own tags from `fixed`, both up to the end of memory.
    fn of_one(memory: PfnRange, start: Pfn, fixed: Pfn) -> Self {
        let end = memory.end();
        let (lent, fixed) = (PfnRange::new(start, fixed), PfnRange::new(fixed, end));
        let data = (PfnRange::new(memory.start(), start), lent);
        let own = (!fixed.is_empty()).then_some((lent, fixed));
        let regions = [data].into_iter().chain(own).collect();
        Self { tags: PfnRange::new(start, end), fixed, regions }
    }

    fn below(
        memory: PfnRange,
        limit: Pfn,
        grain: Grain,
        hardware: CarveOutTags,
    ) -> Result<Self, PageCount> {
        let low_memory = limit - memory.start();
        let high = PfnRange::new(limit, memory.end());
        let (for_low, for_high) = (grain.share(low_memory), grain.share(high.len()));
        let own = match hardware {
            CarveOutTags::Impossible => [PageCount::ZERO; 2],
            CarveOutTags::Possible => [grain.share(for_low), grain.share(for_high)],
        };
        let all = for_low + for_high + own[0] + own[1];
        if all >= low_memory {
            return Err(all);
        }
        let start = limit - all;
        let low_tags = PfnRange::from_len(start, for_low);
        let high_tags = PfnRange::from_len(low_tags.end(), for_high);
        let of_low = PfnRange::from_len(high_tags.end(), own[0]);
        let of_high = PfnRange::from_len(of_low.end(), own[1]);
        let regions = [
            (PfnRange::new(memory.start(), start), low_tags),
            (high, high_tags),
            (low_tags, of_low),
            (high_tags, of_high),
        ];
        Ok(Self {
            tags: PfnRange::new(start, limit),
            fixed: PfnRange::new(high_tags.end(), limit),
            regions: regions.into_iter().filter(|(_, tags)| !tags.is_empty()).collect(),
        })
    }

    /// Tag storage that can be lent.
    #[must_use]
    pub fn lent(&self) -> PfnRange {
        PfnRange::new(self.tags.start(), self.tags.end() - self.fixed.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRAIN: Grain = Grain { unit: 512, group: 32 };
    const NOWHERE: Pfn = Pfn::new(1 << 40);

    fn mib(start: u64, end: u64) -> PfnRange {
        PfnRange::new(Pfn::new(start << 8), Pfn::new(end << 8))
    }

    #[test]
    fn of_16_gib_16_mib_are_never_lent() {
        let memory = mib(1 << 10, 17 << 10);
        let place = |hardware| TagLayout::place(memory, NOWHERE, GRAIN, hardware).unwrap();
        let today = place(CarveOutTags::Impossible);
        assert_eq!((today.lent(), today.fixed.len()), (today.tags, PageCount::ZERO));
        let tagged = place(CarveOutTags::Possible);
        assert_eq!(tagged.tags, today.tags);
        assert_eq!(
            (tagged.lent().len(), tagged.fixed.len()),
            (mib(0, 496).len(), mib(0, 16).len())
        );
        assert_eq!(tagged.regions[1], (tagged.lent(), tagged.fixed));
    }

    #[test]
    fn all_tags_have_room_whatever_the_size() {
        for size in (32..4200).step_by(38) {
            for block in [1, 2, 3, 16, 512] {
                let unit = if block == 3 { 1536 } else { 512 };
                let grain = Grain { unit, group: 32 * block };
                let memory = mib(1024, 1024 + size);
                let Ok(layout) =
                    TagLayout::place(memory, mib(0, 4096).end(), grain, CarveOutTags::Possible)
                else {
                    assert!(size < 300, "{size} MiB");
                    continue;
                };
                for (data, tags) in &layout.regions {
                    assert!(tags.len().get() * DATA_PER_TAG >= data.len().get(), "{size} MiB");
                    assert!(tags.len().get().is_multiple_of(block));
                }
                assert!(layout.fixed.len().get() * DATA_PER_TAG >= layout.lent().len().get());
                assert!(layout.tags.is_aligned(pagelab_allocator::units::Order::of(9)));
            }
        }
    }
}
