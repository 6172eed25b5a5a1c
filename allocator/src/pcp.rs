//! Per-CPU page lists of one zone and one CPU.
//!
//! This file moves no page between the lists and the buddy system; the zone does.

pub use crate::cache_slice::CacheSlice;
use crate::frame::FrameIndex;
use crate::geometry::Geometry;
use crate::migratetype::MigrateType;
use crate::pcp_list::{Cached, PageList};
pub use crate::pcp_sizes::PcpSizes;
pub use crate::pcp_tuning::PcpCounters;
use crate::pcp_tuning::{Tuning, ZonePressure};
use crate::profile::Rules;
use crate::units::{CpuId, Order, PageCount};

/// Whether the kernel was built with transparent huge pages, which have lists of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Thp {
    /// `CONFIG_TRANSPARENT_HUGEPAGE`: two more lists, for blocks of pageblock order.
    Configured,
    /// Without.
    Absent,
}

/// Orders with lists for each of the three types: 0 to `PAGE_ALLOC_COSTLY_ORDER`.
const LOW_ORDERS: usize = 4;
const LOW_LISTS: usize = LOW_ORDERS * MigrateType::PCP.len();
/// And two for huge pages, which stay empty where there are none.
const LISTS: usize = LOW_LISTS + 2;
/// The list of users' single pages.
const SINGLES: usize = MigrateType::Movable.index();

/// Which lists there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// The largest order with lists by type. Linux: `PAGE_ALLOC_COSTLY_ORDER`; smaller where
    /// pageblocks are smaller, since a cached block has one migratetype.
    low: Order,
    huge: Option<Order>,
}

/// One CPU's page lists in one zone. Linux: `struct per_cpu_pages`.
#[derive(Clone, Debug)]
pub struct PerCpuPages {
    shape: Shape,
    lists: [PageList; LISTS],
    /// Pages on all lists. Linux: `pcp->count`.
    count: u32,
    pub(crate) tuning: Tuning,
}

/// A list of a CPU whose lists are not in the zone's hands meanwhile. Linux: `pcp` and `pindex`.
#[derive(Debug)]
pub(crate) struct CpuList<'a> {
    pub(crate) pcp: &'a mut PerCpuPages,
    pub(crate) cpu: CpuId,
    pub(crate) list: usize,
}

