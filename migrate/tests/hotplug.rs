//! Memory that changes hands while it is used.

use pagelab_migrate::allocator::boot::MachineSpec;
use pagelab_migrate::allocator::event::Silent;
use pagelab_migrate::allocator::geometry::Geometry;
use pagelab_migrate::allocator::gfp::{GfpFlags, ZoneType};
use pagelab_migrate::allocator::hotplug::add::AddMemory;
use pagelab_migrate::allocator::hotplug::caps::{Caps, Origin};
use pagelab_migrate::allocator::hotplug::errno::Errno;
use pagelab_migrate::allocator::hotplug::gate::{Candidate, Driver, catalogue};
use pagelab_migrate::allocator::hotplug::platform::{
    Arch, Host as On, MemmapOnMemory, Mte, Platform,
};
use pagelab_migrate::allocator::hotplug::printk::{Debugging, Log, RateLimit};
use pagelab_migrate::allocator::hotplug::range::Owner;
use pagelab_migrate::allocator::hotplug::spec::HotplugSpec;
use pagelab_migrate::allocator::hotplug::tdx::Tdx;
use pagelab_migrate::allocator::online::OnlineTo;
use pagelab_migrate::allocator::profile::KernelProfile;
use pagelab_migrate::allocator::units::{CpuId, NodeId, Order, PageCount, Pfn, PfnRange};
use pagelab_migrate::folio::{FolioId, PinTerm};
use pagelab_migrate::hotplug::actor::Actor;
use pagelab_migrate::hotplug::dax::DaxDevice;
use pagelab_migrate::hotplug::guest::GuestTags;
use pagelab_migrate::hotplug::host::Host;
use pagelab_migrate::hotplug::interleavings::{Outcome, Step, TdxWorks, explore};
use pagelab_migrate::hotplug::pamt::Pamt;
use pagelab_migrate::hotplug::placement::Binding;

const MIB: u64 = 1 << 8;
const CPU: CpuId = CpuId::BOOT;
const PROFILES: [KernelProfile; 2] = [KernelProfile::V6_1, KernelProfile::V6_12];
const DRAM: PfnRange = PfnRange::new(Pfn::new(4096 * MIB), Pfn::new(4608 * MIB));
const CXL: PfnRange = PfnRange::new(Pfn::new(8192 * MIB), Pfn::new(8448 * MIB));

fn host(profile: KernelProfile, arch: Arch) -> Host<Silent> {
    gated(profile, Platform::new(arch, On::BareMetal, Pfn::new(1 << 34)), "ungated", Caps::TAG)
}

/// A machine with a gate; its far memory, not yet added, can do `caps`.
fn gated(profile: KernelProfile, platform: Platform, gate: &str, caps: Caps) -> Host<Silent> {
    let mut machine = MachineSpec::single(Geometry::PAGES_4K, profile, ZoneType::Normal, DRAM);
    machine.hotpluggable.push((NodeId::new(1), CXL));
    let spec = HotplugSpec {
        boot_caps: Caps::TAG,
        ..HotplugSpec::new(
            platform,
            catalogue::by_name(gate).expect("a gate"),
            vec![NodeId::new(0), NodeId::new(1)],
        )
    };
    let log = Log::new(Debugging::On, RateLimit::None);
    let mut host = Host::new(machine, spec, log, Silent).expect("a possible machine");
    let (node, origin) = (NodeId::new(1), Origin::Cxl);
    host.hot_mut().install(Candidate { range: CXL, node, caps, origin }).expect("a place");
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
    let most = usize::try_from(CXL.len().get()).expect("few");
    while far.len() < most {
        let Ok(id) = emulator.allocate(CPU, Order::ZERO, GfpFlags::HIGHUSER_MOVABLE) else { break };
        let list = if CXL.contains(emulator.folios()[id].pfn()) { &mut far } else { &mut near };
        list.push(id);
    }
    for id in near {
        emulator.free(CPU, id);
    }
    far.sort_by_key(|id| emulator.folios()[*id].pfn());
    let (kept, freed): (Vec<_>, Vec<_>) =
        far.into_iter().partition(|id| emulator.folios()[*id].pfn().get().is_multiple_of(2));
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
        let spec = HotplugSpec::new(
            Platform::new(Arch::X86, On::BareMetal, Pfn::new(1 << 34)),
            catalogue::by_name("ungated").unwrap(),
            vec![NodeId::new(0)],
        );
        let mut host = Host::new(machine, spec, Log::default(), Silent).unwrap();
        let first = host.hot().ids(DRAM).next().unwrap();
        assert_eq!(host.offline_block(first), Err(Errno::Busy));
        host.check().unwrap();
        let second = host.hot().ids(DRAM).nth(1).unwrap();
        host.offline_block(second).unwrap();
        host.check().unwrap();
    }
}

