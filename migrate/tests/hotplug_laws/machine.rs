//! Small machines: a few memory blocks of each kind, in every setting.

use core::num::NonZeroU32;

use proptest::prelude::*;

use pagelab_migrate::allocator::boot::MachineSpec;
use pagelab_migrate::allocator::event::Silent;
use pagelab_migrate::allocator::geometry::Geometry;
use pagelab_migrate::allocator::gfp::ZoneType;
use pagelab_migrate::allocator::hotplug::caps::{Caps, Origin};
use pagelab_migrate::allocator::hotplug::gate::{Candidate, catalogue};
use pagelab_migrate::allocator::hotplug::group::{OnlinePolicy, Scope};
use pagelab_migrate::allocator::hotplug::platform::{
    Arch, AutoOnline, Host as On, MemmapOnMemory, Mte, Platform,
};
use pagelab_migrate::allocator::hotplug::printk::Log;
use pagelab_migrate::allocator::hotplug::spec::HotplugSpec;
use pagelab_migrate::allocator::hotplug::tdx::Tdx;
use pagelab_migrate::allocator::profile::KernelProfile;
use pagelab_migrate::allocator::units::{NodeId, Order, PageCount, Pfn, PfnRange};
use pagelab_migrate::hotplug::dax::DaxDevice;
use pagelab_migrate::hotplug::host::Host;

pub(crate) const NEAR: NodeId = NodeId::new(0);
pub(crate) const FAR: NodeId = NodeId::new(1);
/// A quarter of a block: the grain in which owners are compared.
pub(crate) const GRAINS: u64 = 4;
/// Blocks at boot, and those of each kind that may come.
const BOOT: u64 = 8;
const ACPI: u64 = 3;
const CXL: u64 = 8;
/// The first frame, at a boundary of TDX regions.
const BASE: u64 = 1 << 18;

/// What is chosen of a machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) profile: KernelProfile,
    pub(crate) geometry: Geometry,
    /// Pages of a block.
    pub(crate) block: u64,
    pub(crate) arch: Arch,
    pub(crate) gate: usize,
    pub(crate) memmap: MemmapOnMemory,
    pub(crate) auto_online: AutoOnline,
    pub(crate) policy: OnlinePolicy,
    /// What CXL memory can do.
    pub(crate) cxl: Caps,
}

fn geometries() -> impl Strategy<Value = (Geometry, u64)> {
    let tiny = |pageblock, max| Geometry::new(12, Order::of(pageblock), Order::of(max));
    prop_oneof![
        Just((tiny(4, 5).expect("a geometry"), 64)),
        // A pageblock of struct pages for a block.
        Just((tiny(4, 6).expect("a geometry"), 1024)),
        // A block that is one pageblock.
        Just((tiny(6, 6).expect("a geometry"), 64)),
        Just((Geometry::PAGES_4K, 1024)),
    ]
}

pub(crate) fn settings() -> impl Strategy<Value = Setting> {
    use MemmapOnMemory::{Force, Off, On};
    let policies = [
        OnlinePolicy::ContigZones,
        OnlinePolicy::AUTO_MOVABLE,
        OnlinePolicy::AutoMovable {
            ratio: NonZeroU32::new(100).expect("not zero"),
            scope: Scope::Machine,
        },
    ];
    let profiles = prop_oneof![Just(KernelProfile::V6_1), Just(KernelProfile::V6_12)];
    let arch = prop_oneof![Just(Arch::X86), Just(Arch::Arm64)];
    let auto = prop_oneof![
        3 => Just(AutoOnline::Offline),
        1 => Just(AutoOnline::Online),
        1 => Just(AutoOnline::Kernel),
        1 => Just(AutoOnline::Movable),
    ];
    let caps = prop_oneof![Just(Caps::empty()), Just(Caps::TAG | Caps::TEE)];
    // The notifier of today, and every gate.
    let gates = prop_oneof![1 => Just(1), 4 => 0..catalogue::all().len()];
    let memmap = prop_oneof![Just(Off), Just(On), Just(Force)];
    (
        profiles,
        geometries(),
        arch,
        gates,
        memmap,
        auto,
        prop::sample::select(policies.to_vec()),
        caps,
    )
        .prop_map(
            |(profile, (geometry, block), arch, gate, memmap, auto_online, policy, cxl)| Setting {
                profile,
                geometry,
                block,
                arch,
                gate,
                memmap,
                auto_online,
                policy,
                cxl,
            },
        )
}

