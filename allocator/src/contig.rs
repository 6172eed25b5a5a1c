//! Claiming an exact range: isolate it, let the caller empty it, take it.

use crate::event::{Event, Isolator, Sink};
use crate::frame::{Frame, Movability};
use crate::isolate::{IsolateError, IsolateMode};
use crate::migratetype::MigrateType;
use crate::page_alloc::{PageAllocator, Pages};
use crate::units::{CpuId, Order, Pfn, PfnRange};

/// Frames that a claim took, as single allocated pages. Freed with
/// [`PageAllocator::free_contig_range`]; dropped, they stay allocated.
#[derive(PartialEq, Eq, Debug)]
#[must_use = "a dropped range leaks its pages"]
pub struct ContigRange(PfnRange);

impl ContigRange {
    /// The frames.
    #[must_use]
    pub const fn range(&self) -> PfnRange {
        self.0
    }

    /// A handle of frames that somebody may hold: for a canary.
    pub(crate) const fn unchecked(range: PfnRange) -> Self {
        Self(range)
    }

    /// Gives the handle up for the raw range; the frames stay allocated.
    #[must_use]
    pub const fn into_raw(self) -> PfnRange {
        self.0
    }

    /// The checked way back from a raw range to a handle.
    ///
    /// # Errors
    ///
    /// The first frame that is not allocated.
    pub fn reclaim<S: Sink>(alloc: &PageAllocator<S>, range: PfnRange) -> Result<Self, Pfn> {
        let held = |pfn: &Pfn| matches!(alloc.frame(*pfn), Frame::Allocated { .. });
        match range.iter().find(|pfn| !held(pfn)) {
            Some(pfn) => Err(pfn),
            None => Ok(Self(range)),
        }
    }
}

/// Why a range could not be claimed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// A claim has at least one frame and lies in one zone with its pageblocks. Linux: `-EINVAL`.
    #[error("range {0} is empty or does not lie in one zone")]
    BadRange(PfnRange),
    /// The range cannot be isolated. Linux: `-EBUSY`.
    #[error(transparent)]
    Isolate(#[from] IsolateError),
    /// A frame is still in use. Linux: `-EBUSY`.
    #[error("frame {0} is still in use")]
    Busy(Pfn),
}

/// A block inside a claimed range that somebody still holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Busy {
    /// First frame of the block; it may lie before the claimed range.
    pub pfn: Pfn,
    /// Order of the block.
    pub order: Order,
    /// Whether its holder can be migrated.
    pub movability: Movability,
}

impl Busy {
    /// The first block at or after `from`, inside `range`.
    pub(crate) fn first<S: Sink>(
        alloc: &PageAllocator<S>,
        range: PfnRange,
        from: Pfn,
    ) -> Option<Self> {
        let mut pfn = from.max(range.start());
        while pfn < range.end() {
            let frame = alloc.frame(pfn);
            if let Frame::Allocated { head, order, movability } = frame {
                return Some(Self { pfn: head, order, movability });
            }
            pfn = frame.next(pfn);
        }
        None
    }
}

/// A range being emptied: its pageblocks are isolated while this lives. Linux: the middle of
/// `alloc_contig_range()`.
///
/// Dropping it without [`commit`](Self::commit) ends the isolation and changes nothing else.
#[derive(Debug)]
#[must_use = "a dropped claim undoes the isolation"]
pub struct ContigClaim<'a, S: Sink> {
    alloc: &'a mut PageAllocator<S>,
    zone: usize,
    range: PfnRange,
    mode: IsolateMode,
}

impl<'a, S: Sink> ContigClaim<'a, S> {
    /// Isolates the pageblocks of `range` and drains the zone's per-CPU lists.
    ///
    /// # Errors
    ///
    /// [`ClaimError::BadRange`] or [`ClaimError::Isolate`]; nothing stays isolated then, but
    /// pageblocks that were isolated on the way have the mode's type.
    pub fn claim(
        alloc: &'a mut PageAllocator<S>,
        range: PfnRange,
        mode: IsolateMode,
    ) -> Result<Self, ClaimError> {
        let blocks = range.align_out(alloc.geometry().pageblock_order());
        let Some(zone) = alloc.zone_of_range(blocks).filter(|_| !range.is_empty()) else {
            return Err(ClaimError::BadRange(range));
        };
        let (inner, sink) = alloc.zone_mut(zone);
        inner.start_isolate(range, mode, sink)?;
        inner.drain_all(sink);
        Ok(Self { alloc, zone, range, mode })
    }

    /// A claim whose pageblocks are isolated already, by
    /// [`start_isolate`](PageAllocator::start_isolate).
    pub(crate) fn resume(
        alloc: &'a mut PageAllocator<S>,
        zone: usize,
        range: PfnRange,
        mode: IsolateMode,
    ) -> Self {
        Self { alloc, zone, range, mode }
    }

    /// The frames being claimed.
    #[must_use]
    pub const fn range(&self) -> PfnRange {
        self.range
    }

