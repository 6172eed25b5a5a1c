//! The buddy system of one zone: free blocks by order and migratetype.
//!
//! Single-threaded and lock-free by construction: every method takes `&mut self` and returns what
//! happened. A zone turns the returned facts into events; this file knows neither events nor
//! watermarks nor per-CPU lists.
//!
//! Invariants, checked by [`Buddy::check`](crate::check):
//!
//! - A frame belongs to at most one block, and only the block's first frame says so.
//! - The free counters equal what is on the lists; isolated blocks are not counted as free.
//! - Two free buddies below pageblock order never stay unmerged.

use crate::frame::{Frame, FrameIndex, Head, Movability};
use crate::frames::End;
use crate::free_area::{FreeAreas, Row};
use crate::geometry::Geometry;
use crate::holders::Holders;
use crate::mem_map::MemMap;
use crate::migratetype::MigrateType;
use crate::pageblock::Pageblocks;
use crate::profile::{HighAtomicUnusable, KernelProfile, LargeFree, Rules};
use crate::units::{Order, PageCount, Pfn, PfnRange};

/// A block taken off the lists, and the order it was split from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    /// First frame of the block.
    pub pfn: Pfn,
    /// Order of the block that was on the list.
    pub from: Order,
}

/// Where a freed block is put on its list. Linux: `fpi_t`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Placement {
    /// To the head, unless the block will probably merge soon. Linux: `FPI_NONE`.
    Likely,
    /// To the tail, to be used last. Linux: `FPI_TO_TAIL`.
    Tail,
}

/// Free pages of a zone, as the kernel counts them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FreePages {
    /// All but isolated ones. Linux: `NR_FREE_PAGES`.
    pub all: PageCount,
    /// On CMA lists. Linux: `NR_FREE_CMA_PAGES`.
    pub cma: PageCount,
    /// On METADATA lists (RFC v1 `NR_FREE_METADATA_PAGES`).
    pub metadata: PageCount,
    /// On HIGHATOMIC lists; zero under 6.1, which has no such counter.
    /// Linux 6.12: `nr_free_highatomic`.
    pub highatomic: PageCount,
}

impl FreePages {
    /// The counter that a type has besides `all`.
    fn of_type(&mut self, mt: MigrateType) -> Option<&mut PageCount> {
        match mt {
            MigrateType::Cma => Some(&mut self.cma),
            MigrateType::Metadata => Some(&mut self.metadata),
            MigrateType::HighAtomic => Some(&mut self.highatomic),
            _ => None,
        }
    }

    /// `pages` of a list of `mt` became free. Linux: `account_freepages()`.
    pub(crate) fn add(&mut self, pages: PageCount, mt: MigrateType) {
        if mt != MigrateType::Isolate {
            self.all += pages;
            if let Some(counter) = self.of_type(mt) {
                *counter += pages;
            }
        }
    }

    /// `pages` of a list of `mt` are no longer free.
    fn sub(&mut self, pages: PageCount, mt: MigrateType) {
        if mt != MigrateType::Isolate {
            self.all -= pages;
            if let Some(counter) = self.of_type(mt) {
                *counter -= pages;
            }
        }
    }
}

/// What a pageblock holds besides unmovable pages. Linux: the counts of `move_freepages_block()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Census {
    /// Pages on buddy lists.
    pub(crate) free: PageCount,
    /// Allocated pages that can be migrated.
    pub(crate) movable: PageCount,
}

/// Free blocks of one zone and the types of its pageblocks. Linux: the free lists of `struct zone`.
#[derive(Clone, Debug)]
pub struct Buddy {
    pub(crate) geometry: Geometry,
    pub(crate) rules: Rules,
    pub(crate) span: PfnRange,
    pub(crate) map: MemMap,
    /// Who holds what, where blocks are handed out past the map.
    pub(crate) holders: Option<Box<dyn Holders>>,
    pub(crate) blocks: Pageblocks,
    pub(crate) areas: FreeAreas,
    pub(crate) free: FreePages,
}

impl Buddy {
    /// Empty lists for the frames of `span`; nothing is free until it is [`put`](Self::put).
    ///
    /// # Panics
    ///
    /// Panics when the span, padded to the largest blocks, has 2^32 frames or more.
    #[must_use]
    pub fn new(geometry: Geometry, profile: KernelProfile, span: PfnRange) -> Self {
        let map = MemMap::new(span, geometry.max_order());
        let mut blocks = Pageblocks::new(geometry.pageblock_order(), map.len());
        for start in span.blocks(geometry.pageblock_order()).filter(|&pfn| span.contains(pfn)) {
            let index = map.index(start).expect("inside the span");
            blocks.set_migratetype(index, MigrateType::Movable);
        }
        Self {
            geometry,
            rules: profile.rules(),
            span,
            map,
            holders: None,
            blocks,
            areas: FreeAreas::default(),
            free: FreePages::default(),
        }
    }

