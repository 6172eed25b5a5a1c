//! The order of checks: a call that breaks several rules at once fails with the first one's error
//! and words.

use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::event::Silent;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::{GfpFlags, ZoneType};
use pagelab_allocator::hotplug::add::AddMemory;
use pagelab_allocator::hotplug::caps::{Caps, Origin};
use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::hotplug::gate::{Candidate, Gate, catalogue};
use pagelab_allocator::hotplug::group::{GroupId, Groups};
use pagelab_allocator::hotplug::memory_block::{BlockId, BlockState, Refused};
use pagelab_allocator::hotplug::memory_hotplug::MemoryHotplug;
use pagelab_allocator::hotplug::pagemap::{
    PagemapKind, PagemapMemmap, PagemapOps, Provided, Remap,
};
use pagelab_allocator::hotplug::platform::{Arch, Host, MemmapOnMemory, Mte, Phase, Platform};
use pagelab_allocator::hotplug::printk::{Debugging, Log, RateLimit};
use pagelab_allocator::hotplug::range::Owner;
use pagelab_allocator::hotplug::spec::HotplugSpec;
use pagelab_allocator::hotplug::tdx::{Tdx, TdxMemblock};
use pagelab_allocator::online::OnlineTo;
use pagelab_allocator::page_alloc::{AllocRequest, PageAllocator};
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::smp::hotplug::SharedHotplug;
use pagelab_allocator::units::{CpuId, NodeId, Order, PageCount, Pfn, PfnRange};
use pagelab_allocator::zone::ZoneSpec;

const MIB: u64 = 1 << 8;
const GIB: u64 = 1 << 18;
/// Pages of a memory block.
const BLOCK: u64 = 128 * MIB;
const CPU: CpuId = CpuId::BOOT;
const FAR: NodeId = NodeId::new(1);
const ELSEWHERE: NodeId = NodeId::new(7);
/// Half a GiB of it can be mapped, a quarter may be added while the machine boots, and its first
/// block was.
const CXL: PfnRange = range(8 * GIB, 9 * GIB);
const ADDED: PfnRange = range(8 * GIB, 8 * GIB + BLOCK);
const NEXT: PfnRange = range(8 * GIB + BLOCK, 8 * GIB + 2 * BLOCK);

const fn range(start: u64, end: u64) -> PfnRange {
    PfnRange::new(Pfn::new(start), Pfn::new(end))
}

/// A gate by its name.
fn gate_of(name: &str) -> &'static dyn Gate {
    catalogue::by_name(name).expect("a gate")
}

struct Machine {
    alloc: PageAllocator<Silent>,
    hot: MemoryHotplug,
}

impl Machine {
    fn new(gate: &str) -> Self {
        let (near, odd) = (NodeId::new(0), BLOCK / 2);
        let dram = range(4 * GIB, 5 * GIB - odd);
        let (geometry, profile) = (Geometry::PAGES_4K, KernelProfile::V6_12);
        let mut spec = MachineSpec::single(geometry, profile, ZoneType::Normal, dram);
        // The second block belongs to two zones, the last one is half a hole.
        let cut = 4 * GIB + BLOCK + odd;
        let zone = |kind, span| ZoneSpec { kind, node: near, span };
        spec.zones = vec![
            zone(ZoneType::Dma32, range(4 * GIB, cut)),
            zone(ZoneType::Normal, range(cut, 5 * GIB - odd)),
        ];
        spec.hotpluggable.push((FAR, CXL));
        let alloc = PageAllocator::boot(&spec, Silent).expect("a possible machine");
        let mut platform = Platform::new(Arch::X86, Host::BareMetal, Pfn::new(1 << 34));
        platform.mappable = range(0, 8 * GIB + GIB / 2);
        platform.mem_limit = Some(NEXT.end());
        platform.mte = Mte::On;
        // Until there is a snapshot, nothing keeps the first block out.
        let mut tdx = Tdx::new(vec![dram, CXL]);
        tdx.initialized(Vec::new());
        let hotplug = HotplugSpec {
            tdx: Some(tdx),
            boot_caps: Caps::TEE,
            ..HotplugSpec::new(platform, gate_of(gate), vec![near, FAR])
        };
        let log = Log::new(Debugging::On, RateLimit::None);
        let hot = MemoryHotplug::at_boot(&alloc, hotplug, &[(near, dram)], log);
        let mut machine = Self { alloc, hot };
        let (caps, origin) = (Caps::empty(), Origin::Cxl);
        machine.hot.install(Candidate { range: CXL, node: FAR, caps, origin }).expect("a place");
        machine.add(&Call { range: ADDED, ..GOOD }).expect("nothing against it yet");
        let snapshot = vec![TdxMemblock { range: dram, node: near }];
        machine.hot.tdx_mut().expect("TDX").initialized(snapshot);
        machine
    }

