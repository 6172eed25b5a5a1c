//! Isolating pageblocks, so that nothing is allocated from them while they are emptied.

use crate::buddy::Placement;
use crate::event::{Event, Isolator, Sink};
use crate::frame::{Frame, FrameIndex, Head, Movability};
use crate::gfp::{AllocFlags, ZoneType};
use crate::migratetype::MigrateType;
use crate::profile::{IsolationSteps, LargeFree};
use crate::units::{CpuId, Order, PageCount, Pfn, PfnRange};
use crate::zone::Zone;

/// What the range is isolated for. Linux: `enum pb_isolate_mode`, or the `migratetype` argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IsolateMode {
    /// Memory that was lent out is wanted back; its pageblocks have this type (CMA, METADATA) and
    /// get it again.
    CmaAlloc(MigrateType),
    /// A memory block goes away.
    MemOffline,
    /// Any other contiguous allocation, from ordinary pageblocks.
    Other,
}

impl IsolateMode {
    /// The type that pageblocks get when isolation ends. Linux restores its argument, not what
    /// the pageblock was before.
    #[must_use]
    pub const fn restored(self) -> MigrateType {
        match self {
            Self::CmaAlloc(mt) => mt,
            Self::MemOffline | Self::Other => MigrateType::Movable,
        }
    }
}

/// Why a range could not be isolated. Linux: `-EBUSY`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IsolateError {
    /// Somebody else isolated a pageblock of the range.
    #[error("pageblock at {0} is isolated already")]
    AlreadyIsolated(Pfn),
    /// A frame can never move.
    #[error("frame {0} is unmovable")]
    Unmovable(Pfn),
}

