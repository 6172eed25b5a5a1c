//! Machines with TDX or with tags, and memory that knocks.

use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::hotplug::caps::{Caps, Origin};
use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::hotplug::gate::{Candidate, View};
use pagelab_allocator::hotplug::memblock::{DriverManaged, Memblock, MemblockRegion};
use pagelab_allocator::hotplug::platform::{Arch, Host, Mte, Platform};
use pagelab_allocator::hotplug::tdx::{Tdx, TdxMemblock};
use pagelab_allocator::units::{NodeId, Pfn, PfnRange};

/// Pages of 4 KiB in a MiB.
pub(crate) const MIB: u64 = 1 << 8;
/// And in a GiB.
pub(crate) const GIB: u64 = 1 << 18;

pub(crate) fn range(start: u64, end: u64) -> PfnRange {
    PfnRange::new(Pfn::new(start), Pfn::new(end))
}

/// From one GiB to another.
pub(crate) fn gib(start: u64, end: u64) -> PfnRange {
    range(start * GIB, end * GIB)
}

pub(crate) fn node(range: PfnRange, node: u8) -> TdxMemblock {
    TdxMemblock { range, node: NodeId::new(node) }
}

/// A machine.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) platform: Platform,
    pub(crate) tdx: Option<Tdx>,
}

impl World {
    /// x86 with TDX.
    pub(crate) fn x86(tdx: Tdx) -> Self {
        let platform = Platform::new(Arch::X86, Host::BareMetal, Pfn::new(1 << 34));
        Self { platform, tdx: Some(tdx) }
    }

    /// arm64 without TDX.
    pub(crate) fn arm(mte: Mte) -> Self {
        let mut platform = Platform::new(Arch::Arm64, Host::BareMetal, Pfn::new(1 << 34));
        platform.mte = mte;
        Self { platform, tdx: None }
    }

    /// x86 on which TDX took [`Memory::dram`], and firmware vouches for nothing else.
    pub(crate) fn x86_in_use() -> Self {
        Self::x86(in_use(vec![Memory::dram().range], vec![node(Memory::dram().range, 0)]))
    }

    pub(crate) fn view(&self) -> View<'_> {
        let (geometry, platform) = (Geometry::PAGES_4K, &self.platform);
        View { geometry, platform, tdx: self.tdx.as_ref() }
    }
}

/// A module with this snapshot.
pub(crate) fn in_use(cmrs: Vec<PfnRange>, snapshot: Vec<TdxMemblock>) -> Tdx {
    let mut tdx = Tdx::new(cmrs);
    tdx.initialized(snapshot);
    tdx
}

/// A module that failed.
pub(crate) fn failed(cmrs: Vec<PfnRange>) -> Tdx {
    let mut tdx = Tdx::new(cmrs);
    tdx.failed(Errno::Io);
    tdx
}

/// The memory of a machine with two CXL devices, of which one keeps tags.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory;

impl Memory {
    /// 256 GiB that can do everything.
    pub(crate) fn dram() -> Candidate {
        memory(gib(1, 257), Caps::TAG | Caps::TEE | Caps::VOLATILE, Origin::Boot)
    }

    /// CXL-A, 64 GiB that can do nothing.
    pub(crate) fn cxl_a() -> Candidate {
        memory(gib(512, 576), Caps::VOLATILE, Origin::Cxl)
    }

    /// CXL-B, 64 GiB that keep tags.
    pub(crate) fn cxl_b() -> Candidate {
        memory(gib(576, 640), Caps::TAG | Caps::VOLATILE, Origin::Cxl)
    }

    pub(crate) fn all() -> [Candidate; 3] {
        [Self::dram(), Self::cxl_a(), Self::cxl_b()]
    }
}

/// Memory on node 0 if it was there at boot, on node 1 otherwise.
pub(crate) fn memory(range: PfnRange, caps: Caps, origin: Origin) -> Candidate {
    Candidate { range, node: NodeId::new(u8::from(origin != Origin::Boot)), caps, origin }
}

/// Memory blocks of a candidate.
pub(crate) fn blocks(of: Candidate, pages: u64) -> impl Iterator<Item = Candidate> {
    let (start, end) = (of.range.start().get(), of.range.end().get());
    let block = move |n: u64| range(start + n * pages, start + (n + 1) * pages);
    (0..(end - start) / pages).map(move |n| Candidate { range: block(n), ..of })
}

pub(crate) fn region(of: &Candidate, managed: DriverManaged) -> MemblockRegion {
    MemblockRegion { range: of.range, node: of.node, managed }
}

/// A machine that has booted with this.
pub(crate) fn booted(with: &[Candidate]) -> Memblock {
    let mut memblock = Memblock::default();
    with.iter().for_each(|of| memblock.add(region(of, DriverManaged::No)));
    memblock
}
