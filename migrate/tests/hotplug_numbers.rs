//! What onlining, refusing and shrinking come to on machines of full size.

use core::num::NonZeroU32;

use pagelab_migrate::allocator::boot::MachineSpec;
use pagelab_migrate::allocator::event::Silent;
use pagelab_migrate::allocator::geometry::Geometry;
use pagelab_migrate::allocator::gfp::ZoneType;
use pagelab_migrate::allocator::hotplug::add::AddMemory;
use pagelab_migrate::allocator::hotplug::caps::{Caps, Origin};
use pagelab_migrate::allocator::hotplug::errno::Errno;
use pagelab_migrate::allocator::hotplug::gate::{Candidate, Driver, Gate, catalogue};
use pagelab_migrate::allocator::hotplug::group::{OnlinePolicy, Scope};
use pagelab_migrate::allocator::hotplug::platform::{
    Arch, AutoOnline, Host as On, MemmapOnMemory, Platform,
};
use pagelab_migrate::allocator::hotplug::printk::{Debugging, Log, RateLimit};
use pagelab_migrate::allocator::hotplug::range::Owner;
use pagelab_migrate::allocator::hotplug::spec::HotplugSpec;
use pagelab_migrate::allocator::hotplug::tdx::{Tdx, TdxMemblock};
use pagelab_migrate::allocator::online::OnlineTo;
use pagelab_migrate::allocator::profile::KernelProfile;
use pagelab_migrate::allocator::units::{NodeId, PageCount, Pfn, PfnRange};
use pagelab_migrate::hotplug::actor::{Actor, Attempts};
use pagelab_migrate::hotplug::dax::DaxDevice;
use pagelab_migrate::hotplug::host::Host;

const MIB: u64 = 1 << 8;
const GIB: u64 = 1 << 18;
const NEAR: NodeId = NodeId::new(0);
const FAR: NodeId = NodeId::new(1);
/// What is added.
const CXL: PfnRange = range(128 * GIB, 192 * GIB);
const FIRST_HALF: PfnRange = range(128 * GIB, 160 * GIB);
const SECOND_HALF: PfnRange = range(160 * GIB, 192 * GIB);

const fn range(start: u64, end: u64) -> PfnRange {
    PfnRange::new(Pfn::new(start), Pfn::new(end))
}

fn gate_of(name: &str) -> &'static dyn Gate {
    catalogue::by_name(name).expect("a gate")
}

/// What is chosen of a machine.
struct Setting {
    gate: &'static str,
    /// GiB at boot.
    boot: u64,
    block: Option<u64>,
    auto: AutoOnline,
    policy: OnlinePolicy,
    log: Log,
    far: PfnRange,
}

impl Setting {
    fn new(gate: &'static str) -> Self {
        let (auto, policy) = (AutoOnline::Offline, OnlinePolicy::ContigZones);
        Self { gate, boot: 32, block: None, auto, policy, log: Log::default(), far: CXL }
    }

    /// A machine with TDX in use; what it may use at run time is `snapshot`, besides boot memory.
    fn build(self, snapshot: &[(PfnRange, NodeId)]) -> Host<Silent> {
        let boot = range(0, self.boot * GIB);
        let (geometry, profile) = (Geometry::PAGES_4K, KernelProfile::V6_12);
        let mut machine = MachineSpec::single(geometry, profile, ZoneType::Normal, boot);
        machine.hotpluggable.push((FAR, self.far));
        let mut platform = Platform::new(Arch::X86, On::BareMetal, Pfn::new(1 << 34));
        platform.block_size = self.block.map(PageCount::new);
        platform.auto_online = self.auto;
        let mut tdx = Tdx::new(vec![boot]);
        let pieces = [(boot, NEAR)].into_iter().chain(snapshot.iter().copied());
        tdx.initialized(pieces.map(|(range, node)| TdxMemblock { range, node }).collect());
        let spec = HotplugSpec {
            tdx: Some(tdx),
            boot_caps: Caps::TEE,
            policy: self.policy,
            ..HotplugSpec::new(platform, gate_of(self.gate), vec![NEAR, FAR])
        };
        let mut host = Host::new(machine, spec, self.log, Silent).expect("a machine");
        let (caps, origin) = (Caps::empty(), Origin::Cxl);
        let of = Candidate { range: self.far, node: FAR, caps, origin };
        host.hot_mut().install(of).expect("a place");
        host
    }
}

