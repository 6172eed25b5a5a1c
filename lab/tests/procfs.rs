//! What we print as /proc files is read by others as what it is.
//!
//! The `procfs` crate (0.18) reads /proc/vmstat; of the files that we print it has no parser for
//! buddyinfo, pagetypeinfo and zoneinfo. Those three are read here by the rules that programs
//! follow: words by blanks, from the words `Node`, `zone`, `type`, or from a name in front of a
//! number.

use std::collections::BTreeMap;

use pagelab::background::Background;
use pagelab::drive::Driver;
use pagelab::emit::{vmstat, zoneinfo};
use pagelab::logical::{Op, PageId, Step};
use pagelab::machine::{self, MachinePlan};
use pagelab::plan::Design;
use pagelab_allocator::event::Silent;
use pagelab_allocator::gfp::{GfpFlags, ZoneType};
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::{CpuId, Order, PageCount};
use pagelab_migrate::emulator::Emulator;
use procfs::{FromRead, VmStat};

const PROFILES: [KernelProfile; 2] = [KernelProfile::V6_1, KernelProfile::V6_12];

/// A machine of two zones, in use.
fn machine(profile: KernelProfile) -> Driver {
    let background = Background { movable: PageCount::new(900), ..Background::default() };
    let plan =
        MachinePlan { memory: 4 << 30, cma: 64 << 20, block_size: 4096, profile, background };
    let spec = machine::spec(&plan, Design::CmaV3.build()).expect("it fits");
    let emulator = Emulator::new(&spec, Silent).expect("a machine");
    let mut driver = Driver::new(emulator, &background, None).expect("room for everything");
    let gfps = [GfpFlags::KERNEL, GfpFlags::HIGHUSER_MOVABLE, GfpFlags::KERNEL | GfpFlags::DMA];
    for n in 0..500_u64 {
        let gfp = gfps[usize::from(n.is_multiple_of(3)) + usize::from(n.is_multiple_of(5))];
        let order = Order::of(u8::try_from(n % 4).expect("small"));
        let op = Op::Alloc { id: PageId(n), order, gfp };
        driver.step(&Step { line: 0, timestamp: 0, cpu: CpuId::BOOT, pid: 1, op });
    }
    driver
}

fn parse_vmstat(text: &str) -> procfs::ProcResult<VmStat> {
    VmStat::from_read(text.as_bytes())
}

#[test]
fn vmstat_is_read_by_procfs() {
    for profile in PROFILES {
        let driver = machine(profile);
        let text = vmstat(driver.emulator());
        let stat = parse_vmstat(&text).expect("procfs reads it");
        assert_eq!(stat.0.len(), text.lines().count(), "every line is a counter of its own");
        let alloc = driver.emulator().page_alloc();
        let counted = |n: u64| i64::try_from(n).expect("a counter");
        let free: PageCount = alloc.zones().iter().map(|zone| zone.counted().all).sum();
        assert_eq!(stat.0["nr_free_pages"], counted(free.get()));
        let normal = alloc.stats().pgalloc[ZoneType::Normal.index()];
        assert!(normal > 0);
        assert_eq!(stat.0["pgalloc_normal"], counted(normal));
        for (name, value) in driver.emulator().mm_stats().iter() {
            assert_eq!(stat.0[name], counted(value), "{name}");
        }
    }
}

#[test]
fn canary_procfs_refuses_what_is_no_vmstat() {
    let text = vmstat(machine(KernelProfile::V6_1).emulator());
    assert!(parse_vmstat(&text).is_ok());
    assert!(parse_vmstat(&text.replacen("nr_free_pages ", "nr_free_pages x", 1)).is_err());
    assert!(parse_vmstat(&text.replacen("nr_free_pages ", "nr_free_pages_", 1)).is_err());
}

/// Free blocks by order, by zone and type; `*` for all types.
type Lists = BTreeMap<(String, String), Vec<u64>>;

/// Reads the lines of buddyinfo and of the first table of pagetypeinfo.
fn read_lists(text: &str) -> Lists {
    let mut lists = Lists::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split([' ', ',']).filter(|word| !word.is_empty()).collect();
        let (zone, mt, numbers) = match words[..] {
            ["Node", _, "zone", zone, "type", mt, ..] => (zone, mt, &words[6..]),
            ["Node", _, "zone", zone, ..] if words.len() == 15 => (zone, "*", &words[4..]),
            _ => continue,
        };
        let counts = numbers.iter().map(|n| n.trim_start_matches('>').parse().expect("a count"));
        lists.insert((zone.to_owned(), mt.to_owned()), counts.collect());
    }
    lists
}

#[test]
fn buddyinfo_and_pagetypeinfo_are_read_as_what_they_are() {
    for profile in PROFILES {
        let driver = machine(profile);
        let snapshot = driver.emulator().page_alloc().snapshot();
        assert_eq!(snapshot.zones.len(), 2);
        let mut expected = Lists::new();
        for zone in &snapshot.zones {
            let name = zone.kind.name().to_owned();
            expected.insert((name.clone(), "*".to_owned()), zone.total().0);
            for (mt, blocks) in &zone.free {
                expected.insert((name.clone(), mt.name().to_owned()), blocks.0.clone());
            }
        }
        let mut found = read_lists(&snapshot.buddyinfo().to_string());
        found.extend(read_lists(&snapshot.pagetypeinfo().to_string()));
        assert_eq!(found, expected);
        assert!(found.values().all(|counts| counts.len() == 11));
        let movable = &found[&("DMA".to_owned(), MigrateType::Movable.name().to_owned())];
        assert!(movable[10] > 0, "the machine is not empty: {movable:?}");
    }
}

/// The value after a name, zone by zone.
fn values(text: &str, name: &str) -> Vec<u64> {
    let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let values = words.filter_map(|words| match words[..] {
        [first, value] if first == name => Some(value.parse().expect("a number")),
        ["pages", first, value] if first == name => Some(value.parse().expect("a number")),
        _ => None,
    });
    values.collect()
}

#[test]
fn zoneinfo_is_read_as_what_it_is() {
    for profile in PROFILES {
        let driver = machine(profile);
        let (text, alloc) = (zoneinfo(driver.emulator()), driver.emulator().page_alloc());
        let of = |pick: fn(&pagelab_allocator::zone::Zone) -> u64| -> Vec<u64> {
            alloc.zones().iter().map(pick).collect()
        };
        assert_eq!(values(&text, "free"), of(|zone| zone.counted().all.get()));
        assert_eq!(values(&text, "low"), of(|zone| zone.watermarks().low.get()));
        assert_eq!(values(&text, "managed"), of(|zone| zone.managed().get()));
        assert_eq!(values(&text, "cma"), of(|zone| zone.cma_pages().get()));
        assert_eq!(values(&text, "count:"), of(|zone| zone.pcp(CpuId::BOOT).count().get()));
        assert_eq!(values(&text, "start_pfn:"), of(|zone| zone.span().start().get()));
        let background = Background::parse("zoneinfo", &text).expect("our own reader reads it");
        assert!(background.movable >= PageCount::new(900), "{background:?}");
    }
}