    fn add(&mut self, call: &Call) -> Result<(), Errno> {
        let Call { name, range, group, node } = *call;
        let memmap = MemmapOnMemory::Off;
        let add = AddMemory { range, node, name, group, memmap };
        self.hot.add_memory_driver_managed(&mut self.alloc, CPU, add)
    }

    fn remap(&mut self, ranges: &[PfnRange], kind: PagemapKind, ops: PagemapOps) -> Said {
        let (ranges, memmap) = (ranges.to_vec(), PagemapMemmap::Whole);
        let remap = Remap { ranges, node: NodeId::new(0), kind, ops, memmap };
        self.says(|this| this.hot.memremap_pages(&mut this.alloc, CPU, &remap))
    }

    fn online(&mut self, id: BlockId) -> Said {
        self.says(|this| this.hot.online_block(&mut this.alloc, id, OnlineTo::Default))
    }

    fn remove(&mut self, range: PfnRange, to: Owner) -> Said {
        self.says(|this| this.hot.remove_memory(&mut this.alloc, CPU, range, to))
    }

    fn offline(&mut self, id: BlockId) -> Said {
        self.says(|this| this.hot.start_offline(&this.alloc, id).map(drop))
    }

    /// What a call returns and prints; no page may get lost.
    fn says(&mut self, call: impl FnOnce(&mut Self) -> Result<(), Errno>) -> Said {
        let before = self.hot.log().visible().len();
        let result = call(self);
        self.alloc.check().expect("sound lists");
        self.hot.check(&self.alloc).expect("no page got lost");
        let lines = &self.hot.log().visible()[before..];
        (result, lines.iter().map(|line| line.text.clone()).collect())
    }

    fn id(&self, range: PfnRange) -> BlockId {
        self.hot.ids(range).next().expect("a block")
    }
}

/// What a call returned and printed.
type Said = (Result<(), Errno>, Vec<String>);

fn no(errno: Errno, lines: &[&str]) -> Said {
    (Err(errno), lines.iter().map(|line| (*line).to_owned()).collect())
}

/// A call of `add_memory_driver_managed()`.
#[derive(Clone, Copy)]
struct Call {
    name: &'static str,
    range: PfnRange,
    group: Option<GroupId>,
    node: NodeId,
}

const GOOD: Call = Call { name: "System RAM (kmem)", range: NEXT, group: None, node: FAR };

/// A group that the machine has not.
fn strange_group() -> Option<GroupId> {
    Some(Groups::default().register(FAR, PageCount::new(BLOCK)))
}

