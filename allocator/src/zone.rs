//! A zone: its buddy lists, watermarks and per-CPU lists.
//!
//! The zone is where facts from the layers below become events, and where the order of attempts
//! lives (`rmqueue.rs`). It is driven from one thread; `smp/` puts it behind a lock, and each CPU's
//! lists into slots of their own.

use crate::buddy::{Buddy, FreePages, Placement};
use crate::cache_slice::CacheSlice;
use crate::counters::FreeCounters;
use crate::event::{Event, Sink};
use crate::fallback::Grouping;
use crate::frame::{FrameIndex, Head, Movability};
use crate::geometry::Geometry;
use crate::gfp::{AllocFlags, ZoneType};
use crate::migratetype::MigrateType;
use crate::pcp::{CpuList, PcpSizes, PerCpuPages, Thp};
use crate::pcp_list::Cached;
use crate::pcp_tuning::ZonePressure;
use crate::profile::KernelProfile;
use crate::units::{CpuId, NodeId, Order, PageCount, Pfn, PfnRange};
use crate::watermark::Watermarks;

/// Whether kswapd should look at the zone after a request. Linux: `ZONE_BOOSTED_WATERMARK`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Boosted {
    /// A fallback raised the watermarks.
    Yes,
    /// Nothing happened.
    No,
}

/// Whether frames inside a zone's span may belong to another zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sharing {
    /// They do not.
    Alone,
    /// They may: its span and another's overlap.
    Shared,
}

/// Notes for every zone whether its span overlaps another's.
pub(crate) fn note_sharing(zones: &mut [Zone]) {
    let spans: Vec<_> = zones.iter().map(Zone::span).collect();
    for (at, zone) in zones.iter_mut().enumerate() {
        let mut others = spans.iter().enumerate().filter(|(other, _)| *other != at);
        let shared = others.any(|(_, other)| other.intersect(zone.span).is_some());
        zone.sharing = if shared { Sharing::Shared } else { Sharing::Alone };
    }
}

/// A zone of one node. Linux: `struct zone`.
#[derive(Clone, Debug)]
pub struct Zone {
    pub(crate) kind: ZoneType,
    pub(crate) node: NodeId,
    /// Frames from the first that is there to the last. The lists have room for at least these.
    pub(crate) span: PfnRange,
    pub(crate) sharing: Sharing,
    pub(crate) buddy: Buddy,
    pub(crate) counters: FreeCounters,
    pub(crate) managed: PageCount,
    pub(crate) present: PageCount,
    pub(crate) cma: PageCount,
    /// Frames that a restored zone takes for allocated though they were never handed over.
    pub(crate) assumed: PageCount,
    pub(crate) watermarks: Watermarks,
    pub(crate) lowmem_reserve: [PageCount; ZoneType::COUNT],
    pub(crate) reserved_highatomic: PageCount,
    pub(crate) pressure: ZonePressure,
    pub(crate) boosted: Boosted,
    pub(crate) boost_factor: u64,
    pub(crate) grouping: Grouping,
    /// Flags without which a movable request may not use the per-CPU lists.
    pub(crate) movable_pcp_needs: AllocFlags,
    pub(crate) pcp: Vec<PerCpuPages>,
}

/// What a zone is made of. Linux: the arguments of `free_area_init_core()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZoneSpec {
    /// Kind of zone.
    pub kind: ZoneType,
    /// Node it belongs to.
    pub node: NodeId,
    /// Its frames, holes included.
    pub span: PfnRange,
}

impl Zone {
    pub(crate) fn new(
        spec: ZoneSpec,
        geometry: Geometry,
        profile: KernelProfile,
        thp: Thp,
        cpus: u16,
    ) -> Self {
        let buddy = Buddy::new(geometry, profile, spec.span);
        let rules = buddy.rules;
        let pcp = PerCpuPages::new(rules, geometry, thp);
        Self {
            kind: spec.kind,
            node: spec.node,
            span: spec.span,
            sharing: Sharing::Alone,
            buddy,
            counters: FreeCounters::new(cpus),
            managed: PageCount::ZERO,
            present: PageCount::ZERO,
            cma: PageCount::ZERO,
            assumed: PageCount::ZERO,
            watermarks: Watermarks::default(),
            lowmem_reserve: [PageCount::ZERO; ZoneType::COUNT],
            reserved_highatomic: PageCount::ZERO,
            pressure: ZonePressure::default(),
            boosted: Boosted::No,
            boost_factor: 0,
            grouping: Grouping::ByMobility,
            movable_pcp_needs: AllocFlags::empty(),
            pcp: vec![pcp; usize::from(cpus)],
        }
    }

    /// Kind of zone.
    #[must_use]
    pub const fn kind(&self) -> ZoneType {
        self.kind
    }

