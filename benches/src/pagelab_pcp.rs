//! Ours, one zone as one CPU sees it: the per-CPU lists, the buddy lists behind them.

use pagelab_allocator::{
    event::Silent,
    gfp::AllocFlags,
    migratetype::MigrateType,
    rmqueue::ZoneRequest,
    units::{CpuId, Order, Pfn},
    zone::Zone,
};

use crate::{Frame, PagelabCpu, Peer};

/// `rmqueue()` and `free_unref_page()` for movable pages: no zonelist, no watermarks. A request
/// that finds nothing drains the per-CPU lists and tries again, as the slow path does.
#[derive(Debug)]
pub struct PagelabPcp(Zone);

impl PagelabPcp {
    #[cold]
    fn alloc_drained(&mut self, request: ZoneRequest) -> Option<Pfn> {
        self.0.drain_all(&mut Silent);
        self.0.alloc(CpuId::BOOT, request, &mut Silent)
    }
}

impl Peer for PagelabPcp {
    const NAME: &'static str = "pagelab-pcp";

    type Block = Frame;

    fn new() -> Self {
        Self(PagelabCpu::new().into_zone())
    }

    #[inline(always)]
    fn alloc(&mut self, order: Order) -> Option<Frame> {
        let (migratetype, flags) = (MigrateType::Movable, AllocFlags::CMA);
        let request = ZoneRequest { order, migratetype, flags };
        let pfn = self.0.alloc(CpuId::BOOT, request, &mut Silent);
        Some(pfn.or_else(|| self.alloc_drained(request))?.into())
    }

    #[inline(always)]
    fn free(&mut self, block: Frame, order: Order) {
        self.0.free(CpuId::BOOT, block.pfn(), order, &mut Silent);
    }

    fn start(block: &Frame) -> Pfn {
        block.pfn()
    }
}
