//! Where things stand in the order of their frames, while they stay where they are.

use core::ops::Range;

use pagelab_allocator::units::Pfn;

/// The most bits of a frame's number that one pass sorts by.
const DIGIT_BITS: u32 = 9;

/// Positions of pages, ascending by frame; of equal ones the first comes first.
///
/// # Panics
///
/// Panics when there are more than 2^16 pages.
pub(super) fn positions_by_frame<T>(pages: &[T], frame: impl Fn(&T) -> Pfn + Copy) -> Vec<u16> {
    assert!(pages.len() <= 1 << u16::BITS, "positions are numbers of 16 bits");
    let mut positions: Vec<u16> = (0..=u16::MAX).take(pages.len()).collect();
    if pages.is_sorted_by_key(frame) {
        return positions;
    }
    let number = |page: &T| frame(page).get();
    let first = number(&pages[0]);
    let differ = pages.iter().fold(0, |bits, page| bits | (number(page) ^ first));
    let bits = u64::BITS - differ.leading_zeros();
    // Passes of the same width: as few as there can be, and no wider than they have to.
    let width = bits.div_ceil(bits.div_ceil(DIGIT_BITS));
    let mut sorted = positions.clone();
    for from in (0..bits).step_by(width as usize) {
        sort_by_digit(pages, number, from..from + width, (&positions, &mut sorted));
        core::mem::swap(&mut positions, &mut sorted);
    }
    positions
}

/// Sorts positions by some bits of the frames, and leaves those alone that differ in none of them.
fn sort_by_digit<T>(
    pages: &[T],
    number: impl Fn(&T) -> u64,
    bits: Range<u32>,
    (positions, sorted): (&[u16], &mut [u16]),
) {
    let mask = (1 << (bits.end - bits.start)) - 1;
    let digit = |page: &T| {
        usize::try_from(number(page) >> bits.start & mask).expect("fewer digits than counts")
    };
    let mut ends = [0_u32; 1 << DIGIT_BITS];
    pages.iter().for_each(|page| ends[digit(page)] += 1);
    let mut start = 0;
    ends.iter_mut().for_each(|end| start += core::mem::replace(end, start));
    for &position in positions {
        let end = &mut ends[digit(&pages[usize::from(position)])];
        sorted[*end as usize] = position;
        *end += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pages_ascend_by_frame(
            frames in prop::collection::vec(prop_oneof![0u64..2000, 0u64..1 << 40], 0..300),
        ) {
            let mut expected: Vec<usize> = (0..frames.len()).collect();
            expected.sort_by_key(|&at| frames[at]);
            let positions = positions_by_frame(&frames, |&frame| Pfn::new(frame));
            let positions: Vec<usize> = positions.into_iter().map(usize::from).collect();
            prop_assert_eq!(positions, expected);
        }
    }
}
