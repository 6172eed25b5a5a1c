//! The machine under test, seen only through its public face, and ways to break that face.

use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::event::Silent;
use pagelab_allocator::frame::Frame;
use pagelab_allocator::gfp::AllocFlags;
use pagelab_allocator::page_alloc::{AllocError, AllocRequest, PageAllocator};
use pagelab_allocator::profile::MovablePcp;
use pagelab_allocator::units::{CpuId, Order, Pfn, PfnRange};

/// A mistake that the laws have to notice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// The machine as it is.
    None,
    /// One free block shows itself as two halves.
    LostMerge,
    /// A block is handed out a second time.
    HandedOutTwice,
    /// The free counters leave lent memory out.
    ForgottenCma,
    /// The caller's barred flags are ignored.
    BarredIgnored,
    /// A free block goes missing.
    Leak,
    /// Blocks come with an order too many.
    Misaligned,
}

/// A machine and its mistake.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) alloc: PageAllocator,
    pub(crate) spec: MachineSpec,
    pub(crate) fault: Fault,
    last: Option<(Pfn, Order)>,
}

/// A frame as the laws see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Seen {
    Free,
    Cached,
    Held,
    Absent,
}

impl Subject {
    pub(crate) fn new(spec: &MachineSpec, fault: Fault) -> Self {
        let alloc = PageAllocator::boot(spec, Silent).expect("a machine that boots");
        Self { alloc, spec: spec.clone(), fault, last: None }
    }

    pub(crate) fn movable_pcp(&self) -> MovablePcp {
        self.spec.movable_pcp.unwrap_or(self.spec.profile.rules().movable_pcp)
    }

    /// Every frame of every zone with what it is, ascending by zone.
    pub(crate) fn frames(&self) -> Vec<(Pfn, Seen)> {
        let spans = self.alloc.zones().iter().map(|zone| zone.span());
        spans.flat_map(PfnRange::iter).map(|pfn| (pfn, self.seen(pfn))).collect()
    }

    pub(crate) fn seen(&self, pfn: Pfn) -> Seen {
        match self.alloc.frame(pfn) {
            Frame::Free { .. } => Seen::Free,
            Frame::PerCpu { .. } => Seen::Cached,
            Frame::Allocated { .. } => Seen::Held,
            Frame::Reserved => Seen::Absent,
        }
    }

    /// Free blocks, ascending.
    pub(crate) fn free_blocks(&self) -> Vec<(Pfn, Order)> {
        let mut blocks = Vec::new();
        for zone in self.alloc.zones() {
            let mut pfn = zone.span().start();
            while pfn < zone.span().end() {
                let step = match self.alloc.frame(pfn) {
                    Frame::Free { head, order } => {
                        assert_eq!(head, pfn, "a free block covers frames of another");
                        blocks.push((head, order));
                        order
                    }
                    _ => Order::ZERO,
                };
                pfn = pfn + step.pages();
            }
        }
        let pageblock = self.spec.geometry.pageblock_order();
        let splits = |(_, order): &(Pfn, Order)| *order > Order::ZERO && *order <= pageblock;
        match self.fault {
            Fault::LostMerge => {
                if let Some(at) = blocks.iter().position(splits) {
                    let (pfn, order) = blocks[at];
                    let half = order.down().expect("above zero");
                    blocks[at] = (pfn, half);
                    blocks.insert(at + 1, (pfn + half.pages(), half));
                }
            }
            Fault::Leak => {
                blocks.pop();
            }
            _ => {}
        }
        blocks
    }

    /// All free pages, and those of lent memory.
    pub(crate) fn free_pages(&self) -> (u64, u64) {
        let zones = self.alloc.zones();
        let all = zones.iter().map(|zone| zone.free_pages().all.get()).sum();
        let cma = zones.iter().map(|zone| zone.free_pages().cma.get()).sum();
        if self.fault == Fault::ForgottenCma { (all, 0) } else { (all, cma) }
    }

    pub(crate) fn alloc(
        &mut self,
        cpu: CpuId,
        req: &AllocRequest,
    ) -> Result<(Pfn, Order), AllocError> {
        let mut req = *req;
        if self.fault == Fault::BarredIgnored {
            req.barred = AllocFlags::empty();
        }
        let (pfn, order) = self.alloc.alloc_pages(cpu, &req)?.into_raw();
        let given = match (self.fault, self.last) {
            (Fault::HandedOutTwice, Some(last)) if last.1 == order => last,
            (Fault::Misaligned, _) => (pfn, order.up()),
            _ => (pfn, order),
        };
        self.last = Some(given);
        Ok(given)
    }
}
