//! From `struct page` pointers to frame numbers, learnt from lines that print both.

use pagelab_allocator::units::Pfn;

/// Where the recorded kernel kept its `struct page` array. Linux: `vmemmap`, `sizeof(struct page)`.
///
/// Two different pages give size and base, every later one confirms them. Traces with hashed
/// pointers, and `perf script`, contradict themselves soon; then nothing is converted any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PageMap {
    /// Nothing seen.
    #[default]
    Unknown,
    /// One page seen.
    OnePair {
        /// Its address.
        page: u64,
        /// Its frame.
        pfn: u64,
    },
    /// Size and base are known.
    Known {
        /// Address of the (imagined) `struct page` of frame 0; wraps around.
        base: u64,
        /// Bytes of a `struct page`.
        size: u64,
    },
    /// The pointers are not addresses.
    Hidden,
}

impl PageMap {
    /// Learns from a line with `page=` and `pfn=`.
    pub fn learn(&mut self, page: u64, pfn: Pfn) {
        let pfn = pfn.get();
        match *self {
            Self::Unknown => *self = Self::OnePair { page, pfn },
            Self::OnePair { page: p, pfn: f } if f == pfn => {
                if p != page {
                    *self = Self::Hidden;
                }
            }
            Self::OnePair { page: p, pfn: f } => *self = Self::solve((p, f), (page, pfn)),
            Self::Known { base, size } => {
                if base.wrapping_add(pfn.wrapping_mul(size)) != page {
                    *self = Self::Hidden;
                }
            }
            Self::Hidden => {}
        }
    }

    fn solve(a: (u64, u64), b: (u64, u64)) -> Self {
        let ((low, first), (high, second)) = if a.1 < b.1 { (a, b) } else { (b, a) };
        let frames = second - first;
        let bytes = high.wrapping_sub(low);
        let size = bytes / frames;
        let plausible = bytes % frames == 0 && size % 8 == 0 && (32..=256).contains(&size);
        if !plausible {
            return Self::Hidden;
        }
        Self::Known { base: low.wrapping_sub(first.wrapping_mul(size)), size }
    }

    /// The frame of the `struct page` at `page`. Linux: `page_to_pfn()`.
    #[must_use]
    pub fn pfn(&self, page: u64) -> Option<Pfn> {
        let Self::Known { base, size } = *self else { return None };
        let offset = page.wrapping_sub(base);
        (page != 0 && offset.is_multiple_of(size) && offset / size < 1 << 40)
            .then(|| Pfn::new(offset / size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_pages_are_enough() {
        let mut map = PageMap::default();
        map.learn(0xffff_fc00_000e_8ac0, Pfn::new(0x43a2b));
        assert_eq!(map.pfn(0xffff_fc00_000e_8ac0), None);
        map.learn(0xffff_fc00_000e_8b80, Pfn::new(0x43a2e));
        assert_eq!(map, PageMap::Known { base: 0xffff_fbff_ff00_0000, size: 64 });
        assert_eq!(map.pfn(0xffff_fc00_001a_f240), Some(Pfn::new(0x46bc9)));
        assert_eq!(map.pfn(0xffff_fc00_001a_f241), None);
        assert_eq!(map.pfn(0), None);
    }

    #[test]
    fn pointers_that_are_no_addresses_are_noticed() {
        let mut perf = PageMap::default();
        perf.learn(0x5382, Pfn::new(0x5382));
        perf.learn(0x5383, Pfn::new(0x5383));
        assert_eq!(perf, PageMap::Hidden);
        let mut hashed = PageMap::default();
        hashed.learn(0x1234_5678, Pfn::new(1));
        hashed.learn(0x0fed_cba9, Pfn::new(2));
        assert_eq!(hashed, PageMap::Hidden);
    }
}
