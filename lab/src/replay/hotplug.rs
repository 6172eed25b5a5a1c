//! What memory hotplug does besides moving free blocks, which only other events tell.
//!
//! Taking memory away turns the zone's per-CPU lists off until it is gone or left alone; afterwards,
//! and when memory has joined, watermarks and the sizes of the lists are computed anew.

use pagelab_allocator::event::Sink;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::page_alloc::PageAllocator;
use pagelab_allocator::pcp::PcpSizes;
use pagelab_allocator::units::{CpuId, Pfn};
use pagelab_allocator::watermark::Tunables;

use super::isolation::type_of;
use crate::trace::{Record, TraceEvent};

/// Hotplug under way.
#[derive(Debug, Default)]
pub struct HotplugWatch {
    /// A contiguous range is being claimed: isolation belongs to it.
    claiming: bool,
    /// The zone whose per-CPU lists are off, and their sizes before.
    disabled: Option<(usize, PcpSizes)>,
    /// The zone that memory joins.
    joining: Option<usize>,
}

impl HotplugWatch {
    /// Before an event is carried out.
    pub fn before<S: Sink>(&mut self, alloc: &mut PageAllocator<S>, record: &Record) {
        match record.event {
            TraceEvent::ContigEnter { .. } => self.claiming = true,
            TraceEvent::ContigExit { .. } => self.claiming = false,
            TraceEvent::SetPageblockType { pfn: Some(pfn), migratetype }
            | TraceEvent::MoveFreepagesIsolate { pfn: Some(pfn), migratetype }
                if !self.claiming && type_of(alloc, migratetype) == Some(MigrateType::Isolate) =>
            {
                self.isolated(alloc, pfn);
            }
            _ => {}
        }
    }

    /// A pageblock is isolated, and not for a claim. Linux: `offline_pages()`, `online_pages()`.
    fn isolated<S: Sink>(&mut self, alloc: &mut PageAllocator<S>, pfn: Pfn) {
        let Some(zone) = alloc.zone_index(pfn) else { return };
        let mut hand = alloc.by_hand(zone, CpuId::BOOT);
        if hand.is_offline(pfn) {
            self.joining = Some(zone);
        } else if self.disabled.is_none() && self.joining.is_none() {
            self.disabled = Some((zone, hand.pcp_sizes()));
            hand.set_pcp_sizes(PcpSizes::BOOT);
        }
    }

    /// After an event was carried out.
    pub fn after<S: Sink>(&mut self, alloc: &mut PageAllocator<S>, record: &Record) {
        match record.event {
            TraceEvent::Offline { .. } => {
                self.enable(alloc);
                alloc.recompute_marks(&Tunables::default());
            }
            TraceEvent::SetPageblockType { .. } | TraceEvent::MoveFreepagesIsolate { .. } => {
                self.ended(alloc);
            }
            _ => {}
        }
    }

    fn enable<S: Sink>(&mut self, alloc: &mut PageAllocator<S>) {
        if let Some((zone, sizes)) = self.disabled.take() {
            alloc.by_hand(zone, CpuId::BOOT).set_pcp_sizes(sizes);
        }
    }

    /// The last pageblock may be isolated no more.
    fn ended<S: Sink>(&mut self, alloc: &mut PageAllocator<S>) {
        let over =
            |alloc: &mut PageAllocator<S>, zone| !alloc.by_hand(zone, CpuId::BOOT).has_isolated();
        if let Some(zone) = self.joining
            && over(alloc, zone)
        {
            self.joining = None;
            alloc.recompute_marks(&Tunables::default());
        }
        if let Some((zone, _)) = self.disabled
            && over(alloc, zone)
        {
            self.enable(alloc);
        }
    }
}
