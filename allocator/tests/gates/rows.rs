//! Rows of the feature table that a gate alone decides, by their numbers.

use pagelab_allocator::hotplug::caps::{Caps, Origin};
use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::hotplug::gate::capability::Capability;
use pagelab_allocator::hotplug::gate::cmr_dynamic::CmrDynamic;
use pagelab_allocator::hotplug::gate::cmr_state::CmrState;
use pagelab_allocator::hotplug::gate::deny_region::DenyRegion;
use pagelab_allocator::hotplug::gate::documented::Documented;
use pagelab_allocator::hotplug::gate::feature_off::FeatureOff;
use pagelab_allocator::hotplug::gate::no_memremap::NoMemremap;
use pagelab_allocator::hotplug::gate::page_filter::PageFilter;
use pagelab_allocator::hotplug::gate::private_node::PrivateNode;
use pagelab_allocator::hotplug::gate::reject_add::RejectAdd;
use pagelab_allocator::hotplug::gate::tdx_notifier::TdxNotifier;
use pagelab_allocator::hotplug::gate::tdx_notifier_loud::TdxNotifierLoud;
use pagelab_allocator::hotplug::gate::tdx_range::TdxRange;
use pagelab_allocator::hotplug::gate::tdx_range_locked::TdxRangeLocked;
use pagelab_allocator::hotplug::gate::ungated::Ungated;
use pagelab_allocator::hotplug::gate::{Candidate, Checked, Driver, Extends, Gate, Reach, Verdict};
use pagelab_allocator::hotplug::platform::Mte;
use pagelab_allocator::hotplug::printk::{Debugging, Level, Line, Log, RateLimit};
use pagelab_allocator::hotplug::tdx::{Tdx, TdxMemblock};
use pagelab_allocator::hotplug::veto::Why;
use pagelab_allocator::units::{NodeId, PageCount};

use crate::fake::{Fake, refused_if};
use crate::way::{End, Judgement, end, errno, no, same, tells_apart, way};
use crate::world::{GIB, MIB, Memory, World, blocks, booted, failed, gib, in_use, memory, node};

/// Onlines every block, as a rule of udev does. Refusals with `-EPERM`; lines that are seen, and
/// lines that the rate limit keeps.
fn online_all(gate: &dyn Gate, block: u64, limit: RateLimit) -> (usize, usize, u64) {
    let world = World::x86_in_use();
    let mut log = Log::new(Debugging::Off, limit);
    let refusals: Vec<_> = blocks(Memory::cxl_a(), block)
        .filter_map(|of| no(gate.online(world.view(), &of)))
        .filter(|refusal| refusal.errno == Errno::Perm)
        .collect();
    let lines = refusals.iter().flat_map(|refusal| refusal.line.clone());
    lines.for_each(|line| log.print_ratelimited(gate.name(), line));
    (refusals.len(), log.visible().len(), log.suppressed())
}

#[test]
fn row_01_the_notifier_refuses_every_block_and_says_nothing() {
    let oracle = |gate: &dyn Gate| {
        same("128 MiB", online_all(gate, 128 * MIB, RateLimit::None), (512, 0, 0))?;
        same("2 GiB", online_all(gate, 2 * GIB, RateLimit::None), (32, 0, 0))?;
        let world = World::x86_in_use();
        same("add", end(gate, world.view(), &Memory::cxl_a()), End::Limbo)
    };
    tells_apart(oracle, &TdxNotifier, &[&Ungated, &TdxNotifierLoud, &TdxRange]);
}

#[test]
fn row_01_and_03_a_notifier_that_prints() {
    let oracle = |gate: &dyn Gate| {
        let some = |block, limit| online_all(gate, block, limit);
        same("512", some(128 * MIB, RateLimit::None), (512, 512, 0))?;
        same("32", some(2 * GIB, RateLimit::None), (32, 32, 0))?;
        same("limited", some(128 * MIB, RateLimit::Default), (512, 10, 502))?;
        let world = World::x86_in_use();
        let block = blocks(Memory::cxl_a(), 128 * MIB).next().expect("it has blocks");
        let line = no(gate.online(world.view(), &block)).and_then(|refusal| refusal.line);
        let text = "virt/tdx: [mem 0x8000000000-0x8007ffffff] is not TDX memory".to_owned();
        same("line", line, Some(Line::new(Level::Warn, text)))
    };
    tells_apart(oracle, &TdxNotifierLoud, &[&TdxNotifier, &Ungated]);
}