const NEAR: NodeId = NodeId::new(0);
const FAR: NodeId = NodeId::new(1);
const HUGE: Order = Order::of(9);

/// A machine with MTE whose far memory, online, has no tags.
fn tiers(profile: KernelProfile, gate: &str) -> Host<Silent> {
    let mut platform = Platform::new(Arch::Arm64, On::BareMetal, Pfn::new(1 << 34));
    platform.mte = Mte::On;
    let mut host = gated(profile, platform, gate, Caps::empty());
    host.create_dax(&device(CXL), Driver::Kmem).expect("whole blocks");
    host.online_range(CXL, Actor::Daxctl, OnlineTo::Movable);
    host
}

#[test]
fn q10_who_can_be_demoted_to_memory_without_tags() {
    let half = PageCount::new(64 * MIB);
    for profile in PROFILES {
        for (gate, tags, moved, lost) in [
            ("page-filter", GuestTags::None, half, PageCount::ZERO),
            ("page-filter", GuestTags::Every, PageCount::ZERO, PageCount::ZERO),
            ("page-filter", GuestTags::OnAccess, half, PageCount::ZERO),
            ("ungated", GuestTags::Every, half, half),
        ] {
            let mut host = tiers(profile, gate);
            let mut guest = host.start_guest(64, HUGE, tags, NEAR).unwrap();
            let before = host.hot().vetoes().len();
            let cold = host.demote(&mut guest, 0..32, FAR);
            assert_eq!((cold.moved, cold.lost), (moved, lost), "{gate} {tags:?}");
            let vetoes = host.hot().vetoes().len() - before;
            assert_eq!(vetoes, usize::from(moved == PageCount::ZERO), "only about such pages");
            assert_eq!(cold.refused + cold.moved, half);
            host.check().unwrap();
            host.stop_guest(guest);
            host.check().unwrap();
        }
    }
}

#[test]
fn q10_a_first_tag_access_is_an_exit_and_a_promotion() {
    for profile in PROFILES {
        let mut host = tiers(profile, "page-filter");
        let mut guest = host.start_guest(64, HUGE, GuestTags::OnAccess, NEAR).unwrap();
        host.demote(&mut guest, 0..32, FAR);
        assert_eq!(host.use_tags(&mut guest, 0), Ok(HUGE.pages()));
        assert_eq!(host.use_tags(&mut guest, 0), Ok(PageCount::ZERO));
        assert_eq!(host.use_tags(&mut guest, 40), Ok(PageCount::ZERO), "it lies well");
        assert_eq!(guest.exits, 2);
        assert_eq!(host.node_of(guest.pages[0].folio), Some(NEAR));
        let again = host.demote(&mut guest, 0..32, FAR);
        assert_eq!((again.moved, again.refused), (PageCount::ZERO, HUGE.pages()));
        host.check().unwrap();
    }
}

#[test]
fn a_filter_keeps_tagged_pages_where_tags_are_when_their_memory_leaves() {
    for (gate, moves) in [("page-filter", false), ("ungated", true)] {
        // Near memory may leave on x86; which machine has tags is not the point here.
        let mut platform = Platform::new(Arch::X86, On::BareMetal, Pfn::new(1 << 34));
        platform.mte = Mte::On;
        let mut host = gated(KernelProfile::V6_12, platform, gate, Caps::empty());
        host.create_dax(&device(CXL), Driver::Kmem).unwrap();
        host.online_range(CXL, Actor::Daxctl, OnlineTo::Movable);
        let mut guest = host.start_guest(100, HUGE, GuestTags::Every, NEAR).unwrap();
        let blocks = host.offline_range(DRAM, Actor::Udev);
        assert_eq!(blocks.tried, 4);
        host.note_lost(&mut guest);
        host.check().unwrap();
        assert_eq!(guest.lost, blocks.moved, "{gate}");
        assert_eq!(blocks.moved > PageCount::ZERO, moves, "{gate}");
    }
}

#[test]
fn q11_private_memory_is_never_in_zone_movable() {
    for profile in PROFILES {
        for (to, expected, done) in [(OnlineTo::Movable, 0, 2), (OnlineTo::Kernel, 1, 0)] {
            let mut host = host(profile, Arch::X86);
            host.create_dax(&device(CXL), Driver::Kmem).unwrap();
            host.online_range(CXL, Actor::Daxctl, to);
            let got = host.allocate_private(CXL.len(), Binding::Only(FAR));
            let most = got.get() * 100 >= CXL.len().get() * expected * 98;
            assert!(most && got.get() <= CXL.len().get() * expected, "{to:?}: {got:?}");
            assert_eq!(host.capacity().private, got);
            host.check().unwrap();
            let offline = host.offline_range(CXL, Actor::Udev);
            assert_eq!(offline.done, done, "{to:?}");
            host.check().unwrap();
            host.free_private();
            assert_eq!(host.capacity().private, PageCount::ZERO);
            host.check().unwrap();
        }
    }
}

