//! A zone's lists moved by hand: each step of a recording, carried out as it was recorded.
//!
//! Nothing here decides: who takes a block, where a free lands and which pageblock changes its type
//! is said by the caller, and only the mechanics of merging and splitting are the allocator's. What
//! the allocator would have done is asked first, by the functions that change nothing.

use crate::buddy::Placement;
use crate::event::Sink;
use crate::exact::Chosen;
use crate::fallback::{Extfrag, Fragmenting, Ownership, Raider, ViaOwnList};
use crate::frame::{FrameIndex, Head, Movability};
use crate::frames::End;
use crate::gfp::{AllocFlags, ZoneType};
use crate::migratetype::MigrateType;
use crate::page_alloc::PageAllocator;
use crate::units::{CpuId, Order, PageCount, Pfn, PfnRange};
use crate::zone::Zone;

/// A recorded step that the lists do not allow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandError {
    /// The frames lie outside the zone.
    #[error("block {0} of order {1} is not in the zone")]
    OutsideZone(Pfn, Order),
    /// A block to be freed is on a buddy list already.
    #[error("block {0} of order {1} is free already")]
    Free(Pfn, Order),
    /// A block to be taken is not on a buddy list.
    #[error("block {0} of order {1} is not free")]
    NotFree(Pfn, Order),
    /// The order is larger than any list's, or the block is not aligned to it.
    #[error("block {0} cannot have order {1}")]
    Misfit(Pfn, Order),
}

/// The block of another type that a request would raid first. 6.1 only moves it; 6.12 takes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Victim {
    /// First frame.
    pub pfn: Pfn,
    /// Order of the block.
    pub order: Order,
    /// Type of its list.
    pub migratetype: MigrateType,
}

/// One zone, to be moved by hand.
#[derive(Debug)]
pub struct ByHand<'a> {
    pub(crate) zone: &'a mut Zone,
    pub(crate) cpu: CpuId,
}

impl<S: Sink> PageAllocator<S> {
    /// The zone at `zone` in [`zones`](Self::zones), to be moved by hand for `cpu`.
    ///
    /// # Panics
    ///
    /// Panics when there is no such zone.
    #[inline]
    pub fn by_hand(&mut self, zone: usize, cpu: CpuId) -> ByHand<'_> {
        ByHand { zone: self.zone_mut(zone).0, cpu }
    }
}

