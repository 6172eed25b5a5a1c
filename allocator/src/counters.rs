//! A zone's counters of free pages, as everybody reads them.
//!
//! A CPU keeps small changes to itself and adds them to the zone's counter when they exceed a
//! threshold; a timer collects the rest. So the numbers lag a few pages behind the lists, and
//! whoever compares them, the watermarks and the choice between lent and ordinary memory, decides
//! a few pages early or late. Which frames are handed out depends on it.

use crate::buddy::FreePages;
use crate::geometry::Geometry;
use crate::migratetype::MigrateType;
use crate::units::{CpuId, Order, PageCount};

/// Changes that a CPU has not added to the zone's counters yet, in pages. Linux: `vm_stat_diff`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Uncounted {
    /// Of `NR_FREE_PAGES`.
    pub all: i64,
    /// Of `NR_FREE_CMA_PAGES`.
    pub cma: i64,
    /// Of RFC v1 `NR_FREE_METADATA_PAGES`.
    pub metadata: i64,
}

/// One counter: what is added up, and what each CPU still keeps. Linux: `vm_stat[item]`.
#[derive(Clone, Debug)]
struct Counter {
    shared: i64,
    kept: Vec<i64>,
    /// All of it together, to tell what is new.
    known: i64,
}

/// Blocks of one order that come one after the other.
#[derive(Clone, Copy, Debug)]
struct Series {
    blocks: u32,
    order: Order,
    /// How many pages a CPU may keep to itself.
    threshold: i64,
}

impl Series {
    /// What a CPU keeps after them that kept `kept` pages before.
    #[inline]
    const fn kept_after(self, kept: i64) -> i64 {
        let Self { blocks, order, threshold } = self;
        let order = order.get();
        // After how many blocks the threshold is exceeded first, and then again each time.
        let (first, every) = (((threshold - kept) >> order) + 1, (threshold >> order) + 1);
        let blocks = blocks as i64;
        if blocks < first { kept + (blocks << order) } else { ((blocks - first) % every) << order }
    }
}

impl Counter {
    fn new(cpus: u16) -> Self {
        Self { shared: 0, kept: vec![0; usize::from(cpus)], known: 0 }
    }

    /// Linux: `__mod_zone_page_state()`.
    #[inline]
    fn note(&mut self, cpu: CpuId, now: PageCount, threshold: i64) {
        let now = signed(now);
        if now == self.known {
            return;
        }
        let kept = &mut self.kept[cpu.index()];
        *kept += now - self.known;
        self.known = now;
        if kept.abs() > threshold {
            self.shared += *kept;
            *kept = 0;
        }
    }

    /// [`note`](Self::note) of blocks of one order, which came or went one after the other; what
    /// was to be noted `before` them is noted with the first.
    #[inline(always)]
    fn note_each(&mut self, cpu: CpuId, before: PageCount, now: PageCount, series: Series) {
        // Most blocks are of a type that has no counter of its own.
        if now != before || signed(now) != self.known {
            self.note_series(cpu, before, now, series);
        }
    }

    /// [`note_each`](Self::note_each) where something changed.
    #[inline(never)]
    fn note_series(&mut self, cpu: CpuId, before: PageCount, now: PageCount, series: Series) {
        let change = signed(now) - signed(before);
        if series.blocks <= 1 || change == 0 {
            return self.note(cpu, now, series.threshold);
        }
        let sign = change.signum();
        let rest = Series { blocks: series.blocks - 1, ..series };
        let pages = i64::from(rest.blocks) << rest.order.get();
        let first = signed(now) - pages * sign;
        self.note(cpu, PageCount::new(first.unsigned_abs()), rest.threshold);
        let kept = self.kept[cpu.index()] * sign;
        let left = rest.kept_after(kept);
        self.shared += (kept + pages - left) * sign;
        self.kept[cpu.index()] = left * sign;
        self.known = signed(now);
    }

    /// Whether [`note`](Self::note) of `pages` less, and of as many more, would leave the counter
    /// as it is. A CPU may keep more than a threshold that was lowered since.
    #[inline]
    fn would_keep(&self, cpu: CpuId, pages: PageCount, threshold: i64) -> bool {
        let kept = self.kept[cpu.index()];
        kept <= threshold && kept - signed(pages) >= -threshold
    }

