//! Times memory that comes and goes. Machine: 32 GiB, kernel 6.12, one CPU. Metadata only.
//!
//! * `hotplug/add_online_1TiB`: a device of 1 TiB becomes memory, in blocks of 128 MiB: struct
//!   pages are allocated, every block is created and onlined.
//! * `hotplug/offline_2GiB_half_full`: a block of 2 GiB of which every second page is in use goes
//!   offline, and its 262144 pages go to node 0.
//! * `hotplug/claim_2GiB_half_full`: the same range claimed as a contiguous range.

use std::time::Duration;

use criterion::{BatchSize, Criterion};
use pagelab_allocator::hotplug::caps::{Caps, Origin};
use pagelab_allocator::hotplug::gate::{Candidate, Driver, catalogue};
use pagelab_allocator::hotplug::platform::{Arch, Host as On, MemmapOnMemory, Platform};
use pagelab_allocator::hotplug::printk::Log;
use pagelab_allocator::hotplug::spec::HotplugSpec;
use pagelab_allocator::isolate::IsolateMode;
use pagelab_allocator::online::OnlineTo;
use pagelab_allocator::units::NodeId;
use pagelab_migrate::hotplug::actor::Actor;
use pagelab_migrate::hotplug::dax::DaxDevice;
use pagelab_migrate::hotplug::host::Host;
use pagelab_migrate::prelude::*;

const CPU: CpuId = CpuId::BOOT;
const GIB: u64 = 1 << 18;
const FAR: NodeId = NodeId::new(1);
const DRAM: PfnRange = PfnRange::new(Pfn::new(4 * GIB), Pfn::new(36 * GIB));

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let terabyte = far(1024 * GIB);
    criterion.bench_function("hotplug/add_online_1TiB", |bencher| {
        let add = |mut host: Host| {
            join(&mut host, terabyte);
            host
        };
        // A clone would copy what is never touched.
        bencher.iter_batched(|| host(terabyte, 128), add, BatchSize::PerIteration);
    });
    let block = far(2 * GIB);
    let mut full = host(block, 2048);
    join(&mut full, block);
    half_fill(&mut full, block);
    criterion.bench_function("hotplug/offline_2GiB_half_full", |bencher| {
        let leave = |mut host: Host| {
            let gone = host.offline_range(block, Actor::Udev);
            assert_eq!((gone.done, gone.moved.get()), (1, GIB), "half of it moves");
            host
        };
        bencher.iter_batched(|| full.clone(), leave, BatchSize::PerIteration);
    });
    criterion.bench_function("hotplug/claim_2GiB_half_full", |bencher| {
        let claim = |mut host: Host| {
            let emulator = host.emulator_mut();
            let taken = emulator.claim_range(CPU, block, IsolateMode::Other, GfpFlags::KERNEL);
            assert_eq!(taken.expect("room elsewhere").migrated.get(), GIB);
            host
        };
        bencher.iter_batched(|| full.clone(), claim, BatchSize::PerIteration);
    });
    criterion.final_summary();
}

const fn far(pages: u64) -> PfnRange {
    PfnRange::from_len(Pfn::new(64 * GIB), PageCount::new(pages))
}

/// A machine to which `range` can be added, in blocks of so many MiB.
fn host(range: PfnRange, mib: u64) -> Host {
    let (geometry, profile) = (Geometry::PAGES_4K, KernelProfile::V6_12);
    let mut machine = MachineSpec::single(geometry, profile, ZoneType::Normal, DRAM);
    machine.hotpluggable.push((FAR, range));
    let mut platform = Platform::new(Arch::X86, On::BareMetal, Pfn::new(1 << 34));
    platform.block_size = Some(PageCount::new(mib << 8));
    let spec = HotplugSpec::new(
        platform,
        catalogue::by_name("ungated").expect("a gate"),
        vec![NodeId::new(0), FAR],
    );
    let mut host = Host::new(machine, spec, Log::default(), Silent).expect("a possible machine");
    let (caps, origin) = (Caps::empty(), Origin::Cxl);
    host.hot_mut().install(Candidate { range, node: FAR, caps, origin }).expect("a place");
    host
}

fn join(host: &mut Host, range: PfnRange) {
    let memmap = MemmapOnMemory::Off;
    let dev = DaxDevice { ranges: vec![range], node: Some(FAR), memmap };
    assert_eq!(host.create_dax(&dev, Driver::Kmem), Ok(Driver::Kmem));
    let blocks = host.online_range(range, Actor::Daxctl, OnlineTo::Movable);
    assert_eq!(blocks.error, None);
}

/// Fills a range with single pages, the reserve included, and frees every second one.
fn half_fill(host: &mut Host, range: PfnRange) {
    let mut pages = Vec::new();
    let gfp = GfpFlags::HIGHUSER_MOVABLE | GfpFlags::MEMALLOC;
    while let Ok(id) = host.allocate(Order::ZERO, gfp, &[FAR]) {
        pages.push(id);
    }
    assert_eq!(u64::try_from(pages.len()), Ok(range.len().get()));
    for id in pages {
        if host.emulator().folios()[id].pfn().get().is_multiple_of(2) {
            host.emulator_mut().free(CPU, id);
        }
    }
}