fn device(range: PfnRange) -> DaxDevice {
    DaxDevice { ranges: vec![range], node: Some(FAR), memmap: MemmapOnMemory::Off }
}

fn online(host: &mut Host<Silent>, actor: Actor) -> Attempts {
    host.create_dax(&device(CXL), Driver::Kmem).expect("whole blocks");
    let attempts = host.online_range(CXL, actor, OnlineTo::Movable);
    host.check().expect("no page got lost");
    attempts
}

/// Lines that are seen, not shown as of too low a level, and held back.
fn lines(host: &Host<Silent>) -> (usize, u64, u64) {
    let log = host.hot().log();
    (log.visible().len(), log.hidden(), log.suppressed())
}

#[test]
fn q1_rows_1_and_4_how_much_is_said() {
    // GiB at boot, advice by block size, then blocks that are refused.
    for (boot, block, blocks) in [
        (32, None, 512),
        (96, None, 32),
        (96, Some(256 * MIB), 256),
        (96, Some(512 * MIB), 128),
        (96, Some(GIB), 64),
    ] {
        for (actor, vetoes) in [(Actor::Udev, blocks), (Actor::Daxctl, 1)] {
            let mut host = Setting { boot, block, ..Setting::new("tdx-notifier") }.build(&[]);
            let attempts = online(&mut host, actor);
            assert_eq!((attempts.tried, attempts.done), (vetoes, 0));
            assert_eq!(attempts.error, Some(Errno::Perm));
            assert_eq!(host.hot().vetoes().len() as u64, vetoes);
            assert_eq!(lines(&host), (0, vetoes, 0), "{boot} {block:?} {actor:?}");
        }
    }
    let limits = [(RateLimit::None, 512, 0), (RateLimit::Default, 10, 502)];
    for (limit, seen, held) in limits {
        let log = Log::new(Debugging::Off, limit);
        let mut host = Setting { log, ..Setting::new("tdx-notifier-loud") }.build(&[]);
        online(&mut host, Actor::Udev);
        assert_eq!(lines(&host), (seen, 512, held), "row 3");
    }
    let log = Log::new(Debugging::On, RateLimit::None);
    let mut host = Setting { log, ..Setting::new("tdx-notifier") }.build(&[]);
    online(&mut host, Actor::Udev);
    assert_eq!(lines(&host), (512, 0, 0), "with dynamic debug");
}

#[test]
fn q2_row_2_what_refusing_late_costs() {
    let mut host = Setting::new("tdx-notifier").build(&[]);
    online(&mut host, Actor::Udev);
    let late = host.capacity();
    assert_eq!((late.limbo, late.devdax), (CXL.len(), PageCount::ZERO));
    assert_eq!(late.metadata.get(), GIB);
    assert_eq!(host.hot().ids(CXL).filter(|id| host.hot().block(*id).is_some()).count(), 512);
    let mut host = Setting::new("tdx-range").build(&[]);
    let blocks = host.hot().blocks().count();
    assert_eq!(host.create_dax(&device(CXL), Driver::Kmem), Err(Errno::Inval));
    assert_eq!(host.hot().blocks().count(), blocks);
    assert_eq!(host.capacity().metadata, PageCount::ZERO);
    let said: Vec<_> = host.hot().log().visible().iter().map(|line| &line.text[..]).collect();
    assert_eq!(
        said,
        [
            "virt/tdx: Reject hot-adding memory range: 0x2000000000-0x3000000000 for TDX \
         compatibility.",
            "mapping0: 0x2000000000-0x2fffffffff memory add failed",
        ]
    );
    host.devdax_probe(&device(CXL)).expect("a path without a gate");
    assert_eq!(host.capacity().devdax, CXL.len());
    assert_eq!(host.capacity().metadata.get(), GIB / 4);
    host.check().expect("no page got lost");
}