#[test]
fn adding_checks_in_this_order() {
    let bad = Call { name: "memory", range: NEXT, group: strange_group(), node: ELSEWHERE };
    let name = GOOD.name;
    let far_end = 8 * GIB + 6 * BLOCK + 1;
    // Each call breaks its own rule and all that come after it.
    for (gate, call, expected) in [
        ("tdx-range", Call { range: range(8 * GIB, far_end), ..bad }, no(Errno::Inval, &[])),
        (
            "tdx-range",
            Call { name, range: range(8 * GIB, far_end), ..bad },
            no(
                Errno::TooBig,
                &["Hotplug memory [0x200000000-0x230001000] exceeds maximum \
                 addressable range [0x0-0x21fffffff]"],
            ),
        ),
        (
            "tdx-range",
            Call { name, range: range(8 * GIB, 8 * GIB + 2 * BLOCK + 1), ..bad },
            no(Errno::TooBig, &[]),
        ),
        (
            "tdx-range",
            Call { name, range: range(8 * GIB, 8 * GIB + BLOCK + 1), ..bad },
            no(Errno::Exist, &["Unable to reserve System RAM region"]),
        ),
        (
            "tdx-range",
            Call { name, range: range(8 * GIB + BLOCK, 8 * GIB + 2 * BLOCK - 1), ..bad },
            no(
                Errno::Inval,
                &["Block size [0x8000000] unaligned hotplug range: \
                 start 0x208000000, size 0x7fff000"],
            ),
        ),
        (
            "tdx-range",
            Call { name, ..bad },
            no(
                Errno::Inval,
                &["virt/tdx: Reject hot-adding memory range: \
                 0x208000000-0x210000000 for TDX compatibility."],
            ),
        ),
        ("ungated", Call { name, ..bad }, no(Errno::Inval, &[])),
        (
            "ungated",
            Call { name, group: None, ..bad },
            no(Errno::Inval, &["node 7 was absent from the node_possible_map"]),
        ),
        ("ungated", GOOD, (Ok(()), vec![])),
    ] {
        let mut machine = Machine::new(gate);
        machine.hot.set_phase(Phase::Booting);
        assert_eq!(machine.says(|this| this.add(&call)), expected, "{gate}");
    }
}

#[test]
fn a_gate_under_the_lock_is_asked_after_everything_else() {
    let mut machine = Machine::new("tdx-range-locked");
    let nowhere = Call { node: ELSEWHERE, ..GOOD };
    let absent = "node 7 was absent from the node_possible_map";
    assert_eq!(machine.says(|this| this.add(&nowhere)), no(Errno::Inval, &[absent]));
    let rejecting = "virt/tdx: Rejecting incompatible memory range: 0x208000000-0x210000000";
    assert_eq!(machine.says(|this| this.add(&GOOD)), no(Errno::Inval, &[rejecting]));
    assert_eq!(machine.hot.vetoes().len(), 1);
}

#[test]
fn a_devices_memory_is_claimed() {
    let mut machine = Machine::new("ungated");
    machine.hot.give(NEXT, Owner::DaxIdle).unwrap();
    machine.hot.give(NEXT, Owner::Devdax).unwrap();
    let taken = "Unable to reserve System RAM region";
    assert_eq!(machine.says(|this| this.add(&GOOD)), no(Errno::Exist, &[taken]));
    machine.hot.give(NEXT, Owner::DaxIdle).unwrap();
    machine.remap(&[NEXT], PagemapKind::Generic, PagemapOps::default()).0.unwrap();
    assert_eq!(machine.says(|this| this.add(&GOOD)), no(Errno::Exist, &[]), "struct pages");
    machine.hot.memunmap_pages(&mut machine.alloc, CPU, NEXT);
    assert_eq!(machine.says(|this| this.add(&GOOD)), (Ok(()), vec![]));
}

