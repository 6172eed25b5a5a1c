//! Blocks that come back to the lists of one type, one after the other.
//!
//! What each of them looks at stays at hand meanwhile: where the tables lie, which lists have
//! blocks.

use core::hint::select_unpredictable;

use crate::buddy::{Buddy, Placement};
use crate::frame::FrameIndex;
use crate::frames::{End, Frames};
use crate::free_area::{FreeAreas, Row};
use crate::migratetype::MigrateType;
use crate::pageblock::Pageblocks;
use crate::profile::MergeRule;
use crate::units::Order;

/// The lists of a type that blocks are being put on. [`end`](Self::end) ends it.
pub(crate) struct Merging<'a> {
    frames: Frames<'a>,
    areas: &'a mut FreeAreas,
    pub(crate) blocks: &'a mut Pageblocks,
    row: Row,
    rule: MergeRule,
    max: Order,
    pageblock: Order,
}

impl Buddy {
    /// Starts putting blocks on the lists of `mt`.
    #[inline(always)]
    pub(crate) fn merging(&mut self, mt: MigrateType) -> Merging<'_> {
        Merging {
            row: self.areas.row(mt),
            frames: self.map.frames(),
            areas: &mut self.areas,
            blocks: &mut self.blocks,
            rule: self.rules.merge,
            max: self.geometry.max_order(),
            pageblock: self.geometry.pageblock_order(),
        }
    }
}

/// How many blocks before its turn a block's state is asked for, then the links that change, then
/// those of its buddy's neighbours: which line each of them is in stands in the one before.
pub(crate) const AHEAD: [usize; 3] = [16, 10, 5];
const _: () = assert!(AHEAD[0] > AHEAD[1] && AHEAD[1] > AHEAD[2]);

impl Merging<'_> {
    /// Asks for the lines of blocks of `order` that are put as many puts from now as [`AHEAD`]
    /// says. Nothing waits for the lines.
    #[inline(always)]
    pub(crate) fn look_ahead(&self, later: [FrameIndex; 3], order: Order) {
        if self.has_buddy(order) {
            let [state, links, neighbours] = later;
            self.frames.prefetch_state(state);
            self.frames.prefetch_links((links, order));
            self.frames.prefetch_neighbours((neighbours, order));
        }
    }

    /// Puts a block on the list of its order, merged with free buddies; counters of pages are the
    /// caller's. Linux: `__free_one_page()`.
    ///
    /// # Panics
    ///
    /// Panics when the block is free already.
    #[inline(always)]
    pub(crate) fn put(&mut self, index: FrameIndex, order: Order, placement: Placement) {
        assert!(!self.frames.is_free(index), "block is already free");
        // Most blocks find no free buddy: what they need is compiled for the order they have.
        let merged = match order {
            Order::ZERO => self.merge_page(index),
            _ => self.merge_once(index, order),
        };
        match merged {
            None => self.add(index, order, placement),
            Some(merged) => {
                self.frames.clear_head(index);
                self.put_merged(merged, Order::from_bits(order.get() + 1), placement);
            }
        }
    }

    /// Whether blocks of `order` have a buddy: the largest have none, and pages always have one.
    #[inline(always)]
    fn has_buddy(&self, order: Order) -> bool {
        order == Order::ZERO || order < self.max
    }

    /// [`put`](Self::put) of a block that has merged already.
    #[inline(always)]
    fn put_merged(&mut self, index: FrameIndex, order: Order, placement: Placement) {
        let (mut index, mut order) = (index, order);
        while let Some(merged) = self.merge_once(index, order) {
            index = merged;
            order = Order::from_bits(order.get() + 1);
        }
        self.add(index, order, placement);
    }

    /// [`merge_once`](Self::merge_once) of a page, whose buddy lies in its pageblock.
    /// Written out: of two calls of that the compiler makes one for any order again.
    #[inline(always)]
    fn merge_page(&mut self, index: FrameIndex) -> Option<FrameIndex> {
        let Self { frames, areas, row, .. } = self;
        let buddy = index ^ 1;
        if !frames.is_free_block(buddy, Order::ZERO) {
            return None;
        }
        areas.extract(frames, row, (buddy, Order::ZERO));
        frames.clear_head(buddy);
        Some(index & buddy)
    }

    /// Takes the buddy off its list if the block may merge with it; says where both start.
    #[inline(always)]
    fn merge_once(&mut self, index: FrameIndex, order: Order) -> Option<FrameIndex> {
        let Self { frames, areas, blocks, row, .. } = self;
        if order >= self.max {
            return None;
        }
        let buddy = index ^ (1 << order.get());
        if !frames.is_free_block(buddy, order) {
            return None;
        }
        // Types matter only where the buddy lies in another pageblock.
        if order >= self.pageblock
            && !may_merge(blocks, (buddy, order), row.migratetype(), self.rule)
        {
            return None;
        }
        areas.extract(frames, row, (buddy, order));
        frames.clear_head(buddy);
        Some(index & buddy)
    }

    /// Adds a block to the list of its order, at the end that its placement means.
    #[inline(always)]
    fn add(&mut self, index: FrameIndex, order: Order, placement: Placement) {
        let Self { frames, areas, row, .. } = self;
        let end = match placement {
            Placement::Likely => {
                let likely = will_merge(frames, index, order, self.max);
                select_unpredictable(likely, End::Tail, End::Head)
            }
            _ => End::Tail,
        };
        areas.insert(frames, row, (index, order), end);
    }

    /// Makes blocks from `index` on, none of which is free, one block of order `joined`.
    ///
    /// # Panics
    ///
    /// Panics when one of them is free already.
    #[inline]
    pub(crate) fn join(&mut self, index: FrameIndex, joined: Order) {
        self.frames.clear_held(index..index + (1 << joined.get()));
    }

    /// Ends it.
    #[inline(always)]
    pub(crate) fn end(self) {
        self.areas.keep(self.row);
    }
}

/// Whether a block of `mt` may merge with its free buddy in another pageblock.
#[inline(always)]
fn may_merge(
    blocks: &mut Pageblocks,
    buddy: (FrameIndex, Order),
    mt: MigrateType,
    rule: MergeRule,
) -> bool {
    let other = blocks.migratetype(buddy.0);
    other == mt || may_mix(blocks, (buddy, other), mt, rule)
}

/// [`may_merge`] with a buddy of another type.
#[cold]
fn may_mix(
    blocks: &mut Pageblocks,
    (buddy, other): ((FrameIndex, Order), MigrateType),
    mt: MigrateType,
    rule: MergeRule,
) -> bool {
    let mergeable = other.is_mergeable() && mt.is_mergeable();
    if mergeable && rule == MergeRule::OverwriteBuddy {
        blocks.set_migratetypes(buddy, mt);
    }
    mergeable
}

/// Whether the block one order up is one free buddy away from merging again.
/// Linux: `buddy_merge_likely()`.
#[inline(always)]
fn will_merge(frames: &Frames<'_>, index: FrameIndex, order: Order, max: Order) -> bool {
    if order.get() + 1 >= max.get() {
        return false;
    }
    let above = Order::from_bits(order.get() + 1);
    let combined = index & !(1 << order.get());
    frames.is_free_block(combined ^ (1 << above.get()), above)
}
