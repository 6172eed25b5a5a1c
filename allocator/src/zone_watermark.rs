//! A zone against its watermarks: the checks, the boost, and how high the marks are.

use crate::event::Sink;
use crate::geometry::Geometry;
use crate::gfp::{AllocFlags, ZoneType};
use crate::migratetype::MigrateType;
use crate::note::Note;
use crate::pcp::Thp;
use crate::profile::{BelowHigh, HighAtomicUnusable, MovableMin};
use crate::units::{Order, PageCount};
use crate::watermark::{BlockThere, Mark, Tunables, Unusable, WatermarkSum, Watermarks};
use crate::zone::Zone;

/// How much of the min mark a request with reserves must respect.
fn reduced(mark: PageCount, flags: AllocFlags) -> u64 {
    let mut min = mark.get();
    if flags.contains(AllocFlags::MIN_RESERVE) {
        min -= min / 2;
        if flags.contains(AllocFlags::NON_BLOCK) {
            min -= min / 4;
        }
    }
    if flags.contains(AllocFlags::OOM) {
        min -= min / 2;
    }
    min
}

impl Zone {
    /// Highatomic pages that an ordinary request cannot have, by the profile's rule.
    fn highatomic_unusable(&self) -> PageCount {
        match self.buddy.rules.highatomic_unusable {
            HighAtomicUnusable::Reserved => self.reserved_highatomic,
            HighAtomicUnusable::Free => self.buddy.free.highatomic,
        }
    }

    /// Whether the zone keeps enough when a request of `order` takes its pages, with `free` in
    /// place of the zone's free pages. Linux: `__zone_watermark_ok()`.
    #[must_use]
    pub fn watermark_ok_with(
        &self,
        free: PageCount,
        order: Order,
        mark: PageCount,
        highest: ZoneType,
        flags: AllocFlags,
    ) -> bool {
        self.sum_with(free, order, mark, highest, flags).is_ok()
    }

    /// The arithmetic of [`watermark_ok_with`](Self::watermark_ok_with).
    #[inline]
    #[must_use]
    pub fn sum_with(
        &self,
        free: PageCount,
        order: Order,
        mark: PageCount,
        highest: ZoneType,
        flags: AllocFlags,
    ) -> WatermarkSum {
        let mut sum = WatermarkSum {
            free,
            unusable: Unusable::new(self.counted(), self.highatomic_unusable(), order, flags),
            mark,
            boost: PageCount::ZERO,
            min: PageCount::new(reduced(mark, flags)),
            lowmem_reserve: self.lowmem_reserve[highest.index()],
            block: BlockThere::NotAsked,
        };
        if order > Order::ZERO && sum.has_pages() {
            let found = self.has_block(order, flags);
            sum.block = if found { BlockThere::Yes } else { BlockThere::No };
        }
        sum
    }

    /// Whether a list that the request may use has a block of at least `order`.
    fn has_block(&self, order: Order, flags: AllocFlags) -> bool {
        let has = |mt| self.buddy.areas.has_from(order, mt);
        MigrateType::PCP.into_iter().any(has)
            || flags.contains(AllocFlags::CMA) && has(MigrateType::Cma)
            || flags.contains(AllocFlags::METADATA) && has(MigrateType::Metadata)
            || flags.intersects(AllocFlags::HIGHATOMIC | AllocFlags::OOM)
                && has(MigrateType::HighAtomic)
    }

    /// Whether the zone is above `mark` (boost included) for a request.
    /// Linux: `zone_watermark_ok()`.
    #[must_use]
    pub fn watermark_ok(
        &self,
        order: Order,
        mark: Mark,
        highest: ZoneType,
        flags: AllocFlags,
    ) -> bool {
        let mark = self.watermarks.get(mark);
        self.watermark_ok_with(self.counted().all, order, mark, highest, flags)
    }

    /// The check of the fast path: an order-0 request with reserves may disregard the boost.
    /// Linux: `zone_watermark_fast()`.
    #[inline]
    #[must_use]
    pub fn watermark_fast(
        &self,
        order: Order,
        mark: Mark,
        highest: ZoneType,
        flags: AllocFlags,
    ) -> bool {
        self.passes_first_look(order, mark, highest, flags)
            || self.fast_sum(order, mark, highest, flags).is_ok()
    }

    /// A single page is looked at with no reserve opened first, which most pass: cheaper than
    /// [`fast_sum`](Self::fast_sum), and never more generous.
    #[inline]
    fn passes_first_look(
        &self,
        order: Order,
        mark: Mark,
        highest: ZoneType,
        flags: AllocFlags,
    ) -> bool {
        let counted = self.counted();
        let unusable = || Unusable::new(counted, self.highatomic_unusable(), order, flags).pages();
        let floor = || self.watermarks.get(mark) + self.lowmem_reserve[highest.index()];
        order == Order::ZERO && counted.all > floor() + unusable()
    }

