//! Blocks of one order that lie side by side.

use crate::buddy::Buddy;
use crate::frame::{FrameIndex, Head};
use crate::frames::Frames;
use crate::free_area::{FreeAreas, Row};
use crate::migratetype::MigrateType;
use crate::pcp_list::Cached;
use crate::units::{Order, Pfn};

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

/// The lists of a type that blocks are being taken off. [`end`](Self::end) ends it.
pub(crate) struct Taking<'a> {
    frames: Frames<'a>,
    areas: &'a mut FreeAreas,
    row: Row,
}

impl Buddy {
    /// Starts taking blocks off the lists of `mt`. Heads and counters are the caller's to set.
    #[inline(always)]
    pub(crate) fn taking(&mut self, mt: MigrateType) -> Taking<'_> {
        let row = self.areas.row(mt);
        Taking { frames: self.map.frames(), areas: &mut self.areas, row }
    }
}

impl Taking<'_> {
    /// What up to `most` calls of [`take_first`](Buddy::take_first) would find in one block.
    #[inline]
    pub(crate) fn run(&mut self, order: Order, most: u32) -> Option<Run> {
        let Self { frames, areas, row } = self;
        let (index, from) = areas.pop_smallest(frames, row, order)?;
        if from == order {
            return Some(Run { index, count: 1, from });
        }
        let whole = 1 << (from.get() - order.get());
        let count = whole.min(most);
        // The rest starts with its smallest block; the lists below `from` are empty.
        let (mut at, end) = (count << order.get(), whole << order.get());
        while at < end {
            let piece = Order::from_bits(at.trailing_zeros().to_le_bytes()[0]);
            areas.insert_only(frames, row, (index + at, piece));
            at += 1 << piece.get();
        }
        Some(Run { index, count, from })
    }

    /// What up to `most` calls of [`run`](Self::run) would find on the list of the very order asked
    /// for, that of `now`; notes that each of them is that, and `each` hears of it. Says how many.
    #[inline(always)]
    pub(crate) fn listed(&mut self, now: Head, most: u32, each: impl FnMut(FrameIndex)) -> u32 {
        self.areas.pop_front(&mut self.frames, &mut self.row, (now, most), each)
    }

    /// Notes what every block of a run is now.
    #[inline]
    pub(crate) fn set_heads(&mut self, run: Run, head: Head) {
        for nth in 0..run.count {
            self.frames.set_head(run.index + (nth << head.order().get()), head);
        }
    }

    /// Ends it.
    #[inline(always)]
    pub(crate) fn end(self) {
        self.areas.keep(self.row);
    }
}

/// The order of the block, up to `most`, that the first of `blocks` makes up together with those
/// behind it, when each is freed after the other. Below pageblock order the type does not matter
/// for merging, and is the same for all frames.
#[inline]
pub(crate) fn joined(blocks: &[Cached], order: Order, most: Order) -> Order {
    // Asked first, since it is foreseen: most lists are in order, or in none.
    if !is_in_order(blocks, order) {
        return order;
    }
    let first = blocks[0];
    // What they may make up by where the first one starts, then by how many follow it.
    let most = Pfn::new(first.index().into()).natural_order(most);
    let mut joined = order;
    while joined < most && second_half_follows(blocks, order, joined) {
        joined = Order::from_bits(joined.get() + 1);
    }
    joined
}

/// Whether blocks of `order` that make up one of `half` are followed by as many that make up the
/// next. All are compared, without a branch for each: most that are asked about do follow.
#[inline]
fn second_half_follows(blocks: &[Cached], order: Order, half: Order) -> bool {
    let count = 1 << (half.get() - order.get());
    let Some(second) = blocks.get(count..2 * count) else { return false };
    let before = &blocks[count - 1..];
    let bits = before.iter().zip(second).fold(0, |bits, (before, block)| {
        bits | block.differing_bits(before.behind(1 << order.get()))
    });
    bits == 0
}

/// Whether the second of `blocks` lies behind the first, as when both were allocated in a row.
#[inline]
pub(crate) fn is_in_order(blocks: &[Cached], order: Order) -> bool {
    blocks.len() > 1 && blocks[1] == blocks[0].behind(1 << order.get())
}