impl Shape {
    /// The list for a block, or `None` for orders that have none.
    /// Linux: `pcp_allowed_order()`, `order_to_pindex()`.
    #[inline(always)]
    pub(crate) fn list_of(&self, order: Order, mt: MigrateType) -> Option<usize> {
        let mt = if mt.is_mergeable() { mt } else { MigrateType::Movable };
        if order <= self.low {
            return Some(MigrateType::PCP.len() * order.index() + mt.index());
        }
        (Some(order) == self.huge).then(|| LOW_LISTS + usize::from(mt == MigrateType::Movable))
    }
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
            shape: Shape { low: Order::COSTLY.min(geometry.pageblock_order()), huge },
            lists: Default::default(),
            count: 0,
            tuning: Tuning::new(rules),
        }
    }

    /// Pages on all lists. Linux: `pcp->count`.
    #[must_use]
    pub fn count(&self) -> PageCount {
        PageCount::new(u64::from(self.count))
    }

    /// The same, as drains count.
    pub(crate) const fn pages(&self) -> u32 {
        self.count
    }

    /// The sizes in force.
    #[must_use]
    pub const fn sizes(&self) -> PcpSizes {
        self.tuning.sizes()
    }

    /// How the traffic so far has tuned the lists.
    #[must_use]
    pub const fn counters(&self) -> PcpCounters {
        self.tuning.counters()
    }

    pub(crate) fn set_sizes(&mut self, sizes: PcpSizes) {
        self.tuning.set_sizes(sizes);
    }

    /// What the CPU's share of cache is beside them.
    #[must_use]
    pub const fn cache(&self) -> CacheSlice {
        self.tuning.cache()
    }

    pub(crate) fn set_counters(&mut self, counters: PcpCounters) {
        self.tuning.set_counters(counters);
    }

    /// A request of this CPU: later drains shrink.
    #[inline(always)]
    pub(crate) fn note_alloc(&mut self) {
        self.tuning.note_alloc();
    }

    /// Which lists there are.
    pub(crate) const fn shape(&self) -> Shape {
        self.shape
    }

    /// See [`Shape::list_of`].
    #[inline(always)]
    pub(crate) fn list_of(&self, order: Order, mt: MigrateType) -> Option<usize> {
        self.shape.list_of(order, mt)
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
    fn order_of(&self, list: usize) -> Order {
        match self.shape.huge {
            Some(huge) if list >= LOW_LISTS => huge,
            _ => Order::of(u8::try_from(list / MigrateType::PCP.len()).expect("few lists")),
        }
    }

    /// The block to hand out next: the head of its list.
    #[inline(always)]
    pub(crate) fn pop(&mut self, list: usize, order: Order) -> Option<Cached> {
        let cached = self.lists[list].pop_newest()?;
        self.count -= 1 << order.get();
        Some(cached)
    }

    /// A single page for a user, if one is ready; the request is noted then.
    #[inline(always)]
    pub(crate) fn pop_single(&mut self) -> Option<FrameIndex> {
        let single = self.pop(SINGLES, Order::ZERO)?;
        self.note_alloc();
        Some(single.index())
    }

    /// Empty lists of the same shape and sizes.
    pub(crate) fn like_new(&self) -> Self {
        Self { lists: Default::default(), count: 0, ..self.clone() }
    }

    /// A refilled block: served after those that came before it.
    #[inline]
    pub(crate) fn push_refilled(&mut self, list: usize, order: Order, cached: Cached) {
        self.lists[list].push_oldest(cached);
        self.count += 1 << order.get();
    }

    /// Refilled blocks one after the other, as many as `push` says.
    #[inline(always)]
    pub(crate) fn push_refilled_each(
        &mut self,
        list: usize,
        order: Order,
        push: impl FnOnce(&mut PageList) -> u32,
    ) -> u32 {
        let count = push(&mut self.lists[list]);
        self.count += count << order.get();
        count
    }

    /// `count` refilled blocks side by side, the first one served first.
    #[inline]
    pub(crate) fn push_refilled_run(
        &mut self,
        list: usize,
        order: Order,
        first: Cached,
        count: u32,
    ) {
        self.lists[list].push_oldest_run(first, 1 << order.get(), count as usize);
        self.count += count << order.get();
    }

    /// A freed block: served first.
    pub(crate) fn push_freed(&mut self, list: usize, order: Order, cached: Cached) {
        self.lists[list].push_newest(cached);
        self.count += 1 << order.get();
    }

    /// A freed block that comes back while the lists are far from full: all that
    /// [`commit_freed`](Self::commit_freed) would do.
    /// Nothing is done and `false` returned when there may be more to do.
    #[inline(always)]
    pub(crate) fn push_calmly(
        &mut self,
        list: usize,
        order: Order,
        cached: Cached,
        zone: ZonePressure,
    ) -> bool {
        let count = self.count + (1 << order.get());
        let calm = self.tuning.is_calm(order, count, zone);
        if !calm || !self.lists[list].push_if_room(cached) {
            return false;
        }
        self.count = count;
        self.tuning.note_calm_free(order);
        true
    }

    /// [`push_calmly`](Self::push_calmly) of a user's single page.
    #[inline(always)]
    pub(crate) fn push_single_calmly(&mut self, index: FrameIndex, zone: ZonePressure) -> bool {
        self.push_calmly(SINGLES, Order::ZERO, Cached::new(index, MigrateType::Movable), zone)
    }

    /// How many blocks to bring in for an empty list, which has room for them afterwards.
    /// Linux: `nr_pcp_alloc()`.
    pub(crate) fn refill_blocks(&mut self, list: usize, order: Order, zone: ZonePressure) -> u32 {
        let blocks = self.tuning.refill(order, self.count, zone);
        self.lists[list].make_room(blocks as usize);
        blocks
    }

    /// A freed block joins its list; how many pages to give back now, if any.
    /// Linux: `free_unref_page_commit()`.
    #[inline]
    pub(crate) fn commit_freed(
        &mut self,
        list: usize,
        order: Order,
        cached: Cached,
        zone: ZonePressure,
    ) -> Option<u32> {
        if self.push_calmly(list, order, cached, zone) {
            return None;
        }
        self.push_freed(list, order, cached);
        self.tuning.drain(order, self.count, zone)
    }

    /// One tick of the statistics timer: the high mark sinks. Returns how many pages to drain, in
    /// steps of one batch. Linux: `decay_pcp_high()`.
    pub(crate) fn decay(&mut self) -> u32 {
        self.tuning.decay(self.count)
    }

    /// Takes over what is on another CPU's lists, and leaves the tuning as it is.
    pub(crate) fn adopt(&mut self, other: &Self) {
        self.lists.clone_from(&other.lists);
        self.count = other.count;
    }

    /// Takes a particular block off its list; says whether it was on one.
    pub(crate) fn withdraw(&mut self, index: FrameIndex, order: Order) -> bool {
        let first = if Some(order) == self.shape.huge {
            LOW_LISTS
        } else {
            MigrateType::PCP.len() * order.index()
        };
        let types = if first < LOW_LISTS { MigrateType::PCP.len() } else { 2 };
        let found = (first..first + types).find(|list| self.lists[*list].withdraw(index));
        if found.is_some() {
            self.count -= 1 << order.get();
        }
        found.is_some()
    }

    /// Starts giving back `pages` pages, beginning with `list`. Linux: `free_pcppages_bulk()`.
    pub(crate) fn start_drain(&self, pages: u32, list: usize) -> Drain {
        Drain { left: i64::from(pages.min(self.count)), list }
    }

    /// The next blocks to give back, and their order: the oldest of the current list; the next
    /// non-empty list follows when it is used up.
    pub(crate) fn drain_next(&self, drain: &mut Drain) -> Option<(&[Cached], Order)> {
        let left = usize::try_from(drain.left).ok().filter(|&left| left > 0)?;
        while self.lists[drain.list].is_empty() {
            drain.list = (drain.list + 1) % self.lists.len();
        }
        let order = self.order_of(drain.list);
        let count = left.div_ceil(1 << order.get());
        Some((self.lists[drain.list].oldest(count), order))
    }

    /// `count` blocks that [`drain_next`](Self::drain_next) named have been given back.
    pub(crate) fn drained(&mut self, drain: &mut Drain, count: usize) {
        let order = self.order_of(drain.list);
        self.lists[drain.list].drop_oldest(count);
        let pages = u32::try_from(count << order.get()).expect("a zone has fewer than 2^32 frames");
        self.count -= pages;
        drain.left -= i64::from(pages);
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
        if self.shape.huge.is_some() { Thp::Configured } else { Thp::Absent }
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

    #[test]
    fn a_drain_empties_list_by_list_from_the_tail() {
        let rules = KernelProfile::V6_1.rules();
        let mut pcp = PerCpuPages::new(rules, Geometry::PAGES_4K, Thp::Configured);
        let movable = pcp.list_of(Order::ZERO, MigrateType::Movable).unwrap();
        let pairs = pcp.list_of(Order::of(1), MigrateType::Unmovable).unwrap();
        for index in [4, 5] {
            pcp.push_freed(movable, Order::ZERO, Cached::new(index, MigrateType::Movable));
        }
        pcp.push_freed(pairs, Order::of(1), Cached::new(8, MigrateType::Unmovable));
        let mut drain = pcp.start_drain(3, movable);
        let mut out = Vec::new();
        while let Some((blocks, _)) = pcp.drain_next(&mut drain) {
            let count = blocks.len();
            out.extend(blocks.iter().map(|cached| cached.index()));
            pcp.drained(&mut drain, count);
        }
        assert_eq!((out, pcp.count()), (vec![4, 5, 8], PageCount::ZERO));
    }

    #[test]
    fn a_block_that_is_withdrawn_counts_no_more() {
        let rules = KernelProfile::V6_12.rules();
        let mut pcp = PerCpuPages::new(rules, Geometry::PAGES_4K, Thp::Configured);
        let blocks = [(1, 0), (2, 1), (512, 9)].map(|(index, order)| (index, Order::of(order)));
        for (index, order) in blocks {
            let list = pcp.list_of(order, MigrateType::Movable).unwrap();
            pcp.push_freed(list, order, Cached::new(index, MigrateType::Movable));
        }
        let counts = blocks.map(|(index, order)| {
            let found = [(); 2].map(|()| pcp.withdraw(index, order));
            (found, pcp.count().get())
        });
        assert_eq!(counts, [514, 512, 0].map(|count| ([true, false], count)));
    }

    /// Frees and requests, by the short cut where there is one and by the rules alone.
    #[test]
    fn frees_by_the_short_cut_are_frees_by_the_rules() {
        for profile in [KernelProfile::V6_1, KernelProfile::V6_12] {
            let mut short = PerCpuPages::new(profile.rules(), Geometry::PAGES_4K, Thp::Configured);
            short.set_sizes(PcpSizes { batch: 7, high_min: 40, high_max: 90 });
            let mut long = short.clone();
            let mut state = 7u64;
            let mut draw = |bound: u64| {
                state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                usize::try_from((state >> 33) % bound).expect("a small number")
            };
            for nth in 0..20_000 {
                let order = Order::of([0, 0, 0, 0, 0, 0, 1, 3, 9][draw(9)]);
                let mt = [MigrateType::Movable, MigrateType::Unmovable][draw(2)];
                let list = short.list_of(order, mt).unwrap();
                let zone = ZonePressure { reclaim_active: draw(40) == 0, below_high: false };
                if draw(3) > 0 {
                    let cached = Cached::new(nth << 9, mt);
                    let excess = short.commit_freed(list, order, cached, zone);
                    long.push_freed(list, order, cached);
                    assert_eq!(long.tuning.drain(order, long.count, zone), excess, "{nth}");
                    for pcp in [&mut short, &mut long] {
                        let mut drain = pcp.start_drain(excess.unwrap_or(0), list);
                        while let Some((blocks, _)) = pcp.drain_next(&mut drain) {
                            let count = blocks.len();
                            pcp.drained(&mut drain, count);
                        }
                    }
                } else {
                    assert_eq!(short.pop(list, order), long.pop(list, order));
                    [&mut short, &mut long].into_iter().for_each(PerCpuPages::note_alloc);
                }
                let all = |pcp: &PerCpuPages| (pcp.count(), pcp.counters());
                assert_eq!(all(&short), all(&long), "{profile:?} {nth}");
            }
        }
    }
}