    /// Linux: one item of `refresh_cpu_vm_stats()`.
    fn collect(&mut self, cpu: CpuId) {
        self.shared += core::mem::take(&mut self.kept[cpu.index()]);
    }

    fn restore(&mut self, now: PageCount, kept: impl Iterator<Item = i64>) {
        self.kept.iter_mut().zip(kept).for_each(|(slot, kept)| *slot = kept);
        self.known = signed(now);
        self.shared = self.known - self.kept.iter().sum::<i64>();
    }

    /// Linux: `zone_page_state()`.
    #[inline]
    fn read(&self) -> PageCount {
        PageCount::new(u64::try_from(self.shared).unwrap_or(0))
    }
}

fn signed(pages: PageCount) -> i64 {
    // A zone has fewer than 2^32 frames.
    pages.get().cast_signed()
}

/// The counters of free pages of a zone.
#[derive(Clone, Debug)]
pub(crate) struct FreeCounters {
    all: Counter,
    cma: Counter,
    metadata: Counter,
    /// Linux: `stat_threshold`. Zero until the zones are set up: nothing is kept then.
    threshold: u32,
}

impl FreeCounters {
    pub(crate) fn new(cpus: u16) -> Self {
        let counter = || Counter::new(cpus);
        Self { all: counter(), cma: counter(), metadata: counter(), threshold: 0 }
    }

    /// How many pages a CPU may keep to itself. Linux: `calculate_normal_threshold()`.
    pub(crate) fn usual_threshold(geometry: Geometry, managed: PageCount, cpus: u16) -> u32 {
        let bits = |n: u64| u64::BITS - n.leading_zeros();
        let chunks = geometry.bytes_of(managed) >> 27;
        (2 * bits(u64::from(cpus)) * (1 + bits(chunks))).min(125)
    }

    /// A CPU has put pages on the buddy lists or taken them off; `free` of them are left.
    #[inline(always)]
    pub(crate) fn note(&mut self, cpu: CpuId, free: &FreePages) {
        let threshold = i64::from(self.threshold);
        self.all.note(cpu, free.all, threshold);
        self.cma.note(cpu, free.cma, threshold);
        self.metadata.note(cpu, free.metadata, threshold);
    }

    /// [`note`](Self::note) of blocks of one order and type that came or went one after the other:
    /// how many of which order, and what is free before the first and after the last.
    #[inline(always)]
    pub(crate) fn note_each(
        &mut self,
        cpu: CpuId,
        (from, to): (&FreePages, &FreePages),
        (blocks, order): (u32, Order),
    ) {
        let series = Series { blocks, order, threshold: i64::from(self.threshold) };
        self.all.note_each(cpu, from.all, to.all, series);
        self.cma.note_each(cpu, from.cma, to.cma, series);
        self.metadata.note_each(cpu, from.metadata, to.metadata, series);
    }

    /// The part of [`note`](Self::note) that has to do with all pages.
    #[inline]
    pub(crate) fn note_all(&mut self, cpu: CpuId, free: &FreePages) {
        self.all.note(cpu, free.all, i64::from(self.threshold));
    }

    /// The part of [`note`](Self::note) that has to do with lent pages.
    #[inline]
    pub(crate) fn note_lent(&mut self, cpu: CpuId, free: &FreePages) {
        let threshold = i64::from(self.threshold);
        self.cma.note(cpu, free.cma, threshold);
        self.metadata.note(cpu, free.metadata, threshold);
    }

    /// Whether a CPU that takes pages of a type, ordinary or lent by CMA, and puts them back would
    /// keep both to itself, all before being noted. Linux: `__mod_zone_page_state()` below its
    /// threshold.
    #[inline]
    pub(crate) fn would_keep(&self, cpu: CpuId, pages: PageCount, mt: MigrateType) -> bool {
        let threshold = i64::from(self.threshold);
        self.all.would_keep(cpu, pages, threshold)
            && (mt != MigrateType::Cma || self.cma.would_keep(cpu, pages, threshold))
    }

    /// Adds what a CPU has kept. Linux: `refresh_cpu_vm_stats()`.
    pub(crate) fn collect(&mut self, cpu: CpuId) {
        self.all.collect(cpu);
        self.cma.collect(cpu);
        self.metadata.collect(cpu);
    }

