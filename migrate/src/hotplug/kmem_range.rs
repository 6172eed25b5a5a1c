//! The part of a device's memory that can be memory blocks. Linux: `dax_kmem_range()`.

use pagelab_allocator::units::{PageCount, Pfn, PfnRange};

/// A range shrunk to whole memory blocks. The tails stay with the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KmemRange {
    /// The blocks.
    pub blocks: PfnRange,
    /// Pages before and after them.
    pub lost: PageCount,
}

impl KmemRange {
    /// The whole blocks of `block` pages in `device`; `None` when there are none.
    /// Linux: `dax_kmem_range()`, whose caller says `too small after alignment`.
    ///
    /// # Panics
    ///
    /// Panics when a block has no pages.
    #[must_use]
    pub fn shrink(device: PfnRange, block: PageCount) -> Option<Self> {
        let start = device.start().get().div_ceil(block.get()) * block.get();
        let end = device.end().get() / block.get() * block.get();
        (start < end).then(|| {
            let blocks = PfnRange::new(Pfn::new(start), Pfn::new(end));
            Self { blocks, lost: device.len() - blocks.len() }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 8;
    const SIZES: [u64; 5] = [128 * MIB, 256 * MIB, 512 * MIB, 1024 * MIB, 2048 * MIB];

    fn device(start: u64, len: u64) -> PfnRange {
        PfnRange::from_len(Pfn::new(start), PageCount::new(len))
    }

    fn lost_mib(device: PfnRange) -> [u64; 5] {
        let lost = |block| KmemRange::shrink(device, PageCount::new(block)).unwrap().lost.get();
        SIZES.map(|block| lost(block) / MIB)
    }

    #[test]
    fn q7_alignment_loss() {
        let region = device(0xc0_5000_0000 >> 12, 485 * 512 * MIB);
        assert_eq!(lost_mib(region), [0, 0, 512, 1536, 2560]);
        let region = device(0x10_5000_0000 >> 12, 64 * 1024 * MIB);
        assert_eq!(lost_mib(region), [0, 0, 512, 1024, 2048]);
        let largest = KmemRange::shrink(region, PageCount::new(2048 * MIB)).unwrap();
        assert_eq!(largest.blocks.len().get() / (2048 * MIB), 31);
    }

    #[test]
    fn a_range_without_a_whole_block() {
        let block = PageCount::new(SIZES[0]);
        for range in [device(1, 2 * SIZES[0] - 2), device(5, 5), device(SIZES[0], 0)] {
            assert_eq!(KmemRange::shrink(range, block), None);
        }
    }

    proptest! {
        #[test]
        fn blocks_are_all_whole_ones(start in 0_u64..200, len in 0_u64..200, block in 1_u64..40) {
            let range = device(start, len);
            let whole = |n: &u64| range.covers(device(n * block, block));
            let whole: Vec<_> = (0..400 / block + 1).filter(whole).collect();
            let got = KmemRange::shrink(range, PageCount::new(block));
            prop_assert_eq!(got.is_some(), !whole.is_empty());
            if let Some(got) = got {
                prop_assert_eq!(got.blocks, device(whole[0] * block, whole.len() as u64 * block));
                prop_assert_eq!(got.lost.get(), len - whole.len() as u64 * block);
            }
        }
    }
}