#[test]
fn memremap_pages_checks_in_this_order() {
    let last = 8 * GIB + 6 * BLOCK + 1;
    let mapped = range(8 * GIB - 512, 8 * GIB);
    let (ops, generic) = (PagemapOps::default(), PagemapKind::Generic);
    let exceeds = "Hotplug memory [0x208000000-0x230001000] exceeds maximum addressable range \
                   [0x0-0x21fffffff]";
    let conflict = "Conflicting mapping in same section";
    for (kind, range, expected) in [
        (PagemapKind::Private, range(8 * GIB - 512, last), no(Errno::Inval, &[])),
        (PagemapKind::Coherent, range(8 * GIB - 512, last), no(Errno::Inval, &[])),
        (generic, range(8 * GIB - 512, last), no(Errno::NoMem, &[conflict])),
        (
            generic,
            range(8 * GIB, last),
            no(Errno::NxIo, &["attempted on mixed region 0x200000000-0x230000fff"]),
        ),
        (
            generic,
            range(8 * GIB, 8 * GIB + 1),
            no(Errno::NxIo, &["attempted on ram region 0x200000000-0x200000fff"]),
        ),
        (generic, range(8 * GIB + BLOCK, last), no(Errno::Inval, &[exceeds])),
        (generic, range(8 * GIB + BLOCK, 8 * GIB + 2 * BLOCK - 1), no(Errno::Inval, &[])),
        (generic, range(8 * GIB - 1024, 8 * GIB - 512), (Ok(()), vec![])),
    ] {
        let mut machine = Machine::new("ungated");
        machine.remap(&[mapped], generic, ops).0.expect("nobody has it");
        assert_eq!(machine.remap(&[range], kind, ops), expected, "{range} {kind:?}");
    }
}

#[test]
fn what_surrounds_other_struct_pages_has_no_conflict_at_its_ends() {
    let mut machine = Machine::new("ungated");
    let (ops, generic) = (PagemapOps::default(), PagemapKind::Generic);
    let inner = range(8 * GIB + BLOCK + 512, 8 * GIB + BLOCK + 1024);
    machine.remap(&[inner], generic, ops).0.expect("nobody has it");
    assert_eq!(machine.remap(&[NEXT], generic, ops), no(Errno::Exist, &[]));
    assert_eq!(machine.hot.pagemaps().len(), 1);
}

#[test]
fn a_gate_on_device_memory_is_asked_between_addresses_and_sections() {
    let ops = PagemapOps::default();
    for (range, vetoes) in [
        (range(8 * GIB + BLOCK, 8 * GIB + 6 * BLOCK + 1), 0),
        (range(8 * GIB + BLOCK, 8 * GIB + 2 * BLOCK - 1), 1),
    ] {
        let mut machine = Machine::new("no-memremap");
        let (result, _) = machine.remap(&[range], PagemapKind::Generic, ops);
        assert_eq!((result, machine.hot.vetoes().len()), (Err(Errno::Inval), vetoes), "{range}");
    }
}

#[test]
fn a_device_gives_its_memory_back_when_struct_pages_find_no_room() {
    let Machine { mut alloc, mut hot } = Machine::new("ungated");
    hot.give(NEXT, Owner::DaxIdle).unwrap();
    let request = AllocRequest::new(Order::of(3), GfpFlags::KERNEL);
    while let Ok(pages) = alloc.alloc_pages(CPU, &request) {
        let _ = pages.into_raw();
    }
    let shared = SharedHotplug::new(hot, alloc);
    let (kind, ops) = (PagemapKind::Generic, PagemapOps::default());
    let (ranges, memmap) = (vec![NEXT], PagemapMemmap::Whole);
    let remap = Remap { ranges, node: NodeId::new(0), kind, ops, memmap };
    assert_eq!(shared.memremap_pages(&remap), Err(Errno::NoMem));
    shared.with(|hot, alloc| {
        assert!(hot.ranges().is_owned(NEXT, |owner| owner == Owner::DaxIdle));
        assert!(hot.pagemaps().is_empty());
        hot.check(alloc).expect("no page got lost");
    });
}

