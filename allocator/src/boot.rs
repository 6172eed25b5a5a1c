//! Building a machine: zones, the memory handed over at boot, watermarks and per-CPU sizes.

use crate::counters::FreeCounters;
use crate::event::Sink;
use crate::fallback::Grouping;
use crate::geometry::Geometry;
use crate::gfp::{AllocFlags, ZoneType};
use crate::migratetype::{MigrateType, TypeSet};
use crate::page_alloc::PageAllocator;
use crate::pcp::{PcpSizes, Thp};
use crate::profile::{KernelProfile, MovablePcp};
use crate::units::{NodeId, PageCount, PfnRange};
use crate::vm_stat::VmStat;
use crate::watermark::{Mark, Tunables};
use crate::zone::{Zone, ZoneSpec, note_sharing};
use crate::zone_watermark;

/// A machine before its first allocation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MachineSpec {
    /// Page, pageblock and block sizes.
    pub geometry: Geometry,
    /// Which kernel's rules.
    pub profile: KernelProfile,
    /// Migratetypes the kernel was built with.
    pub types: TypeSet,
    /// Whether order-9 blocks have per-CPU lists and raise the default reserve.
    pub thp: Thp,
    /// Number of virtual CPUs, at least one.
    pub cpus: u16,
    /// The zones, any order.
    pub zones: Vec<ZoneSpec>,
    /// Memory that exists.
    pub memory: Vec<PfnRange>,
    /// Memory that may be added later, and to which node: there is room for it in the node's NORMAL
    /// and MOVABLE zones. Linux: `SRAT_MEM_HOT_PLUGGABLE`, CFMWS.
    pub hotpluggable: Vec<(NodeId, PfnRange)>,
    /// Memory that is never handed to the allocator at boot: the kernel image, carve-outs.
    pub reserved: Vec<PfnRange>,
    /// CMA areas: whole pageblocks inside `memory`, not also in `reserved`. Linux: `cma=`.
    pub cma: Vec<PfnRange>,
    /// Watermark tunables.
    pub tunables: Tunables,
    /// Pageblock grouping; `None` decides by the machine's size as Linux does.
    pub grouping: Option<Grouping>,
    /// Per-CPU rule for movable requests; `None` is the profile's.
    pub movable_pcp: Option<MovablePcp>,
    /// A CPU's share of the last level of cache, in pages; zero where the kernel knows no caches,
    /// as in the recorded guest of 6.12. Linux: `per_cpu_data_slice_size`, from the device tree,
    /// ACPI or CPUID.
    pub cache_slice: PageCount,
}

impl MachineSpec {
    /// One CPU, one zone over one range of memory, nothing reserved, everything else at its
    /// default.
    #[must_use]
    pub fn single(
        geometry: Geometry,
        profile: KernelProfile,
        kind: ZoneType,
        memory: PfnRange,
    ) -> Self {
        Self {
            geometry,
            profile,
            types: TypeSet::WITH_CMA,
            thp: Thp::Configured,
            cpus: 1,
            zones: vec![ZoneSpec { kind, node: NodeId::default(), span: memory }],
            memory: vec![memory],
            hotpluggable: Vec::new(),
            reserved: Vec::new(),
            cma: Vec::new(),
            tunables: Tunables::default(),
            grouping: None,
            movable_pcp: None,
            cache_slice: PageCount::ZERO,
        }
    }
}

