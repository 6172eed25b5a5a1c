//! Blocks of one order that lie side by side.

use crate::buddy::Buddy;
use crate::frame::FrameIndex;
use crate::migratetype::MigrateType;
use crate::pcp_list::Cached;
use crate::units::Order;

/// Blocks of one order side by side, taken off the lists together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) index: FrameIndex,
    pub(crate) count: u32,
    from: Order,
}

impl Run {
    /// The order of the block that the one at `nth` would have been cut from, had each of them been
    /// taken alone.
    pub(crate) const fn cut_from(self, nth: u32, order: Order) -> Order {
        match nth {
            0 => self.from,
            _ => Order::from_bits(order.get() + nth.trailing_zeros().to_le_bytes()[0]),
        }
    }
}

impl Buddy {
    /// Takes what up to `most` calls of [`take_first`](Self::take_first) would find in one block.
    /// Heads and counters are the caller's to set.
    pub(crate) fn take_run(&mut self, order: Order, mt: MigrateType, most: u32) -> Option<Run> {
        let mut row = self.areas.row(mt);
        let frames = &mut self.map.frames();
        let (index, from) = self.areas.pop_smallest(frames, &mut row, order)?;
        let whole = 1 << (from.get() - order.get());
        let count = whole.min(most);
        // The rest starts with its smallest block; the lists below `from` are empty.
        let (mut at, end) = (count << order.get(), whole << order.get());
        while at < end {
            let piece = Order::from_bits(at.trailing_zeros().to_le_bytes()[0]);
            self.areas.insert_only(frames, &mut row, (index + at, piece));
            at += 1 << piece.get();
        }
        self.areas.keep(row);
        Some(Run { index, count, from })
    }

    /// Makes blocks of `order`, none of which is free, one block of order `joined`.
    #[inline]
    pub(crate) fn join(&mut self, index: FrameIndex, order: Order, joined: Order) {
        if joined > order {
            let second = index + (1 << order.get());
            self.map.clear_held(second..index + (1 << joined.get()));
        }
    }
}

/// The order of the block that the first of `blocks` makes up together with those behind it, when
/// each is freed after the other. Below pageblock order the type does not matter for merging, and
/// is the same for all frames.
#[inline]
pub(crate) fn joined(buddy: &Buddy, blocks: &[Cached], order: Order) -> Order {
    // Asked first, since it is foreseen: most lists are in order, or in none.
    if !is_in_order(blocks, order) {
        return order;
    }
    let first = blocks[0];
    let follows = |nth: usize| blocks.get(nth) == Some(&first.behind(nth << order.get()));
    let geometry = buddy.geometry;
    let most = geometry.pageblock_order().min(geometry.max_order());
    let mut joined = order;
    while joined < most && first.index() & (1 << joined.get()) == 0 {
        let have = 1 << (joined.get() - order.get());
        if !(have..2 * have).all(follows) {
            break;
        }
        joined = joined.up();
    }
    joined
}

/// Whether the second of `blocks` lies behind the first, as when both were allocated in a row.
#[inline]
pub(crate) fn is_in_order(blocks: &[Cached], order: Order) -> bool {
    blocks.len() > 1 && blocks[1] == blocks[0].behind(1 << order.get())
}