impl Zone {
    /// Isolates every pageblock that `range` touches, or none. Linux: `start_isolate_page_range()`.
    ///
    /// # Errors
    ///
    /// [`IsolateError`] with the first frame in the way; nothing stays isolated then.
    ///
    /// # Panics
    ///
    /// Panics when the range is empty or leaves the zone.
    pub fn start_isolate(
        &mut self,
        range: PfnRange,
        mode: IsolateMode,
        sink: &mut impl Sink,
    ) -> Result<(), IsolateError> {
        let order = self.buddy.geometry.pageblock_order();
        let out = range.align_out(order);
        assert!(!range.is_empty() && self.span().covers(out), "isolated range leaves the zone");
        let (first, last) = (out.start(), out.end() - order.pages());
        self.isolate_edge(first, out.start(), mode, sink)?;
        if last == first {
            self.split_across(last, out.end(), sink);
        } else if let Err(error) = self.isolate_edge(last, out.end(), mode, sink) {
            self.unset_isolate(first, mode, sink);
            return Err(error);
        }
        for middle in PfnRange::new(first, last).blocks(order).skip(1) {
            if let Err(error) = self.isolate_block(middle, mode, sink) {
                self.undo_isolate(PfnRange::new(first, middle), mode, sink);
                self.unset_isolate(last, mode, sink);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Isolates a pageblock at an end of the range, and cuts free blocks that reach across it.
    /// Linux: `isolate_single_pageblock()`.
    fn isolate_edge(
        &mut self,
        block: Pfn,
        boundary: Pfn,
        mode: IsolateMode,
        sink: &mut impl Sink,
    ) -> Result<(), IsolateError> {
        self.isolate_block(block, mode, sink)?;
        self.split_across(block, boundary, sink);
        Ok(())
    }

    /// Linux: `set_migratetype_isolate()` for a whole pageblock.
    fn isolate_block(
        &mut self,
        block: Pfn,
        mode: IsolateMode,
        sink: &mut impl Sink,
    ) -> Result<(), IsolateError> {
        let index = self.buddy.index(block);
        let mt = self.buddy.blocks.migratetype(index);
        if mt == MigrateType::Isolate {
            return Err(IsolateError::AlreadyIsolated(block));
        }
        if let Some(pfn) = self.first_unmovable(block, mt, mode) {
            return Err(IsolateError::Unmovable(pfn));
        }
        self.note_isolation(block, MigrateType::Isolate, sink);
        self.change_isolation(index, MigrateType::Isolate);
        Ok(())
    }

    /// Says that a pageblock changes its type and that its free blocks follow, as the probes of the
    /// profile show it: 6.1 sets the type first when it isolates, and last when it ends that.
    fn note_isolation(&self, block: Pfn, migratetype: MigrateType, sink: &mut impl Sink) {
        let pfn = block;
        let typed = Event::SetPageblockMigratetype { pfn, migratetype };
        let moved = Event::MoveFreepagesBlock { pfn, migratetype };
        match (self.buddy.rules.isolation_steps, migratetype) {
            (IsolationSteps::InOne, _) => {
                sink.emit(Event::MoveFreepagesBlockIsolate { pfn, migratetype });
            }
            (IsolationSteps::TypeAndMove, MigrateType::Isolate) => {
                sink.emit(typed);
                sink.emit(moved);
            }
            (IsolationSteps::TypeAndMove, _) => {
                sink.emit(moved);
                sink.emit(typed);
            }
        }
    }

    /// Isolates a pageblock, or ends that with a type, and moves its free blocks along. 6.12 cuts a
    /// free block that is larger than the pageblock into pageblocks first.
    /// Linux: `move_freepages_block()`; 6.12: `move_freepages_block_isolate()`.
    pub(crate) fn change_isolation(&mut self, index: FrameIndex, to: MigrateType) {
        let geometry = self.buddy.geometry;
        let from = self.buddy.blocks.migratetype(index);
        let large = match self.buddy.map.covering(index, geometry.max_order()) {
            Some((start, Head::Free(order)))
                if order > geometry.pageblock_order()
                    && self.buddy.rules.isolation_steps == IsolationSteps::InOne =>
            {
                Some((start, order))
            }
            _ => None,
        };
        if let Some((start, order)) = large {
            let listed = self.buddy.blocks.migratetype(start);
            self.buddy.areas.remove(&mut self.buddy.map, start, order);
            self.buddy.sub_free(order.pages(), listed);
            self.count_free(CpuId::BOOT);
            self.buddy.blocks.set_isolation(index, to);
            self.buddy.put_by_block(start, order, Placement::Likely);
        } else {
            self.buddy.blocks.set_isolation(index, to);
            let moved = self.buddy.move_free(index, to);
            self.buddy.sub_free(moved, from);
            self.buddy.add_free(moved, to);
        }
        self.count_free(CpuId::BOOT);
    }

    /// The first frame of a pageblock that no migration can empty. Linux: `has_unmovable_pages()`.
    fn first_unmovable(&self, block: Pfn, mt: MigrateType, mode: IsolateMode) -> Option<Pfn> {
        if matches!(mt, MigrateType::Cma | MigrateType::Metadata) {
            return (mode != IsolateMode::CmaAlloc(mt)).then_some(block);
        }
        let range = self.buddy.geometry.pageblock_range(block);
        let mut pfn = range.start();
        while pfn < range.end() {
            let frame = self.buddy.frame(pfn);
            match frame {
                Frame::Reserved => return Some(pfn),
                Frame::Allocated { movability: Movability::Unmovable, .. }
                    if self.kind != ZoneType::Movable =>
                {
                    return Some(pfn);
                }
                Frame::Free { .. } | Frame::PerCpu { .. } | Frame::Allocated { .. } => {}
            }
            pfn = frame.next(pfn);
        }
        None
    }

    /// 6.1: cuts a free block that reaches across `boundary`; the pieces are freed again with the
    /// types of their pageblocks. Linux: `split_free_page()`.
    fn split_across(&mut self, block: Pfn, boundary: Pfn, sink: &mut impl Sink) {
        let max = self.buddy.geometry.max_order();
        if self.buddy.rules.isolation_steps != IsolationSteps::TypeAndMove
            || !self.span().contains(boundary)
            || boundary == self.span().start()
        {
            return;
        }
        let at = self.buddy.index(block.min(boundary - PageCount::new(1)));
        let Some((start, Head::Free(order))) = self.buddy.map.covering(at, max) else { return };
        let whole = PfnRange::block(self.buddy.map.pfn(start), order);
        if !(whole.start() < boundary && boundary < whole.end()) {
            return;
        }
        let offset = boundary - whole.start();
        sink.emit(Event::SplitFreePage { pfn: whole.start(), order, offset });
        self.cut(whole.start(), order, boundary);
    }

    /// Cuts the free block at `pfn` in two; the pieces of both parts are freed again with the types
    /// of their pageblocks. Linux 6.1: `split_free_page()`.
    pub(crate) fn cut(&mut self, pfn: Pfn, order: Order, boundary: Pfn) {
        let whole = PfnRange::block(pfn, order);
        let start = self.buddy.index(pfn);
        let mt = self.buddy.blocks.migratetype(start);
        self.buddy.areas.remove(&mut self.buddy.map, start, order);
        self.buddy.sub_free(order.pages(), mt);
        self.count_free(CpuId::BOOT);
        let halves = [PfnRange::new(whole.start(), boundary), PfnRange::new(boundary, whole.end())];
        // Pieces of at most a pageblock: larger ones could merge again across the boundary.
        let piece = self.buddy.geometry.pageblock_order();
        for (pfn, order) in halves.into_iter().flat_map(|half| half.chunks(piece)) {
            let index = self.buddy.index(pfn);
            let mt = self.buddy.blocks.migratetype(index);
            self.buddy.put_index(index, order, mt, Placement::Likely);
            self.count_free(CpuId::BOOT);
        }
    }

    /// Ends the isolation of every pageblock that `range` touches; they get the mode's type.
    /// Linux: `undo_isolate_page_range()`.
    pub fn undo_isolate(&mut self, range: PfnRange, mode: IsolateMode, sink: &mut impl Sink) {
        for block in range.blocks(self.buddy.geometry.pageblock_order()) {
            self.unset_isolate(block, mode, sink);
        }
    }

    /// Linux: `unset_migratetype_isolate()`.
    fn unset_isolate(&mut self, block: Pfn, mode: IsolateMode, sink: &mut impl Sink) {
        let index = self.buddy.index(block);
        if self.buddy.blocks.migratetype(index) != MigrateType::Isolate {
            return;
        }
        let mt = mode.restored();
        if let Some(order) = self.mergeable_head(index) {
            let (pfn, migratetype) = (block, mt);
            let (taken, isolator) = (order.pages(), Isolator::EndOfIsolation);
            sink.emit(Event::IsolateFreePage { pfn, order, taken, isolator });
            sink.emit(Event::SetPageblockMigratetype { pfn, migratetype });
            sink.emit(Event::PutbackIsolated { pfn, order, migratetype });
            self.buddy.areas.remove(&mut self.buddy.map, index, order);
            self.buddy.blocks.set_migratetype(index, mt);
            self.buddy.put_index(index, order, mt, Placement::Tail);
            self.count_free(CpuId::BOOT);
        } else {
            self.note_isolation(block, mt, sink);
            self.change_isolation(index, mt);
        }
    }

    /// A wholly free pageblock whose buddy is free and not isolated has to be freed again, or the
    /// two would never merge.
    fn mergeable_head(&self, index: FrameIndex) -> Option<Order> {
        let geometry = self.buddy.geometry;
        let Some(Head::Free(order)) = self.buddy.map.head(index) else { return None };
        if order < geometry.pageblock_order() || order >= geometry.max_order() {
            return None;
        }
        let buddy = index ^ (1 << order.get());
        (self.buddy.map.is_free_block(buddy, order)
            && self.buddy.blocks.migratetype(buddy) != MigrateType::Isolate)
            .then_some(order)
    }

    /// Whether a range is isolated and free throughout; the error is the first frame that is not.
    /// Linux: `test_pages_isolated()`.
    ///
    /// # Errors
    ///
    /// The first frame that is in use or not isolated.
    pub fn test_isolated(&self, range: PfnRange, sink: &mut impl Sink) -> Result<(), Pfn> {
        let mut pfn = range.start();
        while pfn < range.end() {
            let index = self.buddy.index(pfn);
            if self.buddy.blocks.migratetype(index) != MigrateType::Isolate {
                break;
            }
            let Some((head, order)) = self.buddy.free_around(pfn) else { break };
            pfn = head + order.pages();
        }
        sink.emit(Event::TestPagesIsolated { range, fin: pfn });
        if pfn >= range.end() { Ok(()) } else { Err(pfn) }
    }

    /// Takes a particular free block off the lists, for compaction or a contiguous claim; it is
    /// allocated then. `None` when `pfn` heads no free block, or the zone would run too low.
    /// Linux: `__isolate_free_page()`.
    pub fn isolate_free_page(
        &mut self,
        pfn: Pfn,
        isolator: Isolator,
        sink: &mut impl Sink,
    ) -> Option<Order> {
        let index = self.buddy.map.index(pfn)?;
        let Some(Head::Free(order)) = self.buddy.map.head(index) else { return None };
        let mt = self.buddy.blocks.migratetype(index);
        if mt != MigrateType::Isolate {
            let mark = self.watermarks.min + order.pages();
            let free = self.counted().all;
            let flags = AllocFlags::CMA | AllocFlags::METADATA;
            if !self.watermark_ok_with(free, Order::ZERO, mark, ZoneType::Dma, flags) {
                let taken = PageCount::ZERO;
                sink.emit(Event::IsolateFreePage { pfn, order, taken, isolator });
                return None;
            }
        }
        sink.emit(Event::IsolateFreePage { pfn, order, taken: order.pages(), isolator });
        self.take_listed(index, order);
        // No counter knows of isolated pages.
        if mt != MigrateType::Isolate {
            self.count_free(CpuId::BOOT);
        }
        Some(order)
    }

    /// A block of nearly a pageblock or more makes its pageblocks MOVABLE.
    pub(crate) fn retype_taken(&mut self, index: FrameIndex, order: Order) {
        let step = 1 << self.buddy.geometry.pageblock_order().get();
        for start in (index..index + (1 << order.get())).step_by(step) {
            if !self.buddy.blocks.migratetype(start).is_mergeable() {
                continue;
            }
            match self.buddy.rules.large_free {
                LargeFree::Whole => {
                    self.buddy.blocks.set_migratetype(start, MigrateType::Movable);
                }
                LargeFree::ByPageblock if self.buddy.is_whole_block(start) => {
                    let pfn = self.buddy.map.pfn(start);
                    self.buddy.retype(pfn, MigrateType::Movable);
                }
                LargeFree::ByPageblock => {}
            }
        }
    }

    /// Puts a block that [`isolate_free_page`](Self::isolate_free_page) took back to its list's
    /// tail. Linux: `__putback_isolated_page()`.
    pub(crate) fn putback_isolated(&mut self, pfn: Pfn, order: Order, sink: &mut impl Sink) {
        let index = self.allocated(pfn, order);
        let migratetype = self.buddy.blocks.migratetype(index);
        sink.emit(Event::PutbackIsolated { pfn, order, migratetype });
        self.buddy.put_by_block(index, order, Placement::Tail);
        self.count_free(CpuId::BOOT);
    }
}