    /// The frames of the zone, holes included.
    #[must_use]
    pub const fn span(&self) -> PfnRange {
        self.span
    }

    /// Free pages. Linux: `zone_page_state()` of the free counters.
    #[must_use]
    pub const fn free_pages(&self) -> FreePages {
        self.free
    }

    /// Number of free blocks of `order`, all types. Linux: `free_area[order].nr_free`.
    #[must_use]
    pub const fn nr_free(&self, order: Order) -> u64 {
        self.areas.nr_free(order)
    }

    /// First frames of the blocks on one free list, first to last.
    pub fn free_list(&self, order: Order, mt: MigrateType) -> impl Iterator<Item = Pfn> {
        self.areas.list(&self.map, order, mt).map(|index| self.map.pfn(index))
    }

    /// First frames of the blocks on one free list, last to first.
    pub fn free_list_back(&self, order: Order, mt: MigrateType) -> impl Iterator<Item = Pfn> {
        self.areas.list_back(&self.map, order, mt).map(|index| self.map.pfn(index))
    }

    /// Whether the list of `order` and `mt` has no block. Linux: `free_area_empty()`.
    #[must_use]
    pub const fn is_list_empty(&self, order: Order, mt: MigrateType) -> bool {
        self.areas.is_empty(order, mt)
    }

    /// The type of the pageblock of `pfn`, ISOLATE while isolated.
    /// Linux: `get_pageblock_migratetype()`.
    ///
    /// # Panics
    ///
    /// Panics when `pfn` is outside the zone.
    #[must_use]
    pub fn migratetype(&self, pfn: Pfn) -> MigrateType {
        self.blocks.migratetype(self.index(pfn))
    }

    /// What `pfn` is part of.
    #[must_use]
    pub fn frame(&self, pfn: Pfn) -> Frame {
        let covering =
            self.map.index(pfn).and_then(|at| self.map.covering(at, self.geometry.max_order()));
        let Some((start, head)) = covering else { return Frame::Reserved };
        let head = self.as_held(start, head);
        let start = self.map.pfn(start);
        match head {
            Head::Free(order) => Frame::Free { head: start, order },
            Head::Allocated(order, movability) => {
                Frame::Allocated { head: start, order, movability }
            }
            Head::PerCpu(order) => Frame::PerCpu { head: start, order },
        }
    }

    /// The free block that has `pfn`: its first frame, and its order.
    #[inline]
    pub(crate) fn free_around(&self, pfn: Pfn) -> Option<(Pfn, Order)> {
        let page = (self.map.index(pfn)?, Order::ZERO);
        let (start, order) = self.map.free_around(page, self.geometry.max_order())?;
        Some((self.map.pfn(start), order))
    }

    /// The type under which pages of a list of `mt` are counted. 6.1 does not count free highatomic
    /// pages, and could not: blocks of one pageblock merge there whatever lists they are on.
    pub(crate) fn counted_as(&self, mt: MigrateType) -> MigrateType {
        match (self.rules.highatomic_unusable, mt) {
            (HighAtomicUnusable::Reserved, MigrateType::HighAtomic) => MigrateType::Unmovable,
            _ => mt,
        }
    }

    /// `pages` became free on a list of `mt`. Linux: `account_freepages()`.
    #[inline(always)]
    pub(crate) fn add_free(&mut self, pages: PageCount, mt: MigrateType) {
        match mt.is_mergeable() {
            true => self.free.all += pages,
            false => self.free.add(pages, self.counted_as(mt)),
        }
    }

    /// `pages` left a list of `mt`. Linux: `account_freepages()`.
    #[inline(always)]
    pub(crate) fn sub_free(&mut self, pages: PageCount, mt: MigrateType) {
        match mt.is_mergeable() {
            true => self.free.all -= pages,
            false => self.free.sub(pages, self.counted_as(mt)),
        }
    }

    /// Takes the first block of the smallest sufficient list of `mt` and splits it down to
    /// `order`. Linux: `__rmqueue_smallest()`.
    #[inline(always)]
    pub fn take_smallest(&mut self, order: Order, mt: MigrateType) -> Option<Taken> {
        let (index, from) = self.take_first(order, mt)?;
        Some(Taken { pfn: self.map.pfn(index), from })
    }

