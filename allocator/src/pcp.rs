//! Per-CPU page lists of one zone and one CPU: what is on them, when to refill, when to drain.
//!
//! This file moves no page between the lists and the buddy system; the zone does. It answers how
//! many pages to bring in and how many to give back, by the rule of the kernel profile.

use crate::frame::FrameIndex;
use crate::geometry::Geometry;
use crate::migratetype::MigrateType;
use crate::pcp_list::PageList;
use crate::profile::{PcpTuning, Rules};
use crate::units::{Order, PageCount};

/// Whether the kernel was built with transparent huge pages, which have lists of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Thp {
    /// `CONFIG_TRANSPARENT_HUGEPAGE`: two more lists, for blocks of pageblock order.
    Configured,
    /// Without.
    Absent,
}

/// Bound of the factors by which refills and drains grow. Linux: `CONFIG_PCP_BATCH_SCALE_MAX`.
const SCALE_MAX: u32 = 5;
/// Orders with lists for each of the three types: 0 to `PAGE_ALLOC_COSTLY_ORDER`.
const LOW_ORDERS: usize = 4;
const LOW_LISTS: usize = LOW_ORDERS * MigrateType::PCP.len();
/// And two for huge pages, which stay empty where there are none.
const LISTS: usize = LOW_LISTS + 2;

/// A block on a per-CPU list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cached {
    /// Where the block starts.
    pub(crate) index: FrameIndex,
    /// Type under which it came in. Linux: `get_pcppage_migratetype()`.
    pub(crate) mt: MigrateType,
}

/// What a zone's state adds to the tuning rules. Linux: zone flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct ZonePressure {
    /// kswapd runs. Linux: `ZONE_RECLAIM_ACTIVE`.
    pub(crate) reclaim_active: bool,
    /// Free pages fell below the high mark (6.12). Linux: `ZONE_BELOW_HIGH`.
    pub(crate) below_high: bool,
}

/// Sizes of the lists, in pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PcpSizes {
    /// Pages moved at a time.
    pub batch: u32,
    /// Lower bound of the high mark; the mark itself under [`PcpTuning::Fixed`].
    pub high_min: u32,
    /// Upper bound of the high mark.
    pub high_max: u32,
}

impl PcpSizes {
    /// Before the zones are set up: every free goes straight to the buddy lists.
    /// Linux: `boot_pageset`.
    pub const BOOT: Self = Self { batch: 1, high_min: 0, high_max: 0 };

    /// Sizes for a zone. Linux: `zone_batchsize()`, `zone_highsize()`.
    #[must_use]
    pub fn of_zone(geometry: Geometry, managed: PageCount, low: PageCount, cpus: u64) -> Self {
        let limit = (1u64 << 20) >> geometry.page_shift();
        let quarter = ((managed.get() >> 10).min(limit) / 4).max(1);
        let batch = (1u64 << (quarter + quarter / 2).ilog2()).saturating_sub(1).max(1);
        let high = |total: u64| (total / cpus.max(1)).max(4 * batch);
        let clip = |pages: u64| u32::try_from(pages).unwrap_or(u32::MAX);
        Self {
            batch: clip(batch),
            high_min: clip(high(low.get())),
            high_max: clip(high(managed.get() / 8)),
        }
    }
}

/// How the traffic so far has tuned one CPU's lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PcpCounters {
    /// Live high mark (adaptive only).
    pub high: u32,
    /// Growth of drains (fixed): frees in a row double it.
    pub free_factor: u32,
    /// Growth of refills (adaptive): allocations in a row double it.
    pub alloc_factor: u32,
    /// Pages freed lately (adaptive): the size of the next drain.
    pub free_count: u32,
    /// The last free was of order 1 to 3 (adaptive). Linux: `PCPF_PREV_FREE_HIGH_ORDER`.
    pub freed_high_order: bool,
}

/// One CPU's page lists in one zone. Linux: `struct per_cpu_pages`.
#[derive(Clone, Debug)]
pub struct PerCpuPages {
    tuning: PcpTuning,
    /// The largest order with lists by type. Linux: `PAGE_ALLOC_COSTLY_ORDER`; smaller where
    /// pageblocks are smaller, since a cached block has one migratetype.
    low: Order,
    huge: Option<Order>,
    lists: [PageList; LISTS],
    count: u32,
    sizes: PcpSizes,
    tuned: PcpCounters,
}

impl PerCpuPages {
    pub(crate) fn new(rules: Rules, geometry: Geometry, thp: Thp) -> Self {
        let huge = match thp {
            Thp::Configured if geometry.pageblock_order() > Order::COSTLY => {
                Some(geometry.pageblock_order())
            }
            _ => None,
        };
        Self {
            tuning: rules.pcp,
            low: Order::COSTLY.min(geometry.pageblock_order()),
            huge,
            lists: Default::default(),
            count: 0,
            sizes: PcpSizes::BOOT,
            tuned: PcpCounters::default(),
        }
    }