/// The first frame of a block, counted from the first of the machine, and some of its quarters.
fn quarters(block: u64, from: u64, to: u64) -> PfnRange {
    let grain = block / GRAINS;
    PfnRange::new(Pfn::new(BASE + from * grain), Pfn::new(BASE + to * grain))
}

impl Setting {
    fn blocks(&self, from: u64, to: u64) -> PfnRange {
        quarters(self.block, from * GRAINS, to * GRAINS)
    }

    pub(crate) fn boot(&self) -> PfnRange {
        self.blocks(0, BOOT)
    }

    /// Next to boot memory.
    pub(crate) fn acpi(&self) -> PfnRange {
        self.blocks(BOOT, BOOT + ACPI)
    }

    /// Next to that, on a node of its own.
    pub(crate) fn cxl(&self) -> PfnRange {
        self.blocks(BOOT + ACPI, BOOT + ACPI + CXL)
    }

    pub(crate) fn all(&self) -> PfnRange {
        self.blocks(0, BOOT + ACPI + CXL)
    }

    /// Some blocks of the machine, picked by two numbers.
    pub(crate) fn pick(&self, at: u8, len: u8) -> PfnRange {
        let count = BOOT + ACPI + CXL;
        let from = u64::from(at) % count;
        let to = (from + 1 + u64::from(len) % 4).min(count);
        self.blocks(from, to)
    }

    /// Ranges that are not blocks, too.
    pub(crate) fn pick_any(&self, at: u8, len: u8) -> PfnRange {
        let count = (BOOT + ACPI + CXL) * GRAINS;
        let from = u64::from(at) % count;
        let to = (from + 1 + u64::from(len) % 8).min(count);
        quarters(self.block, from, to)
    }

    /// Devices on CXL memory: one, one with tails, one of two pieces of which one has no whole
    /// block, one without a node.
    pub(crate) fn devices(&self) -> Vec<DaxDevice> {
        let at = |from, to| {
            let first = (BOOT + ACPI) * GRAINS;
            quarters(self.block, first + from, first + to)
        };
        let device = |ranges: &[PfnRange], node| {
            let ranges = ranges.to_vec();
            DaxDevice { ranges, node, memmap: MemmapOnMemory::On }
        };
        vec![
            device(&[at(0, 8)], Some(FAR)),
            device(&[at(9, 19)], Some(FAR)),
            device(&[at(20, 23), at(23, 28)], Some(FAR)),
            device(&[at(28, 32)], None),
            // Overlaps the first: two drivers that do not know of each other.
            device(&[at(4, 12)], Some(FAR)),
        ]
    }

    fn platform(&self) -> Platform {
        let mut platform = Platform::new(self.arch, On::BareMetal, Pfn::new(1 << 30));
        platform.block_size = Some(PageCount::new(self.block));
        platform.memmap_on_memory = self.memmap;
        platform.auto_online = self.auto_online;
        platform.mte = if self.arch == Arch::X86 { Mte::Absent } else { Mte::On };
        platform
    }

    pub(crate) fn build(&self) -> Host<Silent> {
        let (boot, kind) = (self.boot(), ZoneType::Normal);
        let mut machine = MachineSpec::single(self.geometry, self.profile, kind, boot);
        machine.hotpluggable = vec![(NEAR, self.acpi()), (FAR, self.cxl())];
        let convertible = boot.hull(self.acpi());
        let tdx = (self.arch == Arch::X86).then(|| Tdx::new(vec![convertible]));
        let spec = HotplugSpec {
            tdx,
            boot_caps: Caps::TAG | Caps::TEE,
            policy: self.policy,
            ..HotplugSpec::new(self.platform(), catalogue::all()[self.gate], vec![NEAR, FAR])
        };
        let mut host = Host::new(machine, spec, Log::default(), Silent).expect("a machine");
        let (acpi, cxl) = (self.acpi(), self.cxl());
        let all = Caps::TAG | Caps::TEE;
        for (range, node, caps, origin) in
            [(acpi, NEAR, all, Origin::Acpi), (cxl, FAR, self.cxl, Origin::Cxl)]
        {
            host.hot_mut().install(Candidate { range, node, caps, origin }).expect("a place");
        }
        host
    }
}