impl ByHand<'_> {
    /// The frames of the zone. Linux: `zone_start_pfn`, `spanned_pages`.
    #[must_use]
    pub const fn span(&self) -> PfnRange {
        self.zone.span()
    }

    /// The block that a request of `order` from the lists of `mt` gets, and the order it is cut
    /// from. Linux: what `__rmqueue_smallest()` finds.
    #[inline]
    #[must_use]
    pub fn first(&self, order: Order, mt: MigrateType) -> Option<(Pfn, Order)> {
        let buddy = &self.zone.buddy;
        let from = buddy.areas.row(mt).smallest(order)?;
        Some((buddy.map.pfn(buddy.areas.first(&buddy.map, from, mt)?), from))
    }

    /// Takes what [`first`](Self::first) says. Linux: `__rmqueue_smallest()`.
    #[inline]
    pub fn take_first(&mut self, order: Order, mt: MigrateType) -> Option<Pfn> {
        let (index, _) = self.zone.buddy.take_first(order, mt)?;
        self.zone.count_free(self.cpu);
        Some(self.zone.buddy.map.pfn(index))
    }

    /// Takes the block at `pfn` out of whatever free block has it; the rest goes to the heads of
    /// the lists of `mt`, larger pieces first. Linux: `take_page_off_buddy()`.
    ///
    /// # Errors
    ///
    /// [`HandError`] when the frames are not free; nothing has changed then.
    pub fn take_at(&mut self, pfn: Pfn, order: Order, mt: MigrateType) -> Result<(), HandError> {
        let index = self.block(pfn, order)?;
        let buddy = &mut self.zone.buddy;
        let around = buddy.map.free_around((index, order), buddy.geometry.max_order());
        let (_, from) = around.ok_or(HandError::NotFree(pfn, order))?;
        buddy.take_within(Chosen { index, order, from, mt });
        self.zone.count_free(self.cpu);
        Ok(())
    }

    /// Frees a block to the lists of `mt`, whatever shape it was allocated in.
    /// Linux: `__free_one_page()`.
    ///
    /// # Errors
    ///
    /// [`HandError`] when a frame is free already or the block fits no list; nothing has changed
    /// then.
    #[inline]
    pub fn put(
        &mut self,
        pfn: Pfn,
        order: Order,
        mt: MigrateType,
        placement: Placement,
    ) -> Result<(), HandError> {
        let index = self.shape(pfn, order)?;
        self.zone.buddy.put_index(index, order, mt, placement);
        self.zone.count_free(self.cpu);
        Ok(())
    }

    /// Frees a block to the lists that its pageblocks say. A block that is larger than any list's,
    /// a gigantic page, goes back pageblock by pageblock. Linux: `__free_pages_ok()`.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put); of a gigantic page, the pageblocks before the unfit one are free.
    pub fn put_by_type(
        &mut self,
        pfn: Pfn,
        order: Order,
        placement: Placement,
    ) -> Result<(), HandError> {
        let geometry = self.zone.buddy.geometry;
        if order > geometry.max_order() {
            let piece = geometry.pageblock_order();
            let mut pieces = PfnRange::block(pfn, order).blocks(piece);
            return pieces.try_for_each(|pfn| self.put_by_type(pfn, piece, placement));
        }
        let index = self.shape(pfn, order)?;
        self.zone.buddy.put_by_block(index, order, placement);
        self.zone.count_free(self.cpu);
        Ok(())
    }

    /// Whether the zone keeps enough when the free block at `pfn` is taken as a migration target.
    /// Linux: the watermark check of `__isolate_free_page()`.
    #[must_use]
    pub fn may_isolate(&self, pfn: Pfn, order: Order) -> bool {
        let Some(index) = self.zone.buddy.map.index(pfn) else { return false };
        if self.zone.buddy.blocks.migratetype(index) == MigrateType::Isolate {
            return true;
        }
        let mark = self.zone.watermarks.min + order.pages();
        let flags = AllocFlags::CMA | AllocFlags::METADATA;
        let free = self.zone.counted().all;
        self.zone.watermark_ok_with(free, Order::ZERO, mark, ZoneType::Dma, flags)
    }

    /// The order of the free block that starts at `pfn`, if one does. Linux: `buddy_order()`.
    #[must_use]
    pub fn free_order(&self, pfn: Pfn) -> Option<Order> {
        let index = self.zone.buddy.map.index(pfn)?;
        match self.zone.buddy.map.head(index) {
            Some(Head::Free(order)) => Some(order),
            _ => None,
        }
    }

    /// Whether the free block at `pfn` is on the list of `mt`. As slow as the list is long.
    #[must_use]
    pub fn is_listed(&self, pfn: Pfn, mt: MigrateType) -> bool {
        let order = self.free_order(pfn);
        order.is_some_and(|order| self.zone.buddy.free_list(order, mt).any(|block| block == pfn))
    }

    /// Takes the free block that starts at `pfn` off its list, without asking the watermarks; its
    /// frames are single allocated pages then. Linux: `__isolate_free_page()`.
    ///
    /// # Errors
    ///
    /// [`HandError::NotFree`].
    pub fn isolate(&mut self, pfn: Pfn) -> Result<Order, HandError> {
        let order = self.free_order(pfn).ok_or(HandError::NotFree(pfn, Order::ZERO))?;
        let index = self.zone.buddy.index(pfn);
        self.zone.take_listed(index, order);
        self.zone.count_free(self.cpu);
        for at in index..index + (1 << order.get()) {
            let head = Head::Allocated(Order::ZERO, Movability::Unmovable);
            self.zone.buddy.map.set_head(at, head);
        }
        Ok(order)
    }

    /// Puts the blocks of one list into an order: `blocks`, if they are those of the list, head
    /// first. Linux: nothing in one step; the outcome of rotations that left no trace.
    pub fn arrange(&mut self, order: Order, mt: MigrateType, blocks: &[Pfn]) {
        let buddy = &mut self.zone.buddy;
        for &pfn in blocks {
            let Some(index) = buddy.map.index(pfn) else { continue };
            if buddy.map.is_free_block(index, order) {
                buddy.areas.remove(&mut buddy.map, index, order);
                buddy.areas.add(&mut buddy.map, (index, order), mt, End::Tail);
            }
        }
    }

    /// The type of the pageblock of `pfn`. Linux: `get_pageblock_migratetype()`.
    #[must_use]
    pub fn migratetype(&self, pfn: Pfn) -> Option<MigrateType> {
        let index = self.zone.buddy.map.index(pfn)?;
        Some(self.zone.buddy.blocks.migratetype(index))
    }

    /// Gives the pageblock of `pfn` a type and leaves its free blocks where they are.
    /// Linux: `set_pageblock_migratetype()`.
    pub fn set_type(&mut self, pfn: Pfn, mt: MigrateType) {
        let Some(index) = self.zone.buddy.map.index(pfn) else { return };
        let former = self.zone.buddy.blocks.migratetype(index);
        if former == mt {
            return;
        }
        self.zone.buddy.blocks.set_isolation(index, mt);
        let block = self.zone.buddy.geometry.pageblock_pages();
        let reserved = &mut self.zone.reserved_highatomic;
        match (former, mt) {
            (_, MigrateType::HighAtomic) if former.is_mergeable() => *reserved += block,
            (MigrateType::HighAtomic, _) if mt.is_mergeable() => {
                *reserved = reserved.saturating_sub(block);
            }
            _ => {}
        }
    }

    /// Moves the free blocks of the pageblock of `pfn` to the tails of the lists of `mt`; they were
    /// counted as `from`. Linux 6.1: `move_freepages_block()`.
    pub fn move_free(&mut self, pfn: Pfn, from: MigrateType, mt: MigrateType) {
        let Some(index) = self.zone.buddy.map.index(pfn) else { return };
        let moved = self.zone.buddy.move_free(index, mt);
        self.zone.buddy.sub_free(moved, from);
        self.zone.buddy.add_free(moved, mt);
        self.zone.count_free(self.cpu);
    }

    /// Isolates the pageblock of `pfn`, or ends that, and takes its free blocks along; a larger
    /// block is cut first. Linux 6.12: `move_freepages_block_isolate()`.
    pub fn change_isolation(&mut self, pfn: Pfn, mt: MigrateType) {
        let Some(index) = self.zone.buddy.map.index(pfn) else { return };
        if self.zone.buddy.blocks.migratetype(index) != mt {
            self.zone.change_isolation(index, mt);
        }
    }

    /// Cuts the free block at `pfn` in two at `offset`; both parts are freed again with the types
    /// of their pageblocks. Linux 6.1: `split_free_page()`.
    ///
    /// # Errors
    ///
    /// [`HandError::NotFree`], or [`HandError::Misfit`] when the cut is not inside the block.
    pub fn split_free(&mut self, pfn: Pfn, offset: PageCount) -> Result<(), HandError> {
        let order = self.free_order(pfn).ok_or(HandError::NotFree(pfn, Order::ZERO))?;
        if offset == PageCount::ZERO || offset >= order.pages() {
            return Err(HandError::Misfit(pfn, order));
        }
        self.zone.cut(pfn, order, pfn + offset);
        Ok(())
    }

    /// Whom a request would raid. Linux: the search of `__rmqueue_fallback()` (6.1), of
    /// `__rmqueue_claim()` or, if that comes to nothing, `__rmqueue_steal()` (6.12).
    #[must_use]
    pub fn victim(&self, order: Order, mt: MigrateType, flags: AllocFlags) -> Option<Victim> {
        let buddy = &self.zone.buddy;
        let (index, order, migratetype) = buddy.choose_victim(&self.raider(order, mt, flags))?;
        Some(Victim { pfn: buddy.map.pfn(index), order, migratetype })
    }

    /// Raids `victim` as a request of `order` and `mt` does, and says what the event would say.
    /// Linux 6.1: `steal_suitable_fallback()`.
    ///
    /// # Errors
    ///
    /// [`HandError::NotFree`] when no such block starts there; nothing has changed then.
    pub fn raid(
        &mut self,
        victim: Victim,
        order: Order,
        mt: MigrateType,
        flags: AllocFlags,
    ) -> Result<Extfrag, HandError> {
        if self.free_order(victim.pfn) != Some(victim.order) {
            return Err(HandError::NotFree(victim.pfn, victim.order));
        }
        let raider = self.raider(order, mt, flags);
        let index = self.zone.buddy.index(victim.pfn);
        let (extfrag, boosts) =
            self.zone.buddy.raid_block((index, victim.order, victim.migratetype), &raider);
        self.zone.boost(boosts, flags);
        Ok(extfrag)
    }

    /// Claims a pageblock or steals a block as a request of `order` and `mt` does.
    /// Linux 6.12: `__rmqueue_claim()`, `__rmqueue_steal()`.
    pub fn claim_or_steal(
        &mut self,
        order: Order,
        mt: MigrateType,
        flags: AllocFlags,
        after: AfterSteal,
    ) -> Option<Looted> {
        let raider = self.raider(order, mt, flags);
        let mut loot = None;
        if after == AfterSteal::No {
            let (claimed, boosts) = self.zone.buddy.claim(&raider);
            self.zone.boost(boosts, flags);
            loot = claimed;
        }
        let loot = loot.or_else(|| self.zone.buddy.steal(&raider))?;
        self.zone.count_free(self.cpu);
        Some(Looted {
            pfn: self.zone.buddy.map.pfn(loot.index),
            extfrag: loot.extfrag,
            via_own_list: loot.via_own_list == ViaOwnList::Yes,
        })
    }

    /// Makes a pageblock's ownership what was recorded of a raid. Linux: what
    /// `steal_suitable_fallback()` decides by pages that only the kernel knows to be movable.
    pub fn settle_ownership(&mut self, pfn: Pfn, ownership: Ownership, types: [MigrateType; 2]) {
        let [former, raider] = types;
        match ownership {
            Ownership::Changed => self.set_type(pfn, raider),
            Ownership::Kept => self.set_type(pfn, former),
        }
    }

    /// Says whether the holder of an allocated block can be migrated. Linux: whether it is on an
    /// LRU list.
    #[inline]
    pub fn set_movability(&mut self, pfn: Pfn, order: Order, movability: Movability) {
        let Some(index) = self.zone.buddy.map.index(pfn) else { return };
        if self.zone.buddy.map.is_allocated_block(index, order) {
            self.zone.buddy.map.set_head(index, Head::Allocated(order, movability));
        }
    }

    /// Takes all free blocks of a range off the lists: the memory goes away, and the zone ends
    /// where it still has some. Linux: `__offline_isolated_pages()`,
    /// `remove_pfn_range_from_zone()`.
    pub fn withdraw(&mut self, range: PfnRange) {
        self.zone.offline(self.cpu, range);
    }

    /// Whether a pageblock of the zone is isolated. Linux: `has_isolate_pageblock()`.
    #[must_use]
    pub const fn has_isolated(&self) -> bool {
        self.zone.buddy.blocks.isolated() > 0
    }

    fn raider(&self, order: Order, mt: MigrateType, flags: AllocFlags) -> Raider {
        let fragmenting = if flags.contains(AllocFlags::NOFRAGMENT) {
            Fragmenting::Avoided
        } else {
            Fragmenting::Allowed
        };
        Raider { order, mt, fragmenting, grouping: self.zone.grouping }
    }

    /// Position of a block that fits the zone.
    #[inline]
    fn block(&self, pfn: Pfn, order: Order) -> Result<FrameIndex, HandError> {
        let buddy = &self.zone.buddy;
        if order > buddy.geometry.max_order() || !pfn.is_aligned(order) {
            return Err(HandError::Misfit(pfn, order));
        }
        if !buddy.span.covers(PfnRange::block(pfn, order)) {
            return Err(HandError::OutsideZone(pfn, order));
        }
        buddy.map.index(pfn).ok_or(HandError::OutsideZone(pfn, order))
    }

    /// Makes the frames of a block one allocated block, whatever they were before, unless one is on
    /// a buddy list.
    #[inline]
    pub(crate) fn shape(&mut self, pfn: Pfn, order: Order) -> Result<FrameIndex, HandError> {
        let index = self.block(pfn, order)?;
        if !self.zone.buddy.map.is_allocated_block(index, order) {
            self.reshape(pfn, index, order)?;
        }
        Ok(index)
    }

    #[cold]
    fn reshape(&mut self, pfn: Pfn, index: FrameIndex, order: Order) -> Result<(), HandError> {
        self.uncache(pfn);
        let max = self.zone.buddy.geometry.max_order();
        let map = &mut self.zone.buddy.map;
        let end = index + (1 << order.get());
        let free = |(_, head)| matches!(head, Head::Free(_));
        if (index..end).any(|at| map.covering(at, max).is_some_and(free)) {
            return Err(HandError::Free(pfn, order));
        }
        // A larger block around this one falls into single pages.
        if let Some((start, head)) = map.covering(index, max)
            && head.order() > order
        {
            for at in start..start + (1 << head.order().get()) {
                map.set_head(at, Head::Allocated(Order::ZERO, Movability::Unmovable));
            }
        }
        (index..end).for_each(|at| map.clear_head(at));
        map.set_head(index, Head::Allocated(order, Movability::Unmovable));
        Ok(())
    }
}

/// Whether the bulk request at hand has stolen a block already, and so does not try to claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AfterSteal {
    /// It has.
    Yes,
    /// It has not.
    No,
}

/// What a claim or a steal brought (6.12).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Looted {
    /// The block handed out.
    pub pfn: Pfn,
    /// What the fallback event would say.
    pub extfrag: Extfrag,
    /// Whether `mm_page_alloc_zone_locked` precedes that event.
    pub via_own_list: bool,
}

impl Zone {
    /// Takes the listed block at `index` off its list as [`isolate_free_page`] does once it may.
    ///
    /// [`isolate_free_page`]: Self::isolate_free_page
    pub(crate) fn take_listed(&mut self, index: FrameIndex, order: Order) {
        let mt = self.buddy.blocks.migratetype(index);
        self.buddy.areas.remove(&mut self.buddy.map, index, order);
        self.buddy.sub_free(order.pages(), mt);
        self.buddy.map.set_head(index, Head::Allocated(order, Movability::Unmovable));
        if order.get() + 1 >= self.buddy.geometry.pageblock_order().get() {
            self.retype_taken(index, order);
        }
    }
}