    /// Pages on all lists. Linux: `pcp->count`.
    #[must_use]
    pub const fn count(&self) -> PageCount {
        PageCount::new(self.count as u64)
    }

    /// The sizes in force.
    #[must_use]
    pub const fn sizes(&self) -> PcpSizes {
        self.sizes
    }

    pub(crate) fn set_sizes(&mut self, sizes: PcpSizes) {
        self.sizes = sizes;
    }

    /// How the traffic so far has tuned the lists.
    #[must_use]
    pub const fn counters(&self) -> PcpCounters {
        self.tuned
    }

    pub(crate) fn set_counters(&mut self, counters: PcpCounters) {
        self.tuned = counters;
    }

    /// The list for a block, or `None` for orders that have none.
    /// Linux: `pcp_allowed_order()`, `order_to_pindex()`.
    #[inline]
    pub(crate) fn list_of(&self, order: Order, mt: MigrateType) -> Option<usize> {
        let mt = if mt.is_mergeable() { mt } else { MigrateType::Movable };
        if order <= self.low {
            return Some(MigrateType::PCP.len() * order.index() + mt.index());
        }
        (Some(order) == self.huge).then(|| LOW_LISTS + usize::from(mt == MigrateType::Movable))
    }

    /// The type by which a list is known: the one non-movable list of huge blocks is UNMOVABLE.
    fn type_of(list: usize) -> MigrateType {
        match list.checked_sub(LOW_LISTS) {
            None => MigrateType::PCP[list % MigrateType::PCP.len()],
            Some(0) => MigrateType::Unmovable,
            Some(_) => MigrateType::Movable,
        }
    }

    /// The order of the blocks on a list. Linux: `pindex_to_order()`.
    pub(crate) fn order_of(&self, list: usize) -> Order {
        match self.huge {
            Some(huge) if list >= LOW_LISTS => huge,
            _ => Order::of(u8::try_from(list / MigrateType::PCP.len()).expect("few lists")),
        }
    }

    /// A request of this CPU: drains and refills of the other direction shrink.
    #[inline]
    pub(crate) fn note_alloc(&mut self) {
        match self.tuning {
            PcpTuning::Fixed => self.tuned.free_factor >>= 1,
            PcpTuning::Adaptive => self.tuned.free_count >>= 1,
        }
    }

    /// The block to hand out next: the head of its list.
    #[inline]
    pub(crate) fn pop(&mut self, list: usize, order: Order) -> Option<Cached> {
        let cached = self.lists[list].pop_newest()?;
        self.count -= 1 << order.get();
        Some(cached)
    }

    /// A refilled block: served after those that came before it.
    pub(crate) fn push_refilled(&mut self, list: usize, order: Order, cached: Cached) {
        self.lists[list].push_oldest(cached);
        self.count += 1 << order.get();
    }

    /// A freed block: served first.
    #[inline]
    pub(crate) fn push_freed(&mut self, list: usize, order: Order, cached: Cached) {
        self.lists[list].push_newest(cached);
        self.count += 1 << order.get();
    }

    /// How many blocks to bring in for an empty list. Linux: `nr_pcp_alloc()`.
    pub(crate) fn refill_blocks(&mut self, order: Order, zone: ZonePressure) -> u32 {
        let batch = self.sizes.batch;
        let blocks = match self.tuning {
            PcpTuning::Fixed => {
                return if batch > 1 { (batch >> order.get()).max(2) } else { batch };
            }
            PcpTuning::Adaptive => self.adaptive_refill(order, zone),
        };
        if blocks > 1 { (blocks >> order.get()).max(2) } else { blocks }
    }

    fn adaptive_refill(&mut self, order: Order, zone: ZonePressure) -> u32 {
        let PcpSizes { batch, high_min, high_max } = self.sizes;
        self.tuned.high = self.tuned.high.max(high_min).min(high_max);
        let mut high = self.tuned.high;
        if high < batch {
            return 1;
        }
        let mut wanted =
            if order == Order::ZERO { batch << self.tuned.alloc_factor } else { batch };
        if high_min != high_max && !zone.below_high {
            self.tuned.high = (high + wanted).min(high_max);
            high = self.tuned.high;
        }
        if order == Order::ZERO {
            let room = high.saturating_sub(self.count).saturating_sub(batch).max(batch);
            if wanted <= room && self.tuned.alloc_factor < SCALE_MAX {
                self.tuned.alloc_factor += 1;
            }
            wanted = wanted.min(room);
        }
        wanted
    }

