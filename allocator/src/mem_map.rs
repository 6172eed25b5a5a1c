//! The memory map of one zone: a state byte for each frame and two links for each pair of them.
//!
//! A frame that starts a block carries the block's kind and order; every other frame carries zero.
//! Zero is also what untouched memory holds, so metadata of memory that nothing ever used is never
//! written. Links are 32-bit node numbers; the list heads are the first nodes of the same table, so
//! a block leaves its list without anybody knowing which list that is.
//!
//! Five bytes a frame: one of state, four of links.

use pagelab_zeroed::Zeroed;

use crate::frame::{FrameIndex, Head, KIND, Movability, allocated, free};
use crate::frames::Frames;
use crate::node::{HEADS, Link, NEXT, Node, Nodes, PREV};
use crate::units::{Order, PageCount, Pfn, PfnRange};

/// State and links of every frame of a zone. Linux: the part of `mem_map` the buddy lists use.
#[derive(Clone)]
pub(crate) struct MemMap {
    base: Pfn,
    state: Zeroed<u8>,
    links: Zeroed<Link>,
    nodes: Nodes,
}

impl MemMap {
    /// A map for `span`, padded to whole blocks of `max` so that every buddy has an entry.
    ///
    /// # Panics
    ///
    /// Panics when that is 2^32 frames or more.
    pub(crate) fn new(span: PfnRange, max: Order) -> Self {
        let padded = span.align_out(max);
        let frames = u32::try_from(padded.len().get()).expect("a zone has fewer than 2^32 frames");
        let (nodes, count) = Nodes::new(frames);
        let mut map = Self {
            base: padded.start(),
            state: Zeroed::new(frames as usize),
            links: Zeroed::new(count as usize),
            nodes,
        };
        for head in 0..HEADS {
            map.links[head as usize] = [head; 2];
        }
        map
    }

    /// Whether no block below the large ones was ever on a list.
    #[cfg(test)]
    pub(crate) fn has_pristine_links(&self) -> bool {
        self.links[self.nodes.ordinary as usize..].iter().all(|link| *link == Link::default())
    }

    /// Number of frames in the map, padding included.
    pub(crate) fn len(&self) -> FrameIndex {
        FrameIndex::try_from(self.state.len()).expect("checked when the map was made")
    }

    /// The frame number at `index`.
    pub(crate) fn pfn(&self, index: FrameIndex) -> Pfn {
        self.base + PageCount::new(u64::from(index))
    }

    /// Where `pfn` is in the map, if it is.
    #[inline(always)]
    pub(crate) fn index(&self, pfn: Pfn) -> Option<FrameIndex> {
        // A frame below the base wraps to an offset that no map reaches.
        let offset = pfn.get().wrapping_sub(self.base.get());
        let index = FrameIndex::try_from(offset).ok()?;
        ((index as usize) < self.state.len()).then_some(index)
    }

    /// What starts at `index`.
    #[inline(always)]
    pub(crate) fn head(&self, index: FrameIndex) -> Option<Head> {
        Head::decode(self.state[index as usize])
    }

    /// The first of the frames from `from` to `end` where something starts. Frames that were never
    /// touched are skipped many at a time.
    pub(crate) fn next_head(&self, from: FrameIndex, end: FrameIndex) -> Option<FrameIndex> {
        const MANY: usize = 256;
        let mut at = from as usize;
        let states = &self.state[..end as usize];
        while let Some(rest) = states.get(at..).filter(|rest| !rest.is_empty()) {
            let many = &rest[..MANY.min(rest.len())];
            if many.iter().fold(0, |all, state| all | (state & KIND)) != 0 {
                let found = many.iter().position(|state| state & KIND != 0)?;
                return FrameIndex::try_from(at + found).ok();
            }
            at += many.len();
        }
        None
    }

    /// [`Frames::is_free_block`].
    pub(crate) fn is_free_block(&self, index: FrameIndex, order: Order) -> bool {
        self.state[index as usize] == free(order)
    }

    /// Whether an allocated block of exactly `order` starts at `index`.
    #[inline(always)]
    pub(crate) fn is_allocated_block(&self, index: FrameIndex, order: Order) -> bool {
        Head::is_allocated(self.state[index as usize], order)
    }

