//! What is easily misread, by the numbers of the list of traps.

use pagelab_allocator::hotplug::caps::{Caps, Origin};
use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::hotplug::gate::capability::Capability;
use pagelab_allocator::hotplug::gate::catalogue::all;
use pagelab_allocator::hotplug::gate::deny_region::DenyRegion;
use pagelab_allocator::hotplug::gate::documented::Documented;
use pagelab_allocator::hotplug::gate::feature_off::FeatureOff;
use pagelab_allocator::hotplug::gate::page_filter::PageFilter;
use pagelab_allocator::hotplug::gate::private_node::PrivateNode;
use pagelab_allocator::hotplug::gate::reject_add::RejectAdd;
use pagelab_allocator::hotplug::gate::tdx_notifier::TdxNotifier;
use pagelab_allocator::hotplug::gate::tdx_notifier_loud::TdxNotifierLoud;
use pagelab_allocator::hotplug::gate::tdx_range::TdxRange;
use pagelab_allocator::hotplug::gate::tdx_range_locked::TdxRangeLocked;
use pagelab_allocator::hotplug::gate::ungated::Ungated;
use pagelab_allocator::hotplug::gate::{Candidate, Gate, Reach, Verdict};
use pagelab_allocator::hotplug::memblock::DriverManaged;
use pagelab_allocator::hotplug::platform::Mte;
use pagelab_allocator::hotplug::tdx::Tdx;
use pagelab_allocator::hotplug::veto::Why;

use crate::fake::{Fake, refused};
use crate::way::{End, Judgement, end, errno, no, same, tells_apart};
use crate::world::{MIB, Memory, World, blocks, booted, gib, in_use, memory, node, region};

/// What is in the snapshot and not convertible is refused.
fn knows_convertibility(gate: &dyn Gate) -> Judgement {
    let (dram, of) = (Memory::dram().range, memory(gib(300, 302), Caps::empty(), Origin::Acpi));
    let world = World::x86(in_use(vec![dram], vec![node(dram, 0), node(of.range, 0)]));
    let why = no(gate.add(world.view(), &of)).map(|refusal| refusal.why);
    same("why", why, Some(Why::NotConvertible))
}

#[test]
fn trap_01_the_posted_check_is_not_linux_and_knows_no_convertible_memory() {
    tells_apart(knows_convertibility, &TdxRangeLocked, &[&TdxRange, &TdxNotifier, &RejectAdd]);
    // Linux adds everything, and says no when it is onlined.
    let oracle = |gate: &dyn Gate| {
        let (world, of) = (World::x86_in_use(), Memory::cxl_a());
        same("add", no(gate.add(world.view(), &of)), None)?;
        same("online", errno(gate.online(world.view(), &of)), Some(Errno::Perm))
    };
    tells_apart(oracle, &TdxNotifier, &[&TdxRange, &TdxRangeLocked, &Ungated]);
}

#[test]
fn trap_02_memory_at_boot_means_memory_at_init() {
    let oracle = |gate: &dyn Gate| {
        let of = Memory::cxl_a();
        let mut memblock = booted(&[Memory::dram()]);
        let before = World::x86(Tdx::new(vec![Memory::dram().range]));
        same("before", end(gate, before.view(), &of), End::Ram)?;
        memblock.add(region(&of, DriverManaged::Yes));
        let world = World::x86(in_use(vec![Memory::dram().range], Tdx::snapshot(&memblock)));
        same("after", end(gate, world.view(), &of), End::Ram)?;
        let tdx = world.tdx.as_ref().ok_or("there is TDX")?;
        let facts = (tdx.is_tdx_memory(of.range), tdx.is_convertible(of.range));
        same("taken, not convertible", facts, (true, false))
    };
    let wrong: [&dyn Gate; 3] = [&TdxRangeLocked, &RejectAdd, &Capability];
    tells_apart(oracle, &TdxNotifier, &wrong);
    tells_apart(oracle, &TdxRange, &wrong);
}