/// Why a machine cannot be built.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// A machine needs a zone.
    #[error("the machine has no zone")]
    NoZone,
    /// A machine needs a CPU.
    #[error("the machine has no CPU")]
    NoCpu,
    /// Zones share no frame.
    #[error("zones {0} and {1} overlap")]
    ZonesOverlap(PfnRange, PfnRange),
    /// Memory must lie in a zone.
    #[error("memory {0} lies in no zone")]
    MemoryOutsideZones(PfnRange),
    /// Memory ranges share no frame, nor do reserved ranges and CMA areas.
    #[error("memory {0} and {1} overlap")]
    MemoryOverlaps(PfnRange, PfnRange),
    /// A reserved or lent range must exist.
    #[error("range {0} is not memory")]
    NotMemory(PfnRange),
    /// Lent memory consists of whole pageblocks.
    #[error("range {0} is not made of whole pageblocks of {1} pages")]
    NotPageblocks(PfnRange, PageCount),
    /// Lent memory lies in one zone.
    #[error("range {0} crosses zones")]
    CrossesZones(PfnRange),
    /// A range that was to be handed over is in use.
    #[error("range {0} is not reserved")]
    NotReserved(PfnRange),
    /// The kernel was built without this type.
    #[error("the kernel has no migratetype {0}")]
    NoSuchType(MigrateType),
    /// A zone must hold at least one pageblock of memory.
    #[error("memory of {0} pages is smaller than a pageblock of {1} pages")]
    TooSmall(PageCount, PageCount),
    /// A zone is too large for 32-bit links.
    #[error("zone {0} has more frames than 32-bit links can name")]
    ZoneTooLarge(PfnRange),
}

/// Largest span of a zone, in frames: links are 32 bits wide, minus list heads and padding.
pub(crate) const MAX_SPAN: u64 = u32::MAX as u64 - (1 << 23);

fn overlap(ranges: &[PfnRange]) -> Option<(PfnRange, PfnRange)> {
    ranges
        .iter()
        .enumerate()
        .find_map(|(i, &a)| ranges[i + 1..].iter().find(|b| a.overlaps(**b)).map(|&b| (a, b)))
}

fn validate(spec: &MachineSpec) -> Result<(), BootError> {
    let spans: Vec<_> = spec.zones.iter().map(|z| z.span).collect();
    if spans.is_empty() {
        return Err(BootError::NoZone);
    }
    if spec.cpus == 0 {
        return Err(BootError::NoCpu);
    }
    if let Some((a, b)) = overlap(&spans) {
        return Err(BootError::ZonesOverlap(a, b));
    }
    if let Some((a, b)) = overlap(&spec.memory) {
        return Err(BootError::MemoryOverlaps(a, b));
    }
    let kept_twice = |c: &PfnRange| spec.reserved.iter().find(|r| r.overlaps(*c));
    if let Some((cma, reserved)) = spec.cma.iter().find_map(|c| Some((*c, *kept_twice(c)?))) {
        return Err(BootError::MemoryOverlaps(cma, reserved));
    }
    if let Some((_, room)) = rooms(spec).into_iter().find(|(_, r)| r.len().get() > MAX_SPAN) {
        return Err(BootError::ZoneTooLarge(room));
    }
    let in_zones = |m: &PfnRange| {
        spans.iter().filter_map(|s| s.intersect(*m)).map(PfnRange::len).sum::<PageCount>()
            == m.len()
    };
    if let Some(&memory) = spec.memory.iter().find(|m| !in_zones(m)) {
        return Err(BootError::MemoryOutsideZones(memory));
    }
    let block = spec.geometry.pageblock_pages();
    let total: PageCount = spec.memory.iter().map(|m| m.len()).sum();
    if total < block {
        return Err(BootError::TooSmall(total, block));
    }
    let kept = spec.reserved.iter().chain(&spec.cma);
    if let Some(&range) = kept.into_iter().find(|r| !spec.memory.iter().any(|m| m.covers(**r))) {
        return Err(BootError::NotMemory(range));
    }
    Ok(())
}

/// The zones, and the frames that each has room for: those of its span, and what may be added.
fn rooms(spec: &MachineSpec) -> Vec<(ZoneSpec, PfnRange)> {
    let mut zones: Vec<_> = spec.zones.iter().map(|&zone| (zone, zone.span)).collect();
    for &(node, range) in &spec.hotpluggable {
        for kind in [ZoneType::Normal, ZoneType::Movable] {
            match zones.iter_mut().find(|(zone, _)| zone.node == node && zone.kind == kind) {
                Some((_, room)) => *room = room.hull(range),
                None => {
                    let span = PfnRange::new(range.start(), range.start());
                    zones.push((ZoneSpec { kind, node, span }, range));
                }
            }
        }
    }
    zones
}

