//! Memory that joins a running machine: which zone takes it, and how far zones reach.
//!
//! A zone spans from its first pageblock that is there to its last one. The frames it can keep
//! lists for, its *room*, may be more: memory can leave one zone and join another, so spans move,
//! and one zone may lie in a hole of another. Which of them has a pageblock, the pageblock says.

use crate::boot::MAX_SPAN;
use crate::counters::Uncounted;
use crate::event::Sink;
use crate::frame::Head;
use crate::gfp::ZoneType;
use crate::isolate::IsolateMode;
use crate::page_alloc::PageAllocator;
use crate::pcp::{CacheSlice, PcpCounters, PcpSizes};
use crate::restore::{MachineState, PcpState, ZoneState};
use crate::units::{CpuId, NodeId, Order, PageCount, Pfn, PfnRange};
use crate::watermark::{Tunables, Watermarks};
use crate::zone::{Sharing, Zone, ZoneSpec, note_sharing};

/// Where memory is wanted. Linux: `MMOP_ONLINE`, `MMOP_ONLINE_KERNEL`, `MMOP_ONLINE_MOVABLE`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnlineTo {
    /// In the zone around it, if that is clear.
    #[default]
    Default,
    /// In a zone for anything.
    Kernel,
    /// In the zone for what can be migrated.
    Movable,
}

/// Memory between [`start_online`](PageAllocator::start_online) and its end: isolated, and
/// nobody's.
#[derive(PartialEq, Eq, Debug)]
#[must_use = "memory that is being onlined stays isolated"]
pub struct Onlining {
    zone: usize,
    range: PfnRange,
}

impl Onlining {
    /// The frames.
    #[must_use]
    pub const fn range(&self) -> PfnRange {
        self.range
    }

    /// The zone that has them, as a position in [`PageAllocator::zones`].
    #[must_use]
    pub const fn zone(&self) -> usize {
        self.zone
    }
}

/// The kind of zone that `range` joins, among zones with these spans.
/// Linux: `zone_for_pfn_range()`, `default_zone_for_pfn()` without `movable_node`.
fn choose(spans: &[(ZoneType, PfnRange)], range: PfnRange, to: OnlineTo) -> ZoneType {
    let reaches = |kind: ZoneType| {
        spans.iter().any(|(own, span)| *own == kind && span.intersect(range).is_some())
    };
    let low = [ZoneType::Dma, ZoneType::Dma32].into_iter().find(|kind| reaches(*kind));
    let kernel = low.unwrap_or(ZoneType::Normal);
    match to {
        OnlineTo::Kernel => kernel,
        OnlineTo::Movable => ZoneType::Movable,
        OnlineTo::Default if reaches(ZoneType::Movable) && !reaches(kernel) => ZoneType::Movable,
        OnlineTo::Default => kernel,
    }
}

impl Zone {
    /// Whether the memory of the pageblock of `pfn` is there, and is this zone's.
    /// Linux: `pfn_to_online_page()`, `page_zone()`.
    #[must_use]
    pub fn owns(&self, pfn: Pfn) -> bool {
        let index = self.buddy.map.index(pfn).filter(|_| self.span.contains(pfn));
        index.is_some_and(|index| !self.buddy.blocks.is_offline(index))
    }

    /// Takes all free blocks of a range off the lists: the memory goes away, and the zone ends
    /// where it still has some. Linux: `__offline_isolated_pages()`,
    /// `remove_pfn_range_from_zone()`.
    pub(crate) fn offline(&mut self, cpu: CpuId, range: PfnRange) {
        let Some(range) = self.span.intersect(range) else { return };
        let mut pfn = range.start();
        while pfn < range.end() {
            let index = self.buddy.index(pfn);
            let Some(Head::Free(order)) = self.buddy.map.head(index) else {
                pfn = pfn + Order::ZERO.pages();
                continue;
            };
            let mt = self.buddy.blocks.migratetype(index);
            self.buddy.areas.remove(&mut self.buddy.map, index, order);
            self.buddy.sub_free(order.pages(), mt);
            pfn = pfn + order.pages();
        }
        self.count_free(cpu);
        for block in range.blocks(self.buddy.geometry.pageblock_order()) {
            let index = self.buddy.index(block);
            self.buddy.blocks.set_offline(index);
        }
        self.shrink_span();
    }

