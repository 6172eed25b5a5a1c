//! Memory that changes hands while it is used.

use pagelab_migrate::allocator::boot::MachineSpec;
use pagelab_migrate::allocator::event::Silent;
use pagelab_migrate::allocator::geometry::Geometry;
use pagelab_migrate::allocator::gfp::{GfpFlags, ZoneType};
use pagelab_migrate::allocator::hotplug::caps::{Caps, Origin};
use pagelab_migrate::allocator::hotplug::errno::Errno;
use pagelab_migrate::allocator::hotplug::gate::{Candidate, Driver, catalogue};
use pagelab_migrate::allocator::hotplug::group::OnlinePolicy;
use pagelab_migrate::allocator::hotplug::memory_hotplug::HotplugSpec;
use pagelab_migrate::allocator::hotplug::platform::{Arch, Host as On, MemmapOnMemory, Platform};
use pagelab_migrate::allocator::hotplug::printk::{Debugging, Log, RateLimit};
use pagelab_migrate::allocator::online::OnlineTo;
use pagelab_migrate::allocator::profile::KernelProfile;
use pagelab_migrate::allocator::units::{CpuId, NodeId, Order, PageCount, Pfn, PfnRange};
use pagelab_migrate::allocator::watermark::Tunables;
use pagelab_migrate::folio::{FolioId, PinTerm};
use pagelab_migrate::hotplug::actor::Actor;
use pagelab_migrate::hotplug::dax::DaxDevice;
use pagelab_migrate::hotplug::host::Host;

const MIB: u64 = 1 << 8;
const CPU: CpuId = CpuId::BOOT;
const PROFILES: [KernelProfile; 2] = [KernelProfile::V6_1, KernelProfile::V6_12];
const DRAM: PfnRange = PfnRange::new(Pfn::new(4096 * MIB), Pfn::new(4608 * MIB));
const CXL: PfnRange = PfnRange::new(Pfn::new(8192 * MIB), Pfn::new(8448 * MIB));

fn host(profile: KernelProfile, arch: Arch) -> Host<Silent> {
    let mut machine = MachineSpec::single(Geometry::PAGES_4K, profile, ZoneType::Normal, DRAM);
    machine.hotpluggable.push((NodeId::new(1), CXL));
    let spec = HotplugSpec {
        platform: Platform::new(arch, On::BareMetal, Pfn::new(1 << 34)),
        tdx: None,
        gate: catalogue::by_name("ungated").unwrap(),
        boot_caps: Caps::TAG,
        possible: vec![NodeId::new(0), NodeId::new(1)],
        policy: OnlinePolicy::ContigZones,
        tunables: Tunables::default(),
    };
    let log = Log::new(Debugging::On, RateLimit::None);
    let mut host = Host::new(machine, spec, log, Silent).unwrap();
    let (node, caps, origin) = (NodeId::new(1), Caps::TAG, Origin::Cxl);
    host.hot_mut().install(Candidate { range: CXL, node, caps, origin }).unwrap();
    host
}

fn device(range: PfnRange) -> DaxDevice {
    DaxDevice { ranges: vec![range], node: Some(NodeId::new(1)), memmap: MemmapOnMemory::Off }
}

/// Fills the far node with single movable pages and frees every second one.
fn half_fill(host: &mut Host<Silent>) -> Vec<FolioId> {
    let emulator = host.emulator_mut();
    let mut far = Vec::new();
    let mut near = Vec::new();
    while far.len() < usize::try_from(CXL.len().get()).unwrap() {
        let Ok(id) = emulator.allocate(CPU, Order::ZERO, GfpFlags::HIGHUSER_MOVABLE) else { break };
        let list = if CXL.contains(emulator.folios()[id].pfn()) { &mut far } else { &mut near };
        list.push(id);
    }
    for id in near {
        emulator.free(CPU, id);
    }
    far.sort_by_key(|id| emulator.folios()[*id].pfn());
    let (kept, freed): (Vec<_>, Vec<_>) =
        far.into_iter().partition(|id| emulator.folios()[*id].pfn().get() % 2 == 0);
    for id in freed {
        emulator.free(CPU, id);
    }
    kept
}