    /// [`Frames::set_head`].
    #[inline(always)]
    pub(crate) fn set_head(&mut self, index: FrameIndex, head: Head) {
        self.frames().set_head(index, head);
    }

    /// Notes that an allocated block starts at `index`.
    #[inline(always)]
    pub(crate) fn set_allocated(
        &mut self,
        index: FrameIndex,
        order: Order,
        movability: Movability,
    ) {
        self.state[index as usize] = allocated(order, movability);
    }

    /// [`Frames::clear_head`].
    pub(crate) fn clear_head(&mut self, index: FrameIndex) {
        self.frames().clear_head(index);
    }

    /// Notes that each frame of a range is allocated as a single page.
    pub(crate) fn set_held(&mut self, range: core::ops::Range<FrameIndex>, movability: Movability) {
        let states = &mut self.state[range.start as usize..range.end as usize];
        states.fill(allocated(Order::ZERO, movability));
    }

    /// The two tables, for several steps in a row.
    #[inline(always)]
    pub(crate) fn frames(&mut self) -> Frames<'_> {
        Frames { state: &mut self.state, links: &mut self.links, nodes: self.nodes }
    }

    /// The block that holds `index`: where it starts and what it is.
    pub(crate) fn covering(&self, index: FrameIndex, max: Order) -> Option<(FrameIndex, Head)> {
        Order::ZERO.to(max).find_map(|order| {
            let start = index & !((1 << order.get()) - 1);
            let head = self.head(start)?;
            (head.order() >= order).then_some((start, head))
        })
    }

    /// The free block that has the block of `order` at `index`: where it starts, and its order.
    pub(crate) fn free_around(
        &self,
        (index, order): (FrameIndex, Order),
        max: Order,
    ) -> Option<(FrameIndex, Order)> {
        debug_assert!(order <= max, "no block is larger");
        // Most of a zone that is mostly free.
        let largest = index >> max.get() << max.get();
        if self.is_free_block(largest, max) {
            return Some((largest, max));
        }
        let (mut start, mut mask) = (index, FrameIndex::MAX << order.get());
        // Nothing starts inside a free block: what starts nearest is that block, or in the way.
        let state = loop {
            start &= mask;
            let state = self.state[start as usize];
            if state != 0 || mask == FrameIndex::MAX << max.get() {
                break state;
            }
            mask <<= 1;
        };
        let least = Order::from_bits(mask.trailing_zeros().to_le_bytes()[0]);
        (state >= free(least)).then(|| (start, Order::from_bits(state)))
    }

    /// The first frame of the list at `head`, if any.
    pub(crate) fn first(&self, head: Node) -> Option<FrameIndex> {
        self.nodes.frame(self.links[head as usize][NEXT], &self.state)
    }

    /// Frames of the list at `head`, first to last.
    pub(crate) fn list(&self, head: Node) -> impl Iterator<Item = FrameIndex> {
        self.walk(head, NEXT)
    }

    /// Frames of the list at `head`, last to first. Linux: `list_for_each_entry_reverse()`.
    pub(crate) fn list_back(&self, head: Node) -> impl Iterator<Item = FrameIndex> {
        self.walk(head, PREV)
    }

    fn walk(&self, head: Node, way: usize) -> impl Iterator<Item = FrameIndex> {
        let step = move |node: Node| {
            let node = self.links[node as usize][way];
            self.nodes.frame(node, &self.state).map(|index| (node, index))
        };
        core::iter::successors(step(head), move |&(node, _)| step(node)).map(|(_, index)| index)
    }

    /// Moves the part of the list from a block to its end to the front.
    /// Linux: the list juggling of `move_freelist_tail()` and `move_freelist_head()`.
    pub(crate) fn rotate_to_front(&mut self, head: Node, block: (FrameIndex, Order)) {
        let (last, first) = (self.links[head as usize][PREV], self.links[head as usize][NEXT]);
        let node = self.nodes.of(block);
        if first == node {
            return;
        }
        let before = self.links[node as usize][PREV];
        self.links[last as usize][NEXT] = first;
        self.links[first as usize][PREV] = last;
        self.links[head as usize] = [node, before];
        self.links[node as usize][PREV] = head;
        self.links[before as usize][NEXT] = head;
    }

    /// Whether a free block is the only one of its list. Linux: `list_is_singular()`.
    pub(crate) fn is_alone(&self, block: (FrameIndex, Order)) -> bool {
        let [next, prev] = self.links[self.nodes.of(block) as usize];
        next == prev
    }

    /// Whether the neighbours of a free block on its list point back at it.
    pub(crate) fn is_linked(&self, block: (FrameIndex, Order)) -> bool {
        let node = self.nodes.of(block);
        let [next, prev] = self.links[node as usize];
        self.links[prev as usize][NEXT] == node && self.links[next as usize][PREV] == node
    }
}