    /// Called after a free: how many pages to give back now, if any.
    /// Linux: the end of `free_unref_page_commit()`.
    #[inline]
    pub(crate) fn drain_after_free(&mut self, order: Order, zone: ZonePressure) -> Option<u32> {
        match self.tuning {
            PcpTuning::Fixed => self.fixed_drain(order, zone),
            PcpTuning::Adaptive => self.adaptive_drain(order, zone),
        }
    }

    fn is_high_order(order: Order) -> bool {
        order > Order::ZERO && order <= Order::COSTLY
    }

    #[inline]
    fn fixed_drain(&mut self, order: Order, zone: ZonePressure) -> Option<u32> {
        let PcpSizes { batch, high_min: mark, .. } = self.sizes;
        let all = self.tuned.free_factor > 0 && Self::is_high_order(order);
        let high = match (all, zone.reclaim_active) {
            (true, _) => 0,
            (_, true) => mark.min(4 * batch),
            _ => mark,
        };
        if self.count < high {
            return None;
        }
        if all {
            return Some(self.count);
        }
        if high < batch {
            return Some(1);
        }
        let most = high - batch;
        let wanted = batch << self.tuned.free_factor;
        if wanted < most && self.tuned.free_factor < SCALE_MAX {
            self.tuned.free_factor += 1;
        }
        Some(wanted.max(batch).min(most))
    }

    #[inline]
    fn adaptive_drain(&mut self, order: Order, zone: ZonePressure) -> Option<u32> {
        let batch = self.sizes.batch;
        self.tuned.alloc_factor >>= 1;
        let high_order = Self::is_high_order(order);
        let all = high_order && self.tuned.free_count >= batch && self.tuned.freed_high_order;
        self.tuned.freed_high_order = high_order;
        if self.tuned.free_count < batch << SCALE_MAX {
            self.tuned.free_count += 1 << order.get();
        }
        let high = self.tuned.high.max(self.sizes.high_min).min(self.sizes.high_max);
        self.tuned.high = high;
        if !all && zone == ZonePressure::default() && self.count < high {
            return None;
        }
        self.adaptive_excess(all, zone)
    }

    /// How many pages are too many, when a first look does not tell that there are none.
    fn adaptive_excess(&mut self, all: bool, zone: ZonePressure) -> Option<u32> {
        let batch = self.sizes.batch;
        let high = self.adaptive_high(all, zone);
        if self.count < high {
            return None;
        }
        Some(if all {
            self.count.min(batch << SCALE_MAX)
        } else if high < batch {
            1
        } else {
            self.tuned.free_count.max(batch).min(high - batch)
        })
    }

    /// Linux 6.12: `nr_pcp_high()`.
    fn adaptive_high(&mut self, drain_all: bool, zone: ZonePressure) -> u32 {
        let PcpSizes { batch, high_min, high_max } = self.sizes;
        let high = self.tuned.high;
        let lowered = |by: u32| high.saturating_sub(by).max(high_min);
        if high == 0 {
            return 0;
        }
        if drain_all {
            self.tuned.high = lowered(batch << SCALE_MAX);
            return 0;
        }
        let freed = self.tuned.free_count.max(batch);
        if zone.reclaim_active {
            self.tuned.high = lowered(freed);
            return self.tuned.high.min(4 * batch);
        }
        if high_min == high_max {
            return high;
        }
        if zone.below_high {
            self.tuned.high = lowered(freed);
            return self.count.max(high_min);
        }
        let needed = self.tuned.free_count + batch;
        if self.count >= high && self.tuned.high < needed {
            self.tuned.high = needed.max(high_min).min(high_max);
        }
        high
    }

    /// One tick of the statistics timer: the high mark sinks. Returns how many pages to drain, in
    /// steps of one batch. Linux: `decay_pcp_high()`.
    pub(crate) fn decay(&mut self) -> u32 {
        if self.tuning == PcpTuning::Fixed {
            return 0;
        }
        let PcpSizes { batch, high_min, .. } = self.sizes;
        if self.tuned.high > high_min {
            self.tuned.high = self
                .count
                .saturating_sub(batch << SCALE_MAX)
                .max(self.tuned.high - self.tuned.high / 8)
                .max(high_min);
        }
        self.count.saturating_sub(self.tuned.high)
    }

    /// Takes over what is on another CPU's lists, and leaves the tuning as it is.
    pub(crate) fn adopt(&mut self, other: &Self) {
        self.lists.clone_from(&other.lists);
        self.count = other.count;
    }

    /// Takes a particular block off its list; says whether it was on one.
    pub(crate) fn withdraw(&mut self, index: FrameIndex, order: Order) -> bool {
        let first = if Some(order) == self.huge {
            LOW_LISTS
        } else {
            MigrateType::PCP.len() * order.index()
        };
        let types = if first < LOW_LISTS { MigrateType::PCP.len() } else { 2 };
        let found = self.lists.iter_mut().skip(first).take(types).any(|l| l.withdraw(index));
        if found {
            self.count -= 1 << order.get();
        }
        found
    }

