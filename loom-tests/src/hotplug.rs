//! A small machine to which memory is added.

use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::event::Silent;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::ZoneType;
use pagelab_allocator::hotplug::add::AddMemory;
use pagelab_allocator::hotplug::caps::{Caps, Origin};
use pagelab_allocator::hotplug::gate::{Candidate, catalogue};
use pagelab_allocator::hotplug::memory_hotplug::MemoryHotplug;
use pagelab_allocator::hotplug::platform::{Arch, Host, MemmapOnMemory, Platform};
use pagelab_allocator::hotplug::printk::Log;
use pagelab_allocator::hotplug::range::Owner;
use pagelab_allocator::hotplug::spec::HotplugSpec;
use pagelab_allocator::hotplug::tdx::Tdx;
use pagelab_allocator::page_alloc::PageAllocator;
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::{NodeId, Order, PageCount, Pfn, PfnRange};

use crate::PAGEBLOCK;

/// Pages of a memory block of the models.
pub const BLOCK: PageCount = PageCount::new(16);
/// Memory that is there at boot; TDX could use it. It begins above the first megabyte, which TDX
/// never uses.
pub const BOOT: PfnRange = PfnRange::new(Pfn::new(0x100), Pfn::new(0x140));
/// Memory that is added: a dax device's, that TDX could not use.
pub const FOREIGN: PfnRange = PfnRange::new(Pfn::new(0x200), Pfn::new(0x210));
const NODE: NodeId = NodeId::new(0);

/// The addition of [`FOREIGN`].
pub const ADD: AddMemory<'static> = AddMemory {
    range: FOREIGN,
    node: NODE,
    name: "System RAM (kmem)",
    group: None,
    memmap: MemmapOnMemory::Off,
};

/// A host with TDX behind a gate.
///
/// # Panics
///
/// Panics when there is no such gate.
#[must_use]
pub fn tdx_host(gate: &str) -> (MemoryHotplug, PageAllocator) {
    let geometry = Geometry::new(12, PAGEBLOCK, Order::of(2)).expect("a tiny geometry");
    let kind = ZoneType::Normal;
    let mut spec = MachineSpec::single(geometry, KernelProfile::V6_12, kind, BOOT);
    spec.hotpluggable.push((NODE, FOREIGN));
    let alloc = PageAllocator::boot(&spec, Silent).expect("a small machine");
    let mut platform = Platform::new(Arch::X86, Host::BareMetal, Pfn::new(0x1000));
    platform.block_size = Some(BLOCK);
    let hotplug = HotplugSpec {
        tdx: Some(Tdx::new(vec![BOOT])),
        boot_caps: Caps::TEE,
        ..HotplugSpec::new(platform, catalogue::by_name(gate).expect("a gate"), vec![NODE])
    };
    let mut hot = MemoryHotplug::at_boot(&alloc, hotplug, &[(NODE, BOOT)], Log::default());
    let (range, caps, origin) = (FOREIGN, Caps::empty(), Origin::Cxl);
    hot.install(Candidate { range, node: NODE, caps, origin }).expect("a place for it");
    hot.give(FOREIGN, Owner::DaxIdle).expect("nobody has it");
    (hot, alloc)
}
