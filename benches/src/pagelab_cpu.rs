//! Ours, the whole page allocator as one CPU sees it: watermarks, per-CPU lists, fallbacks.

use pagelab_allocator::{
    boot::MachineSpec,
    event::Silent,
    geometry::Geometry,
    gfp::{GfpFlags, ZoneType},
    page_alloc::{AllocRequest, PageAllocator, Pages},
    profile::KernelProfile,
    units::{CpuId, Order, PageCount, Pfn, PfnRange},
    zone::Zone,
};

use crate::{CACHE_SLICE, FRAMES, Peer, SPARE};

/// `__alloc_pages()` and `__free_pages()` for user memory.
#[derive(Debug)]
pub struct PagelabCpu(PageAllocator<Silent>);

impl PagelabCpu {
    /// The machine's one zone, on its own.
    pub(crate) fn into_zone(self) -> Zone {
        self.0.zones()[0].clone()
    }
}

impl Peer for PagelabCpu {
    const NAME: &'static str = "pagelab-cpu";

    type Block = Pages;

    fn new() -> Self {
        let memory = PfnRange::from_len(Pfn::new(0), PageCount::new(FRAMES) + SPARE);
        let (geometry, profile) = (Geometry::PAGES_4K, KernelProfile::V6_12);
        let mut spec = MachineSpec::single(geometry, profile, ZoneType::Normal, memory);
        spec.cache_slice = CACHE_SLICE;
        Self(PageAllocator::boot(&spec, Silent).expect("one zone over one range is a machine"))
    }

    #[inline(always)]
    fn alloc(&mut self, order: Order) -> Option<Pages> {
        self.0.alloc_pages(CpuId::BOOT, &AllocRequest::new(order, GfpFlags::HIGHUSER_MOVABLE)).ok()
    }

    #[inline(always)]
    fn free(&mut self, block: Pages, _order: Order) {
        self.0.free_pages(CpuId::BOOT, block);
    }

    fn start(block: &Pages) -> Pfn {
        block.pfn()
    }
}
