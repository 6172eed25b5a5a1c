//! Memory that is added, onlined, offlined and removed.

use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::event::Silent;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::{GfpFlags, ZoneType};
use pagelab_allocator::hotplug::add::AddMemory;
use pagelab_allocator::hotplug::caps::{Caps, Origin};
use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::hotplug::gate::{Candidate, catalogue};
use pagelab_allocator::hotplug::memory_block::BlockId;
use pagelab_allocator::hotplug::memory_hotplug::MemoryHotplug;
use pagelab_allocator::hotplug::platform::{Arch, Host, MemmapOnMemory, Platform};
use pagelab_allocator::hotplug::printk::Log;
use pagelab_allocator::hotplug::range::Owner;
use pagelab_allocator::hotplug::spec::HotplugSpec;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::online::OnlineTo;
use pagelab_allocator::page_alloc::{AllocRequest, PageAllocator};
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::{CpuId, NodeId, Order, PageCount, Pfn, PfnRange};
use pagelab_allocator::watermark::Tunables;

const MIB: u64 = 1 << 8;
const DRAM: PfnRange = PfnRange::new(Pfn::new(4096 * MIB), Pfn::new(5120 * MIB));
const CXL: PfnRange = PfnRange::new(Pfn::new(8192 * MIB), Pfn::new(9216 * MIB));
const CPU: CpuId = CpuId::BOOT;
const FAR: NodeId = NodeId::new(1);

struct Machine {
    alloc: PageAllocator<Silent>,
    hot: MemoryHotplug,
}

impl Machine {
    fn new(profile: KernelProfile, settings: impl FnOnce(&mut Platform)) -> Self {
        let mut spec = MachineSpec::single(Geometry::PAGES_4K, profile, ZoneType::Normal, DRAM);
        spec.hotpluggable.push((FAR, CXL));
        let alloc = PageAllocator::boot(&spec, Silent).expect("a possible machine");
        let mut platform = Platform::new(Arch::X86, Host::BareMetal, Pfn::new(1 << 34));
        settings(&mut platform);
        let hotplug = HotplugSpec {
            boot_caps: Caps::VOLATILE,
            ..HotplugSpec::new(
                platform,
                catalogue::by_name("ungated").expect("a gate"),
                vec![NodeId::new(0), FAR],
            )
        };
        let memory = [(NodeId::new(0), DRAM)];
        let mut hot = MemoryHotplug::at_boot(&alloc, hotplug, &memory, Log::default());
        let caps = Caps::VOLATILE;
        hot.install(Candidate { range: CXL, node: FAR, caps, origin: Origin::Cxl })
            .expect("a place");
        Self { alloc, hot }
    }

    fn add(&mut self, range: PfnRange, memmap: MemmapOnMemory) -> Result<(), Errno> {
        let name = "System RAM (kmem)";
        let add = AddMemory { range, node: FAR, name, group: None, memmap };
        let added = self.hot.add_memory_driver_managed(&mut self.alloc, CPU, add);
        self.check();
        added
    }

    fn online(&mut self, id: BlockId, to: OnlineTo) -> Result<(), Errno> {
        let done = self.hot.online_block(&mut self.alloc, id, to);
        self.check();
        done
    }

    fn ids(&self) -> Vec<BlockId> {
        self.hot.ids(CXL).collect()
    }

    fn check(&self) {
        self.alloc.check().expect("sound lists");
        self.hot.check(&self.alloc).expect("no page got lost");
    }

    fn free_far(&self) -> PageCount {
        let far = self.alloc.zones().iter().filter(|zone| zone.node() == FAR);
        far.map(|zone| zone.free_pages().all).sum()
    }
}

const PROFILES: [KernelProfile; 2] = [KernelProfile::V6_1, KernelProfile::V6_12];

#[test]
fn onlining_hands_the_largest_chunks_over_as_movable() {
    for profile in PROFILES {
        let mut machine = Machine::new(profile, |_| {});
        machine.add(CXL, MemmapOnMemory::Off).unwrap();
        assert_eq!(machine.hot.capacity().metadata, PageCount::new(16 * MIB), "1/64");
        let ids = machine.ids();
        assert_eq!(ids.len(), 8);
        machine.online(ids[0], OnlineTo::Default).unwrap();
        let zone = machine.alloc.zone_of(CXL.start()).unwrap();
        assert_eq!((zone.kind(), zone.node()), (ZoneType::Normal, FAR));
        assert_eq!(zone.buddy().nr_free(Order::of(10)), 32);
        let movable = zone.buddy().free_list(Order::of(10), MigrateType::Movable).count();
        assert_eq!(movable, 32, "MOVABLE in ZONE_NORMAL, too");
        assert_eq!(zone.managed(), PageCount::new(128 * MIB));
        assert!(zone.watermarks().min > PageCount::ZERO);
        let request = AllocRequest { node: FAR, ..AllocRequest::new(Order::ZERO, GfpFlags::USER) };
        let page = machine.alloc.alloc_pages(CPU, &request).unwrap();
        assert!(CXL.contains(page.pfn()));
        machine.alloc.free_pages(CPU, page);
        machine.check();
    }
}

