//! Machines and requests that make no sense are refused by name, under every design.

use std::sync::Arc;

use pagelab_allocator::boot::{BootError, MachineSpec};
use pagelab_allocator::event::Silent;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::{GfpFlags, ZoneType};
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::{CpuId, Order, PageCount, Pfn, PfnRange};
use pagelab_migrate::alloc::FailureCause;
use pagelab_migrate::emulator::{AllocateError, Emulator, EmulatorSpec, SpecError, TagSpec};
use pagelab_migrate::tag_storage::catalogue::Design;
use pagelab_migrate::tag_storage::cma::CmaV3;
use pagelab_migrate::tag_storage::design::{Residence, TagStorageDesign};
use pagelab_migrate::tag_storage::formula::Formula;
use pagelab_migrate::tag_storage::region::RegionError;

fn range(start: u64, len: u64) -> PfnRange {
    PfnRange::from_len(Pfn::new(start), PageCount::new(len))
}

fn designs() -> impl Iterator<Item = Arc<dyn TagStorageDesign>> {
    Design::ALL.into_iter().map(Design::build)
}

/// Designs that need no zone of their own.
fn in_ordinary_zones() -> impl Iterator<Item = Arc<dyn TagStorageDesign>> {
    designs().filter(|d| !matches!(d.residence(), Residence::Zone(_) | Residence::Node(_)))
}

/// 64 MiB from 1 GiB.
const MEMORY: u64 = 0x4000;
const BASE: u64 = 0x4_0000;

fn spec(
    (data, tags): (PfnRange, PfnRange),
    block_size: u64,
    design: Arc<dyn TagStorageDesign>,
) -> EmulatorSpec {
    let (geometry, profile) = (Geometry::PAGES_4K, KernelProfile::V6_1);
    let machine = MachineSpec::single(geometry, profile, ZoneType::Dma, range(BASE, MEMORY));
    let tags =
        TagSpec { regions: vec![(data, tags)], block_size, formula: Formula::Intent, design };
    EmulatorSpec { machine, tags: Some(tags) }
}

#[track_caller]
fn refused(region: (PfnRange, PfnRange), block_size: u64, expected: RegionError, words: &str) {
    for design in designs() {
        let error = Emulator::new(&spec(region, block_size, design), Silent)
            .expect_err("impossible tag storage");
        assert_eq!(error, SpecError::Region(expected));
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn impossible_tag_storage_is_refused() {
    let (data, tags) = (range(BASE, 0x3e00), range(BASE + 0x3e00, 0x200));
    let inside = range(BASE + 0x2000, 0x200);
    refused((data, inside), 4096, RegionError::Overlap(inside), "overlaps");
    let partial = RegionError::PartialBlock { tags, block_pages: PageCount::new(3) };
    refused((data, tags), 3 << 12, partial, "is not a multiple of 3 pages");
    refused((data, tags), 6000, RegionError::BlockSize(6000), "not a multiple of 4 KiB");
    refused((data, tags), 0, RegionError::BlockSize(0), "not a multiple of 4 KiB");
    let odd = range(BASE + 0x3d80, 0x200);
    let below = range(BASE, 0x3c00);
    refused((below, odd), 4096, RegionError::Unaligned(odd), "not aligned to pageblocks");
    let short = range(BASE + 0x3e00, 0x100);
    let too_small = RegionError::TooSmall { data, tags: short };
    refused((data, short), 4096, too_small, "too small for data");
    refused((data, range(BASE, 0)), 4096, RegionError::Empty, "without pages");
}

#[test]
fn tag_storage_must_be_memory() {
    let outside = range(BASE + MEMORY, 0x200);
    for design in in_ordinary_zones() {
        let region = (range(BASE, MEMORY), outside);
        let error = Emulator::new(&spec(region, 4096, design), Silent).unwrap_err();
        assert_eq!(error, SpecError::Boot(BootError::NotMemory(outside)));
    }
}

#[test]
fn requests_that_nothing_can_serve_take_nothing() {
    let region = (range(BASE, 0x3e00), range(BASE + 0x3e00, 0x200));
    for design in in_ordinary_zones() {
        let mut emulator = Emulator::new(&spec(region, 4096, design), Silent).unwrap();
        let free = |e: &Emulator| e.page_alloc().zones()[0].free_pages().all;
        emulator.drain();
        let before = free(&emulator);
        for order in (11..=15).map(Order::of) {
            let Err(AllocateError::Alloc(failure)) =
                emulator.allocate(CpuId::BOOT, order, GfpFlags::KERNEL)
            else {
                panic!("order {order} served")
            };
            assert_eq!(failure.cause, FailureCause::OrderTooLarge(Order::of(10)));
        }
        for count in [0, MEMORY, MEMORY + 1, u64::from(u32::MAX)] {
            let got = emulator.alloc_contig_pages(CpuId::BOOT, PageCount::new(count));
            assert!(got.is_err(), "{count} pages");
        }
        emulator.drain();
        emulator.check().unwrap();
        assert_eq!(free(&emulator), before);
    }
}

#[test]
fn contiguous_ranges_of_any_length_come_back() {
    let region = (range(BASE, 0x3e00), range(BASE + 0x3e00, 0x200));
    for count in [1, 3, 511, 513, 1000, 0x1000] {
        let mut emulator = Emulator::new(&spec(region, 4096, Arc::new(CmaV3)), Silent).unwrap();
        emulator.drain();
        let before = emulator.page_alloc().zones()[0].free_pages().all;
        let taken = emulator.alloc_contig_pages(CpuId::BOOT, PageCount::new(count)).unwrap();
        assert_eq!(taken.range.range().len(), PageCount::new(count));
        emulator.check().unwrap();
        emulator.release_range(CpuId::BOOT, taken.range);
        emulator.drain();
        emulator.check().unwrap();
        assert_eq!(emulator.page_alloc().zones()[0].free_pages().all, before);
    }
}