    /// Moves the ends of the span inwards to memory that is there. Linux: `shrink_zone_span()`.
    pub(crate) fn shrink_span(&mut self) {
        let (order, span) = (self.buddy.geometry.pageblock_order(), self.span);
        let there = |block: &Pfn| self.owns((*block).max(span.start()));
        let first = span.blocks(order).find(there);
        let last = span.blocks(order).rev().find(there);
        self.span = match first.zip(last) {
            Some((first, last)) => {
                let end = (last + order.pages()).min(span.end());
                PfnRange::new(first.max(span.start()), end)
            }
            None => PfnRange::new(self.buddy.span.start(), self.buddy.span.start()),
        };
    }

    /// Leaves the zone with the frames of `span`: the others it has room for, and may come.
    pub(crate) fn leave_out(&mut self, span: PfnRange) {
        if self.span == span {
            return;
        }
        let order = self.buddy.geometry.pageblock_order();
        let outer = if span.is_empty() { span } else { span.align_out(order) };
        for block in self.span.blocks(order).filter(|block| !outer.contains(*block)) {
            let index = self.buddy.index(block.max(self.span.start()));
            self.buddy.blocks.set_offline(index);
        }
        self.span = span;
    }

    /// Takes the pageblocks of `range` in; nothing of them is handed over yet.
    fn take_in(&mut self, range: PfnRange) {
        for block in range.blocks(self.buddy.geometry.pageblock_order()) {
            let index = self.buddy.index(block);
            self.buddy.blocks.set_online(index);
        }
        self.span = self.span.hull(range);
    }

    /// Whether a pageblock is there in both zones where their spans overlap.
    pub(crate) fn shares_block(&self, other: &Self) -> bool {
        let Some(both) = self.span.intersect(other.span) else { return false };
        let mut blocks = both.blocks(self.buddy.geometry.pageblock_order());
        blocks.any(|pfn| {
            let inside = pfn.max(both.start());
            self.owns(inside) && other.owns(inside)
        })
    }
}

impl<S: Sink> PageAllocator<S> {
    /// Whether the memory of the pageblock of `pfn` is there. Linux: `pfn_to_online_page()`.
    #[must_use]
    pub fn is_online(&self, pfn: Pfn) -> bool {
        self.zone_of(pfn).is_some_and(|zone| zone.owns(pfn))
    }

    /// The kind of zone that memory of `node` joins when it is onlined.
    /// Linux: `zone_for_pfn_range()`.
    #[must_use]
    pub fn zone_for_online(&self, node: NodeId, range: PfnRange, to: OnlineTo) -> ZoneType {
        let own = self.zones.iter().filter(|zone| zone.node == node);
        let spans: Vec<_> = own.map(|zone| (zone.kind, zone.span)).collect();
        choose(&spans, range, to)
    }

    /// Makes memory that is gone part of the zone that onlining chooses, and says which that is;
    /// `None` if the machine has no such zone with room for it. What is there is handed over
    /// afterwards. Linux: `move_pfn_range_to_zone()`.
    pub fn move_to_zone(&mut self, node: NodeId, range: PfnRange, to: OnlineTo) -> Option<usize> {
        let kind = self.zone_for_online(node, range, to);
        self.join_zone(node, range, kind)
    }

    /// [`move_to_zone`](Self::move_to_zone) when somebody else has chosen the zone.
    fn join_zone(&mut self, node: NodeId, range: PfnRange, kind: ZoneType) -> Option<usize> {
        let room = |zone: &Zone| zone.node == node && zone.buddy.span.covers(range);
        let at = self.zones.iter().position(|zone| zone.kind == kind && room(zone))?;
        self.zones[at].take_in(range);
        note_sharing(&mut self.zones);
        Some(at)
    }

    /// Begins to online memory: it belongs to the node's zone of this kind, isolated, and none of
    /// it is handed over. Either [`finish_online`](Self::finish_online) or
    /// [`cancel_online`](Self::cancel_online) follows. Linux: `online_pages()` up to
    /// `MEM_GOING_ONLINE`.
    ///
    /// `None` if the node has no such zone with room for it.
    ///
    /// # Panics
    ///
    /// Panics when `range` is not made of whole pageblocks, or some of it is online.
    pub fn start_online(
        &mut self,
        node: NodeId,
        range: PfnRange,
        kind: ZoneType,
    ) -> Option<Onlining> {
        let order = self.geometry.pageblock_order();
        assert!(range.is_aligned(order), "{range} is not made of whole pageblocks");
        assert!(range.blocks(order).all(|pfn| !self.is_online(pfn)), "{range} is online");
        let zone = self.join_zone(node, range, kind)?;
        let blocks = &mut self.zones[zone].buddy;
        for block in range.blocks(order) {
            let index = blocks.index(block);
            blocks.blocks.isolate(index);
        }
        Some(Onlining { zone, range })
    }

