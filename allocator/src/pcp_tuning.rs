//! When one CPU's page lists are refilled and drained, and by how much.
//!
//! Answers only: no page is moved and no list is known here, just how many pages there are.

use crate::cache_slice::CacheSlice;
use crate::pcp_sizes::PcpSizes;
use crate::profile::{PcpTuning, Rules};
use crate::units::Order;

/// Bound of the factors by which refills and drains grow. Linux: `CONFIG_PCP_BATCH_SCALE_MAX`.
const SCALE_MAX: u32 = 5;

/// What a zone's state adds to the tuning rules. Linux: zone flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct ZonePressure {
    /// kswapd runs. Linux: `ZONE_RECLAIM_ACTIVE`.
    pub(crate) reclaim_active: bool,
    /// Free pages fell below the high mark (6.12). Linux: `ZONE_BELOW_HIGH`.
    pub(crate) below_high: bool,
}

/// How much of what is on the lists a free may give back. Linux: `free_high`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reach {
    /// What is above the high mark.
    AboveMark,
    /// All: blocks of high order come back in a row.
    Everything,
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

/// The rules of one CPU's lists and what the traffic so far made of them.
#[derive(Clone, Debug)]
pub(crate) struct Tuning {
    rule: PcpTuning,
    sizes: PcpSizes,
    /// Live high mark (adaptive).
    high: u32,
    /// What frees raise and allocations halve. Linux: `free_factor` (fixed), `free_count`
    /// (adaptive).
    frees: u32,
    /// Up to here pages freed count as `frees`; zero where they do not.
    frees_bound: u32,
    alloc_factor: u32,
    freed_high_order: bool,
    /// Below this many pages, a free drains nothing and is counted, and that is all; as long as the
    /// zone is under no pressure, and unless it is one of many of high order. Zero when the rules
    /// have to be asked.
    calm: u32,
    /// From so many `frees` on, a free of a high order may drain all.
    many: u32,
    /// And from so many pages on: fewer are left where they are.
    spared: u32,
    cache: CacheSlice,
}