    /// [`take_smallest`](Self::take_smallest) by position.
    #[inline(always)]
    pub(crate) fn take_first(
        &mut self,
        order: Order,
        mt: MigrateType,
    ) -> Option<(FrameIndex, Order)> {
        let mut row = self.areas.row(mt);
        let frames = &mut self.map.frames();
        let (index, from) = self.areas.pop_smallest(frames, &mut row, order)?;
        // The halves go to lists that are empty: a larger block was the smallest there is.
        let mut half = from.get();
        while half > order.get() {
            half -= 1;
            let upper = (index + (1 << half), Order::from_bits(half));
            self.areas.insert_only(frames, &mut row, upper);
        }
        self.areas.keep(row);
        frames.set_head(index, Head::Allocated(order, Movability::Unmovable));
        self.sub_free(order.pages(), mt);
        Some((index, from))
    }

    /// Takes the block at `index` off its list and splits it down to `order`; the rest goes to the
    /// lists of `mt`. Linux: `page_del_and_expand()`.
    pub(crate) fn take(&mut self, index: FrameIndex, from: Order, order: Order, mt: MigrateType) {
        let mut row = self.areas.row(mt);
        self.areas.extract(&mut self.map.frames(), &mut row, (index, from));
        self.hand_out(index, from, order, row);
        self.sub_free(order.pages(), mt);
    }

    /// Splits a block that is off its list: the upper halves go to the heads of the lists of `row`
    /// until one of order `low` is left. Linux: `expand()`.
    #[inline(always)]
    fn hand_out(&mut self, index: FrameIndex, high: Order, low: Order, mut row: Row) {
        let frames = &mut self.map.frames();
        let mut order = high.get();
        while order > low.get() {
            order -= 1;
            let half = (index + (1 << order), Order::from_bits(order));
            self.areas.insert(frames, &mut row, half, End::Head);
        }
        self.areas.keep(row);
        frames.set_head(index, Head::Allocated(low, Movability::Unmovable));
    }

    /// Returns a block to the lists of `mt`, merging it with free buddies.
    /// Linux: `__free_one_page()`.
    ///
    /// # Panics
    ///
    /// Panics when the block is misaligned, larger than the largest order, outside the zone, or a
    /// free block starts there. That none overlaps it otherwise is the caller's to know.
    #[inline(always)]
    pub fn put(&mut self, pfn: Pfn, order: Order, mt: MigrateType, placement: Placement) {
        assert!(order <= self.geometry.max_order(), "block larger than the largest order");
        assert!(pfn.is_aligned(order), "misaligned block");
        let index = self.index(pfn);
        self.put_index(index, order, mt, placement);
    }

    /// [`put`](Self::put) by position.
    #[inline(always)]
    pub(crate) fn put_index(
        &mut self,
        index: FrameIndex,
        order: Order,
        mt: MigrateType,
        placement: Placement,
    ) {
        self.add_free(order.pages(), mt);
        self.merge(index, order, mt, placement);
    }

    /// [`put_index`](Self::put_index) without the counters.
    #[inline(always)]
    pub(crate) fn merge(
        &mut self,
        index: FrameIndex,
        order: Order,
        mt: MigrateType,
        placement: Placement,
    ) {
        let mut merging = self.merging(mt);
        merging.put(index, order, placement);
        merging.end();
    }

    /// Returns a block of any order with the types of its pageblocks. Linux: `free_one_page()`.
    ///
    /// Under 6.1 a block larger than a pageblock goes back whole, with the type of its first
    /// pageblock, unless a pageblock is isolated: that kernel does not isolate part of a block in
    /// use but moves the block away first, so that it never frees one of two minds.
    pub(crate) fn put_by_block(&mut self, index: FrameIndex, order: Order, placement: Placement) {
        let piece = match self.rules.large_free {
            LargeFree::Whole if self.blocks.isolated() == 0 => order,
            _ => order.min(self.geometry.pageblock_order()),
        };
        if piece == order {
            let mt = self.blocks.migratetype(index);
            return self.put_index(index, order, mt, placement);
        }
        self.put_pieces((index, order), piece, placement);
    }

    #[inline(never)]
    fn put_pieces(&mut self, block: (FrameIndex, Order), piece: Order, placement: Placement) {
        let (index, order) = block;
        self.map.clear_head(index);
        for start in (index..index + (1 << order.get())).step_by(1 << piece.get()) {
            let mt = self.blocks.migratetype(start);
            self.put_index(start, piece, mt, placement);
        }
    }

    /// Puts back pages of isolated pageblocks that are held as single pages, in blocks that are as
    /// large as they can be. No counter of free pages knows of them.
    /// Linux: `__free_one_page()` of each.
    ///
    /// # Panics
    ///
    /// Panics at the first block that has pages which are free already.
    pub(crate) fn put_isolated(&mut self, pages: PfnRange) {
        let pageblock = self.geometry.pageblock_order();
        let mut index = self.index(pages.start());
        let mut merging = self.merging(MigrateType::Isolate);
        for (_, order) in pages.chunks(pageblock) {
            if order > Order::ZERO {
                merging.join(index, order);
            }
            merging.put(index, order, Placement::Likely);
            index += 1 << order.get();
        }
        merging.end();
    }