#[test]
fn q4_what_half_a_range_that_fits_is_good_for() {
    let near = [(FIRST_HALF, FAR)];
    let mut host = Setting::new("tdx-notifier").build(&near);
    let attempts = online(&mut host, Actor::Udev);
    assert_eq!((attempts.done, attempts.failed()), (256, 256));
    for (half, done) in [(FIRST_HALF, 256), (SECOND_HALF, 0)] {
        let setting = Setting { auto: AutoOnline::Movable, ..Setting::new("tdx-notifier") };
        let mut host = setting.build(&[(half, FAR)]);
        host.create_dax(&device(CXL), Driver::Kmem).expect("the adder hears nothing");
        let ids = host.hot().ids(CXL);
        let online = ids.filter(|id| host.hot().block(*id).is_some_and(|of| of.is_online()));
        assert_eq!((online.count(), host.hot().vetoes().len()), (done, 1), "{half}");
    }
    let mut host = Setting::new("tdx-range").build(&near);
    host.create_dax(&device(CXL), Driver::Kmem).expect_err("all or nothing");
    host.devdax_probe(&device(CXL)).expect("a device");
    assert_eq!(host.capacity().devdax, CXL.len());
    // Two pieces that touch: each block has one that covers it, the range has none.
    let both = [(FIRST_HALF, FAR), (SECOND_HALF, FAR)];
    let mut host = Setting::new("tdx-notifier").build(&both);
    assert_eq!(online(&mut host, Actor::Udev).done, 512);
    let mut host = Setting::new("tdx-range").build(&both);
    assert_eq!(host.create_dax(&device(CXL), Driver::Kmem), Err(Errno::Inval));
}

#[test]
fn row_5_boot_memory_that_left_comes_back() {
    for gate in ["tdx-notifier", "tdx-range"] {
        let mut host = Setting::new(gate).build(&[]);
        let last = range(32 * GIB - 128 * MIB, 32 * GIB);
        assert_eq!(host.offline_range(last, Actor::Udev).done, 1);
        host.remove_memory(last, Owner::Free).expect("it is offline");
        let (name, memmap) = ("System RAM", MemmapOnMemory::Off);
        let add = AddMemory { range: last, node: NEAR, name, group: None, memmap };
        host.add_memory(add).expect("its claim went with it");
        assert_eq!(host.online_range(last, Actor::Udev, OnlineTo::Default).done, 1, "{gate}");
        host.check().expect("no page got lost");
    }
}

#[test]
fn row_9_nothing_is_added_by_anybody() {
    let mut host = Setting::new("reject-add").build(&[]);
    let memmap = MemmapOnMemory::Off;
    let add = |name| AddMemory { range: CXL, node: FAR, name, group: None, memmap };
    assert_eq!(host.add_memory(add("System RAM")), Err(Errno::Inval));
    assert_eq!(host.add_memory_driver_managed(add("System RAM (kmem)")), Err(Errno::Inval));
    let said = &host.hot().log().visible()[0].text;
    let words = "Unable to add memory [0x2000000000, 0x3000000000) on TDX enabled platform.";
    assert_eq!(said, words);
}

#[test]
fn q7_tails_are_stranded() {
    let odd = range(0x10_5000_0000 >> 12, (0x10_5000_0000 >> 12) + 64 * GIB);
    for (block, lost) in [(128, 0), (256, 0), (512, 512), (1024, 1024), (2048, 2048)] {
        let block = Some(block * MIB);
        let mut host = Setting { block, far: odd, ..Setting::new("ungated") }.build(&[]);
        let bound = host.create_dax(&device(odd), Driver::Kmem);
        assert_eq!(bound, Ok(Driver::Kmem));
        let all = host.capacity();
        assert_eq!(all.stranded.get(), lost * MIB);
        assert_eq!(all.offline + all.stranded, odd.len());
        host.check().expect("no page got lost");
    }
}

