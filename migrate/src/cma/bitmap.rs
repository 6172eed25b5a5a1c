//! The bitmap of a CMA area: which of its chunks are handed out.

use core::ops::Range;

/// One bit a chunk; a set bit is a chunk that is handed out or being tried.
#[derive(Clone, Debug)]
pub(crate) struct Bitmap {
    words: Vec<u64>,
    len: usize,
}

/// Where a run of bits may start: at bit `n` with `(n + offset)` a multiple of `mask + 1`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Alignment {
    /// A power of two less one.
    pub(crate) mask: usize,
    /// How far bit 0 lies behind an aligned position.
    pub(crate) offset: usize,
}

impl Bitmap {
    const WORD: usize = 64;

    /// `len` clear bits.
    pub(crate) fn new(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(Self::WORD)], len }
    }

    /// Number of bits.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Number of set bits.
    pub(crate) fn ones(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Whether every bit of `bits` is clear.
    pub(crate) fn is_clear(&self, bits: Range<usize>) -> bool {
        self.next(bits.clone(), Wanted::Set).is_none()
    }

    /// Whether every bit of `bits` is set.
    pub(crate) fn is_set(&self, bits: Range<usize>) -> bool {
        self.next(bits, Wanted::Clear).is_none()
    }

    /// Sets clear bits. Linux: `bitmap_set()`.
    ///
    /// # Panics
    ///
    /// Panics when one of them is set.
    pub(crate) fn set(&mut self, bits: Range<usize>) {
        assert!(self.is_clear(bits.clone()), "bits {bits:?} handed out twice");
        self.toggle(bits);
    }

    /// Clears set bits. Linux: `cma_clear_bitmap()`.
    ///
    /// # Panics
    ///
    /// Panics when one of them is clear.
    pub(crate) fn clear(&mut self, bits: Range<usize>) {
        assert!(self.is_set(bits.clone()), "bits {bits:?} returned twice");
        self.toggle(bits);
    }

    /// The first aligned run of `count` clear bits at or after `from`.
    /// Linux: `bitmap_find_next_zero_area_off()`.
    pub(crate) fn find_clear(&self, from: usize, count: usize, align: Alignment) -> Option<usize> {
        let mut at = from;
        loop {
            let free = self.next(at..self.len, Wanted::Clear)?;
            let start = (free + align.offset).next_multiple_of(align.mask + 1) - align.offset;
            let end = start.checked_add(count).filter(|end| *end <= self.len)?;
            match self.next(start..end, Wanted::Set) {
                None => return Some(start),
                Some(busy) => at = busy + 1,
            }
        }
    }

    fn toggle(&mut self, bits: Range<usize>) {
        for (word, mask) in masks(bits) {
            self.words[word] ^= mask;
        }
    }

    fn next(&self, bits: Range<usize>, wanted: Wanted) -> Option<usize> {
        assert!(bits.end <= self.len, "bits {bits:?} of {}", self.len);
        masks(bits).find_map(|(index, mask)| {
            let word = match wanted {
                Wanted::Set => self.words[index],
                Wanted::Clear => !self.words[index],
            };
            let bit = usize::try_from((word & mask).trailing_zeros()).expect("at most 64");
            (bit < Self::WORD).then(|| index * Self::WORD + bit)
        })
    }
}

#[derive(Clone, Copy)]
enum Wanted {
    Set,
    Clear,
}

/// The words that `bits` touches, ascending, each with the mask of the bits inside it.
fn masks(bits: Range<usize>) -> impl Iterator<Item = (usize, u64)> {
    let first = bits.start / Bitmap::WORD;
    let last = if bits.is_empty() { first } else { bits.end.div_ceil(Bitmap::WORD) };
    (first..last).map(move |index| {
        let base = index * Bitmap::WORD;
        let low = bits.start.saturating_sub(base);
        let high = (bits.end - base).min(Bitmap::WORD);
        (index, u64::MAX >> (Bitmap::WORD - (high - low)) << low)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANYWHERE: Alignment = Alignment { mask: 0, offset: 0 };

    /// The naive twin: one `bool` a bit, every position tried.
    fn naive(bits: &[bool], from: usize, count: usize, align: Alignment) -> Option<usize> {
        (from..bits.len()).filter(|start| (start + align.offset) & align.mask == 0).find(|start| {
            start + count <= bits.len() && bits[*start..start + count].iter().all(|bit| !bit)
        })
    }

    #[test]
    fn agrees_with_a_row_of_bools() {
        let len = 150;
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % u64::try_from(below).unwrap()).unwrap()
        };
        let mut bitmap = Bitmap::new(len);
        let mut bits = vec![false; len];
        for _ in 0..4000 {
            let count = 1 + random(40);
            let mask = (1 << random(5)) - 1;
            let align = Alignment { mask, offset: random(mask + 1) };
            let from = random(len);
            let found = bitmap.find_clear(from, count, align);
            assert_eq!(found, naive(&bits, from, count, align));
            if let Some(start) = found {
                bitmap.set(start..start + count);
                bits[start..start + count].fill(true);
            } else {
                let start = random(len);
                let end = (start..len).find(|at| !bits[*at]).unwrap_or(len);
                bitmap.clear(start..end);
                bits[start..end].fill(false);
            }
            assert_eq!(
                usize::try_from(bitmap.ones()).unwrap(),
                bits.iter().filter(|b| **b).count()
            );
        }
    }

    #[test]
    fn alignment_counts_from_the_offset() {
        let mut bitmap = Bitmap::new(16);
        bitmap.set(0..1);
        let align = Alignment { mask: 3, offset: 2 };
        assert_eq!(bitmap.find_clear(0, 2, align), Some(2));
        assert_eq!(bitmap.find_clear(3, 2, align), Some(6));
        assert_eq!(bitmap.find_clear(0, 15, ANYWHERE), Some(1));
        assert_eq!(bitmap.find_clear(0, 16, ANYWHERE), None);
    }

    #[test]
    #[should_panic(expected = "handed out twice")]
    fn a_bit_is_handed_out_once() {
        let mut bitmap = Bitmap::new(8);
        bitmap.set(2..4);
        bitmap.set(3..5);
    }
}