    /// What the counters say while `free` is on the lists: the same where nothing is kept.
    #[inline]
    pub(crate) fn read(&self, free: &FreePages) -> FreePages {
        if self.threshold == 0 {
            return *free;
        }
        FreePages {
            all: self.all.read(),
            cma: self.cma.read(),
            metadata: self.metadata.read(),
            highatomic: free.highatomic,
        }
    }

    pub(crate) const fn threshold(&self) -> u32 {
        self.threshold
    }

    pub(crate) fn uncounted(&self, cpu: CpuId) -> Uncounted {
        let kept = |counter: &Counter| counter.kept[cpu.index()];
        Uncounted { all: kept(&self.all), cma: kept(&self.cma), metadata: kept(&self.metadata) }
    }

    /// Each counter with what CPUs keep, beside what is on the lists, for `check()`.
    pub(crate) fn known(&self, free: FreePages) -> [(u64, PageCount); 3] {
        let counters = [&self.all, &self.cma, &self.metadata];
        let listed = [free.all, free.cma, free.metadata];
        let sum = |c: &Counter| c.shared + c.kept.iter().sum::<i64>();
        core::array::from_fn(|i| (u64::try_from(sum(counters[i])).unwrap_or(u64::MAX), listed[i]))
    }

    pub(crate) fn restore(&mut self, threshold: u32, free: FreePages, kept: &[Uncounted]) {
        self.threshold = threshold;
        self.all.restore(free.all, kept.iter().map(|kept| kept.all));
        self.cma.restore(free.cma, kept.iter().map(|kept| kept.cma));
        self.metadata.restore(free.metadata, kept.iter().map(|kept| kept.metadata));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_of_the_measured_guests() {
        let threshold = |pages, cpus| {
            FreeCounters::usual_threshold(Geometry::PAGES_4K, PageCount::new(pages), cpus)
        };
        assert_eq!(threshold(3840, 1), 2);
        assert_eq!(threshold(116_475, 1), 6);
        assert_eq!(threshold(1 << 30, 1024), 125);
    }

    #[test]
    fn a_counter_moves_when_more_than_the_threshold_has_gathered() {
        let mut counter = Counter::new(2);
        let (first, second) = (CpuId::new(0), CpuId::new(1));
        counter.note(first, PageCount::new(100), 6);
        assert_eq!(counter.read().get(), 100);
        for left in (93..100).rev() {
            assert_eq!(counter.read().get(), 100);
            counter.note(first, PageCount::new(left), 6);
        }
        assert_eq!(counter.read().get(), 93);
        counter.note(first, PageCount::new(90), 6);
        counter.note(second, PageCount::new(95), 6);
        assert_eq!((counter.read().get(), &counter.kept[..]), (93, &[-3, 5][..]));
        counter.collect(second);
        assert_eq!(counter.read().get(), 98);
    }

    #[test]
    fn many_blocks_are_noted_as_one_by_one() {
        let cpu = CpuId::BOOT;
        let cases = (0..6).flat_map(|threshold| {
            let ways = [-1, 1].into_iter().flat_map(|sign| (0..4).map(move |order| (sign, order)));
            let kept = ways.flat_map(move |way| (-threshold..=threshold).map(move |k| (way, k)));
            kept.flat_map(move |(way, k)| (1..40).map(move |blocks| (threshold, way, k, blocks)))
        });
        for ((threshold, (sign, order), kept, blocks), late) in
            cases.flat_map(|case| [-4, 0, 1].map(|late| (case, late)))
        {
            let start = Counter { shared: 1000 - kept, kept: vec![kept], known: 1000 };
            let (mut single, mut together) = (start.clone(), start);
            let change = |blocks: u32| sign * (i64::from(blocks) << order);
            let pages = |blocks: u32| PageCount::new((1000 + late + change(blocks)).unsigned_abs());
            (1..=blocks).for_each(|nth| single.note(cpu, pages(nth), threshold));
            let series = Series { blocks, order: Order::of(order), threshold };
            together.note_each(cpu, pages(0), pages(blocks), series);
            let all = |counter: &Counter| (counter.shared, counter.kept[0], counter.known);
            let case = (threshold, sign, order, kept, blocks, late);
            assert_eq!(all(&together), all(&single), "{case:?}");
        }
    }
}