#[test]
fn row_02_the_range_check_says_one_line_and_leaves_devdax() {
    let oracle = |gate: &dyn Gate| {
        let (world, of) = (World::x86_in_use(), Memory::cxl_a());
        let refusal = no(gate.add(world.view(), &of)).ok_or("it is added")?;
        let text = "virt/tdx: Reject hot-adding memory range: 0x8000000000-0x9000000000 for TDX \
                    compatibility.";
        same("line", refusal.line, Some(Line::new(Level::Info, text.to_owned())))?;
        same("error", refusal.errno, Errno::Inval)?;
        same("asked", gate.add_checked(), Checked::BeforeLock)?;
        let (end, said) = way(gate, world.view(), &of, Driver::Kmem);
        same("way", (end, said.len()), (End::Devdax, 1))
    };
    tells_apart(oracle, &TdxRange, &[&TdxNotifier, &TdxRangeLocked, &RejectAdd, &Ungated]);
}

#[test]
fn row_02_as_reviewed_it_speaks_the_reviewers_words() {
    let oracle = |gate: &dyn Gate| {
        let world = World::x86_in_use();
        let refusal = no(gate.add(world.view(), &Memory::cxl_a())).ok_or("it is added")?;
        let text = "virt/tdx: Rejecting incompatible memory range: 0x8000000000-0x9000000000";
        same("line", refusal.line, Some(Line::new(Level::Info, text.to_owned())))?;
        same("asked", gate.add_checked(), Checked::UnderLock)
    };
    tells_apart(oracle, &TdxRangeLocked, &[&TdxRange, &CmrState]);
}

#[test]
fn row_05_boot_memory_that_left_may_come_back() {
    let oracle = |gate: &dyn Gate| {
        let mut memblock = booted(&[Memory::dram()]);
        let snapshot = Tdx::snapshot(&memblock);
        memblock.remove(gib(100, 102));
        let world = World::x86(in_use(vec![Memory::dram().range], snapshot));
        let back = memory(gib(100, 102), Caps::TEE, Origin::Acpi);
        same("comes back", end(gate, world.view(), &back), End::Ram)?;
        let new = memory(gib(300, 302), Caps::TEE, Origin::Acpi);
        same("new", errno(gate.online(world.view(), &new)), Some(Errno::Perm))
    };
    let shut = Fake {
        online: |view, _| match view.tdx {
            Some(_) => Verdict::refuse(Why::Platform, Errno::Perm),
            None => Verdict::Allow,
        },
        ..Fake::OPEN
    };
    tells_apart(oracle, &TdxNotifier, &[&RejectAdd, &CmrState, &Ungated, &shut]);
}

#[test]
fn row_09_nothing_is_added_on_a_platform_with_tdx() {
    use Origin::{Acpi, Cxl, Nvdimm, SoftReserved};
    let oracle = |gate: &dyn Gate| {
        let here = gib(512, 576);
        let text = "Unable to add memory [0x8000000000, 0x9000000000) on TDX enabled platform.";
        let states = [Tdx::new(vec![here]), in_use(vec![here], vec![node(here, 1)])];
        for tdx in states.into_iter().chain([failed(vec![here])]) {
            let world = World::x86(tdx);
            // Firmware's memory devices come by one entry point, what drivers manage by another.
            for origin in [Acpi, Cxl, Nvdimm, SoftReserved] {
                let of = memory(here, Caps::all(), origin);
                let refusal = no(gate.add(world.view(), &of)).ok_or("it is added")?;
                same("error", refusal.errno, Errno::Inval)?;
                same("line", refusal.line, Some(Line::new(Level::Err, text.to_owned())))?;
                let devdax = way(gate, world.view(), &of, Driver::Devdax);
                same("devdax", devdax, (End::Devdax, vec![]))?;
            }
        }
        Ok(())
    };
    tells_apart(oracle, &RejectAdd, &[&TdxRange, &CmrState, &TdxNotifier, &Ungated]);
}

#[test]
fn row_10_convertible_memory_until_the_module_is_initialized() {
    let oracle = |gate: &dyn Gate| {
        let (dram, here) = (Memory::dram().range, gib(512, 576));
        let (with, without) = (vec![dram, here], vec![dram]);
        let taken = vec![node(dram, 0)];
        let cases = [
            (Tdx::new(with.clone()), None),
            (Tdx::new(without.clone()), Some(Why::NotConvertible)),
            (in_use(with.clone(), taken.clone()), Some(Why::ModuleInitialized)),
            (in_use(without.clone(), taken), Some(Why::ModuleInitialized)),
            (failed(with), None),
            (failed(without), Some(Why::NotConvertible)),
        ];
        for (tdx, expected) in cases {
            let world = World::x86(tdx);
            let refusal = no(gate.add(world.view(), &memory(here, Caps::TEE, Origin::Cxl)));
            same("why", refusal.map(|refusal| refusal.why), expected)?;
        }
        same("waits for an initialization", gate.add_checked(), Checked::UnderLock)
    };
    let hasty = Fake { add: |view, of| CmrState.add(view, of), ..Fake::OPEN };
    tells_apart(oracle, &CmrState, &[&CmrDynamic, &TdxRangeLocked, &RejectAdd, &hasty]);
}

