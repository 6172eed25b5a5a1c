//! Free lists by order and migratetype.

use crate::frame::{FrameIndex, HEADS, Head, MemMap, Node};
use crate::migratetype::MigrateType;
use crate::units::Order;

/// Types per order in the table of list heads: a power of two, so that both halves of a head's
/// number are fields of bits.
const TYPES: Node = 8;
const ORDERS: usize = 16;
const _: () = assert!(MigrateType::COUNT <= TYPES as usize);
const _: () = assert!(ORDERS * TYPES as usize == HEADS as usize);

/// Which end of a free list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// Where blocks are taken.
    Head,
    /// Where blocks that are better left alone go.
    Tail,
}

/// The free lists of a zone. Linux: `struct free_area[]`.
///
/// Linux counts blocks by order only, not by type; so do we. Which lists are non-empty is a bit
/// mask for each type, so that the smallest sufficient order is one shift and one count.
#[derive(Clone, Debug, Default)]
pub(crate) struct FreeAreas {
    non_empty: [u32; TYPES as usize],
    nr_free: [u64; ORDERS],
}

const fn head(order: Order, mt: MigrateType) -> Node {
    order.get() as Node * TYPES + mt as Node
}

impl FreeAreas {
    /// Puts a block on a list. Linux: `__add_to_free_list()`.
    #[inline(always)]
    pub(crate) fn add(
        &mut self,
        map: &mut MemMap,
        block: (FrameIndex, Order),
        mt: MigrateType,
        end: End,
    ) {
        let (index, order) = block;
        match end {
            End::Head => map.link_after(head(order, mt), index),
            End::Tail => map.link_before(head(order, mt), index),
        }
        map.set_head(index, Head::Free(order));
        self.non_empty[mt.index()] |= 1 << order.get();
        self.nr_free[order.index()] += 1;
    }

    /// Takes a block off whichever list it is on. Linux: `__del_page_from_free_list()`.
    pub(crate) fn remove(&mut self, map: &mut MemMap, index: FrameIndex, order: Order) {
        self.remove_from(map, (index, order), MigrateType::Movable);
    }

    /// [`remove`](Self::remove) of a block that is most likely on the list of `likely`: to foresee
    /// a branch is faster than to wait for an address that comes from a link.
    #[inline(always)]
    pub(crate) fn remove_from(
        &mut self,
        map: &mut MemMap,
        block: (FrameIndex, Order),
        likely: MigrateType,
    ) {
        let (index, order) = block;
        match map.unlink(index) {
            Some(emptied) if emptied == head(order, likely) => self.clear_mark(order, likely),
            Some(emptied) => self.clear_mark_of(emptied),
            None => {}
        }
        map.clear_head(index);
        self.nr_free[order.index()] -= 1;
    }

    #[inline(always)]
    fn clear_mark(&mut self, order: Order, mt: MigrateType) {
        self.non_empty[mt.index()] &= !(1 << order.get());
    }

    #[cold]
    fn clear_mark_of(&mut self, list: Node) {
        self.non_empty[(list % TYPES) as usize] &= !(1 << (list / TYPES));
    }

    /// Takes the first block off a list; its state is the caller's to set.
    #[inline(always)]
    pub(crate) fn pop(
        &mut self,
        map: &mut MemMap,
        order: Order,
        mt: MigrateType,
    ) -> Option<FrameIndex> {
        let list = head(order, mt);
        let index = map.first(list)?;
        if map.unlink_first(list, index) {
            self.clear_mark(order, mt);
        }
        self.nr_free[order.index()] -= 1;
        Some(index)
    }

    /// The smallest order from `order` up whose list of `mt` has a block.
    #[inline(always)]
    pub(crate) fn smallest(&self, order: Order, mt: MigrateType) -> Option<Order> {
        let mask = self.non_empty[mt.index()] >> order.get();
        if mask == 0 {
            return None;
        }
        let up = mask.trailing_zeros().to_le_bytes()[0];
        Some(Order::from_bits(order.get() + up))
    }

    /// The first block of a list. Linux: `get_page_from_free_area()`.
    #[inline(always)]
    pub(crate) fn first(&self, map: &MemMap, order: Order, mt: MigrateType) -> Option<FrameIndex> {
        map.first(head(order, mt))
    }

    /// Whether a list has no block. Linux: `free_area_empty()`.
    pub(crate) const fn is_empty(&self, order: Order, mt: MigrateType) -> bool {
        self.non_empty[mt.index()] >> order.get() & 1 == 0
    }

    /// Number of free blocks of `order`, all types. Linux: `free_area[order].nr_free`.
    pub(crate) const fn nr_free(&self, order: Order) -> u64 {
        self.nr_free[order.index()]
    }

    /// Blocks of one list, first to last.
    pub(crate) fn list<'a>(
        &self,
        map: &'a MemMap,
        order: Order,
        mt: MigrateType,
    ) -> impl Iterator<Item = FrameIndex> + use<'a> {
        map.list(head(order, mt))
    }

    /// Blocks of one list, last to first.
    pub(crate) fn list_back<'a>(
        &self,
        map: &'a MemMap,
        order: Order,
        mt: MigrateType,
    ) -> impl Iterator<Item = FrameIndex> + use<'a> {
        map.list_back(head(order, mt))
    }

    /// Brings the block at `index` to the front of its list, keeping the cyclic order.
    pub(crate) fn rotate_to_front(
        &self,
        map: &mut MemMap,
        block: (FrameIndex, Order),
        mt: MigrateType,
    ) {
        map.rotate_to_front(head(block.1, mt), block.0);
    }
}