    /// The arithmetic of [`watermark_fast`](Self::watermark_fast), without its first look.
    #[inline]
    #[must_use]
    pub fn fast_sum(
        &self,
        order: Order,
        mark: Mark,
        highest: ZoneType,
        flags: AllocFlags,
    ) -> WatermarkSum {
        let (free, pages) = (self.counted().all, self.watermarks.get(mark));
        let sum = self.sum_with(free, order, pages, highest, flags);
        let unboosted = !sum.is_ok()
            && order == Order::ZERO
            && self.watermarks.boost > PageCount::ZERO
            && flags.mark() == Mark::Min
            && flags.contains(AllocFlags::MIN_RESERVE);
        match unboosted {
            true => self.sum_with(free, order, self.watermarks.min, highest, flags),
            false => WatermarkSum { boost: self.watermarks.boost, ..sum },
        }
    }

    /// Pages by which requests for single pages may go on without a look at the watermarks: what is
    /// free above the high mark, the boost and every reserve, CMA aside.
    pub(crate) fn spare_pages(&self) -> PageCount {
        let reserve = self.lowmem_reserve.iter().copied().max().unwrap_or(PageCount::ZERO);
        let (order, flags) = (Order::ZERO, AllocFlags::empty());
        let unusable =
            Unusable::new(self.counted(), self.highatomic_unusable(), order, flags).pages();
        self.counted().all.saturating_sub(self.watermarks.get(Mark::High) + reserve + unusable)
    }

    /// Whether the watermarks allow a request of the page allocator. A zone below its high mark is
    /// flagged, by profiles that know the flag. Linux: the checks of `get_page_from_freelist()`.
    #[inline]
    pub(crate) fn may_take(
        &mut self,
        order: Order,
        highest: ZoneType,
        flags: AllocFlags,
        sink: &mut impl Sink,
    ) -> bool {
        let note = |zone: &Self, mark, sum| {
            let (kind, node) = (zone.kind, zone.node);
            Note::Watermark { kind, node, mark, sum }
        };
        let sum = |zone: &Self, mark| Some(zone.fast_sum(order, mark, highest, flags));
        if self.buddy.rules.below_high == BelowHigh::Tracked && !self.pressure.below_high {
            sink.note(|| note(self, Mark::High, sum(self, Mark::High)));
            if self.watermark_fast(order, Mark::High, highest, flags) {
                return true;
            }
            self.pressure.below_high = true;
        }
        if flags.contains(AllocFlags::NO_WATERMARKS) {
            sink.note(|| note(self, flags.mark(), None));
            return true;
        }
        sink.note(|| note(self, flags.mark(), sum(self, flags.mark())));
        self.watermark_fast(order, flags.mark(), highest, flags)
    }

    /// Raises the watermarks by one pageblock, up to a bound; `false` when the zone is too small.
    /// Linux: `boost_watermark()` with `watermark_boost_factor`.
    pub(crate) fn boost_watermark(&mut self, factor: u64) -> bool {
        let block = self.buddy.geometry.pageblock_pages();
        if factor == 0 || self.managed.get() < 4 * block.get() {
            return false;
        }
        let bound = self.watermarks.high.get() * factor / 10_000;
        if bound == 0 {
            return false;
        }
        let bound = PageCount::new(bound).max(block);
        self.watermarks.boost = (self.watermarks.boost + block).min(bound);
        true
    }
}

/// Linux's default for `min_free_kbytes`, KiB. Linux: `calculate_min_free_kbytes()`,
/// `set_recommended_min_free_kbytes()`.
fn default_min_free_kbytes(zones: &[Zone], geometry: Geometry, thp: Thp) -> u64 {
    let kib = geometry.page_size() / 1024;
    let user: Vec<_> = zones.iter().filter(|z| z.kind <= ZoneType::Normal).collect();
    let buffers: u64 = user.iter().map(|z| z.managed.saturating_sub(z.watermarks.high).get()).sum();
    let root = (16 * buffers * kib).isqrt().clamp(128, 262_144);
    let half_gib = (512 << 20) / geometry.page_size();
    if thp == Thp::Absent || zones.iter().map(|z| z.managed.get()).sum::<u64>() < half_gib {
        return root;
    }
    let populated =
        u64::try_from(user.iter().filter(|z| z.managed > PageCount::ZERO).count()).unwrap_or(0);
    let recommended = geometry.pageblock_pages().get() * populated * (2 + 9);
    root.max(recommended.min(buffers / 20) * kib)
}