impl Tuning {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rule: rules.pcp,
            sizes: PcpSizes::BOOT,
            high: 0,
            frees: 0,
            frees_bound: 0,
            alloc_factor: 0,
            freed_high_order: false,
            calm: 0,
            many: 0,
            spared: 0,
            cache: CacheSlice::Small,
        }
    }

    pub(crate) const fn sizes(&self) -> PcpSizes {
        self.sizes
    }

    pub(crate) fn set_sizes(&mut self, sizes: PcpSizes) {
        self.sizes = sizes;
        self.calm = 0;
        (self.frees_bound, self.many) = match self.rule {
            PcpTuning::Fixed => (0, 0),
            PcpTuning::Adaptive => (sizes.batch << SCALE_MAX, sizes.batch),
        };
        self.set_cache(self.cache);
    }

    pub(crate) const fn cache(&self) -> CacheSlice {
        self.cache
    }

    pub(crate) fn set_cache(&mut self, cache: CacheSlice) {
        self.cache = match self.rule {
            PcpTuning::Fixed => CacheSlice::Small,
            PcpTuning::Adaptive => cache,
        };
        self.spared = match self.cache {
            CacheSlice::Small => 0,
            CacheSlice::Large => self.sizes.batch,
        };
    }

    pub(crate) const fn counters(&self) -> PcpCounters {
        let Self { high, frees, alloc_factor, freed_high_order, .. } = *self;
        let (free_factor, free_count) = match self.rule {
            PcpTuning::Fixed => (frees, 0),
            PcpTuning::Adaptive => (0, frees),
        };
        PcpCounters { high, free_factor, alloc_factor, free_count, freed_high_order }
    }

    pub(crate) fn set_counters(&mut self, counters: PcpCounters) {
        self.high = counters.high;
        (self.frees, self.alloc_factor, self.freed_high_order) = match self.rule {
            PcpTuning::Fixed => (counters.free_factor, 0, false),
            PcpTuning::Adaptive => {
                (counters.free_count, counters.alloc_factor, counters.freed_high_order)
            }
        };
        self.calm = 0;
    }

    /// A request of this CPU: later drains shrink. Linux: `pcp->free_factor >>= 1` (fixed),
    /// `pcp->free_count >>= 1` (adaptive).
    #[inline(always)]
    pub(crate) fn note_alloc(&mut self) {
        self.frees >>= 1;
    }

    /// Whether a block that makes the lists hold `pages` pages asks for nothing but
    /// [`note_calm_free`](Self::note_calm_free). Where orders are mixed, each of the parts of the
    /// last condition alone would be a branch that is foreseen wrongly.
    #[inline(always)]
    pub(crate) fn is_calm(&self, order: Order, pages: u32, zone: ZonePressure) -> bool {
        pages < self.calm
            && zone == ZonePressure::default()
            && !(Self::is_high_order(order)
                & (self.frees >= self.many)
                & (pages >= self.spared)
                & (self.freed_high_order | (self.rule == PcpTuning::Fixed)))
    }

    /// What [`drain`](Self::drain) does for a block when all [is calm](Self::is_calm).
    #[inline(always)]
    pub(crate) fn note_calm_free(&mut self, order: Order) {
        self.alloc_factor >>= 1;
        self.freed_high_order = Self::is_high_order(order);
        if self.frees < self.frees_bound {
            self.frees += 1 << order.get();
        }
    }

    /// How many blocks to bring in for an empty list while all lists hold `pages` pages.
    /// Linux: `nr_pcp_alloc()`.
    pub(crate) fn refill(&mut self, order: Order, pages: u32, zone: ZonePressure) -> u32 {
        let batch = self.sizes.batch;
        let blocks = match self.rule {
            PcpTuning::Fixed => {
                return if batch > 1 { (batch >> order.get()).max(2) } else { batch };
            }
            PcpTuning::Adaptive => self.adaptive_refill(order, pages, zone),
        };
        self.calm = self.calm_below();
        if blocks > 1 { (blocks >> order.get()).max(2) } else { blocks }
    }

    fn adaptive_refill(&mut self, order: Order, pages: u32, zone: ZonePressure) -> u32 {
        let PcpSizes { batch, high_min, high_max } = self.sizes;
        self.high = self.high.max(high_min).min(high_max);
        let mut high = self.high;
        if high < batch {
            return 1;
        }
        let mut wanted = if order == Order::ZERO { batch << self.alloc_factor } else { batch };
        if high_min != high_max && !zone.below_high {
            self.high = (high + wanted).min(high_max);
            high = self.high;
        }
        if order == Order::ZERO {
            let room = high.saturating_sub(pages).saturating_sub(batch).max(batch);
            if wanted <= room && self.alloc_factor < SCALE_MAX {
                self.alloc_factor += 1;
            }
            wanted = wanted.min(room);
        }
        wanted
    }

    /// Called after a free that made the lists hold `pages` pages: how many of them to give back
    /// now, if any. Linux: the end of `free_unref_page_commit()`.
    pub(crate) fn drain(&mut self, order: Order, pages: u32, zone: ZonePressure) -> Option<u32> {
        let excess = match self.rule {
            PcpTuning::Fixed => self.fixed_drain(order, pages, zone),
            PcpTuning::Adaptive => self.adaptive_drain(order, pages, zone),
        };
        self.calm = self.calm_below();
        excess
    }

    /// Up to which count of pages frees are calm, once the high mark is within its bounds.
    fn calm_below(&self) -> u32 {
        match self.rule {
            PcpTuning::Fixed => self.sizes.high_min,
            // Bounds that cross: the next free lowers the mark to the upper one.
            PcpTuning::Adaptive if self.high > self.sizes.high_max => 0,
            PcpTuning::Adaptive => self.high,
        }
    }

    /// Orders whose frees in a row empty the lists. Linux: `order && order <= COSTLY_ORDER`.
    #[inline(always)]
    fn is_high_order(order: Order) -> bool {
        order > Order::ZERO && order <= Order::COSTLY
    }

    fn fixed_drain(&mut self, order: Order, pages: u32, zone: ZonePressure) -> Option<u32> {
        let PcpSizes { batch, high_min: mark, .. } = self.sizes;
        if self.frees > 0 && Self::is_high_order(order) {
            return Some(pages);
        }
        let high = if zone.reclaim_active { mark.min(4 * batch) } else { mark };
        if pages < high {
            return None;
        }
        if high < batch {
            return Some(1);
        }
        let most = high - batch;
        let wanted = batch << self.frees;
        if wanted < most && self.frees < SCALE_MAX {
            self.frees += 1;
        }
        Some(wanted.max(batch).min(most))
    }

    fn adaptive_drain(&mut self, order: Order, pages: u32, zone: ZonePressure) -> Option<u32> {
        let batch = self.sizes.batch;
        self.alloc_factor >>= 1;
        let high_order = Self::is_high_order(order);
        let in_a_row =
            high_order && self.frees >= batch && self.freed_high_order && pages >= self.spared;
        self.freed_high_order = high_order;
        if self.frees < batch << SCALE_MAX {
            self.frees += 1 << order.get();
        }
        let high = self.high.max(self.sizes.high_min).min(self.sizes.high_max);
        self.high = high;
        let reach = if in_a_row { Reach::Everything } else { Reach::AboveMark };
        if reach == Reach::AboveMark && zone == ZonePressure::default() && pages < high {
            return None;
        }
        self.adaptive_excess(reach, pages, zone)
    }

    /// How many pages are too many, when a first look does not tell that there are none.
    fn adaptive_excess(&mut self, reach: Reach, pages: u32, zone: ZonePressure) -> Option<u32> {
        let batch = self.sizes.batch;
        let high = self.adaptive_high(reach, pages, zone);
        if pages < high {
            return None;
        }
        Some(match reach {
            Reach::Everything => pages.min(batch << SCALE_MAX),
            Reach::AboveMark if high < batch => 1,
            Reach::AboveMark => self.frees.max(batch).min(high - batch),
        })
    }

    /// Linux 6.12: `nr_pcp_high()`.
    fn adaptive_high(&mut self, reach: Reach, pages: u32, zone: ZonePressure) -> u32 {
        let PcpSizes { batch, high_min, high_max } = self.sizes;
        let high = self.high;
        let lowered = |by: u32| high.saturating_sub(by).max(high_min);
        if high == 0 {
            return 0;
        }
        if reach == Reach::Everything {
            self.high = lowered(batch << SCALE_MAX);
            return 0;
        }
        let freed = self.frees.max(batch);
        if zone.reclaim_active {
            self.high = lowered(freed);
            return self.high.min(4 * batch);
        }
        if high_min == high_max {
            return high;
        }
        if zone.below_high {
            self.high = lowered(freed);
            return pages.max(high_min);
        }
        let needed = self.frees + batch;
        if pages >= high && self.high < needed {
            self.high = needed.max(high_min).min(high_max);
        }
        high
    }

    /// One tick of the statistics timer: the high mark sinks. Returns how many pages to drain, in
    /// steps of one batch. Linux: `decay_pcp_high()`.
    pub(crate) fn decay(&mut self, pages: u32) -> u32 {
        if self.rule == PcpTuning::Fixed {
            return 0;
        }
        self.calm = 0;
        let PcpSizes { batch, high_min, .. } = self.sizes;
        if self.high > high_min {
            self.high = pages
                .saturating_sub(batch << SCALE_MAX)
                .max(self.high - self.high / 8)
                .max(high_min);
        }
        pages.saturating_sub(self.high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::KernelProfile;

    fn tuning(profile: KernelProfile, high: (u32, u32)) -> Tuning {
        let mut tuning = Tuning::new(profile.rules());
        tuning.set_sizes(PcpSizes { batch: 31, high_min: high.0, high_max: high.1 });
        tuning
    }

    #[test]
    fn refills_grow_as_the_kernels_do() {
        let mut old = tuning(KernelProfile::V6_1, (828, 828));
        assert_eq!(old.refill(Order::ZERO, 0, ZonePressure::default()), 31);
        assert_eq!(old.refill(Order::of(3), 0, ZonePressure::default()), 3);
        let mut new = tuning(KernelProfile::V6_12, (821, 13_971));
        let sizes: Vec<_> =
            (0..7).map(|_| new.refill(Order::ZERO, 0, ZonePressure::default())).collect();
        assert_eq!(sizes, [31, 62, 124, 248, 496, 992, 992]);
    }

    #[test]
    fn drains_in_a_row_double() {
        let mut tuning = tuning(KernelProfile::V6_1, (2_000, 2_000));
        let sizes: Vec<_> = (0..6)
            .map(|_| tuning.drain(Order::ZERO, 2_000, ZonePressure::default()).unwrap())
            .collect();
        assert_eq!(sizes, [31, 62, 124, 248, 496, 992]);
        tuning.note_alloc();
        assert_eq!(tuning.drain(Order::ZERO, 2_000, ZonePressure::default()), Some(124));
    }

    #[test]
    fn a_large_share_of_cache_spares_what_is_less_than_a_batch() {
        let mut tuning = tuning(KernelProfile::V6_12, (828, 13_971));
        tuning.set_cache(CacheSlice::Large);
        for batch in [31, 8, 1] {
            tuning.set_sizes(PcpSizes { batch, ..tuning.sizes() });
            let in_a_row =
                PcpCounters { free_count: batch, freed_high_order: true, ..tuning.counters() };
            tuning.set_counters(in_a_row);
            let mut free = |pages| tuning.drain(Order::of(1), pages, ZonePressure::default());
            assert_eq!((free(batch - 1), free(batch)), (None, Some(batch)));
        }
    }

    /// A reserve of more than an eighth of the zone puts the lower bound above the upper one.
    #[test]
    fn bounds_that_cross_leave_nothing_calm() {
        let mut tuning = tuning(KernelProfile::V6_12, (2_000, 500));
        let low = ZonePressure { below_high: true, reclaim_active: false };
        assert!(tuning.drain(Order::ZERO, 2_100, low).is_some());
        assert_eq!(tuning.counters().high, 2_000);
        assert!(!tuning.is_calm(Order::ZERO, 600, ZonePressure::default()));
        assert!(tuning.drain(Order::ZERO, 600, ZonePressure::default()).is_some());
        assert_eq!(tuning.counters().high, 500);
        assert!(tuning.is_calm(Order::ZERO, 499, ZonePressure::default()));
    }

    /// Every state that a call leaves behind, and every free after it: where the short cut is taken
    /// it is what the rules make of the free. The lists of sizes have bounds that cross.
    #[test]
    fn the_short_cut_is_the_rule_in_every_state() {
        let pressures = [(false, false), (true, false), (false, true), (true, true)]
            .map(|(reclaim_active, below_high)| ZonePressure { reclaim_active, below_high });
        let orders = [0, 1, 3, 4, 9].map(Order::of);
        let counters = |frees: u32| {
            [0, 1, 3].into_iter().flat_map(move |alloc_factor| {
                [false, true].map(|freed_high_order| PcpCounters {
                    high: frees % 11,
                    free_factor: frees.min(6),
                    alloc_factor,
                    free_count: frees,
                    freed_high_order,
                })
            })
        };
        let mut calm = 0;
        for profile in [KernelProfile::V6_1, KernelProfile::V6_12] {
            for (batch, high_min, high_max) in
                [(1, 0, 0), (1, 4, 4), (3, 6, 40), (3, 2, 9), (3, 20, 5), (2, 0, 30)]
            {
                for start in [0, 1, 2, 3, 5, 31, 63, 64, 95, 96, 97].into_iter().flat_map(counters)
                {
                    for (first, zone) in orders.into_iter().flat_map(|o| pressures.map(|p| (o, p)))
                    {
                        for call in 0..12 {
                            let mut tuning = Tuning::new(profile.rules());
                            tuning.set_cache([CacheSlice::Small, CacheSlice::Large][call / 6]);
                            tuning.set_sizes(PcpSizes { batch, high_min, high_max });
                            tuning.set_counters(start);
                            match call % 6 {
                                0 => drop(tuning.refill(first, 3, zone)),
                                1 => drop(tuning.drain(first, 1 << first.get(), zone)),
                                2 => drop(tuning.drain(first, 30, zone)),
                                3 => {
                                    tuning.refill(first, 0, zone);
                                    tuning.decay(7);
                                }
                                4 => {
                                    tuning.refill(first, 0, zone);
                                    tuning.set_counters(start);
                                }
                                _ => {
                                    tuning.drain(first, 2, zone);
                                    tuning.set_sizes(PcpSizes { high_max: 3, ..tuning.sizes() });
                                }
                            }
                            calm += count_calm(&tuning, &orders, &pressures);
                        }
                    }
                }
            }
        }
        assert!(calm > 10_000, "the short cut was taken {calm} times");
    }

    fn count_calm(tuning: &Tuning, orders: &[Order], pressures: &[ZonePressure]) -> u32 {
        let mut calm = 0;
        for (&order, &zone) in orders.iter().flat_map(|o| pressures.iter().map(move |p| (o, p))) {
            for pages in
                [0, 1, 4, 5, 6, 8, 9, 19, 29, 30, 39, 40].map(|more| more + (1 << order.get()))
            {
                if !tuning.is_calm(order, pages, zone) {
                    continue;
                }
                calm += 1;
                let (mut short, mut long) = (tuning.clone(), tuning.clone());
                short.note_calm_free(order);
                let excess = long.drain(order, pages, zone);
                let case = format!("{tuning:?} {order:?} {pages} {zone:?}");
                assert_eq!((excess, long.counters()), (None, short.counters()), "{case}");
            }
        }
        calm
    }

    /// The short cut for frees of any order against the rules it stands for.
    #[test]
    fn calm_frees_are_what_the_rules_make_of_them() {
        for profile in [KernelProfile::V6_1, KernelProfile::V6_12] {
            let mut short = tuning(profile, (100, 400));
            let mut pages = 0;
            let mut calm = 0;
            for step in 0..600u32 {
                let order = match step % 97 {
                    13..18 => Order::of(1),
                    30 | 31 | 70 => Order::of(3),
                    51 => Order::of(4),
                    _ => Order::ZERO,
                };
                if step % 5 == 4 {
                    short.note_alloc();
                    pages = u32::saturating_sub(pages, 1);
                    continue;
                }
                if step % 61 == 60 {
                    short.refill(Order::ZERO, pages, ZonePressure::default());
                }
                pages += 1 << order.get();
                let mut long = short.clone();
                let excess = long.drain(order, pages, ZonePressure::default());
                if short.is_calm(order, pages, ZonePressure::default()) {
                    calm += 1;
                    short.note_calm_free(order);
                    assert_eq!((excess, long.counters()), (None, short.counters()), "step {step}");
                } else {
                    short = long;
                    pages -= excess.unwrap_or(0);
                }
            }
            assert!(calm > 100, "{profile:?}: the short cut was taken {calm} times");
        }
    }
}