    /// Hands memory over that is being onlined, but for its first `memmap` pages, which hold the
    /// struct pages of all of it. Linux: `online_pages()` from `online_pages_range()` on.
    ///
    /// # Panics
    ///
    /// Panics when there are more pages for the struct pages than pages, or no whole number of
    /// pageblocks.
    pub fn finish_online(&mut self, onlining: Onlining, memmap: PageCount, tunables: &Tunables) {
        let Onlining { zone: at, range } = onlining;
        let own = PfnRange::from_len(range.start(), memmap);
        let given = PfnRange::new(own.end(), range.end());
        assert!(own.is_aligned(self.geometry.pageblock_order()), "{own} shares a pageblock");
        let (zone, sink) = self.zone_mut(at);
        zone.present += range.len();
        for (pfn, order) in given.chunks(zone.buddy.geometry.max_order()) {
            zone.hand_over(pfn, order);
        }
        zone.undo_isolate(range, IsolateMode::MemOffline, sink);
        for block in own.blocks(zone.buddy.geometry.pageblock_order()) {
            // What holds struct pages is not for users. Linux: `mhp_init_memmap_on_memory()`.
            zone.leave_untyped(block);
        }
        self.recompute_marks(tunables);
    }

    /// Lets memory go again that was about to be onlined. Linux: `remove_pfn_range_from_zone()`.
    pub fn cancel_online(&mut self, onlining: Onlining) {
        self.zones[onlining.zone].offline(CpuId::BOOT, onlining.range);
        note_sharing(&mut self.zones);
    }

    /// Takes memory away of which all but the first `memmap` pages was isolated by
    /// [`start_isolate`](Self::start_isolate) and is free by now.
    /// Linux: `offline_pages()` from `test_pages_isolated()` on.
    ///
    /// # Errors
    ///
    /// The first frame that is not free; nothing has changed then.
    ///
    /// # Panics
    ///
    /// Panics when no zone has the range.
    pub fn finish_offline(
        &mut self,
        range: PfnRange,
        memmap: PageCount,
        tunables: &Tunables,
    ) -> Result<(), Pfn> {
        let at = self.zone_index(range.start()).expect("an isolated range lies in a zone");
        let given = PfnRange::new(range.start() + memmap, range.end());
        let (zone, sink) = self.zone_mut(at);
        zone.test_isolated(given, sink)?;
        zone.offline(CpuId::BOOT, range);
        zone.present = zone.present.saturating_sub(range.len());
        zone.managed = zone.managed.saturating_sub(given.len());
        note_sharing(&mut self.zones);
        self.recompute_marks(tunables);
        Ok(())
    }

    /// The zone at `first`, which spans `pfn`, or another one that has it.
    #[cold]
    pub(crate) fn owner_among(&self, first: usize, pfn: Pfn) -> usize {
        self.zones.iter().position(|zone| zone.owns(pfn)).unwrap_or(first)
    }

    /// The zone that has all of `range`. Linux: `test_pages_in_a_zone()`.
    pub(crate) fn zone_of_range(&self, range: PfnRange) -> Option<usize> {
        let at = self.zone_index(range.start())?;
        let zone = &self.zones[at];
        let mut blocks = range.blocks(self.geometry.pageblock_order()).skip(1);
        let own =
            zone.sharing == Sharing::Alone || blocks.all(|pfn| self.zone_index(pfn) == Some(at));
        (zone.span.covers(range) && own).then_some(at)
    }

    /// The frames of `range` as aligned blocks, each in one zone, ascending.
    pub(crate) fn chunks_in_zones(&self, range: PfnRange) -> Vec<(Pfn, Order)> {
        let mut chunks = Vec::new();
        for (at, zone) in self.zones.iter().enumerate() {
            let Some(part) = zone.span.intersect(range) else { continue };
            let largest = match zone.sharing {
                Sharing::Alone => self.geometry.max_order(),
                Sharing::Shared => self.geometry.pageblock_order(),
            };
            let own = |(pfn, _): &(Pfn, _)| self.zone_index(*pfn) == Some(at);
            chunks.extend(part.chunks(largest).filter(own));
        }
        chunks.sort_unstable();
        chunks
    }
}