/// GiB that joined; of those, GiB that refuse private pages, and GiB that hold them though they
/// cannot.
fn private_pages(gate: &dyn Gate) -> (u64, u64, u64) {
    let world = World::x86_in_use();
    let mut count = (0, 0, 0);
    for of in Memory::all() {
        if end(gate, world.view(), &of) != End::Ram {
            continue;
        }
        let gib = of.range.len().get() / GIB;
        count.0 += gib;
        match gate.place(world.view(), of.caps, Caps::TEE) {
            Verdict::Refuse(_) => count.1 += gib,
            Verdict::Allow if of.caps.contains(Caps::TEE) => {}
            Verdict::Allow => count.2 += gib,
        }
    }
    count
}

#[test]
fn row_12_what_it_takes_to_do_without_a_gfp_flag() {
    let counts = |expected| move |gate: &dyn Gate| same("GiB", private_pages(gate), expected);
    tells_apart(counts((256, 0, 0)), &Capability, &[&PageFilter, &Ungated]);
    tells_apart(counts((384, 128, 0)), &PageFilter, &[&Capability, &Ungated]);
    tells_apart(counts((384, 0, 128)), &Ungated, &[&Capability, &PageFilter]);
}

#[test]
fn row_14_a_persistent_dimm_is_no_memory_for_guests() {
    let oracle = |gate: &dyn Gate| {
        let dimm = memory(gib(512, 576), Caps::PERSISTENT | Caps::ATOMICS, Origin::Nvdimm);
        let kept_out = end(gate, World::x86_in_use().view(), &dimm) != End::Ram;
        same("kept out", kept_out, true)
    };
    let trusting = Fake::adding("trusting", |view, of| match of.caps {
        caps if caps.contains(Caps::PERSISTENT) => Verdict::Allow,
        _ => TdxRange.add(view, of),
    });
    let gates: [&dyn Gate; 7] =
        [&TdxNotifier, &TdxRange, &TdxRangeLocked, &RejectAdd, &CmrState, &CmrDynamic, &Capability];
    for gate in gates {
        tells_apart(oracle, gate, &[&Ungated, &Documented, &trusting]);
    }
}

#[test]
fn row_14_and_later_one_that_firmware_vouches_for() {
    let oracle = |gate: &dyn Gate| {
        let dimm = memory(gib(512, 576), Caps::PERSISTENT | Caps::TEE, Origin::Nvdimm);
        let dram = Memory::dram().range;
        let world = World::x86(in_use(vec![dram, dimm.range], vec![node(dram, 0)]));
        same("joins", end(gate, world.view(), &dimm), End::Ram)?;
        same("taken", gate.extends(world.view(), &dimm), Extends::Yes)
    };
    tells_apart(oracle, &CmrDynamic, &[&CmrState, &TdxRangeLocked, &TdxNotifier, &Ungated]);
}

#[test]
fn row_16_device_memory_backs_a_guest_if_it_is_able() {
    let oracle = |gate: &dyn Gate| {
        let world = World::x86_in_use();
        let backs = |caps| no(gate.place(world.view(), caps, Caps::TEE)).map(|no| no.why);
        same("unable", backs(Caps::VOLATILE), Some(Why::Lacks(Caps::TEE)))?;
        same("able", backs(Caps::VOLATILE | Caps::TEE), None)
    };
    let never = Fake { place: |_, needs| refused_if(true, Why::Lacks(needs)), ..Fake::OPEN };
    for gate in [&PageFilter as &dyn Gate, &PrivateNode] {
        tells_apart(oracle, gate, &[&Ungated, &Capability, &never]);
    }
}