#[test]
fn row_13_memory_moves_between_the_system_and_a_device() {
    for profile in PROFILES {
        let mut host = host(profile, Arch::X86);
        let dev = device(CXL);
        assert_eq!(host.create_dax(&dev, Driver::Kmem), Ok(Driver::Kmem));
        let online = host.online_range(CXL, Actor::Daxctl, OnlineTo::Movable);
        assert_eq!((online.tried, online.done), (2, 2));
        host.check().unwrap();
        let kept = half_fill(&mut host);
        host.check().unwrap();
        let used = kept.len() as u64;
        assert!(used > CXL.len().get() / 3, "{used}");
        let offline = host.offline_range(CXL, Actor::Daxctl);
        assert_eq!((offline.done, offline.error), (2, None));
        assert_eq!(offline.moved.get(), used, "as many moves as used pages");
        host.check().unwrap();
        assert!(kept.iter().all(|id| DRAM.contains(host.emulator().folios()[*id].pfn())));
        host.kmem_remove(&dev).unwrap();
        host.devdax_probe(&dev).unwrap();
        host.check().unwrap();
        let capacity = host.capacity();
        assert_eq!((capacity.devdax, capacity.offline), (CXL.len(), PageCount::ZERO));
        assert_eq!(capacity.metadata.get(), CXL.len().get() / 512 * 2);
    }
}

#[test]
fn a_pin_keeps_a_block_and_the_other_one_goes() {
    for profile in PROFILES {
        let mut host = host(profile, Arch::X86);
        host.create_dax(&device(CXL), Driver::Kmem).unwrap();
        host.online_range(CXL, Actor::Udev, OnlineTo::Movable);
        let kept = half_fill(&mut host);
        let pinned = *kept.first().unwrap();
        let pin = |host: &mut Host<Silent>| host.emulator_mut().pin(CPU, pinned, PinTerm::Short);
        pin(&mut host).unwrap();
        let offline = host.offline_range(CXL, Actor::Udev);
        assert_eq!((offline.tried, offline.done, offline.error), (2, 1, Some(Errno::Intr)));
        host.check().unwrap();
        let said = host.hot().log().visible().last().unwrap();
        assert!(said.text.ends_with("failed due to signal backoff"), "{}", said.text);
        assert_eq!(host.kmem_remove(&device(CXL)), Err(Errno::Busy));
        host.check().unwrap();
    }
}

#[test]
fn trap_22_boot_memory_of_arm64_stays() {
    for profile in PROFILES {
        let mut host = host(profile, Arch::Arm64);
        let offline = host.offline_range(DRAM, Actor::Udev);
        assert_eq!((offline.tried, offline.done, offline.error), (4, 0, Some(Errno::Perm)));
        host.check().unwrap();
        let said = &host.hot().log().visible()[0].text;
        assert_eq!(said, "Boot memory [100000000 108000000] offlining attempted");
        assert_eq!(host.hot().phases().cancel_offline, 4);
    }
}

#[test]
fn row_43_a_block_with_cma_refuses() {
    for profile in PROFILES {
        let mut machine = MachineSpec::single(Geometry::PAGES_4K, profile, ZoneType::Normal, DRAM);
        machine.cma.push(PfnRange::from_len(DRAM.start(), PageCount::new(512)));
        let spec = HotplugSpec {
            platform: Platform::new(Arch::X86, On::BareMetal, Pfn::new(1 << 34)),
            tdx: None,
            gate: catalogue::by_name("ungated").unwrap(),
            boot_caps: Caps::empty(),
            possible: vec![NodeId::new(0)],
            policy: OnlinePolicy::ContigZones,
            tunables: Tunables::default(),
        };
        let mut host = Host::new(machine, spec, Log::default(), Silent).unwrap();
        let first = host.hot().ids(DRAM).next().unwrap();
        assert_eq!(host.offline_block(first), Err(Errno::Busy));
        host.check().unwrap();
        let second = host.hot().ids(DRAM).nth(1).unwrap();
        host.offline_block(second).unwrap();
        host.check().unwrap();
    }
}
