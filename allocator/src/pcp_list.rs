//! One per-CPU list: blocks in order, used at the newest end, drained at the oldest.
//!
//! A deque whose common end is the end of a vector, so that a hit on the list is a compare and a
//! load. What left at the oldest end is a gap before the blocks, closed when it outgrows them.

use crate::frame::FrameIndex;
use crate::migratetype::MigrateType;

/// A gap is not worth closing, and is opened with at least this much room, in blocks.
const MIN_GAP: usize = 32;

/// A block on a per-CPU list: where it starts, and the type under which it came in, in one word.
/// The type is stored as its difference from MOVABLE, so that for most blocks there is nothing to
/// add.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cached(u64);

impl Cached {
    pub(crate) const fn new(index: FrameIndex, mt: MigrateType) -> Self {
        Self((mt as u64 ^ MigrateType::Movable as u64) << FrameIndex::BITS | index as u64)
    }

    /// Where the block starts.
    pub(crate) const fn index(self) -> FrameIndex {
        let [a, b, c, d, ..] = self.0.to_le_bytes();
        FrameIndex::from_le_bytes([a, b, c, d])
    }

    /// A block `frames` behind this one, with the same type.
    #[inline]
    pub(crate) const fn behind(self, frames: usize) -> Self {
        Self(self.0 + frames as u64)
    }

    /// The bits in which two of them differ; none if they are the same.
    #[inline]
    pub(crate) const fn differing_bits(self, other: Self) -> u64 {
        self.0 ^ other.0
    }

    /// Type under which the block came in. Linux: `get_pcppage_migratetype()`.
    pub(crate) const fn mt(self) -> MigrateType {
        let [.., mt, _, _, _] = self.0.to_le_bytes();
        MigrateType::from_index(mt as usize ^ MigrateType::Movable.index())
    }
}

/// Linux: one of `pcp->lists[]`; the newest block is the head.
#[derive(Clone, Debug, Default)]
pub(crate) struct PageList {
    /// The gap, then the blocks from the oldest to the newest.
    blocks: Vec<Cached>,
    gap: usize,
}

impl PageList {
    /// Whether there is no block.
    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        // Not `==`: that there is a block follows from `>`.
        self.blocks.len() <= self.gap
    }

    /// Adds a block at the head.
    #[inline]
    pub(crate) fn push_newest(&mut self, block: Cached) {
        self.blocks.push(block);
    }

    /// Adds a block at the head where the list need not grow for it; says whether it could.
    #[inline(always)]
    pub(crate) fn push_if_room(&mut self, block: Cached) -> bool {
        let room = self.blocks.len() < self.blocks.capacity();
        if room {
            self.blocks.push(block);
        }
        room
    }

    /// Takes the block at the head.
    #[inline(always)]
    pub(crate) fn pop_newest(&mut self) -> Option<Cached> {
        if self.is_empty() { None } else { self.blocks.pop() }
    }

    /// Adds a block at the tail.
    #[inline]
    pub(crate) fn push_oldest(&mut self, block: Cached) {
        if self.gap == 0 {
            self.make_room(self.blocks.len().max(MIN_GAP));
        }
        self.gap -= 1;
        self.blocks[self.gap] = block;
    }

    /// Adds `count` blocks at the tail, each `frames` behind the one before it.
    #[inline]
    pub(crate) fn push_oldest_run(&mut self, first: Cached, frames: usize, count: usize) {
        self.make_room(count);
        let gap = self.gap - count;
        let blocks = self.blocks[gap..self.gap].iter_mut().rev();
        blocks.enumerate().for_each(|(nth, slot)| *slot = first.behind(nth * frames));
        self.gap = gap;
    }

    /// Opens a gap for `count` blocks at the tail, if it is smaller.
    #[inline]
    pub(crate) fn make_room(&mut self, count: usize) {
        if count > self.gap {
            self.open_gap(count - self.gap);
        }
    }

    #[inline(never)]
    fn open_gap(&mut self, more: usize) {
        let nothing = Cached::new(0, MigrateType::Movable);
        self.blocks.splice(0..0, core::iter::repeat_n(nothing, more));
        self.gap += more;
    }

    /// Takes the block at the tail.
    fn pop_oldest(&mut self) -> Option<Cached> {
        let block = *self.blocks.get(self.gap)?;
        self.drop_oldest(1);
        Some(block)
    }

    /// Up to `count` blocks from the tail on, the oldest first.
    pub(crate) fn oldest(&self, count: usize) -> &[Cached] {
        let blocks = &self.blocks[self.gap..];
        &blocks[..count.min(blocks.len())]
    }

    /// Takes `count` blocks at the tail off the list.
    pub(crate) fn drop_oldest(&mut self, count: usize) {
        self.gap += count;
        if self.gap > MIN_GAP && self.gap > self.blocks.len() / 2 {
            self.blocks.drain(..self.gap);
            self.gap = 0;
        }
    }

    /// Takes the block that starts at `index` out, wherever it is; says whether it was there.
    /// Blocks at the ends are found fastest. Linux: `list_del()`.
    pub(crate) fn withdraw(&mut self, index: FrameIndex) -> bool {
        if self.blocks.get(self.gap).is_some_and(|oldest| oldest.index() == index) {
            return self.pop_oldest().is_some();
        }
        let found = self.blocks[self.gap..].iter().rposition(|block| block.index() == index);
        let Some(at) = found else { return false };
        self.blocks.remove(self.gap + at);
        true
    }

    /// The blocks, head first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Cached> {
        self.blocks[self.gap..].iter().rev()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_deque(operations in prop::collection::vec(0u8..9, 0..600)) {
            let (mut list, mut twin) = (PageList::default(), VecDeque::new());
            for (index, operation) in (0..).zip(operations) {
                let block = Cached::new(index, MigrateType::Movable);
                match operation {
                    0..3 => { list.push_newest(block); twin.push_front(block); }
                    3 => { list.push_oldest(block); twin.push_back(block); }
                    4 => {
                        list.push_oldest_run(block, 3, 2);
                        twin.extend([block, block.behind(3)]);
                    }
                    5..7 => prop_assert_eq!(list.pop_newest(), twin.pop_front()),
                    _ => prop_assert_eq!(list.pop_oldest(), twin.pop_back()),
                }
                prop_assert_eq!(list.is_empty(), twin.is_empty());
                prop_assert!(list.iter().eq(twin.iter()));
            }
        }
    }
}
