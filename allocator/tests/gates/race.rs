//! A check at add, the addition, TDX that is initialized, and onlining, in every order.

use pagelab_allocator::hotplug::caps::{Caps, Origin};
use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::hotplug::gate::cmr_dynamic::CmrDynamic;
use pagelab_allocator::hotplug::gate::cmr_state::CmrState;
use pagelab_allocator::hotplug::gate::reject_add::RejectAdd;
use pagelab_allocator::hotplug::gate::tdx_notifier::TdxNotifier;
use pagelab_allocator::hotplug::gate::tdx_range::TdxRange;
use pagelab_allocator::hotplug::gate::tdx_range_locked::TdxRangeLocked;
use pagelab_allocator::hotplug::gate::{Checked, Extends, Gate, Verdict};
use pagelab_allocator::hotplug::memblock::{DriverManaged, Memblock};
use pagelab_allocator::hotplug::tdx::{Tdx, TdxMemblock};

use crate::fake::Fake;
use crate::way::{Judgement, same, tells_apart};
use crate::world::{Memory, World, booted, gib, memory, region};

use Came::{Fine, Foreign, Limbo, Refused, TdxOff};

/// What came of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Came {
    /// Not added.
    Refused,
    /// Added, not onlined.
    Limbo,
    /// Onlined, and TDX took it or may still.
    Fine,
    /// Onlined, and TDX is off for it.
    TdxOff,
    /// Onlined, and TDX in use knows nothing of it.
    Foreign,
}

/// Steps of the schedule `when`: TDX is initialized before the check (0), between check and
/// addition (1), between addition and onlining (2), or at last (3).
fn run(gate: &dyn Gate, convertible: bool, when: usize) -> Came {
    let dram = Memory::dram();
    let of = memory(gib(512, 576), Caps::TEE, Origin::Cxl);
    let mut cmrs = vec![dram.range];
    cmrs.extend(convertible.then_some(of.range));
    let mut world = World::x86(Tdx::new(cmrs));
    let mut memblock = booted(&[dram]);
    let init = |world: &mut World, memblock: &Memblock, now| {
        if now == when {
            initialize(world.tdx.as_mut().expect("x86 has TDX"), memblock);
        }
    };
    let refused = |gate: &dyn Gate, world: &World, checked| {
        gate.add_checked() == checked && gate.add(world.view(), &of) != Verdict::Allow
    };
    init(&mut world, &memblock, 0);
    if refused(gate, &world, Checked::BeforeLock) {
        return Refused;
    }
    init(&mut world, &memblock, 1);
    if refused(gate, &world, Checked::UnderLock) {
        return Refused;
    }
    memblock.add(region(&of, DriverManaged::Yes));
    if gate.extends(world.view(), &of) == Extends::Yes {
        let piece = TdxMemblock { range: of.range, node: of.node };
        world.tdx.as_mut().expect("x86 has TDX").extend(piece);
    }
    init(&mut world, &memblock, 2);
    if gate.online(world.view(), &of) != Verdict::Allow {
        return Limbo;
    }
    init(&mut world, &memblock, 3);
    let tdx = world.tdx.expect("x86 has TDX");
    match tdx.memlist() {
        None => TdxOff,
        Some(_) if tdx.is_tdx_memory(of.range) => Fine,
        Some(_) => Foreign,
    }
}

/// Memory that firmware does not vouch for makes the module refuse its configuration.
fn initialize(tdx: &mut Tdx, memblock: &Memblock) {
    let snapshot = Tdx::snapshot(memblock);
    match snapshot.iter().all(|piece| tdx.is_convertible(piece.range)) {
        true => tdx.initialized(snapshot),
        false => tdx.failed(Errno::Io),
    }
}

/// In the four orders: memory that is not convertible, and memory that is.
fn orders(expected: [[Came; 4]; 2]) -> impl Fn(&dyn Gate) -> Judgement {
    move |gate| {
        for (convertible, expected) in [false, true].into_iter().zip(expected) {
            let got = [0, 1, 2, 3].map(|when| run(gate, convertible, when));
            same(&format!("convertible {convertible}"), got, expected)?;
        }
        Ok(())
    }
}

#[test]
fn question_5_the_posted_check_lets_foreign_memory_in_once_of_four() {
    let oracle = orders([[Refused, Foreign, TdxOff, TdxOff], [Refused, Foreign, Fine, Fine]]);
    let locked =
        Fake { checked: Checked::UnderLock, add: |view, of| TdxRange.add(view, of), ..Fake::OPEN };
    tells_apart(oracle, &TdxRange, &[&TdxRangeLocked, &TdxNotifier, &locked]);
}

#[test]
fn question_5_the_notifier_lets_no_foreign_memory_in() {
    let oracle = orders([[Limbo, Limbo, TdxOff, TdxOff], [Limbo, Limbo, Fine, Fine]]);
    tells_apart(oracle, &TdxNotifier, &[&TdxRange, &Fake::OPEN]);
}

#[test]
fn question_5_the_check_as_reviewed_lets_tdx_be() {
    let oracle = orders([[Refused; 4], [Refused, Refused, Fine, Fine]]);
    let early = Fake { add: |view, of| TdxRangeLocked.add(view, of), ..Fake::OPEN };
    tells_apart(oracle, &TdxRangeLocked, &[&TdxRange, &RejectAdd, &early]);
    let same_here = orders([[Refused; 4], [Refused, Refused, Fine, Fine]]);
    tells_apart(same_here, &CmrState, &[&TdxRange, &CmrDynamic]);
}

#[test]
fn question_5_a_list_that_grows_takes_all_that_is_convertible() {
    let oracle = orders([[Refused; 4], [Fine; 4]]);
    let forgetful = Fake {
        add: |view, of| CmrDynamic.add(view, of),
        checked: Checked::UnderLock,
        ..Fake::OPEN
    };
    tells_apart(oracle, &CmrDynamic, &[&CmrState, &RejectAdd, &forgetful]);
}