#[test]
fn row_17_convertible_memory_joins_after_initialization() {
    let oracle = |gate: &dyn Gate| {
        let (dram, of) = (Memory::dram().range, memory(gib(512, 576), Caps::TEE, Origin::Cxl));
        let mut tdx = in_use(vec![dram, of.range], vec![node(dram, 0)]);
        let world = World::x86(tdx.clone());
        same("convertible", no(gate.add(world.view(), &of)), None)?;
        same("taken", gate.extends(world.view(), &of), Extends::Yes)?;
        let foreign = memory(gib(600, 601), Caps::TEE, Origin::Cxl);
        same("foreign", errno(gate.add(world.view(), &foreign)), Some(Errno::Inval))?;
        tdx.extend(TdxMemblock { range: of.range, node: NodeId::new(1) });
        let world = World::x86(tdx);
        same("no veto then", no(TdxNotifier.online(world.view(), &of)), None)?;
        same("not twice", gate.extends(world.view(), &of), Extends::No)
    };
    let greedy = Fake { extends: Extends::Yes, ..Fake::OPEN };
    tells_apart(oracle, &CmrDynamic, &[&CmrState, &TdxRangeLocked, &Ungated, &greedy]);
}

/// Pages that joined and lack something.
fn violations(gate: &dyn Gate, world: &World, of: &[Candidate]) -> PageCount {
    let view = world.view();
    let bad = of.iter().filter(|of| !view.lacking(of.caps).is_empty());
    let joined = bad.filter(|of| end(gate, view, of) == End::Ram);
    joined.map(|of| of.range.len()).sum()
}

#[test]
fn row_18_documentation_keeps_nothing_out() {
    let oracle = |gate: &dyn Gate| {
        let world = World::x86_in_use();
        let pages = violations(gate, &world, &[Memory::dram(), Memory::cxl_a()]);
        same("pages", pages.get(), 16_777_216)
    };
    tells_apart(oracle, &Documented, &[&TdxNotifier, &TdxRange, &Capability]);
}

#[test]
fn row_23_a_region_that_is_not_online_capable_stays_a_device() {
    let oracle = |gate: &dyn Gate| {
        let world = World::arm(Mte::On);
        let (a, said) = way(gate, world.view(), &Memory::cxl_a(), Driver::Kmem);
        let text = "[mem 0x8000000000-0x8fffffffff] lacks tag: devdax only; pass arm64.nomte to \
                    prefer the memory";
        same("A", (a, said), (End::Devdax, vec![Line::new(Level::Warn, text.to_owned())]))?;
        let b = way(gate, world.view(), &Memory::cxl_b(), Driver::Kmem);
        same("B", b, (End::Ram, vec![]))
    };
    let blind = Fake { probe: |_, _, _| (Driver::Devdax, None), ..Fake::OPEN };
    tells_apart(oracle, &Capability, &[&DenyRegion, &Ungated, &blind]);
}

#[test]
fn row_23_with_tdx_both_stay_devices() {
    let oracle = |gate: &dyn Gate| {
        let world = World::x86_in_use();
        for of in [Memory::cxl_a(), Memory::cxl_b()] {
            let (end, said) = way(gate, world.view(), &of, Driver::Kmem);
            let said: Vec<_> = said.iter().map(|line| line.text.contains("lacks tee")).collect();
            same("devdax", (end, said), (End::Devdax, vec![true]))?;
        }
        same("dram", end(gate, world.view(), &Memory::dram()), End::Ram)
    };
    tells_apart(oracle, &Capability, &[&TdxNotifier, &TdxRange, &DenyRegion]);
}

#[test]
fn row_24_a_region_that_is_denied_is_stranded() {
    let oracle = |gate: &dyn Gate| {
        let world = World::arm(Mte::On);
        for wanted in [Driver::Kmem, Driver::Devdax] {
            let stranded = Memory::all()
                .into_iter()
                .filter(|of| way(gate, world.view(), of, wanted).0 == End::Stranded);
            let pages: PageCount = stranded.map(|of| of.range.len()).sum();
            same("GiB", pages.get(), 64 * GIB)?;
        }
        let refusal = no(gate.create_region(world.view(), &Memory::cxl_a())).map(|no| no.why);
        same("why", refusal, Some(Why::Lacks(Caps::TAG)))
    };
    tells_apart(oracle, &DenyRegion, &[&Capability, &NoMemremap, &Ungated]);
}