#[test]
fn q8_the_zone_of_memory_without_cpus() {
    let ratio = NonZeroU32::new(301).expect("not zero");
    let policy = |scope| OnlinePolicy::AutoMovable { ratio, scope };
    for (boot, scope, expected) in [
        (21, Scope::Machine, ZoneType::Normal),
        (22, Scope::Machine, ZoneType::Movable),
        (21, Scope::Node, ZoneType::Normal),
        (22, Scope::Node, ZoneType::Normal),
    ] {
        let setting = Setting { boot, policy: policy(scope), ..Setting::new("ungated") };
        let mut host = setting.build(&[]);
        host.create_dax(&device(CXL), Driver::Kmem).expect("whole blocks");
        let attempts = host.online_range(CXL, Actor::Udev, OnlineTo::Default);
        assert_eq!(attempts.done, 512);
        let zones = host.emulator().page_alloc().zones().iter();
        let far: Vec<_> = zones
            .filter(|zone| zone.node() == FAR && zone.present() > PageCount::ZERO)
            .map(|zone| (zone.kind(), zone.present()))
            .collect();
        assert_eq!(far, [(expected, CXL.len())], "{boot} GiB, {scope:?}: all of the group");
    }
}

#[test]
fn binding_a_driver_checks_in_this_order() {
    let setting = || Setting { block: Some(2 * GIB), ..Setting::new("tdx-range") };
    let small = range(128 * GIB + 1, 130 * GIB);
    let said = |host: &Host<Silent>| {
        let lines = host.hot().log().visible().iter();
        lines.map(|line| line.text.clone()).collect::<Vec<_>>()
    };
    let mut host = setting().build(&[]);
    let nowhere = DaxDevice { node: None, ..device(small) };
    assert_eq!(host.kmem_probe(&nowhere), Err(Errno::Inval));
    assert_eq!(said(&host), ["rejecting DAX region with invalid node: -1"]);
    let mut host = setting().build(&[]);
    assert_eq!(host.kmem_probe(&device(small)), Err(Errno::Inval));
    assert_eq!(
        said(&host),
        [
            "mapping0: 0x2000001000-0x207fffffff too small after alignment",
            "rejecting DAX region without any memory after alignment",
        ]
    );
    let mut host = setting().build(&[]);
    assert_eq!(host.kmem_probe(&device(CXL)), Err(Errno::Busy), "before the gate is asked");
    let words = "mapping0: 0x2000000000-0x2fffffffff could not reserve region";
    assert_eq!(said(&host), [words]);
}

#[test]
fn what_never_moves_is_found_before_anybody_vetoes() {
    let boot = range(0, GIB);
    let (geometry, profile) = (Geometry::PAGES_4K, KernelProfile::V6_12);
    let mut machine = MachineSpec::single(geometry, profile, ZoneType::Normal, boot);
    machine.cma.push(range(0, 512));
    let spec = HotplugSpec::new(
        Platform::new(Arch::Arm64, On::BareMetal, Pfn::new(1 << 34)),
        gate_of("ungated"),
        vec![NEAR],
    );
    let mut host = Host::new(machine, spec, Log::default(), Silent).expect("a machine");
    let ids: Vec<_> = host.hot().ids(boot).collect();
    assert_eq!(host.offline_block(ids[0]), Err(Errno::Busy), "CMA, though boot memory stays");
    assert_eq!(host.hot().vetoes().len(), 0);
    assert_eq!(host.offline_block(ids[1]), Err(Errno::Perm));
    assert_eq!(host.hot().vetoes().len(), 1);
}