    /// Starts giving back `pages` pages, beginning with `list`. Linux: `free_pcppages_bulk()`.
    pub(crate) fn start_drain(&self, pages: u32, list: usize) -> Drain {
        Drain { left: i64::from(pages.min(self.count)), list }
    }

    /// The next block to give back: the oldest of the current list; the next non-empty list
    /// follows when it is used up.
    pub(crate) fn drain_next(&mut self, drain: &mut Drain) -> Option<(Cached, Order)> {
        if drain.left <= 0 {
            return None;
        }
        while self.lists[drain.list].is_empty() {
            drain.list = (drain.list + 1) % self.lists.len();
        }
        let order = self.order_of(drain.list);
        let cached = self.lists[drain.list].pop_oldest()?;
        self.count -= 1 << order.get();
        drain.left -= 1 << order.get();
        Some((cached, order))
    }

    /// How many pages an explicit drain gives back at a time. Linux: `drain_pages_zone()`.
    pub(crate) fn drain_step(&self) -> u32 {
        self.count.min(self.sizes.batch << SCALE_MAX)
    }

    /// The blocks of every list, heads first, with the order of their list.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = (Cached, Order)> {
        self.listed().map(|(block, order, _)| (block, order))
    }

    /// The blocks of every list, heads first, with order and type of their list.
    pub(crate) fn listed(&self) -> impl Iterator<Item = (Cached, Order, MigrateType)> {
        self.lists.iter().enumerate().flat_map(|(list, blocks)| {
            let (order, mt) = (self.order_of(list), Self::type_of(list));
            blocks.iter().map(move |&block| (block, order, mt))
        })
    }

    /// Whether there are lists of huge blocks.
    pub(crate) const fn thp(&self) -> Thp {
        if self.huge.is_some() { Thp::Configured } else { Thp::Absent }
    }
}

/// Progress of a drain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drain {
    left: i64,
    list: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::KernelProfile;

    fn pcp(profile: KernelProfile, high: (u32, u32)) -> PerCpuPages {
        let mut pcp = PerCpuPages::new(profile.rules(), Geometry::PAGES_4K, Thp::Configured);
        pcp.set_sizes(PcpSizes { batch: 31, high_min: high.0, high_max: high.1 });
        pcp
    }

    #[test]
    fn sizes_of_the_measured_guest() {
        let sizes =
            PcpSizes::of_zone(Geometry::PAGES_4K, PageCount::new(116_232), PageCount::new(828), 1);
        assert_eq!(sizes, PcpSizes { batch: 31, high_min: 828, high_max: 14_529 });
    }

    #[test]
    fn refills_grow_as_the_kernels_do() {
        let mut old = pcp(KernelProfile::V6_1, (828, 828));
        assert_eq!(old.refill_blocks(Order::ZERO, ZonePressure::default()), 31);
        assert_eq!(old.refill_blocks(Order::of(3), ZonePressure::default()), 3);
        let mut new = pcp(KernelProfile::V6_12, (821, 13_971));
        let sizes: Vec<_> =
            (0..7).map(|_| new.refill_blocks(Order::ZERO, ZonePressure::default())).collect();
        assert_eq!(sizes, [31, 62, 124, 248, 496, 992, 992]);
    }

    #[test]
    fn drains_in_a_row_double() {
        let mut pcp = pcp(KernelProfile::V6_1, (2_000, 2_000));
        pcp.count = 2_000;
        let sizes: Vec<_> = (0..6)
            .map(|_| pcp.drain_after_free(Order::ZERO, ZonePressure::default()).unwrap())
            .collect();
        assert_eq!(sizes, [31, 62, 124, 248, 496, 992]);
        pcp.note_alloc();
        assert_eq!(pcp.drain_after_free(Order::ZERO, ZonePressure::default()), Some(124));
    }

    #[test]
    fn a_drain_empties_list_by_list_from_the_tail() {
        let mut pcp = pcp(KernelProfile::V6_1, (100, 100));
        let movable = pcp.list_of(Order::ZERO, MigrateType::Movable).unwrap();
        let pairs = pcp.list_of(Order::of(1), MigrateType::Unmovable).unwrap();
        for index in [4, 5] {
            pcp.push_freed(movable, Order::ZERO, Cached { index, mt: MigrateType::Movable });
        }
        pcp.push_freed(pairs, Order::of(1), Cached { index: 8, mt: MigrateType::Unmovable });
        let mut drain = pcp.start_drain(3, movable);
        let mut out = Vec::new();
        while let Some((cached, _)) = pcp.drain_next(&mut drain) {
            out.push(cached.index);
        }
        assert_eq!((out, pcp.count()), (vec![4, 5, 8], PageCount::ZERO));
    }
}