/// A host with TDX; 1 GiB of memory that TDX can use, and far memory that it cannot.
fn tdx(profile: KernelProfile, gate: &str) -> Host<Silent> {
    let memory = PfnRange::from_len(DRAM.start(), PageCount::new(1024 * MIB));
    let mut machine = MachineSpec::single(Geometry::PAGES_4K, profile, ZoneType::Normal, memory);
    machine.hotpluggable.push((FAR, CXL));
    let spec = HotplugSpec {
        tdx: Some(Tdx::new(vec![memory])),
        boot_caps: Caps::TEE,
        ..HotplugSpec::new(
            Platform::new(Arch::X86, On::BareMetal, Pfn::new(1 << 34)),
            catalogue::by_name(gate).expect("a gate"),
            vec![NEAR, FAR],
        )
    };
    let mut host = Host::new(machine, spec, Log::default(), Silent).expect("a possible machine");
    let (node, caps, origin) = (FAR, Caps::empty(), Origin::Cxl);
    host.hot_mut().install(Candidate { range: CXL, node, caps, origin }).expect("a place");
    host.hot_mut().give(CXL, Owner::DaxIdle).expect("nobody has it");
    host
}

#[test]
fn initialization_takes_contiguous_tables() {
    for profile in PROFILES {
        let mut host = tdx(profile, "tdx-notifier");
        let done = host.tdx_init(Pamt::Static).unwrap();
        assert_eq!((done.tdmrs, done.pamt), (1, PageCount::new(1024 + 2 + 1)));
        assert_eq!(host.capacity().metadata, done.pamt);
        host.check().unwrap();
        assert_eq!(host.tdx_init(Pamt::Static).unwrap().pamt, PageCount::ZERO, "only once");
        let said = &host.hot().log().visible()[0].text;
        assert_eq!(said, "virt/tdx: 4108 KB allocated for PAMT");
    }
}

#[test]
fn trap_2_memory_that_joined_before_makes_initialization_fail() {
    let mut host = tdx(KernelProfile::V6_12, "tdx-notifier");
    host.kmem_probe(&device(CXL)).unwrap();
    assert_eq!(host.online_range(CXL, Actor::Udev, OnlineTo::Movable).error, None);
    assert_eq!(host.tdx_init(Pamt::Static), Err(Errno::Io));
    assert_eq!(host.tdx_init(Pamt::Static), Err(Errno::Io), "off until the next boot");
    host.check().unwrap();
    assert_eq!(host.hot().violations(), PageCount::ZERO, "nothing is required any more");
    let said = &host.hot().log().visible()[0].text;
    assert_eq!(said, "virt/tdx: module initialization failed (-5)");
}

#[test]
fn q5_one_schedule_of_four_is_bad_under_the_patch_as_posted() {
    let name = "System RAM (kmem)";
    let memmap = MemmapOnMemory::Off;
    let add = AddMemory { range: CXL, node: FAR, name, group: None, memmap };
    for (gate, expected) in [
        ("tdx-notifier", &[][..]),
        ("tdx-range", &["A1 T A2 A3"]),
        ("tdx-range-locked", &[]),
        ("reject-add", &[]),
        ("cmr-state", &[]),
        ("documented", &["T A1 A2 A3", "A1 T A2 A3"]),
    ] {
        let outcomes = explore(&tdx(KernelProfile::V6_12, gate), add, Pamt::Static);
        let bad: Vec<_> = outcomes.iter().filter(|o| o.is_bad()).map(Outcome::text).collect();
        assert_eq!(bad, expected, "{gate}: {outcomes:#?}");
    }
}

#[test]
fn q5_what_each_schedule_leads_to() {
    let name = "System RAM (kmem)";
    let memmap = MemmapOnMemory::Off;
    let add = AddMemory { range: CXL, node: FAR, name, group: None, memmap };
    let of = |gate| {
        let outcomes = explore(&tdx(KernelProfile::V6_12, gate), add, Pamt::Static);
        outcomes.iter().map(|o| (o.refused, o.tdx)).collect::<Vec<_>>()
    };
    let (yes, no) = (TdxWorks::Yes, TdxWorks::No);
    let online = Some(Step::Online);
    assert_eq!(of("tdx-notifier"), [(online, yes), (online, yes), (None, no), (None, no)]);
    assert_eq!(of("tdx-range"), [(Some(Step::Check), yes), (None, yes), (None, no), (None, no)]);
}
