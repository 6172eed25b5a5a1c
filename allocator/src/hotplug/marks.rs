//! Memory that leaves or joins a running machine: what is computed anew.

use crate::counters::FreeCounters;
use crate::event::Sink;
use crate::page_alloc::PageAllocator;
use crate::pcp::{PcpSizes, Thp};
use crate::units::{CpuId, PageCount};
use crate::watermark::{Mark, Tunables};
use crate::zone_watermark;

/// Which way memory goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hotplug {
    /// It joins.
    Joins,
    /// It leaves.
    Leaves,
}

impl<S: Sink> PageAllocator<S> {
    /// Counts `pages` of the zone at `zone` as there, or as gone. Watermarks stay until
    /// [`recompute_marks`](Self::recompute_marks). Linux: `adjust_managed_page_count()`,
    /// `adjust_present_page_count()`.
    ///
    /// # Panics
    ///
    /// Panics when there is no such zone.
    pub fn adjust_managed(&mut self, zone: usize, pages: PageCount, way: Hotplug) {
        let zone = &mut self.zones[zone];
        match way {
            Hotplug::Joins => {
                zone.managed += pages;
                zone.present += pages;
            }
            Hotplug::Leaves => {
                zone.managed = zone.managed.saturating_sub(pages);
                zone.present = zone.present.saturating_sub(pages);
            }
        }
    }

    /// Computes watermarks, lowmem reserves, per-CPU sizes and thresholds from the memory there is.
    /// Linux: `init_per_zone_wmark_min()`, `zone_pcp_update()`, `refresh_zone_stat_thresholds()`.
    pub fn recompute_marks(&mut self, tunables: &Tunables) {
        // Huge pages raise the reserve only while their daemon runs.
        zone_watermark::setup(&mut self.zones, self.geometry, Thp::Absent, tunables);
        for zone in &mut self.zones {
            let low = zone.watermarks.get(Mark::Low);
            let (managed, cpus) = (zone.managed, u64::from(self.cpus));
            zone.set_pcp_sizes(PcpSizes::of_zone(self.geometry, managed, low, cpus));
            let threshold = FreeCounters::usual_threshold(self.geometry, managed, self.cpus);
            let cpus = (0..self.cpus).map(CpuId::new);
            let kept: Vec<_> = cpus.map(|cpu| zone.counters.uncounted(cpu)).collect();
            zone.counters.restore(threshold, zone.buddy.free, &kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::MachineSpec;
    use crate::event::Silent;
    use crate::geometry::Geometry;
    use crate::gfp::ZoneType;
    use crate::profile::KernelProfile;
    use crate::units::{Pfn, PfnRange};

    #[test]
    fn marks_follow_the_memory_there_is() {
        let memory = PfnRange::new(Pfn::new(0x4_0000), Pfn::new(0x8_0000));
        let (geometry, profile) = (Geometry::PAGES_4K, KernelProfile::V6_1);
        let spec = MachineSpec::single(geometry, profile, ZoneType::Dma, memory);
        let mut alloc = PageAllocator::boot(&spec, Silent).unwrap();
        let before = *alloc.zones()[0].watermarks();
        let half = PageCount::new(0x2_0000);
        alloc.adjust_managed(0, half, Hotplug::Leaves);
        alloc.recompute_marks(&Tunables::default());
        let less = *alloc.zones()[0].watermarks();
        assert_eq!(alloc.zones()[0].managed(), half);
        assert!(less.min < before.min && less.high < before.high);
        let sizes = alloc.zones()[0].pcp(CpuId::BOOT).sizes();
        assert_eq!(u64::from(sizes.high_min), less.low.get());
        alloc.adjust_managed(0, half, Hotplug::Joins);
        alloc.recompute_marks(&Tunables::default());
        assert!(alloc.zones()[0].watermarks().min > less.min);
    }
}