    /// Node of the zone.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// The frames from the first to the last, holes included. Linux: `spanned_pages`.
    #[must_use]
    pub const fn span(&self) -> PfnRange {
        self.span
    }

    /// Pages that exist. Linux: `present_pages`.
    #[must_use]
    pub const fn present(&self) -> PageCount {
        self.present
    }

    /// Pages handed to the buddy lists since boot. Linux: `managed_pages`.
    #[must_use]
    pub const fn managed(&self) -> PageCount {
        self.managed
    }

    /// Pages of CMA areas. Linux: `cma_pages`.
    #[must_use]
    pub const fn cma_pages(&self) -> PageCount {
        self.cma
    }

    /// Free pages on the buddy lists. Linux: `zone_page_state(NR_FREE_PAGES)` and its like.
    #[must_use]
    pub const fn free_pages(&self) -> FreePages {
        self.buddy.free_pages()
    }

    /// Pages on per-CPU lists, all CPUs.
    #[must_use]
    pub fn pcp_pages(&self) -> PageCount {
        self.pcp.iter().map(PerCpuPages::count).sum()
    }

    /// The buddy lists.
    #[must_use]
    pub const fn buddy(&self) -> &Buddy {
        &self.buddy
    }

    /// The watermarks.
    #[must_use]
    pub const fn watermarks(&self) -> &Watermarks {
        &self.watermarks
    }

    /// Pages kept back from requests that could use a higher zone, by that zone's kind.
    #[must_use]
    pub const fn lowmem_reserve(&self) -> &[PageCount; ZoneType::COUNT] {
        &self.lowmem_reserve
    }

    /// Pages of highatomic pageblocks. Linux: `nr_reserved_highatomic`.
    #[must_use]
    pub const fn reserved_highatomic(&self) -> PageCount {
        self.reserved_highatomic
    }

    /// One CPU's page lists.
    ///
    /// # Panics
    ///
    /// Panics when the machine has no such CPU.
    #[must_use]
    pub fn pcp(&self, cpu: CpuId) -> &PerCpuPages {
        &self.pcp[cpu.index()]
    }

    /// Sets the per-CPU lists' sizes. Linux: `zone_set_pageset_high_and_batch()`.
    pub(crate) fn set_pcp_sizes(&mut self, sizes: PcpSizes) {
        self.pcp.iter_mut().for_each(|pcp| pcp.set_sizes(sizes));
    }

    /// Tells every CPU's lists what their CPU's share of cache is: `slice` pages.
    /// Linux: `setup_pcp_cacheinfo()`, for one zone.
    pub(crate) fn set_cache_slice(&mut self, slice: PageCount) {
        for pcp in &mut self.pcp {
            let cache = CacheSlice::of(slice, pcp.sizes().batch);
            pcp.tuning.set_cache(cache);
        }
    }

    /// A pageblock whose first frame is no memory keeps type 0: at boot, types are set by the
    /// frames that exist. Linux: `memmap_init_range()`.
    pub(crate) fn leave_untyped(&mut self, block: Pfn) {
        let index = self.buddy.index(block);
        self.buddy.blocks.set_migratetype(index, MigrateType::Unmovable);
    }

    /// Hands memory to the buddy lists for the first time. Linux: `__free_pages_core()`.
    pub(crate) fn hand_over(&mut self, pfn: Pfn, order: Order) {
        self.managed += order.pages();
        let index = self.buddy.index(pfn);
        self.buddy.put_by_block(index, order, Placement::Tail);
        self.count_free(CpuId::BOOT);
    }

    /// Hands a reserved pageblock over as lent memory. At that point of the boot every free goes
    /// straight to the buddy lists. Linux: `init_cma_reserved_pageblock()`.
    pub(crate) fn lend_block(&mut self, block: Pfn, mt: MigrateType) {
        let order = self.buddy.geometry.pageblock_order();
        let index = self.buddy.index(block);
        self.buddy.blocks.set_migratetype(index, mt);
        self.managed += order.pages();
        self.cma += order.pages();
        self.buddy.put_index(index, order, mt, Placement::Likely);
        self.count_free(CpuId::BOOT);
    }

    /// Frees a block of any order and type. Linux: `__free_pages()`, `free_unref_page()`.
    ///
    /// Isolated pages and those of METADATA (RFC v1) go past the per-CPU lists.
    ///
    /// # Panics
    ///
    /// Panics when the block is not allocated with this order.
    #[inline(always)]
    pub fn free(&mut self, cpu: CpuId, pfn: Pfn, order: Order, sink: &mut impl Sink) {
        let index = self.allocated(pfn, order);
        sink.emit(Event::PageFree { pfn, order });
        // Most pages are single pages of users, and most of their frees do nothing else.
        if order == Order::ZERO
            && self.buddy.blocks.migratetype(index) == MigrateType::Movable
            && self.pcp[cpu.index()].push_single_calmly(index, self.pressure)
        {
            self.buddy.map.set_head(index, Head::PerCpu(Order::ZERO));
        } else {
            self.free_commit(cpu, (index, order), sink);
        }
    }

