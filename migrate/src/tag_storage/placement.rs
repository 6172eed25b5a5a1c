//! Where to put tag storage if the carve-out itself may be tagged.
//!
//! Proposed by Catalin Marinas in review of RFC v1: hardware computes a tag's address as
//! `data / 32 + offset`, so firmware can choose the offset such that the tags *of the tag storage*
//! also land in memory. Only those (about a thousandth) can never be reused.

/// Firmware's choice of addresses, in bytes from the start of memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecursivePlacement {
    /// Where the tags of memory begin; reusable up to [`RecursivePlacement::fixed`].
    pub tag_offset: u64,
    /// Where the tags of the tag storage begin; never reusable.
    pub fixed: u64,
}

/// Start addresses must keep whole pages of data and of tags apart: 32 pages of 4 KiB.
const ALIGNMENT: u64 = 32 * 4096;

impl RecursivePlacement {
    /// The highest placement that fits into `ram` bytes, with 4 KiB pages.
    #[must_use]
    pub fn highest(ram: u64) -> Self {
        let bound = (1024 * u128::from(ram) + 32).div_ceil(1057) - 1;
        let bound = u64::try_from(bound).expect("an address below the end of memory");
        Self::at(bound - bound % ALIGNMENT)
    }

    /// The placement that splits `ram` bytes by powers of two: one 32nd, of it one 32nd fixed.
    #[must_use]
    pub fn by_halves(ram: u64) -> Self {
        let tags = ram / 32;
        Self { tag_offset: ram - tags, fixed: ram - tags / 32 }
    }

    /// Tags begin at `tag_offset`; their own tags follow at the same slope.
    #[must_use]
    pub const fn at(tag_offset: u64) -> Self {
        Self { tag_offset, fixed: tag_offset + tag_offset / 32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[track_caller]
    fn check(gib: u64, tag_offset: u64, fixed: u64, gain_kib: u64) {
        let placement = RecursivePlacement::highest(gib * GIB);
        assert_eq!(placement, RecursivePlacement { tag_offset, fixed }, "{gib} GiB");
        let halves = RecursivePlacement::by_halves(gib * GIB);
        assert_eq!((placement.fixed - halves.fixed) / 1024, gain_kib, "{gib} GiB");
    }

    #[test]
    fn published_values() {
        check(8, 0x1_f002_0000, 0x1_ff82_1000, 132);
        check(12, 0x2_e804_0000, 0x2_ff44_2000, 264);
        check(16, 0x3_e006_0000, 0x3_ff06_3000, 396);
        check(32, 0x7_c00e_0000, 0x7_fe0e_7000, 924);
        check(64, 0xf_801e_0000, 0xf_fc1e_f000, 1980);
    }

    #[test]
    fn the_default_split_of_16_gib() {
        let halves = RecursivePlacement::by_halves(16 * GIB);
        assert_eq!(halves.tag_offset, 0x3_e000_0000);
        assert_eq!((halves.fixed - halves.tag_offset) >> 20, 496);
        assert_eq!((16 * GIB - halves.fixed) >> 20, 16);
    }
}
