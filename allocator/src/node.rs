//! Where the links of a free block are.
//!
//! Two pages that are buddies share a node: while both are free they are one block, as pageblocks
//! have at least two pages. Which of them is on a list says its state.

use crate::frame::{FREE, FrameIndex};
use crate::units::Order;

/// A list head or a free block, as a position in the link table.
pub(crate) type Node = u32;

/// Nodes below this are list heads.
pub(crate) const HEADS: Node = 128;

/// The neighbours of a node on its list.
pub(super) type Link = [Node; 2];
pub(super) const NEXT: usize = 0;
pub(super) const PREV: usize = 1;

/// Which node stands for which free block. Those of large blocks come first and side by side: the
/// lists of a machine that has just started touch megabytes and not gigabytes.
#[derive(Clone, Copy)]
pub(super) struct Nodes {
    /// Nodes below the one of frames zero and one as ordinary blocks.
    pub(super) ordinary: Node,
}

/// Every block of this order or above has a node in the dense part: pageblocks of 2 MiB, which boot
/// hands over one by one, are among them.
const LARGE: u8 = 9;

impl Nodes {
    /// For `frames` frames; with the number of nodes.
    pub(super) const fn new(frames: u32) -> (Self, Node) {
        let ordinary = HEADS + frames.div_ceil(1 << LARGE);
        (Self { ordinary }, ordinary + frames.div_ceil(2))
    }

    #[inline(always)]
    pub(super) const fn of(self, (index, order): (FrameIndex, Order)) -> Node {
        if order.get() < LARGE {
            return index / 2 + self.ordinary;
        }
        core::hint::cold_path();
        HEADS + (index >> LARGE)
    }

    /// The frame of a node that is on a list, or none for a list head.
    #[inline(always)]
    pub(super) fn frame(self, node: Node, state: &[u8]) -> Option<FrameIndex> {
        if let Some(pair) = node.checked_sub(self.ordinary) {
            let even = pair * 2;
            // The odd one if the even one is not free.
            return Some(even | u32::from(state[even as usize] < FREE));
        }
        node.checked_sub(HEADS).map(|large| large << LARGE)
    }
}