impl core::fmt::Debug for MemMap {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("MemMap")
            .field("base", &self.base)
            .field("frames", &self.state.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use proptest::prelude::*;

    use super::*;
    use crate::frames::End;

    const PAGE: Order = Order::ZERO;

    fn map() -> MemMap {
        MemMap::new(PfnRange::new(Pfn::new(0x105), Pfn::new(0x11a)), Order::of(3))
    }

    fn list(map: &MemMap, head: Node) -> Vec<FrameIndex> {
        map.list(head).collect()
    }

    #[test]
    fn five_bytes_a_frame() {
        let frames = 1 << 20;
        let (_, nodes) = Nodes::new(frames);
        assert_eq!(size_of::<Link>() + 2 * size_of::<u8>(), 2 * 5);
        assert_eq!(nodes, frames / 2 + frames / 512 + HEADS);
    }

    #[test]
    fn every_frame_has_its_node() {
        let mut map = map();
        for (index, order) in [(0, 0), (1, 0), (30, 0), (31, 0), (6, 1), (16, 3)] {
            let block = (index, Order::of(order));
            map.set_head(index, Head::Free(block.1));
            assert_eq!(map.nodes.frame(map.nodes.of(block), &map.state), Some(index));
            map.clear_head(index);
        }
        let (nodes, _) = Nodes::new(1 << 12);
        assert_eq!(nodes.frame(nodes.of((1024, Order::of(10))), &[]), Some(1024));
        assert_eq!(nodes.frame(HEADS - 1, &[]), None);
    }

    #[test]
    fn the_span_is_padded_to_whole_blocks() {
        let map = map();
        assert_eq!((map.pfn(0), map.len()), (Pfn::new(0x100), 0x20));
        assert_eq!(map.index(Pfn::new(0x11f)), Some(0x1f));
        assert_eq!(map.index(Pfn::new(0x120)), None);
        assert_eq!(map.index(Pfn::new(0xff)), None);
    }

    /// Puts a page on the list at `head`.
    fn put(map: &mut MemMap, head: Node, index: FrameIndex, end: End) {
        map.frames().link(head, (index, PAGE), end);
        map.set_head(index, Head::Free(PAGE));
    }

    #[test]
    fn lists_keep_order_and_unlink_anywhere() {
        let mut map = map();
        put(&mut map, 7, 1, End::Head);
        put(&mut map, 7, 2, End::Head);
        put(&mut map, 7, 5, End::Tail);
        assert_eq!(list(&map, 7), [2, 1, 5]);
        assert_eq!(map.list_back(7).collect::<Vec<_>>(), [5, 1, 2]);
        assert_eq!(map.frames().unlink((1, PAGE)), None);
        assert_eq!(list(&map, 7), [2, 5]);
        assert_eq!(map.frames().unlink((2, PAGE)), None);
        assert_eq!(map.frames().unlink((5, PAGE)), Some(7));
        assert!(list(&map, 7).is_empty());
    }

    #[test]
    fn the_front_of_a_list_leaves_it_together() {
        let mut map = map();
        [1, 3, 4, 6].into_iter().for_each(|index| put(&mut map, 7, index, End::Tail));
        let now = Head::PerCpu(Order::ZERO);
        for (most, left, expected) in [(3, vec![6], vec![1, 3, 4]), (9, vec![], vec![6])] {
            let mut heard = Vec::new();
            let taken = map.frames().unlink_front(7, most, now, |index| heard.push(index));
            assert_eq!(taken, (u32::try_from(expected.len()).unwrap(), left.is_empty()));
            assert!(heard.iter().all(|&index| map.head(index) == Some(now)));
            assert_eq!((heard, list(&map, 7)), (expected, left.clone()));
            assert_eq!(map.list_back(7).collect::<Vec<_>>(), left);
        }
        assert_eq!(map.frames().unlink_front(7, 9, now, |_| panic!("none is left")), (0, true));
    }

    #[test]
    fn the_first_of_a_list_leaves_it() {
        let mut map = map();
        [9, 2].into_iter().for_each(|index| put(&mut map, 7, index, End::Tail));
        for expected in [Some((9, false)), Some((2, true)), None] {
            assert_eq!(map.frames().unlink_first(7), expected);
        }
    }

    #[test]
    fn nothing_is_cleared_where_a_block_is_free() {
        let mut map = map();
        let held = Head::PerCpu(Order::of(1));
        [0, 2].into_iter().for_each(|index| map.set_head(index, held));
        map.set_head(4, Head::Free(Order::ZERO));
        let mut clear = |range| {
            let cleared = AssertUnwindSafe(|| map.frames().clear_held(range));
            catch_unwind(cleared).map_err(|_| map.head(2))
        };
        assert_eq!(clear(0..5), Err(Some(held)));
        assert_eq!(clear(0..4), Ok(()));
        assert!((0..4).all(|index| map.head(index).is_none()));
    }

    #[test]
    fn rotation_keeps_the_cycle() {
        let pages = [1, 3, 4, 6];
        for at in 0..pages.len() {
            let mut map = map();
            pages.into_iter().for_each(|index| put(&mut map, 9, index, End::Tail));
            map.rotate_to_front(9, (pages[at], PAGE));
            let mut expected = pages;
            expected.rotate_left(at);
            assert_eq!(list(&map, 9), expected);
            assert!(pages.into_iter().all(|index| map.is_linked((index, PAGE))));
        }
    }

    #[test]
    fn free_blocks_are_found_eight_frames_at_a_time() {
        let mut map = map();
        let allocated = Head::Allocated(Order::of(3), Movability::Movable);
        let heads = [Head::Free(Order::ZERO), allocated, Head::PerCpu(Order::ZERO)];
        let heads = heads.into_iter().chain([Head::Free(Order::of(2))]);
        (2..).step_by(2).zip(heads).for_each(|(index, head)| map.set_head(index, head));
        let blocks = |end| map.clone().frames().free_of_eight(1, end).collect::<Vec<_>>();
        assert_eq!(blocks(32), [(2, Order::ZERO), (8, Order::of(2))]);
        assert_eq!(blocks(8), [(2, Order::ZERO)]);
        assert_eq!(blocks(2), []);
    }

    #[test]
    fn covering_finds_the_block_of_a_tail() {
        let mut map = map();
        map.set_head(8, Head::Free(Order::of(2)));
        assert_eq!(map.covering(11, Order::of(3)), Some((8, Head::Free(Order::of(2)))));
        assert_eq!(map.covering(12, Order::of(3)), None);
        map.set_head(12, Head::Allocated(Order::ZERO, Movability::Movable));
        assert_eq!(map.covering(13, Order::of(3)), None);
    }

    /// Blocks of `kinds` and orders side by side, holes among them.
    fn paved(kinds: Vec<(u8, u8)>) -> MemMap {
        let (mut map, mut at): (_, FrameIndex) = (map(), 0);
        for (kind, order) in kinds {
            let order = Order::of(order.min(at.trailing_zeros().to_le_bytes()[0]));
            if at + (1 << order.get()) > map.len() {
                break;
            }
            let head = match kind {
                0 => None,
                1 => Some(Head::Allocated(order, Movability::Movable)),
                2 => Some(Head::PerCpu(order)),
                _ => Some(Head::Free(order)),
            };
            head.into_iter().for_each(|head| map.set_head(at, head));
            at += 1 << order.get();
        }
        map
    }

    proptest! {
        #[test]
        fn the_free_block_around_a_block_is_the_one_that_covers_it(
            kinds in prop::collection::vec((0u8..5, 0u8..4), 1..32),
        ) {
            let (map, max) = (paved(kinds), Order::of(3));
            for order in Order::ZERO.to(max) {
                for index in (0..map.len()).step_by(1 << order.get()) {
                    let covering = map.covering(index, max).and_then(|(start, head)| match head {
                        Head::Free(from) if from >= order => Some((start, from)),
                        _ => None,
                    });
                    prop_assert_eq!(map.free_around((index, order), max), covering);
                }
            }
        }
    }
}