    /// The order that [`put_isolated`](Self::put_isolated) would merge one page to, which is not
    /// free. Linux: `__free_one_page()`; no other type merges with an isolated one.
    #[inline(always)]
    pub(crate) fn isolated_order(&self, page: FrameIndex) -> Order {
        let (max, pageblock) = (self.geometry.max_order(), self.geometry.pageblock_order());
        let is_isolated = |index| self.blocks.migratetype(index) == MigrateType::Isolate;
        let (mut index, mut order) = (page, Order::ZERO);
        while order < max {
            let buddy = index ^ (1 << order.get());
            let merges = self.map.is_free_block(buddy, order);
            if !merges || (order >= pageblock && !is_isolated(buddy)) {
                break;
            }
            index &= buddy;
            order = Order::from_bits(order.get() + 1);
        }
        order
    }

    /// Gives every pageblock that a block of `order` touches a type.
    /// Linux: `change_pageblock_range()`.
    pub(crate) fn set_types(&mut self, index: FrameIndex, order: Order, mt: MigrateType) {
        self.blocks.set_migratetypes((index, order), mt);
    }

    /// Moves every free block of the pageblock of `index` to the tails of the lists of `mt`,
    /// ascending; a free block that starts here but reaches beyond moves whole. Returns the pages
    /// moved. Counters and the block's type are the caller's. Linux: `move_freepages_block()`.
    pub(crate) fn move_free(&mut self, index: FrameIndex, mt: MigrateType) -> PageCount {
        let mut moved = PageCount::ZERO;
        let Some((start, end)) = self.block_in_zone(index) else { return moved };
        let (mut row, frames) = (self.areas.row(mt), &mut self.map.frames());
        for eight in (start..end).step_by(8) {
            for block in frames.free_of_eight(eight, end) {
                self.areas.move_to(frames, &mut row, block, End::Tail);
                moved += block.1.pages();
            }
        }
        self.areas.keep(row);
        moved
    }

    /// Counts free and movable pages of the pageblock of `index`.
    pub(crate) fn census(&self, index: FrameIndex) -> Census {
        let mut census = Census::default();
        let Some((mut at, end)) = self.block_in_zone(index) else { return census };
        while at < end {
            let head = self.head(at);
            match head {
                Some(Head::Free(order)) => census.free += order.pages(),
                Some(Head::Allocated(order, Movability::Movable)) => {
                    census.movable += order.pages();
                }
                _ => {}
            }
            at += head.map_or(1, |head| 1 << head.order().get());
        }
        census
    }

    /// The frames of the pageblock of `index`: from `index` when the block starts before the zone,
    /// none when it ends behind it. Linux: `prep_move_freepages_block()`.
    fn block_in_zone(&self, index: FrameIndex) -> Option<(FrameIndex, FrameIndex)> {
        let pages = 1 << self.geometry.pageblock_order().get();
        let start = index & !(pages - 1);
        let last = self.map.pfn(start + pages - 1);
        let from = if self.span.contains(self.map.pfn(start)) { start } else { index };
        self.span.contains(last).then_some((from, start + pages))
    }

    /// Whether the whole pageblock of `index` lies in the zone.
    pub(crate) fn is_whole_block(&self, index: FrameIndex) -> bool {
        let start = index & !((1 << self.geometry.pageblock_order().get()) - 1);
        self.span.contains(self.map.pfn(start)) && self.block_in_zone(index).is_some()
    }

    /// Changes the type of the pageblock of `pfn` and moves its free blocks along, counters
    /// included. Linux: `move_freepages_block()` with `set_pageblock_migratetype()`.
    ///
    /// # Panics
    ///
    /// Panics when `pfn` is outside the zone.
    pub fn retype(&mut self, pfn: Pfn, mt: MigrateType) -> PageCount {
        let index = self.index(pfn);
        let old = self.blocks.migratetype(index);
        let moved = self.move_free(index, mt);
        self.sub_free(moved, old);
        self.add_free(moved, mt);
        self.blocks.set_migratetype(index, mt);
        moved
    }

    /// Position of a frame of this zone.
    ///
    /// # Panics
    ///
    /// Panics when `pfn` is outside the zone.
    #[inline]
    pub(crate) fn index(&self, pfn: Pfn) -> FrameIndex {
        self.map.index(pfn).expect("frame outside the zone")
    }
}
