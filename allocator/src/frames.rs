//! The tables of a memory map while blocks are split and merged.

use core::hint::select_unpredictable;
use core::ops::Range;

use prefetch_index::prefetch_index;

use crate::frame::{FREE, FrameIndex, Head, free};
use crate::node::{Link, NEXT, Node, Nodes, PREV};
use crate::units::Order;

/// Which end of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(crate) enum End {
    /// Where blocks are taken.
    Head = NEXT,
    /// Where blocks that are better left alone go.
    Tail = PREV,
}

/// State and links of the frames of a [`MemMap`](crate::mem_map::MemMap), borrowed: a processor's
/// registers hold where the tables lie while blocks are split and merged.
pub(crate) struct Frames<'a> {
    pub(super) state: &'a mut [u8],
    pub(super) links: &'a mut [Link],
    pub(super) nodes: Nodes,
}

impl Frames<'_> {
    /// Whether a free block of exactly `order` starts at `index`. Linux: `page_is_buddy()`.
    #[inline(always)]
    pub(crate) fn is_free_block(&self, index: FrameIndex, order: Order) -> bool {
        self.state[index as usize] == free(order)
    }

    /// Whether a free block of any order starts at `index`. Linux: `PageBuddy()`.
    #[inline(always)]
    pub(crate) fn is_free(&self, index: FrameIndex) -> bool {
        self.state[index as usize] & FREE != 0
    }

    /// The free blocks that start at the eight frames from `index` on, as far as they lie before
    /// `end`. Which frames these are is found without a branch for each: they come at random.
    #[inline(always)]
    pub(crate) fn free_of_eight(
        &self,
        index: FrameIndex,
        end: FrameIndex,
    ) -> impl Iterator<Item = (FrameIndex, Order)> + use<> {
        let states = &self.state[index as usize..end.min(index + 8) as usize];
        let states = match states.first_chunk() {
            Some(eight) => u64::from_le_bytes(*eight),
            None => states.iter().rfold(0, |all, &state| all << 8 | u64::from(state)),
        };
        let mut free = states >> FREE.trailing_zeros() & (u64::MAX / 0xff);
        core::iter::from_fn(move || {
            let at = (free != 0).then(|| free.trailing_zeros())?;
            free &= free - 1;
            let [state, ..] = (states >> at).to_le_bytes();
            Some((index + at / 8, Order::from_bits(state)))
        })
    }

    /// Notes what starts at `index`.
    #[inline(always)]
    pub(crate) fn set_head(&mut self, index: FrameIndex, head: Head) {
        self.state[index as usize] = head.encode();
    }

    /// Notes that nothing starts at `index`.
    #[inline(always)]
    pub(crate) fn clear_head(&mut self, index: FrameIndex) {
        self.state[index as usize] = 0;
    }

    /// [`clear_head`](Self::clear_head) for all of a range.
    ///
    /// # Panics
    ///
    /// Panics when a block there is free; nothing is cleared then.
    #[inline]
    pub(crate) fn clear_held(&mut self, range: Range<FrameIndex>) {
        let states = &mut self.state[range.start as usize..range.end as usize];
        let all = states.iter().fold(0, |all, state| all | state);
        assert!(all & FREE == 0, "block is already free");
        states.fill(0);
    }

    /// Asks for the line of a frame's state.
    #[inline(always)]
    pub(crate) fn prefetch_state(&self, index: FrameIndex) {
        prefetch_index(&*self.state, index as usize);
    }

    /// Asks for the lines of the links that change first when a block below the largest order is
    /// freed: its buddy's if that is free, else its own. Those of two pages are most often in one
    /// line.
    #[inline(always)]
    pub(crate) fn prefetch_links(&self, (index, order): (FrameIndex, Order)) {
        let ask = |index| prefetch_index(&*self.links, self.nodes.of((index, order)) as usize);
        ask(index);
        if order > Order::ZERO {
            ask(index ^ (1 << order.get()));
        }
    }

    /// Asks for the lines of the buddy's neighbours on its list, if it is free. Whether it is, is
    /// chance, and found without a branch.
    #[inline(always)]
    pub(crate) fn prefetch_neighbours(&self, (index, order): (FrameIndex, Order)) {
        let buddy = index ^ (1 << order.get());
        let is_free = self.is_free_block(buddy, order);
        // Links of a block in use are those of long ago, and a head of a list is at hand.
        let node = select_unpredictable(is_free, self.nodes.of((buddy, order)), 0);
        self.links[node as usize]
            .iter()
            .for_each(|&next| prefetch_index(&*self.links, next as usize));
    }

    /// Links a block at one end of the list at `head`. Which end is chance: it is found by
    /// arithmetic, not by a branch. Linux: `list_add()`, `list_add_tail()`.
    #[inline(always)]
    pub(crate) fn link(&mut self, head: Node, block: (FrameIndex, Order), end: End) {
        self.link_node(head, self.nodes.of(block), end);
    }

    #[inline(always)]
    fn link_node(&mut self, head: Node, node: Node, end: End) {
        let (inward, outward) = (end as usize, end as usize ^ 1);
        let beside = core::mem::replace(&mut self.links[head as usize][inward], node);
        let link = &mut self.links[node as usize];
        link[inward] = beside;
        link[outward] = head;
        self.links[beside as usize][outward] = node;
    }

    /// Links a block as the only one of the list at `head`, which is empty.
    #[inline(always)]
    pub(crate) fn link_only(&mut self, head: Node, block: (FrameIndex, Order)) {
        let node = self.nodes.of(block);
        self.links[node as usize] = [head; 2];
        self.links[head as usize] = [node; 2];
    }

    /// Unlinks a block; returns the list head if the list is empty now. Linux: `list_del()`.
    #[inline(always)]
    pub(crate) fn unlink(&mut self, block: (FrameIndex, Order)) -> Option<Node> {
        self.unlink_node(self.nodes.of(block))
    }

    #[inline(always)]
    fn unlink_node(&mut self, node: Node) -> Option<Node> {
        let [next, prev] = self.links[node as usize];
        self.links[prev as usize][NEXT] = next;
        self.links[next as usize][PREV] = prev;
        // Two nodes are left in the ring: the head and this one.
        (next == prev).then_some(next)
    }

    /// Moves a block to one end of the list at `head` from whichever it is on; returns that list's
    /// head if it is empty now. Linux: `list_move()`, `list_move_tail()`.
    #[inline(always)]
    pub(crate) fn relink(
        &mut self,
        head: Node,
        block: (FrameIndex, Order),
        end: End,
    ) -> Option<Node> {
        let node = self.nodes.of(block);
        let emptied = self.unlink_node(node);
        self.link_node(head, node, end);
        emptied
    }

    /// Unlinks the first block of the list at `head`, if there is one; says which, and whether the
    /// list is empty now.
    #[inline(always)]
    pub(crate) fn unlink_first(&mut self, head: Node) -> Option<(FrameIndex, bool)> {
        let node = self.links[head as usize][NEXT];
        let index = self.nodes.frame(node, self.state)?;
        let next = self.links[node as usize][NEXT];
        self.links[head as usize][NEXT] = next;
        self.links[next as usize][PREV] = head;
        Some((index, next == head))
    }

    /// Unlinks up to `most` frames of the list at `head`, from the first one on, and notes what
    /// starts there `now`; `each` hears of them in their order. Says how many there were, and
    /// whether the list is empty now.
    #[inline(always)]
    pub(crate) fn unlink_front(
        &mut self,
        head: Node,
        most: u32,
        now: Head,
        mut each: impl FnMut(FrameIndex),
    ) -> (u32, bool) {
        let (mut next, mut count) = (self.links[head as usize][NEXT], 0);
        while count < most {
            let Some(index) = self.nodes.frame(next, self.state) else { break };
            next = self.links[next as usize][NEXT];
            self.set_head(index, now);
            each(index);
            count += 1;
        }
        self.links[head as usize][NEXT] = next;
        self.links[next as usize][PREV] = head;
        (count, next == head)
    }
}