/// One warning while tags are in use; then all of the memory, and none.
fn advice_and_what_follows(warns: &dyn Gate, off: &dyn Gate) -> Judgement {
    let mut world = World::arm(Mte::On);
    let ways = |gate: &dyn Gate, world: &World| {
        let ways = Memory::all().map(|of| (of, way(gate, world.view(), &of, Driver::Kmem)));
        let joined = ways.iter().filter(|(_, (end, _))| *end == End::Ram);
        let pages: PageCount = joined.map(|(of, _)| of.range.len()).sum();
        let lines: Vec<_> = ways.into_iter().flat_map(|(_, (_, said))| said).collect();
        (pages.get() / GIB, lines)
    };
    let (gib, lines) = ways(warns, &world);
    let advice = lines.iter().map(|line| line.text.contains("arm64.nomte")).collect();
    same("before", (gib, advice), (320, vec![true]))?;
    world.platform.give_up(off.gives_up());
    same("tags", world.platform.mte, Mte::Disabled)?;
    same("required", world.view().required(), Caps::empty())?;
    same("after", ways(off, &world), (384, vec![]))?;
    same("whoever decides", ways(warns, &world), (384, vec![]))
}

#[test]
fn row_25_one_warning_then_tags_are_given_up() {
    assert_eq!(advice_and_what_follows(&Capability, &FeatureOff), Ok(()));
    tells_apart(|gate| advice_and_what_follows(gate, &FeatureOff), &Capability, &[&Ungated]);
    let wrong: [&dyn Gate; 3] = [&Ungated, &Documented, &Capability];
    tells_apart(|gate| advice_and_what_follows(&Capability, gate), &FeatureOff, &wrong);
}

#[test]
fn row_28_what_keeps_every_page_taggable() {
    let oracle = |expected: u64| {
        move |gate: &dyn Gate| {
            let mut world = World::arm(Mte::On);
            world.platform.give_up(gate.gives_up());
            same("pages", violations(gate, &world, &Memory::all()).get(), expected)
        }
    };
    tells_apart(oracle(64 * GIB), &Ungated, &[&Capability, &DenyRegion, &FeatureOff]);
    for gate in [&Capability as &dyn Gate, &DenyRegion, &FeatureOff] {
        tells_apart(oracle(0), gate, &[&Ungated, &Documented, &NoMemremap, &TdxNotifier]);
    }
}

#[test]
fn row_31_pages_move_where_memory_can_do_what_they_need() {
    let oracle = |gate: &dyn Gate| {
        let world = World::arm(Mte::On);
        for (caps, needs) in (0..64_u8).flat_map(|a| (0..64_u8).map(move |b| (a, b))) {
            let (caps, needs) = (Caps::from_bits_retain(caps), Caps::from_bits_retain(needs));
            let moves = gate.place(world.view(), caps, needs) == Verdict::Allow;
            same(&format!("{needs} to {caps}"), moves, caps.contains(needs))?;
        }
        Ok(())
    };
    let partly = Fake {
        place: |caps, needs| refused_if((needs - caps).contains(Caps::TAG), Why::Platform),
        ..Fake::OPEN
    };
    for gate in [&PageFilter as &dyn Gate, &PrivateNode] {
        tells_apart(oracle, gate, &[&Ungated, &Capability, &partly]);
    }
}

#[test]
fn row_31_a_node_of_its_own_has_to_be_named() {
    let oracle = |gate: &dyn Gate| same("reach", gate.reach(), Reach::Bound);
    tells_apart(oracle, &PrivateNode, &[&PageFilter, &Ungated]);
}

#[test]
fn row_32_without_device_pages_their_memory_is_lost() {
    let oracle = |gate: &dyn Gate| {
        let end = |mte, wanted| way(gate, World::arm(mte).view(), &Memory::cxl_a(), wanted).0;
        same("devdax", end(Mte::On, Driver::Devdax), End::Stranded)?;
        same("memory", end(Mte::On, Driver::Kmem), End::Ram)?;
        same("no tags", end(Mte::Disabled, Driver::Devdax), End::Devdax)?;
        same("never tags", end(Mte::Absent, Driver::Devdax), End::Devdax)?;
        same("lost", Memory::cxl_a().range.len().get(), 64 * GIB)
    };
    tells_apart(oracle, &NoMemremap, &[&Ungated, &Capability, &DenyRegion]);
}

#[test]
fn row_35_memory_without_atomics_is_kept_out_where_they_are_relied_on() {
    let oracle = |gate: &dyn Gate| {
        let mut world = World::arm(Mte::Absent);
        let of = Memory::cxl_b();
        same("nobody cares", end(gate, world.view(), &of), End::Ram)?;
        world.platform.relied_on = Caps::ATOMICS;
        same("somebody does", end(gate, world.view(), &of), End::Devdax)?;
        let able = Candidate { caps: of.caps | Caps::ATOMICS, ..of };
        same("able", end(gate, world.view(), &able), End::Ram)
    };
    tells_apart(oracle, &Capability, &[&Ungated, &DenyRegion, &FeatureOff]);
}
