//! Free lists by order and migratetype.

use core::ops::Range;

use crate::frame::{FrameIndex, Head};
use crate::frames::{End, Frames};
use crate::mem_map::MemMap;
use crate::migratetype::MigrateType;
use crate::node::{HEADS, Node};
use crate::units::Order;

/// Types per order in the table of list heads: a power of two, so that both halves of a head's
/// number are fields of bits.
const TYPES: Node = 8;
const ORDERS: usize = 16;
const _: () = assert!(MigrateType::COUNT <= TYPES as usize);
const _: () = assert!(ORDERS * TYPES as usize == HEADS as usize);

/// The free lists of a zone. Linux: `struct free_area[]`.
///
/// Linux counts blocks by order only, not by type; so do we. Which lists are non-empty is a bit
/// mask for each type, so that the smallest sufficient order is one shift and one count.
#[derive(Clone, Debug, Default)]
pub(crate) struct FreeAreas {
    non_empty: [u32; TYPES as usize],
    nr_free: [u64; ORDERS],
}

/// Which lists of one type have blocks, while several of them change: in a register, not in
/// memory.
#[derive(Debug)]
pub(crate) struct Row {
    mt: MigrateType,
    non_empty: u32,
}

impl Row {
    /// The type of the lists.
    #[inline(always)]
    pub(crate) const fn migratetype(&self) -> MigrateType {
        self.mt
    }

    /// Notes that the lists of some orders have blocks.
    #[inline(always)]
    pub(crate) const fn mark(&mut self, orders: Range<Order>) {
        self.non_empty |= (1 << orders.end.get()) - (1 << orders.start.get());
    }

    #[inline(always)]
    fn clear_mark(&mut self, order: Order) {
        // Not `1 <<`: that would be worked out before it is known whether the list is empty.
        self.non_empty &= (!1u32).rotate_left(u32::from(order.get()));
    }

    /// The smallest order from `order` up whose list has a block.
    #[inline(always)]
    pub(crate) fn smallest(&self, order: Order) -> Option<Order> {
        let mask = self.non_empty >> order.get();
        if mask == 0 {
            return None;
        }
        let up = mask.trailing_zeros().to_le_bytes()[0];
        Some(Order::from_bits(order.get() + up))
    }
}

const fn head(order: Order, mt: MigrateType) -> Node {
    order.get() as Node * TYPES + mt as Node
}

impl FreeAreas {
    /// Puts a block on a list. Linux: `__add_to_free_list()`.
    pub(crate) fn add(
        &mut self,
        map: &mut MemMap,
        block: (FrameIndex, Order),
        mt: MigrateType,
        end: End,
    ) {
        let mut row = self.row(mt);
        self.insert(&mut map.frames(), &mut row, block, end);
        self.keep(row);
    }

    /// Takes a block off whichever list it is on. Linux: `__del_page_from_free_list()`.
    pub(crate) fn remove(&mut self, map: &mut MemMap, index: FrameIndex, order: Order) {
        let mut row = self.row(MigrateType::Movable);
        let frames = &mut map.frames();
        self.extract(frames, &mut row, (index, order));
        frames.clear_head(index);
        self.keep(row);
    }

    /// The lists of one type, for several changes in a row; [`keep`](Self::keep) ends them.
    #[inline(always)]
    pub(crate) const fn row(&self, mt: MigrateType) -> Row {
        Row { mt, non_empty: self.non_empty[mt.index()] }
    }

    /// Ends changes to the lists of one type.
    #[inline(always)]
    pub(crate) const fn keep(&mut self, row: Row) {
        self.non_empty[row.mt.index()] = row.non_empty;
    }

    /// [`add`](Self::add) to a list of `row`.
    #[inline(always)]
    pub(crate) fn insert(
        &mut self,
        frames: &mut Frames<'_>,
        row: &mut Row,
        block: (FrameIndex, Order),
        end: End,
    ) {
        self.insert_unmarked(frames, row, block, end);
        row.non_empty |= 1 << block.1.get();
    }

    /// [`insert`](Self::insert) into a list that is [marked](Row::mark) with others afterwards.
    #[inline(always)]
    pub(crate) fn insert_unmarked(
        &mut self,
        frames: &mut Frames<'_>,
        row: &Row,
        block: (FrameIndex, Order),
        end: End,
    ) {
        let (index, order) = block;
        frames.link(head(order, row.mt), block, end);
        frames.set_head(index, Head::Free(order));
        self.nr_free[order.index()] += 1;
    }