/// No page that lacks something is handed out to those who do not say what they need, or what they
/// need is looked at.
fn keeps_the_invariant(gate: &dyn Gate) -> Judgement {
    let mut world = World::arm(Mte::On);
    world.platform.give_up(gate.gives_up());
    let view = world.view();
    let loses = |of: &Candidate| {
        let lacking = view.lacking(of.caps);
        end(gate, view, of) == End::Ram
            && !lacking.is_empty()
            && gate.reach() == Reach::All
            && gate.place(view, of.caps, lacking) == Verdict::Allow
    };
    same("tags get lost", Memory::all().iter().any(loses), false)
}

#[test]
fn trap_13_the_invariant_was_a_choice() {
    let ways: [&dyn Gate; 5] = [&Capability, &DenyRegion, &PrivateNode, &PageFilter, &FeatureOff];
    for gate in ways {
        tells_apart(keeps_the_invariant, gate, &[&Ungated, &Documented, &Fake::OPEN]);
    }
    // Those that keep the feature and the memory differ from those that keep memory out.
    let joins = |gate: &dyn Gate| {
        let (world, a) = (World::arm(Mte::On), Memory::cxl_a());
        same("A joins", end(gate, world.view(), &a), End::Ram)
    };
    for gate in [&PrivateNode as &dyn Gate, &PageFilter] {
        tells_apart(joins, gate, &[&Capability, &DenyRegion]);
    }
}

#[test]
fn trap_14_one_cause_has_two_errors() {
    let oracle = |texts: [Option<&'static str>; 2]| {
        move |gate: &dyn Gate| {
            let (world, of) = (World::x86_in_use(), Memory::cxl_a());
            let got = [gate.add(world.view(), &of), gate.online(world.view(), &of)];
            let whys = got.clone().map(no).into_iter().flatten().map(|refusal| refusal.why);
            same("why", whys.collect(), vec![Why::NotInSnapshot])?;
            same("errors", got.map(|verdict| errno(verdict).map(Errno::text)), texts)
        }
    };
    let perm = [None, Some("Operation not permitted")];
    let inval = [Some("Invalid argument"), None];
    let mixed = Fake { online: |_, _| refused(Why::NotInSnapshot), ..Fake::OPEN };
    tells_apart(oracle(perm), &TdxNotifier, &[&TdxRange, &mixed, &Ungated]);
    tells_apart(oracle(perm), &TdxNotifierLoud, &[&TdxRange, &mixed]);
    tells_apart(oracle(inval), &TdxRange, &[&TdxNotifier, &RejectAdd]);
}

/// 64 GiB that two pieces of the snapshot have between them: blocks that are onlined, and why the
/// whole is not added.
fn across_two_pieces(gate: &dyn Gate) -> (usize, Option<Why>) {
    let of = memory(gib(64, 128), Caps::TEE, Origin::Acpi);
    let snapshot = vec![node(gib(1, 96), 0), node(gib(96, 257), 1)];
    let world = World::x86(in_use(vec![gib(1, 257)], snapshot));
    let refusal = no(gate.add(world.view(), &of)).map(|refusal| refusal.why);
    let online = |block: &_| gate.online(world.view(), block) == Verdict::Allow;
    let online = if refusal.is_none() { blocks(of, 128 * MIB).filter(online).count() } else { 0 };
    (online, refusal)
}

#[test]
fn trap_24_ranges_over_two_nodes_fail_where_blocks_pass() {
    let oracle = |expected| move |gate: &dyn Gate| same("got", across_two_pieces(gate), expected);
    let whole = (0, Some(Why::ManyPieces));
    tells_apart(oracle((512, None)), &TdxNotifier, &[&TdxRange, &TdxRangeLocked]);
    tells_apart(oracle(whole), &TdxRange, &[&TdxNotifier, &RejectAdd]);
    tells_apart(oracle(whole), &TdxRangeLocked, &[&TdxNotifier, &RejectAdd]);
}

/// Of all gates, these want one piece of the snapshot to have all of what is added.
#[test]
fn trap_24_who_asks_for_one_piece() {
    let one = |gate: &&dyn Gate| across_two_pieces(*gate).1 == Some(Why::ManyPieces);
    let names: Vec<_> =
        all().into_iter().filter(|gate| one(gate)).map(|gate| gate.name()).collect();
    assert_eq!(names, ["tdx-range", "tdx-range-locked"]);
}