impl MachineState {
    /// Makes room for memory that changes its zone: every node gets the zones that any memory may
    /// join, NORMAL and MOVABLE, with room for all of its frames. Linux: every node has all zones,
    /// populated or not.
    pub fn make_room(&mut self) {
        let mut nodes: Vec<_> = self.zones.iter().map(|zone| zone.spec.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        for node in nodes {
            let own = || self.zones.iter().filter(|zone| zone.spec.node == node);
            let start = own().map(|zone| zone.room.start()).min().unwrap_or_default();
            let end = own().map(|zone| zone.room.end()).max().unwrap_or(start);
            let room = PfnRange::new(start, end);
            if room.len().get() > MAX_SPAN {
                continue;
            }
            for kind in [ZoneType::Normal, ZoneType::Movable] {
                let same = |zone: &ZoneState| zone.spec.node == node && zone.spec.kind == kind;
                match self.zones.iter_mut().find(|zone| same(zone)) {
                    Some(zone) => zone.room = room,
                    None => self.zones.push(self.unpopulated(node, kind, room)),
                }
            }
        }
    }

    /// A zone without memory. Linux: `zone_init_internals()`, `setup_zone_pageset()`.
    fn unpopulated(&self, node: NodeId, kind: ZoneType, room: PfnRange) -> ZoneState {
        let cpus = self.zones.first().map_or(0, |zone| zone.pcp.len());
        let sizes = PcpSizes::of_zone(self.geometry, PageCount::ZERO, PageCount::ZERO, 1);
        let counters = PcpCounters { high: sizes.high_min, ..PcpCounters::default() };
        let pcp = PcpState {
            sizes,
            counters,
            cache: CacheSlice::Small,
            uncounted: Uncounted::default(),
            blocks: Vec::new(),
        };
        ZoneState {
            spec: ZoneSpec { kind, node, span: PfnRange::new(room.start(), room.start()) },
            room,
            present: PageCount::ZERO,
            managed: PageCount::ZERO,
            cma: PageCount::ZERO,
            watermarks: Watermarks::default(),
            lowmem_reserve: [PageCount::ZERO; ZoneType::COUNT],
            reserved_highatomic: PageCount::ZERO,
            stat_threshold: 0,
            free: Vec::new(),
            pageblocks: Vec::new(),
            pcp: vec![pcp; cpus],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: PfnRange = PfnRange::new(Pfn::new(0x1000), Pfn::new(0x1200));

    #[track_caller]
    fn check(spans: &[(ZoneType, u64, u64)], to: OnlineTo, expected: ZoneType) {
        let span = |(kind, start, end): &(ZoneType, u64, u64)| {
            (*kind, PfnRange::new(Pfn::new(*start), Pfn::new(*end)))
        };
        let spans: Vec<_> = spans.iter().map(span).collect();
        assert_eq!(choose(&spans, BLOCK, to), expected, "{spans:?} {to:?}");
    }

    #[test]
    fn the_zone_around_takes_memory_unless_there_are_two_or_none() {
        use ZoneType::{Dma, Dma32, Movable, Normal};
        let below = |kind| (kind, 0, 0x1000);
        let around = |kind| (kind, 0, 0x2000);
        let above = |kind| (kind, 0x1200, 0x2000);
        let nowhere = |kind| (kind, 0, 0);
        let rows: [(&[_], _, _); 12] = [
            // Spans, then the zone by default and that for anything; movable is always Movable.
            (&[], Normal, Normal),
            (&[below(Dma32), above(Movable)], Normal, Normal),
            (&[below(Dma32), nowhere(Normal), above(Movable)], Normal, Normal),
            (&[around(Dma)], Dma, Dma),
            (&[around(Dma32), above(Movable)], Dma32, Dma32),
            (&[around(Dma), around(Dma32)], Dma, Dma),
            (&[around(Normal), above(Movable)], Normal, Normal),
            (&[below(Dma32), around(Movable)], Movable, Normal),
            (&[around(Dma32), around(Movable)], Dma32, Dma32),
            (&[around(Normal), around(Movable)], Normal, Normal),
            (&[around(Dma32), around(Normal)], Dma32, Dma32),
            // An overlap suffices.
            (&[below(Normal), (Movable, 0x11ff, 0x2000)], Movable, Normal),
        ];
        for (spans, by_default, kernel) in rows {
            check(spans, OnlineTo::Default, by_default);
            check(spans, OnlineTo::Kernel, kernel);
            check(spans, OnlineTo::Movable, Movable);
        }
    }
}