    /// [`insert`](Self::insert) into a list that is empty, where both ends are one.
    #[inline(always)]
    pub(crate) fn insert_only(
        &mut self,
        frames: &mut Frames<'_>,
        row: &mut Row,
        block: (FrameIndex, Order),
    ) {
        let (index, order) = block;
        debug_assert!(row.non_empty & 1 << order.get() == 0, "the list is empty");
        frames.link_only(head(order, row.mt), block);
        frames.set_head(index, Head::Free(order));
        row.non_empty |= 1 << order.get();
        self.nr_free[order.index()] += 1;
    }

    /// Takes a block off its list, most likely one of `row`: to foresee a branch is faster than to
    /// wait for an address that comes from a link. Its state is the caller's to set.
    #[inline(always)]
    pub(crate) fn extract(
        &mut self,
        frames: &mut Frames<'_>,
        row: &mut Row,
        block: (FrameIndex, Order),
    ) {
        let (_, order) = block;
        match frames.unlink(block) {
            Some(emptied) if emptied == head(order, row.mt) => row.clear_mark(order),
            Some(emptied) => self.clear_mark_of(emptied),
            None => {}
        }
        self.nr_free[order.index()] -= 1;
    }

    /// Moves a block from whichever list it is on to an end of one of `row`.
    /// Linux: `__move_to_free_list()`.
    #[inline(always)]
    pub(crate) fn move_to(
        &mut self,
        frames: &mut Frames<'_>,
        row: &mut Row,
        block: (FrameIndex, Order),
        end: End,
    ) {
        let to = head(block.1, row.mt);
        if let Some(emptied) = frames.relink(to, block, end).filter(|emptied| *emptied != to) {
            self.clear_mark_of(emptied);
        }
        row.non_empty |= 1 << block.1.get();
    }

    /// A list of another type than foreseen has become empty.
    #[cold]
    fn clear_mark_of(&mut self, list: Node) {
        self.non_empty[(list % TYPES) as usize] &= !(1 << (list / TYPES));
    }

    /// Takes the first block of the smallest order from `order` up that has one; its state is the
    /// caller's to set.
    #[inline(always)]
    pub(crate) fn pop_smallest(
        &mut self,
        frames: &mut Frames<'_>,
        row: &mut Row,
        order: Order,
    ) -> Option<(FrameIndex, Order)> {
        let from = row.smallest(order)?;
        let list = head(from, row.mt);
        let (index, emptied) = frames.unlink_first(list)?;
        if emptied {
            row.clear_mark(from);
        }
        self.nr_free[from.index()] -= 1;
        Some((index, from))
    }

    /// Takes up to `most` blocks of a list of `row`, from the first one on, and notes what each of
    /// them is `now`; `each` hears of them in their order. Says how many there were.
    #[inline(always)]
    pub(crate) fn pop_front(
        &mut self,
        frames: &mut Frames<'_>,
        row: &mut Row,
        (now, most): (Head, u32),
        each: impl FnMut(FrameIndex),
    ) -> u32 {
        let order = now.order();
        let (count, emptied) = frames.unlink_front(head(order, row.mt), most, now, each);
        if emptied {
            row.clear_mark(order);
        }
        self.nr_free[order.index()] -= u64::from(count);
        count
    }

    /// The first block of a list. Linux: `get_page_from_free_area()`.
    #[inline(always)]
    pub(crate) fn first(&self, map: &MemMap, order: Order, mt: MigrateType) -> Option<FrameIndex> {
        map.first(head(order, mt))
    }

    /// Whether a list of `mt` of `order` or above has a block.
    #[inline(always)]
    pub(crate) const fn has_from(&self, order: Order, mt: MigrateType) -> bool {
        self.non_empty[mt.index()] >> order.get() != 0
    }

    /// Of which orders the lists of the three ordinary types have blocks.
    #[inline(always)]
    fn ordinary(&self) -> u32 {
        MigrateType::PCP.into_iter().fold(0, |all, mt| all | self.non_empty[mt.index()])
    }

    /// The largest order of which the lists of the three ordinary types have a block.
    #[inline]
    pub(crate) fn largest(&self) -> Option<Order> {
        let orders = self.ordinary();
        orders.checked_ilog2().map(|order| Order::of(u8::try_from(order).expect("few orders")))
    }

    /// Whether one of the lists of the three ordinary types has a block of `order` or above.
    #[inline(always)]
    pub(crate) fn any_ordinary(&self, order: Order) -> bool {
        self.ordinary() >> order.get() != 0
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
        map.rotate_to_front(head(block.1, mt), block);
    }
}