/// Sets the marks and the lowmem reserves of all zones. Linux: `__setup_per_zone_wmarks()`,
/// `setup_per_zone_lowmem_reserve()`.
pub(crate) fn setup(zones: &mut [Zone], geometry: Geometry, thp: Thp, tunables: &Tunables) {
    let kbytes =
        tunables.min_free_kbytes.unwrap_or_else(|| default_min_free_kbytes(zones, geometry, thp));
    let pages_min = kbytes * 1024 / geometry.page_size();
    let small =
        |z: &Zone| z.kind == ZoneType::Movable && z.buddy.rules.movable_min == MovableMin::Small;
    let lowmem: u64 = zones.iter().filter(|z| !small(z)).map(|z| z.managed.get()).sum();
    for zone in zones.iter_mut() {
        let managed = zone.managed.get();
        let share = (pages_min * managed).checked_div(lowmem).unwrap_or(0);
        let min = if small(zone) { (managed / 1024).clamp(32, 128) } else { share };
        let gap = (share / 4).max(managed * tunables.watermark_scale_factor / 10_000);
        zone.watermarks = Watermarks {
            min: PageCount::new(min),
            low: PageCount::new(min + gap),
            high: PageCount::new(min + 2 * gap),
            boost: PageCount::ZERO,
        };
    }
    set_lowmem_reserves(zones, tunables);
}

fn set_lowmem_reserves(zones: &mut [Zone], tunables: &Tunables) {
    let sizes: Vec<_> = zones.iter().map(|z| (z.node, z.kind, z.managed.get())).collect();
    for zone in zones {
        let ratio = tunables.lowmem_reserve_ratio[zone.kind.index()];
        for highest in ZoneType::ALL {
            let above: u64 = sizes
                .iter()
                .filter(|(node, kind, _)| {
                    *node == zone.node && *kind > zone.kind && *kind <= highest
                })
                .map(|(_, _, managed)| managed)
                .sum();
            let kept =
                if ratio == 0 || zone.managed == PageCount::ZERO { 0 } else { above / ratio };
            zone.lowmem_reserve[highest.index()] = PageCount::new(kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::KernelProfile;
    use crate::units::{NodeId, Pfn, PfnRange};
    use crate::zone::ZoneSpec;

    fn zone(managed: u64, high: u64) -> Zone {
        let span = PfnRange::new(Pfn::new(0), Pfn::new(0x1000));
        let spec = ZoneSpec { kind: ZoneType::Normal, node: NodeId::new(0), span };
        let mut zone = Zone::new(spec, Geometry::PAGES_4K, KernelProfile::V6_12, Thp::Absent, 1);
        zone.managed = PageCount::new(managed);
        zone.watermarks.high = PageCount::new(high);
        zone
    }

    #[track_caller]
    fn check_boost(managed: u64, high: u64, factor: u64, expected: &[u64]) {
        let mut zone = zone(managed, high);
        for &pages in expected {
            assert_eq!(zone.boost_watermark(factor), pages > 0);
            assert_eq!(zone.watermarks.boost.get(), pages);
        }
    }

    #[test]
    fn a_boost_is_a_pageblock_up_to_a_bound() {
        check_boost(4 * 512, 1_000, 15_000, &[512, 1024, 1500, 1500]);
        check_boost(4 * 512, 100, 15_000, &[512, 512]);
        check_boost(4 * 512 - 1, 1_000, 15_000, &[0]);
        check_boost(4 * 512, 1_000, 0, &[0]);
        check_boost(4 * 512, 0, 15_000, &[0]);
    }

    #[test]
    fn an_urgent_page_may_disregard_the_boost_at_the_min_mark() {
        let mut zone = zone(4 * 512, 100);
        zone.buddy.free.all = PageCount::new(250);
        zone.watermarks.min = PageCount::new(100);
        zone.watermarks.boost = PageCount::new(512);
        let fast = |mark, flags| zone.watermark_fast(Order::ZERO, mark, ZoneType::Normal, flags);
        assert!(fast(Mark::Min, AllocFlags::MIN_RESERVE));
        // The high mark of 6.12's first look is replaced as well: the flags decide.
        assert!(fast(Mark::High, AllocFlags::MIN_RESERVE));
        assert!(!fast(Mark::Min, AllocFlags::empty()));
        assert!(!fast(Mark::Low, AllocFlags::MIN_RESERVE | AllocFlags::WMARK_LOW));
    }
    /// The first look at single pages opens no reserve: it passes nothing that the sum would not.
    #[test]
    fn a_first_look_passes_nothing_more() {
        let mut zone = zone(4 * 512, 300);
        (zone.watermarks.min, zone.watermarks.low) = (PageCount::new(100), PageCount::new(200));
        zone.lowmem_reserve[ZoneType::Normal.index()] = PageCount::new(30);
        zone.reserved_highatomic = PageCount::new(40);
        for (free, boost) in (0..1000).step_by(31).flat_map(|free| [(free, 0), (free, 512)]) {
            zone.buddy.free.all = PageCount::new(free);
            zone.buddy.free.cma = PageCount::new(free / 3);
            zone.watermarks.boost = PageCount::new(boost);
            for flags in (0..=AllocFlags::all().bits()).filter_map(AllocFlags::from_bits) {
                for mark in [Mark::Min, Mark::Low, Mark::High] {
                    let sum = zone.fast_sum(Order::ZERO, mark, ZoneType::Normal, flags);
                    let first = zone.passes_first_look(Order::ZERO, mark, ZoneType::Normal, flags);
                    assert!(!first || sum.is_ok(), "{mark:?}, {flags:?}: {sum:?}");
                }
            }
        }
    }
}