#[test]
fn a_block_that_holds_its_own_struct_pages_has_126_mib_left() {
    for profile in PROFILES {
        let settings = |platform: &mut Platform| platform.memmap_on_memory = MemmapOnMemory::On;
        let mut machine = Machine::new(profile, settings);
        machine.add(CXL, MemmapOnMemory::On).unwrap();
        machine.online(machine.ids()[0], OnlineTo::Movable).unwrap();
        let zone = machine.alloc.zone_of(CXL.start()).unwrap();
        assert_eq!(zone.kind(), ZoneType::Movable);
        assert_eq!((zone.present().get(), zone.managed().get()), (128 * MIB, 126 * MIB));
        let free = [9, 10].map(|order| zone.buddy().nr_free(Order::of(order)));
        assert_eq!(free, [1, 31]);
        assert_eq!(zone.buddy().migratetype(CXL.start()), MigrateType::Unmovable);
    }
}

#[test]
fn memory_comes_and_goes_and_nothing_is_lost() {
    for profile in PROFILES {
        let mut machine = Machine::new(profile, |_| {});
        let before = machine.hot.capacity();
        machine.add(CXL, MemmapOnMemory::Off).unwrap();
        for id in machine.ids() {
            machine.online(id, OnlineTo::Movable).unwrap();
        }
        assert_eq!(machine.free_far(), CXL.len());
        let removed = machine.hot.remove_memory(&mut machine.alloc, CPU, CXL, Owner::DaxIdle);
        assert_eq!(removed, Err(Errno::Busy));
        for id in machine.ids().into_iter().rev() {
            let going = machine.hot.start_offline(&machine.alloc, id).unwrap();
            let mode = pagelab_allocator::isolate::IsolateMode::MemOffline;
            machine.alloc.start_isolate(going.given(), mode).unwrap();
            machine.hot.going_offline(id).unwrap();
            let tunables = Tunables::default();
            machine.alloc.finish_offline(going.range, going.memmap, &tunables).unwrap();
            machine.hot.finish_offline(id);
            machine.check();
        }
        assert_eq!(machine.free_far(), PageCount::ZERO);
        machine.hot.remove_memory(&mut machine.alloc, CPU, CXL, Owner::DaxIdle).unwrap();
        machine.check();
        assert_eq!(machine.hot.capacity(), before);
        let text = &machine.hot.log().visible()[0].text;
        assert_eq!(
            text,
            "removing memory fails, because memory [0x200000000-0x23fffffff] is onlined"
        );
    }
}

/// Memory of an accelerator: what its driver has to provide depends on what the memory is for.
#[test]
fn row_37_kinds_of_device_memory() {
    use pagelab_allocator::hotplug::pagemap::{
        PagemapKind, PagemapMemmap, PagemapOps, Provided, Remap,
    };
    let none = PagemapOps::default();
    let coherent = PagemapOps { page_free: Provided::Yes, owner: Provided::Yes, ..none };
    let private = PagemapOps { migrate_to_ram: Provided::Yes, ..coherent };
    use PagemapKind::{Coherent, FsDax, Generic, Private};
    for (kind, ops, accepted) in [
        (Generic, none, true),
        (FsDax, none, true),
        (Coherent, none, false),
        (Coherent, coherent, true),
        (Private, coherent, false),
        (Private, private, true),
    ] {
        let mut machine = Machine::new(KernelProfile::V6_12, |_| {});
        machine.hot.give(CXL, Owner::DaxIdle).unwrap();
        let remap = Remap { ranges: vec![CXL], node: FAR, kind, ops, memmap: PagemapMemmap::Whole };
        let done = machine.hot.memremap_pages(&mut machine.alloc, CPU, &remap);
        let expected = if accepted { Ok(()) } else { Err(Errno::Inval) };
        assert_eq!(done, expected, "{kind:?} {ops:?}");
        machine.check();
        assert_eq!(machine.free_far(), PageCount::ZERO, "never the page allocator's");
    }
}

#[test]
#[should_panic(expected = "no power of two of pageblocks")]
fn blocks_of_half_a_pageblock_are_refused() {
    let _ = Machine::new(KernelProfile::V6_12, |platform| {
        platform.block_size = Some(PageCount::new(256));
    });
}

#[test]
#[should_panic(expected = "no power of two of pageblocks")]
fn blocks_of_three_pageblocks_are_refused() {
    let _ = Machine::new(KernelProfile::V6_12, |platform| {
        platform.block_size = Some(PageCount::new(3 * 512));
    });
}