    /// The allocator, for whoever moves the busy blocks: targets are allocated and sources freed
    /// through it.
    pub const fn page_alloc(&mut self) -> &mut PageAllocator<S> {
        self.alloc
    }

    /// The first block at or after `from`, inside the range, that somebody holds.
    #[must_use]
    pub fn next_busy(&self, from: Pfn) -> Option<Busy> {
        Busy::first(self.alloc, self.range, from)
    }

    /// Takes the range if it is free by now, and ends the isolation either way.
    /// Linux: `test_pages_isolated()`, `isolate_freepages_range()`, `undo_isolate_page_range()`.
    ///
    /// # Errors
    ///
    /// [`ClaimError::Busy`] with the first frame that is not free.
    pub fn commit(mut self, cpu: CpuId) -> Result<ContigRange, ClaimError> {
        let (range, mut result) = (self.range, None);
        self.take(cpu, [(range, ())], |(), taken| result = Some(taken));
        result.expect("a part")
    }

    /// Takes those of `parts` that are free by now, and tells `each` of every part, with what came
    /// with it; the isolation goes on. Free blocks are taken whole, and what belongs to no part is
    /// given back.
    ///
    /// # Panics
    ///
    /// Panics at the first part that does not ascend or lies outside of the range; `each` was told
    /// of those before it, and they stay taken.
    pub fn take<T>(
        &mut self,
        cpu: CpuId,
        parts: impl IntoIterator<Item = (PfnRange, T)>,
        mut each: impl FnMut(T, Result<ContigRange, ClaimError>),
    ) {
        let mut from = self.range.start();
        let at_hand = PfnRange::new(from, from);
        let (alloc, zone) = (&mut *self.alloc, self.zone);
        let mut taking = Taking { alloc, zone, cpu, at_hand, whole: Whole::Pageblocks };
        for (part, with) in parts {
            assert!(from <= part.start(), "parts ascend");
            assert!(self.range.covers(part), "parts of the range");
            from = part.end();
            each(with, taking.take(part));
        }
    }
}

/// Parts of a range being taken, one behind the other. What belongs to none of them goes back
/// whatever happens.
struct Taking<'a, S: Sink> {
    alloc: &'a mut PageAllocator<S>,
    zone: usize,
    cpu: CpuId,
    /// What was taken with the parts so far and belongs to none of them.
    at_hand: PfnRange,
    whole: Whole,
}

/// How large the blocks are that what is at hand was part of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whole {
    /// At most a pageblock each, of which the type is known.
    Pageblocks,
    /// They may reach into pageblocks that nobody isolated.
    Larger,
}

impl<S: Sink> Taking<'_, S> {
    /// Takes one part, with what is at hand from the parts before it.
    /// Linux: `test_pages_isolated()`, `isolate_freepages_range()`.
    fn take(&mut self, part: PfnRange) -> Result<ContigRange, ClaimError> {
        if self.at_hand.end() <= part.start() {
            self.go_to(part.start());
        }
        if self.at_hand.end() < part.end() {
            self.gather(part.end())?;
        }
        let rest = PfnRange::new(part.end(), self.at_hand.end());
        let before = core::mem::replace(&mut self.at_hand, rest);
        self.give_back(PfnRange::new(before.start(), part.start()));
        Ok(ContigRange(part))
    }

    /// Gives back what is at hand, and goes on with the free block that has `pfn`, if one has.
    fn go_to(&mut self, pfn: Pfn) {
        let before = core::mem::replace(&mut self.at_hand, PfnRange::new(pfn, pfn));
        self.give_back(before);
        let outer = self.alloc.zones[self.zone].buddy.free_around(pfn);
        let outer = outer.map_or(pfn, |(head, _)| head);
        self.at_hand = PfnRange::new(outer, outer);
        self.whole = Whole::Pageblocks;
    }

    /// Takes the free blocks from what is at hand up to `end`.
    fn gather(&mut self, end: Pfn) -> Result<(), ClaimError> {
        let (zone, sink) = self.alloc.zone_mut(self.zone);
        let mut at = self.at_hand.end();
        zone.test_isolated(PfnRange::new(at, end), sink).map_err(ClaimError::Busy)?;
        while at < end {
            let order = zone
                .isolate_free_page(at, Isolator::BlockScan, sink)
                .ok_or(ClaimError::Busy(at))?;
            // A single page is held as such already.
            if order > Order::ZERO {
                let index = zone.buddy.index(at);
                zone.buddy.map.set_held(index..index + (1 << order.get()), Movability::Unmovable);
            }
            if order > zone.buddy.geometry.pageblock_order() {
                self.whole = Whole::Larger;
            }
            at = at + order.pages();
            self.at_hand = PfnRange::new(self.at_hand.start(), at);
        }
        Ok(())
    }

    /// Frees a range, which is empty most of the time.
    #[inline]
    fn give_back(&mut self, spare: PfnRange) {
        if !spare.is_empty() {
            self.free(spare);
        }
    }

    /// Frees a range page by page. Pages that follow each other merge with each other before they
    /// merge with anything else: where nobody listens, they are joined first.
    fn free(&mut self, spare: PfnRange) {
        let buddy = &mut self.alloc.zones[self.zone].buddy;
        let pageblock = buddy.geometry.pageblock_order();
        let isolated = |block| buddy.migratetype(block) == MigrateType::Isolate;
        let joins = self.whole == Whole::Pageblocks || spare.blocks(pageblock).all(isolated);
        if S::ENABLED || !joins {
            return self.alloc.free_contig_range(self.cpu, ContigRange(spare));
        }
        buddy.put_isolated(spare);
        self.alloc.stats.pgfree += spare.len().get();
    }
}