#[test]
fn device_private_memory_need_not_be_mapped() {
    let mut machine = Machine::new("ungated");
    let yes = Provided::Yes;
    let ops = PagemapOps { migrate_to_ram: yes, page_free: yes, owner: yes };
    let above = range(16 * GIB, 16 * GIB + 512);
    assert_eq!(machine.remap(&[above], PagemapKind::Private, ops), (Ok(()), vec![]));
    let exceeds = "Hotplug memory [0x400200000-0x400400000] exceeds maximum addressable range \
                   [0x0-0x21fffffff]";
    let next = range(16 * GIB + 512, 16 * GIB + 1024);
    let coherent = machine.remap(&[next], PagemapKind::Coherent, ops);
    assert_eq!(coherent, no(Errno::Inval, &[exceeds]), "not E2BIG as when adding");
    // Struct pages of the device itself: for one range only.
    let (ranges, memmap) = (vec![next, ADDED], PagemapMemmap::Altmap);
    let remap = Remap { ranges, node: FAR, kind: PagemapKind::Private, ops, memmap };
    let said = machine.says(|this| this.hot.memremap_pages(&mut this.alloc, CPU, &remap));
    assert_eq!(said, no(Errno::Inval, &[]));
}

#[test]
fn onlining_checks_in_this_order() {
    let failed = "online_pages [mem 0x200000000-0x207ffffff] failed";
    let mut machine = Machine::new("tdx-notifier");
    let (id, boot) = (machine.id(ADDED), machine.id(range(4 * GIB, 4 * GIB + BLOCK)));
    assert_eq!(machine.online(machine.id(NEXT)), no(Errno::NxIo, &[]));
    machine.hot.count_poison(boot);
    assert_eq!(machine.online(boot), no(Errno::Inval, &[]), "it is online, and poisoned");
    assert_eq!(machine.online(id), no(Errno::Perm, &[failed]));
    assert_eq!(machine.hot.phases().cancel_online, 1);
    let block = machine.hot.block(id).expect("it was added");
    assert_eq!((block.state, block.refused), (BlockState::Offline, Refused::Yes));
    machine.hot.count_poison(id);
    assert_eq!(machine.online(id), no(Errno::HwPoison, &[]));
    assert_eq!((machine.hot.phases().going_online, machine.hot.vetoes().len()), (1, 1));
}

#[test]
fn removal_checks_in_this_order() {
    let mut machine = Machine::new("ungated");
    let boot = range(4 * GIB, 4 * GIB + BLOCK);
    let odd = range(4 * GIB, 4 * GIB + BLOCK + 1);
    assert_eq!(machine.remove(odd, Owner::Leaked), no(Errno::Inval, &[]));
    assert_eq!(machine.remove(NEXT, Owner::Leaked), no(Errno::Inval, &[]), "it is not there");
    let online = "removing memory fails, because memory [0x100000000-0x107ffffff] is onlined";
    assert_eq!(machine.remove(boot, Owner::Leaked), no(Errno::Busy, &[online]));
    assert_eq!(machine.remove(ADDED, Owner::Leaked), no(Errno::Inval, &[]));
    assert_eq!(machine.remove(ADDED, Owner::DaxIdle), (Ok(()), vec![]));
    let again = Call { range: ADDED, ..GOOD };
    assert_eq!(machine.says(|this| this.add(&again)), (Ok(()), vec![]), "its claim is gone");
}

#[test]
fn offlining_checks_in_this_order() {
    let mut machine = Machine::new("ungated");
    let at = |block: u64| BlockId::new((4 * GIB) / BLOCK + block);
    let failed = |from: &str, why| {
        let text = format!("memory offlining [mem {from}] failed due to {why}");
        (Err(Errno::Inval), vec![text])
    };
    assert_eq!(machine.offline(machine.id(NEXT)), no(Errno::NxIo, &[]));
    assert_eq!(machine.offline(machine.id(ADDED)), no(Errno::Inval, &[]), "it is offline");
    let holes = failed("0x138000000-0x13fffffff", "memory holes");
    assert_eq!(machine.offline(at(7)), holes);
    let zones = failed("0x108000000-0x10fffffff", "multizone range");
    assert_eq!(machine.offline(at(1)), zones);
    assert_eq!(machine.offline(at(2)), (Ok(()), vec![]));
    assert_eq!(machine.hot.phases().cancel_offline, 0, "nobody was told that it was going");
}