/// `memory` without `holes`, ascending.
fn without(memory: PfnRange, holes: &[PfnRange]) -> Vec<PfnRange> {
    let mut holes: Vec<_> = holes.iter().filter_map(|h| h.intersect(memory)).collect();
    holes.sort_by_key(|h| h.start());
    let mut free = Vec::new();
    let mut at = memory.start();
    for hole in holes {
        if at < hole.start() {
            free.push(PfnRange::new(at, hole.start()));
        }
        at = at.max(hole.end());
    }
    if at < memory.end() {
        free.push(PfnRange::new(at, memory.end()));
    }
    free
}

fn hand_over(zone: &mut Zone, spec: &MachineSpec) {
    let mut memory: Vec<_> = spec.memory.iter().filter_map(|m| m.intersect(zone.span())).collect();
    memory.sort_by_key(|m| m.start());
    zone.present = memory.iter().map(|m| m.len()).sum();
    for block in zone.span().blocks(spec.geometry.pageblock_order()) {
        if !memory.iter().any(|m| m.contains(block)) {
            zone.leave_untyped(block);
        }
    }
    let kept: Vec<_> = spec.reserved.iter().chain(&spec.cma).copied().collect();
    let free = memory.into_iter().flat_map(|m| without(m, &kept));
    let chunks: Vec<_> = free.flat_map(|range| range.chunks(spec.geometry.max_order())).collect();
    for (pfn, order) in chunks {
        zone.hand_over(pfn, order);
    }
}

fn grouping(spec: &MachineSpec, zones: &[Zone]) -> Grouping {
    let usable: u64 =
        zones.iter().map(|z| z.managed.saturating_sub(z.watermarks.get(Mark::High)).get()).sum();
    let needed = spec.geometry.pageblock_pages().get() * u64::from(spec.types.len());
    let by_size = if usable < needed { Grouping::Disabled } else { Grouping::ByMobility };
    spec.grouping.unwrap_or(by_size)
}

/// What a movable request needs before it may use the per-CPU lists: the right to all lent memory
/// that may be on them. RFC v1 asks for it whatever the kernel below does.
pub(crate) fn movable_pcp_needs(rule: MovablePcp, types: TypeSet) -> AllocFlags {
    let tags = types.contains(MigrateType::Metadata);
    let mut needs = AllocFlags::empty();
    if rule == MovablePcp::OnlyWithCma || tags {
        needs.set(AllocFlags::CMA, types.contains(MigrateType::Cma));
        needs.set(AllocFlags::METADATA, tags);
    }
    needs
}

/// For each node the order in which zones are tried. Linux: `build_zonelists()`, with the distance
/// between nodes being the difference of their numbers.
pub(crate) fn zonelists(zones: &[Zone]) -> Vec<Vec<usize>> {
    let nodes = zones.last().map_or(0, |z| z.node.get());
    let list_of = |node: u8| {
        let mut list: Vec<_> = (0..zones.len()).collect();
        list.sort_by_key(|&at| {
            let zone = &zones[at];
            let (other, kind) = (zone.node.get(), core::cmp::Reverse(zone.kind));
            (node.abs_diff(other), other, kind, at)
        });
        list
    };
    (0..=nodes).map(list_of).collect()
}