impl<S: Sink> Drop for Taking<'_, S> {
    fn drop(&mut self) {
        self.give_back(self.at_hand);
    }
}

impl<S: Sink> Drop for ContigClaim<'_, S> {
    fn drop(&mut self) {
        let (range, mode) = (self.range, self.mode);
        let (zone, sink) = self.alloc.zone_mut(self.zone);
        zone.undo_isolate(range, mode, sink);
    }
}

impl<S: Sink> PageAllocator<S> {
    /// Isolates the pageblocks of `range` until [`undo_isolate`](Self::undo_isolate): somebody who
    /// claims or removes memory and takes his time. Linux: `start_isolate_page_range()`.
    ///
    /// # Errors
    ///
    /// [`ClaimError::BadRange`] or [`ClaimError::Isolate`]; nothing has changed then.
    pub fn start_isolate(&mut self, range: PfnRange, mode: IsolateMode) -> Result<(), ClaimError> {
        // A forgotten claim is an isolation that nobody undoes.
        core::mem::forget(ContigClaim::claim(self, range, mode)?);
        Ok(())
    }

    /// Ends what [`start_isolate`](Self::start_isolate) began. Linux:
    /// `undo_isolate_page_range()`.
    ///
    /// # Panics
    ///
    /// Panics when no zone has the range.
    pub fn undo_isolate(&mut self, range: PfnRange, mode: IsolateMode) {
        let zone = self.zone_index(range.start()).expect("an isolated range lies in a zone");
        let (zone, sink) = self.zone_mut(zone);
        zone.undo_isolate(range, mode, sink);
    }

    /// Frees the pages of a claimed range one by one, ascending. Linux: `free_contig_range()`.
    ///
    /// # Panics
    ///
    /// Panics when a frame of the range is not an allocated single page.
    pub fn free_contig_range(&mut self, cpu: CpuId, contig: ContigRange) {
        if !contig.0.is_empty() {
            self.sink.emit(Event::ContigFree { range: contig.0 });
        }
        for pfn in contig.0.iter() {
            self.free_pages(cpu, Pages::new(pfn, Order::ZERO));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::boot::MachineSpec;
    use crate::event::Silent;
    use crate::geometry::Geometry;
    use crate::gfp::ZoneType;
    use crate::profile::KernelProfile;

    const AREA: PfnRange = PfnRange::new(Pfn::new(4096), Pfn::new(5120));

    /// Takes single pages of an area, a claim for each of `turns`; says what the lists are then.
    fn take<S: Sink>(profile: KernelProfile, turns: &[Vec<u64>], sink: S) -> (Vec<Vec<Pfn>>, u64) {
        let memory = PfnRange::new(Pfn::new(0), Pfn::new(8192));
        let (geometry, kind) = (Geometry::PAGES_4K, ZoneType::Normal);
        let mut spec = MachineSpec::single(geometry, profile, kind, memory);
        spec.cma = vec![AREA];
        let mut alloc = PageAllocator::boot(&spec, sink).expect("a small machine");
        for turn in turns {
            let mut offsets = turn.clone();
            offsets.sort_unstable();
            offsets.dedup();
            let page = |at: u64| PfnRange::block(Pfn::new(AREA.start().get() + at), Order::ZERO);
            let parts = offsets.into_iter().map(|at| (page(at), ()));
            let mode = IsolateMode::CmaAlloc(MigrateType::Cma);
            let mut claim = ContigClaim::claim(&mut alloc, AREA, mode).expect("nobody else");
            claim.take(CpuId::BOOT, parts, |(), taken| {
                let _held = taken.map(ContigRange::into_raw);
            });
        }
        let buddy = &alloc.zones[0].buddy;
        let orders = Order::ZERO.to(geometry.max_order());
        let lists = orders.flat_map(|order| MigrateType::ALL.map(|mt| (order, mt)));
        let lists = lists.map(|(order, mt)| buddy.free_list(order, mt).collect());
        (lists.collect(), alloc.stats().pgfree)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn spares_that_are_joined_are_as_freed_one_by_one(
            turns in prop::collection::vec(prop::collection::vec(0u64..1024, 1..200), 1..5),
        ) {
            for profile in [KernelProfile::V6_1, KernelProfile::V6_12] {
                let heard = take(profile, &turns, Vec::<Event>::new());
                prop_assert_eq!(take(profile, &turns, Silent), heard);
            }
        }
    }
}
