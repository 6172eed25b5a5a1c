//! Times claims of exact ranges. Machine: 4 GiB, one zone, kernel 6.12, one CPU. Metadata only.
//!
//! * `claim/cma_page`: one page of a CMA area, as the tags of 32 pages need it. Cases: `free`,
//!   `in_use` (a page of a program, which moves away).
//! * `claim/pageblock_half_full`: a pageblock of which a program has every second page.
//! * `claim/gibibyte`: 1 GiB of which a program has every second page, and all of it free.
//!
//! Claims and releases take turns on one machine where nothing moves; where pages move, every claim
//! starts from a clone.

use std::time::Duration;

use criterion::{BatchSize, Criterion};
use pagelab_allocator::{isolate::IsolateMode, migratetype::MigrateType};
use pagelab_migrate::prelude::*;

const CPU: CpuId = CpuId::BOOT;
const MEMORY: PfnRange = PfnRange::new(Pfn::new(0x4_0000), Pfn::new(0x14_0000));
/// 64 MiB.
const CMA: PfnRange = PfnRange::new(Pfn::new(0x13_C000), Pfn::new(0x14_0000));
const GIBIBYTE: PfnRange = PfnRange::new(Pfn::new(0x4_0000), Pfn::new(0x8_0000));

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .configure_from_args();
    let free = machine();
    let full = with_program();
    let page = |start: Pfn| PfnRange::from_len(start, PageCount::new(1));
    let cma = IsolateMode::CmaAlloc(MigrateType::Cma);
    again(&mut criterion, "claim/cma_page/free", &free, page(CMA.start()), cma);
    let used = CMA.iter().find(|&pfn| is_used(&full, pfn));
    let used = used.expect("the program has pages of the area");
    once(&mut criterion, "claim/cma_page/in_use", &full, page(used), cma);
    let block = PfnRange::from_len(Pfn::new(0x6_0000), PageCount::new(512));
    once(&mut criterion, "claim/pageblock_half_full", &full, block, IsolateMode::Other);
    again(&mut criterion, "claim/gibibyte/free", &free, GIBIBYTE, IsolateMode::Other);
    once(&mut criterion, "claim/gibibyte/half_full", &full, GIBIBYTE, IsolateMode::Other);
    criterion.final_summary();
}

fn machine() -> Emulator {
    let (geometry, profile) = (Geometry::PAGES_4K, KernelProfile::V6_12);
    let mut machine = MachineSpec::single(geometry, profile, ZoneType::Normal, MEMORY);
    machine.cma = vec![CMA];
    Emulator::new(&EmulatorSpec { machine, tags: None }, Silent).expect("a possible machine")
}

/// A program that filled memory and gave every second page back.
fn with_program() -> Emulator {
    let mut emulator = machine();
    let space = emulator.create_space();
    let range = VirtRange::from_len(VirtPage::new(0x1000), MEMORY.len().get());
    emulator.mmap(space, range, Prot::READ_WRITE, Backing::Anon).expect("an empty space");
    let mut touched = range.iter();
    while touched
        .next()
        .is_some_and(|page| emulator.access(CPU, space, page, Access::Write).is_ok())
    {}
    for page in range.iter().step_by(2) {
        let single = VirtRange::from_len(page, 1);
        emulator.madvise_dontneed(CPU, space, single).expect("a mapped page");
    }
    emulator
}

fn is_used(emulator: &Emulator, pfn: Pfn) -> bool {
    matches!(emulator.frame(pfn), pagelab_allocator::frame::Frame::Allocated { .. })
}

/// A claim and its release.
fn again(
    criterion: &mut Criterion,
    name: &str,
    emulator: &Emulator,
    range: PfnRange,
    mode: IsolateMode,
) {
    let mut emulator = emulator.clone();
    criterion.bench_function(name, |bencher| {
        bencher.iter(|| {
            let taken = emulator.claim_range(CPU, range, mode, GfpFlags::KERNEL);
            emulator.release_range(CPU, taken.expect("a free range").range);
        });
    });
}

/// A claim that moves pages.
fn once(
    criterion: &mut Criterion,
    name: &str,
    emulator: &Emulator,
    range: PfnRange,
    mode: IsolateMode,
) {
    criterion.bench_function(name, |bencher| {
        let claim = |mut emulator: Emulator| {
            let taken = emulator.claim_range(CPU, range, mode, GfpFlags::KERNEL);
            assert!(taken.is_ok_and(|taken| taken.migrated > PageCount::ZERO), "nothing moved");
            emulator
        };
        bencher.iter_batched(|| emulator.clone(), claim, BatchSize::PerIteration);
    });
}
