//! kswapd: reclaims up to the high watermarks when it is given a turn.

use pagelab_allocator::event::{Event, Sink};
use pagelab_allocator::gfp::{AllocFlags, GfpFlags, ZoneType};
use pagelab_allocator::page_alloc::AllocRequest;
use pagelab_allocator::units::{Order, PageCount};
use pagelab_allocator::watermark::Mark;

use super::shrink::{CLUSTER, Scan, SwapUse, Who};
use crate::memory::Memory;
use crate::mover::Mover;
use crate::note::Note;

/// What kswapd was woken for. Linux: `kswapd_order`, `kswapd_highest_zoneidx`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wake {
    /// Largest order asked for.
    pub order: Order,
    /// Highest zone that helps.
    pub highest: ZoneType,
}

/// What a turn came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KswapdRun {
    /// Pages freed.
    pub reclaimed: PageCount,
    /// Whether some zone has its high watermark now.
    pub outcome: Balanced,
}

/// Whether kswapd reached its goal. Linux: `pgdat_balanced()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Balanced {
    /// It did.
    Yes,
    /// It gave up.
    No,
}

/// What kswapd remembers between its turns.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kswapd {
    wanted: Option<Wake>,
    failures: u32,
}

/// Turns without a page before nobody wakes it any more. Linux: `MAX_RECLAIM_RETRIES`.
const MAX_FAILURES: u32 = 16;

impl Kswapd {
    /// What it was woken for and has not done yet.
    pub(crate) const fn wanted(&self) -> Option<Wake> {
        self.wanted
    }
}

impl<S: Sink> Mover<'_, S> {
    /// Asks for a turn of kswapd, unless a zone has its high watermark and none is boosted.
    /// Linux: `wakeup_kswapd()`.
    pub(crate) fn wake_kswapd(&mut self, request: &AllocRequest) {
        let highest = request.gfp.highest_zone();
        let boosted = || {
            let mut zones = self.page_alloc.zones().iter();
            zones.any(|zone| zone.watermarks().boost > PageCount::ZERO)
        };
        let hopeless = self.reclaim.kswapd.failures >= MAX_FAILURES;
        if hopeless || self.is_balanced(request) && !boosted() {
            return;
        }
        let kswapd = &mut self.reclaim.kswapd;
        self.reclaim.stats.kswapd_wakes += u64::from(kswapd.wanted.is_none());
        let before = kswapd.wanted.unwrap_or(Wake { order: Order::ZERO, highest });
        kswapd.wanted = Some(Wake {
            order: before.order.max(request.order),
            highest: before.highest.max(highest),
        });
    }

    /// Somebody freed pages: kswapd may try again.
    pub(super) const fn kswapd_has_hope(&mut self) {
        self.reclaim.kswapd.failures = 0;
    }

    /// A turn of kswapd: reclaims until a zone has its high watermark, then takes the boosts that
    /// it found away. Linux: `balance_pgdat()`.
    pub(crate) fn run_kswapd(&mut self, wake: Wake) -> KswapdRun {
        self.reclaim.kswapd.wanted = None;
        self.reclaim.stats.pageoutrun += 1;
        let Wake { order, highest } = wake;
        self.page_alloc.sink_mut().emit(Event::BalanceEnter { order, highest });
        let zones: Vec<usize> = (0..self.page_alloc.zones().len())
            .filter(|at| self.page_alloc.zones()[*at].kind() <= wake.highest)
            .collect();
        let boosts: Vec<_> = zones.iter().map(|&at| self.page_alloc.begin_reclaim(at)).collect();
        let total = self.reclaim_to_balance(wake, &zones);
        for (&at, boost) in zones.iter().zip(boosts) {
            self.page_alloc.end_reclaim(at, boost);
        }
        self.page_alloc.sink_mut().emit(Event::BalanceExit { order });
        let outcome = match self.zones_balanced(&zones, Order::ZERO, wake.highest) {
            true => Balanced::Yes,
            false => Balanced::No,
        };
        let failures = &mut self.reclaim.kswapd.failures;
        *failures = if total > 0 || outcome == Balanced::Yes { 0 } else { *failures + 1 };
        self.reclaim.remember_activations();
        let run = KswapdRun { reclaimed: PageCount::new(total), outcome };
        self.page_alloc.sink_mut().note(|| Note::Kswapd(run));
        run
    }

    fn reclaim_to_balance(&mut self, wake: Wake, zones: &[usize]) -> u64 {
        let marks = zones.iter().map(|&at| self.page_alloc.zones()[at].watermarks().high.get());
        let goal = marks.map(|high| high.max(CLUSTER)).sum();
        let (mut order, mut total) = (wake.order, 0);
        let mut scan = Scan::new(Who::Kswapd, wake.highest, goal);
        while scan.priority >= 1 && !self.zones_balanced(zones, order, wake.highest) {
            // For the sake of a boost alone nothing goes to swap.
            scan.swap = match self.balanced_but_for_boosts(zones, wake.highest) {
                true => SwapUse::Barred,
                false => SwapUse::Allowed,
            };
            (scan.scanned, scan.reclaimed) = (0, 0);
            self.shrink(&mut scan);
            total += scan.reclaimed;
            if scan.scanned < goal || scan.reclaimed == 0 {
                scan.priority -= 1;
            }
            // Two blocks' worth is enough for compaction. Linux: `compact_gap()`.
            if order > Order::ZERO && total >= 2 * order.pages().get() {
                order = Order::ZERO;
            }
        }
        total
    }

    /// Linux: `pgdat_balanced()`.
    fn zones_balanced(&self, zones: &[usize], order: Order, highest: ZoneType) -> bool {
        zones.iter().any(|&at| {
            let zone = &self.page_alloc.zones()[at];
            zone.watermark_ok(order, Mark::High, highest, AllocFlags::empty())
        })
    }

    fn balanced_but_for_boosts(&self, zones: &[usize], highest: ZoneType) -> bool {
        zones.iter().any(|&at| {
            let zone = &self.page_alloc.zones()[at];
            let (free, high) = (zone.counted().all, zone.watermarks().high);
            let none = AllocFlags::empty();
            zone.watermark_ok_with(free, Order::ZERO, high, highest, none)
        })
    }
}

impl<S: Sink> Memory<S> {
    /// What kswapd should do now: what it was woken for, or bring boosted marks down.
    /// Linux: `ZONE_BOOSTED_WATERMARK` in `rmqueue()`.
    pub(crate) fn kswapd_wanted(&self) -> Option<Wake> {
        self.reclaim.kswapd.wanted().or_else(|| {
            let mut zones = self.page_alloc.zones().iter();
            let boosted = zones.any(|zone| zone.watermarks().boost > PageCount::ZERO);
            let highest = GfpFlags::HIGHUSER_MOVABLE.highest_zone();
            boosted.then_some(Wake { order: Order::ZERO, highest })
        })
    }
}