    /// The position of an allocated block that a handle names; a forged handle panics.
    #[inline(always)]
    pub(crate) fn allocated(&self, pfn: Pfn, order: Order) -> FrameIndex {
        let index = self.buddy.index(pfn);
        assert!(
            self.buddy.map.is_allocated_block(index, order),
            "block is not allocated with this order"
        );
        index
    }

    /// Linux: `free_unref_page_commit()`.
    #[inline(never)]
    fn free_commit(&mut self, cpu: CpuId, block: (FrameIndex, Order), sink: &mut impl Sink) {
        let (index, order) = block;
        let mt = self.buddy.blocks.migratetype(index);
        let pcp = &mut self.pcp[cpu.index()];
        match pcp.list_of(order, mt) {
            Some(list) if !mt.bypasses_pcp() => {
                self.buddy.map.set_head(index, Head::PerCpu(order));
                let cached = Cached::new(index, mt);
                if let Some(pages) = pcp.commit_freed(list, order, cached, self.pressure) {
                    self.lend_list(cpu, list, |zone, from| zone.give_back(from, pages, sink));
                }
            }
            bypassed => {
                if bypassed.is_some() {
                    let pfn = self.buddy.map.pfn(index);
                    let placement = Placement::Likely;
                    sink.emit(Event::FreeOnePage { pfn, order, migratetype: mt, placement });
                }
                self.free_unlisted(cpu, index, order);
            }
        }
    }

    /// Works on a list of a CPU whose lists are not in the zone's hands meanwhile.
    #[inline]
    pub(crate) fn lend_list<R>(
        &mut self,
        cpu: CpuId,
        list: usize,
        work: impl FnOnce(&mut Self, CpuList<'_>) -> R,
    ) -> R {
        let mut all = core::mem::take(&mut self.pcp);
        let result = work(self, CpuList { pcp: &mut all[cpu.index()], cpu, list });
        self.pcp = all;
        result
    }

    /// Frees a block that goes past the per-CPU lists. Linux: `free_one_page()`.
    #[inline]
    pub(crate) fn free_unlisted(&mut self, cpu: CpuId, index: FrameIndex, order: Order) {
        self.buddy.put_by_block(index, order, Placement::Likely);
        self.count_free(cpu);
    }

    /// Frees a block to the tail of its buddy list, past the per-CPU lists.
    /// Linux: `__free_pages_ok(.., FPI_TO_TAIL)`.
    pub(crate) fn free_to_tail(&mut self, pfn: Pfn, order: Order, sink: &mut impl Sink) {
        let index = self.allocated(pfn, order);
        sink.emit(Event::PageFree { pfn, order });
        let (migratetype, placement) = (self.buddy.blocks.migratetype(index), Placement::Tail);
        sink.emit(Event::FreeOnePage { pfn, order, migratetype, placement });
        self.buddy.put_by_block(index, order, placement);
        self.count_free(CpuId::BOOT);
    }

    /// Empties one CPU's lists. Linux: `drain_pages_zone()`, which lets go of the zone's lock now
    /// and then.
    pub(crate) fn drain_cpu(&mut self, cpu: CpuId, sink: &mut impl Sink) {
        let pages = self.pcp[cpu.index()].pages();
        if pages > 0 {
            sink.emit(Event::DrainPagesZone { cpu, node: self.node, kind: self.kind });
            self.drain_pcp(cpu, pages, 0, sink);
        }
    }

    /// Empties all CPUs' lists. Linux: `drain_all_pages(zone)`.
    pub fn drain_all(&mut self, sink: &mut impl Sink) {
        for cpu in (0..).map(CpuId::new).take(self.pcp.len()) {
            self.drain_cpu(cpu, sink);
        }
    }

    /// One tick of the statistics timer on every CPU. Linux: `refresh_cpu_vm_stats()`.
    pub(crate) fn tick(&mut self, sink: &mut impl Sink) {
        for cpu in (0..).map(CpuId::new).take(self.pcp.len()) {
            self.collect_counts(cpu);
            let batch = self.pcp[cpu.index()].sizes().batch;
            let mut left = self.pcp[cpu.index()].decay();
            while left > 0 {
                let step = left.min(batch.max(1));
                self.drain_pcp(cpu, step, 0, sink);
                left -= step;
            }
        }
    }

    /// Marks an allocated block with what its holder can do.
    pub(crate) fn set_movability(&mut self, pfn: Pfn, order: Order, movability: Movability) {
        let index = self.buddy.index(pfn);
        self.buddy.map.set_head(index, Head::Allocated(order, movability));
    }
}
