//! Machines to try things on.

use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::fallback::Grouping;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::ZoneType;
use pagelab_allocator::pcp::Thp;
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::{NodeId, Order, Pfn, PfnRange};
use pagelab_allocator::watermark::Tunables;
use pagelab_allocator::zone::ZoneSpec;

/// Both kernels.
pub(crate) const PROFILES: [KernelProfile; 2] = [KernelProfile::V6_1, KernelProfile::V6_12];

/// Frames `[start, end)`.
pub(crate) fn range(start: u64, end: u64) -> PfnRange {
    PfnRange::new(Pfn::new(start), Pfn::new(end))
}

/// A geometry of 4 KiB pages.
pub(crate) fn geometry(pageblock: u8, max: u8) -> Geometry {
    Geometry::new(12, Order::of(pageblock), Order::of(max)).expect("sizes of a geometry")
}

/// One zone of ordinary memory, grouped by type however small it is, with no reserve at all.
pub(crate) fn bare(geometry: Geometry, profile: KernelProfile, memory: PfnRange) -> MachineSpec {
    let mut spec = MachineSpec::single(geometry, profile, ZoneType::Normal, memory);
    spec.grouping = Some(Grouping::ByMobility);
    spec.tunables = Tunables {
        min_free_kbytes: Some(0),
        watermark_scale_factor: 0,
        watermark_boost_factor: 0,
        ..Tunables::default()
    };
    spec
}

/// A zone of `node`.
pub(crate) fn zone(kind: ZoneType, node: u8, span: PfnRange) -> ZoneSpec {
    ZoneSpec { kind, node: NodeId::new(node), span }
}

/// The machines of the random histories, smallest first.
pub(crate) fn zoo(profile: KernelProfile) -> Vec<MachineSpec> {
    let tiny = bare(geometry(1, 2), profile, range(3, 31));
    let mut lent = bare(geometry(2, 3), profile, range(0x100, 0x140));
    lent.cma = vec![range(0x110, 0x11c), range(0x130, 0x134)];
    lent.cpus = 2;
    let mut deep = bare(geometry(2, 5), profile, range(0x20, 0x9d));
    deep.reserved = vec![range(0x41, 0x43)];
    deep.tunables.min_free_kbytes = Some(16);
    let mut flat = bare(geometry(4, 4), profile, range(0, 0x100));
    flat.cma = vec![range(0x80, 0xc0)];
    let mut reserving = bare(geometry(1, 3), profile, range(0, 0x200));
    reserving.tunables.min_free_kbytes = Some(64);
    let mut zones = bare(geometry(4, 5), profile, range(0, 0x200));
    zones.zones = vec![
        zone(ZoneType::Normal, 0, range(0, 0x100)),
        zone(ZoneType::Movable, 0, range(0x100, 0x200)),
    ];
    zones.cma = vec![range(0x40, 0x80)];
    zones.cpus = 2;
    zones.tunables = Tunables { min_free_kbytes: Some(32), ..Tunables::default() };
    let mut nodes = bare(geometry(3, 4), profile, range(0, 0x300));
    nodes.zones = vec![
        zone(ZoneType::Dma32, 0, range(0, 0x80)),
        zone(ZoneType::Normal, 0, range(0x80, 0x180)),
        zone(ZoneType::Normal, 1, range(0x180, 0x300)),
    ];
    nodes.cma = vec![range(0x200, 0x240)];
    nodes.thp = Thp::Absent;
    vec![tiny, lent, deep, flat, reserving, zones, nodes]
}

/// A machine of the usual sizes: 64 MiB, the last 16 MiB lent.
pub(crate) fn real(profile: KernelProfile) -> MachineSpec {
    let memory = range(0x4_0000, 0x4_4000);
    let mut spec = MachineSpec::single(Geometry::PAGES_4K, profile, ZoneType::Normal, memory);
    spec.cma = vec![range(0x4_3000, 0x4_4000)];
    spec.cpus = 2;
    spec
}