impl<S: Sink> PageAllocator<S> {
    /// A machine with all its memory free. Linux: `free_area_init()`, `memblock_free_all()`,
    /// `cma_init_reserved_areas()`, `init_per_zone_wmark_min()`.
    ///
    /// # Errors
    ///
    /// [`BootError`] names the range that does not fit.
    pub fn boot(spec: &MachineSpec, sink: S) -> Result<Self, BootError> {
        validate(spec)?;
        let mut zones: Vec<_> = rooms(spec)
            .into_iter()
            .map(|(z, room)| {
                let mut zone = Zone::new(
                    ZoneSpec { span: room, ..z },
                    spec.geometry,
                    spec.profile,
                    spec.thp,
                    spec.cpus,
                );
                zone.leave_out(z.span);
                zone
            })
            .collect();
        zones.sort_by_key(|z| (z.node, z.kind, z.span().start()));
        note_sharing(&mut zones);
        for zone in &mut zones {
            hand_over(zone, spec);
        }
        let grouping = grouping(spec, &zones);
        for zone in &mut zones {
            zone.grouping = grouping;
            zone.boost_factor = spec.tunables.watermark_boost_factor;
            let rule = spec.movable_pcp.unwrap_or(spec.profile.rules().movable_pcp);
            zone.movable_pcp_needs = movable_pcp_needs(rule, spec.types);
        }
        let mut allocator = Self {
            geometry: spec.geometry,
            profile: spec.profile,
            types: spec.types,
            grouping,
            cpus: spec.cpus,
            zonelists: zonelists(&zones),
            zones,
            stats: VmStat::default(),
            sink,
        };
        for &range in &spec.cma {
            allocator.init_lent(range, MigrateType::Cma)?;
        }
        let zones = &mut allocator.zones;
        zone_watermark::setup(zones, spec.geometry, spec.thp, &spec.tunables);
        for zone in zones {
            let low = zone.watermarks.get(Mark::Low);
            let cpus = u64::from(spec.cpus);
            zone.set_pcp_sizes(PcpSizes::of_zone(spec.geometry, zone.managed, low, cpus));
            if zone.managed > PageCount::ZERO {
                zone.set_cache_slice(spec.cache_slice);
            }
            let managed = zone.managed;
            zone.set_stat_threshold(FreeCounters::usual_threshold(
                spec.geometry,
                managed,
                spec.cpus,
            ));
        }
        Ok(allocator)
    }

    /// Hands a reserved range over as pageblocks that are lent out: CMA, or the METADATA of RFC v1.
    /// Linux: `cma_activate_area()`, `init_cma_reserved_pageblock()`.
    ///
    /// Watermarks are not computed anew, as in Linux.
    ///
    /// # Errors
    ///
    /// [`BootError`] when the range is not whole pageblocks of one zone, is in use, or the kernel
    /// has no such type.
    pub fn init_lent(&mut self, range: PfnRange, mt: MigrateType) -> Result<(), BootError> {
        let order = self.geometry.pageblock_order();
        if !self.types.contains(mt) {
            return Err(BootError::NoSuchType(mt));
        }
        if range.is_empty() || !range.is_aligned(order) {
            return Err(BootError::NotPageblocks(range, order.pages()));
        }
        let zone = self.zones.iter_mut().find(|z| z.span().covers(range));
        let Some(zone) = zone else { return Err(BootError::CrossesZones(range)) };
        let reserved = |pfn| matches!(zone.buddy.frame(pfn), crate::frame::Frame::Reserved);
        if !range.iter().all(reserved) {
            return Err(BootError::NotReserved(range));
        }
        for block in range.blocks(order) {
            zone.lend_block(block, mt);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Silent;
    use crate::gfp::GfpFlags;
    use crate::page_alloc::AllocRequest;
    use crate::units::{CpuId, Order, Pfn};

    /// 1 TiB would have 2 GiB of links.
    #[test]
    fn boot_writes_the_links_of_large_blocks_only() {
        let memory = PfnRange::from_len(Pfn::new(0x10_0000), PageCount::new(1 << 18));
        for profile in [KernelProfile::V6_1, KernelProfile::V6_12] {
            let geometry = Geometry::PAGES_4K;
            let spec = MachineSpec::single(geometry, profile, ZoneType::Normal, memory);
            let mut alloc = PageAllocator::boot(&spec, Silent).expect("a machine");
            assert!(alloc.zones[0].buddy.map.has_pristine_links(), "{profile:?}");
            let req = AllocRequest::new(Order::ZERO, GfpFlags::KERNEL);
            alloc.alloc_pages(CpuId::BOOT, &req).map(drop).expect("a page");
            assert!(!alloc.zones[0].buddy.map.has_pristine_links(), "{profile:?}");
        }
    }
}
