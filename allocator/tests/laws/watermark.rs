//! Watermarks and lowmem reserves that a machine boots with.

use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::event::Silent;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::ZoneType;
use pagelab_allocator::page_alloc::PageAllocator;
use pagelab_allocator::profile::KernelProfile::{self, V6_1, V6_12};
use pagelab_allocator::units::PageCount;
use pagelab_allocator::watermark::{Mark, Tunables};

use crate::machine::{PROFILES, range, zone};

fn machine(profile: KernelProfile, zones: &[(ZoneType, u64)]) -> MachineSpec {
    let end = zones.iter().map(|(_, pages)| pages).sum();
    let (first, memory) = (zones[0].0, range(0, end));
    let mut spec = MachineSpec::single(Geometry::PAGES_4K, profile, first, memory);
    let mut at = 0;
    spec.zones.clear();
    for (kind, pages) in zones {
        spec.zones.push(zone(*kind, 0, range(at, at + pages)));
        at += pages;
    }
    spec
}

#[track_caller]
fn check_marks(spec: &MachineSpec, expected: &[[u64; 3]]) {
    let alloc = PageAllocator::boot(spec, Silent).expect("a machine that boots");
    let marks: Vec<_> = alloc
        .zones()
        .iter()
        .map(|z| [Mark::Min, Mark::Low, Mark::High].map(|m| z.watermarks().get(m).get()))
        .collect();
    assert_eq!(marks, expected);
}

#[test]
fn marks_of_small_and_large_machines() {
    for profile in PROFILES {
        // isqrt(16 * 128 MiB in KiB) = 1448 KiB = 362 pages.
        let small = machine(profile, &[(ZoneType::Normal, 0x8000)]);
        check_marks(&small, &[[362, 452, 542]]);
        // Huge pages raise the reserve to 11 pageblocks a zone from 512 MiB on.
        let large = machine(profile, &[(ZoneType::Normal, 0x8_0000)]);
        check_marks(&large, &[[5632, 7040, 8448]]);
    }
}

#[test]
fn zone_movable_has_its_share_or_a_small_mark() {
    let zones = [(ZoneType::Normal, 0x8000), (ZoneType::Movable, 0x8000)];
    let with = |profile| {
        let mut spec = machine(profile, &zones);
        spec.tunables = Tunables { min_free_kbytes: Some(4000), ..Tunables::default() };
        spec
    };
    check_marks(&with(V6_1), &[[500, 625, 750], [500, 625, 750]]);
    check_marks(&with(V6_12), &[[1000, 1250, 1500], [32, 282, 532]]);
}

#[test]
fn lowmem_reserves_are_parts_of_the_zones_above() {
    let zones = [
        (ZoneType::Dma, 0x1000),
        (ZoneType::Dma32, 0x8000),
        (ZoneType::Normal, 0x1_0000),
        (ZoneType::Movable, 0x8000),
    ];
    for profile in PROFILES {
        let alloc = PageAllocator::boot(&machine(profile, &zones), Silent).unwrap();
        let reserves: Vec<_> =
            alloc.zones().iter().map(|z| z.lowmem_reserve().map(PageCount::get)).collect();
        let expected = [[0, 128, 384, 512], [0, 0, 256, 384], [0, 0, 0, 1024], [0; 4]];
        assert_eq!(reserves, expected);
    }
}
