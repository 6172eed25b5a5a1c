//! A set of frames as a bit map: one page flag of every frame.

use pagelab_allocator::units::{PageCount, Pfn, PfnRange};

/// One flag for each frame of a span. Linux: a `PG_*` bit.
#[derive(Clone, Debug, Default)]
pub struct PageSet {
    base: u64,
    words: Vec<u64>,
    len: u64,
}

impl PageSet {
    /// No frame of `span`.
    ///
    /// # Panics
    ///
    /// Panics when the span does not fit this process.
    #[must_use]
    pub fn new(span: PfnRange) -> Self {
        let words = usize::try_from(span.len().get().div_ceil(64)).expect("the span fits");
        Self { base: span.start().get(), words: vec![0; words], len: 0 }
    }

    /// Whether `pfn` is in the set.
    #[must_use]
    pub fn contains(&self, pfn: Pfn) -> bool {
        self.locate(pfn)
            .and_then(|(word, bit)| Some(self.words.get(word)? & bit != 0))
            .unwrap_or(false)
    }

    /// Adds every frame of `range`; those that are inside already stay.
    ///
    /// # Panics
    ///
    /// Panics when a frame lies outside the span.
    pub fn insert(&mut self, range: PfnRange) {
        for pfn in range.iter() {
            let (word, bit) = self.locate(pfn).expect("a frame of the span");
            let old = self.words[word];
            self.words[word] = old | bit;
            self.len += u64::from(old & bit == 0);
        }
    }

    /// Removes every frame of `range`; returns how many were inside.
    pub fn remove(&mut self, range: PfnRange) -> PageCount {
        let before = self.len;
        for pfn in range.iter() {
            if let Some((word, bit)) = self.locate(pfn)
                && let Some(old) = self.words.get_mut(word)
                && *old & bit != 0
            {
                *old &= !bit;
                self.len -= 1;
            }
        }
        PageCount::new(before - self.len)
    }

    /// Number of frames in the set.
    #[must_use]
    pub const fn len(&self) -> PageCount {
        PageCount::new(self.len)
    }

    /// Whether the set has no frames.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Frames of `range` that are in the set, ascending.
    pub fn within(&self, range: PfnRange) -> impl Iterator<Item = Pfn> {
        range.iter().filter(|pfn| self.contains(*pfn))
    }

    fn locate(&self, pfn: Pfn) -> Option<(usize, u64)> {
        let offset = pfn.get().checked_sub(self.base)?;
        Some((usize::try_from(offset / 64).ok()?, 1 << (offset % 64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> PfnRange {
        PfnRange::new(Pfn::new(start), Pfn::new(end))
    }

    #[test]
    fn frames_come_and_go() {
        let mut set = PageSet::new(range(100, 300));
        set.insert(range(150, 170));
        set.insert(range(169, 171));
        assert_eq!(set.len().get(), 21);
        assert!(set.contains(Pfn::new(170)) && !set.contains(Pfn::new(171)));
        assert!(!set.contains(Pfn::new(3)) && !set.contains(Pfn::new(3000)));
        assert_eq!(set.remove(range(160, 400)).get(), 11);
        assert_eq!(set.within(range(155, 170)).count(), 5);
    }
}
