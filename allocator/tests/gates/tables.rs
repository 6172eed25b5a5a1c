//! The decision tables of TDX on x86 and of tags on arm64, row by row.

use pagelab_allocator::hotplug::caps::{Caps, Origin};
use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::hotplug::gate::capability::Capability;
use pagelab_allocator::hotplug::gate::cmr_dynamic::CmrDynamic;
use pagelab_allocator::hotplug::gate::cmr_state::CmrState;
use pagelab_allocator::hotplug::gate::deny_region::DenyRegion;
use pagelab_allocator::hotplug::gate::no_memremap::NoMemremap;
use pagelab_allocator::hotplug::gate::reject_add::RejectAdd;
use pagelab_allocator::hotplug::gate::tdx_notifier::TdxNotifier;
use pagelab_allocator::hotplug::gate::tdx_range::TdxRange;
use pagelab_allocator::hotplug::gate::tdx_range_locked::TdxRangeLocked;
use pagelab_allocator::hotplug::gate::ungated::Ungated;
use pagelab_allocator::hotplug::gate::{Driver, Gate, View};
use pagelab_allocator::hotplug::platform::Mte;
use pagelab_allocator::hotplug::tdx::Tdx;

use crate::fake::{Fake, warning};
use crate::way::{End, Judgement, no, same, way};
use crate::world::{Memory, World, failed, gib, in_use, memory, node};

// ---- TDX ---------------------------------------------------------------------------------------

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Uninit,
    InitOk,
    InitFailed,
}

/// What a gate does: nothing, or an error and some lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cell {
    Ok,
    No(Errno, usize),
}

const OK: Cell = Cell::Ok;
const EPERM: Cell = Cell::No(Errno::Perm, 0);
const SILENT: Cell = Cell::No(Errno::Inval, 0);
const SAID: Cell = Cell::No(Errno::Inval, 1);

/// Where a column asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    Add,
    Online,
}

/// The module's state, whether the block is in the snapshot, whether it is in a CMR; then mainline
/// at add and at online, the patch of 2024, the check of 2022, and the second approach of 2022.
/// What a table leaves open ("any", "-") has a row for each.
pub(crate) const TDX: [(State, bool, bool, [Cell; 5]); 8] = [
    (State::Uninit, false, true, [OK, OK, OK, SAID, OK]),
    (State::Uninit, false, false, [OK, OK, OK, SAID, SILENT]),
    (State::InitOk, true, true, [OK, OK, OK, SAID, SILENT]),
    (State::InitOk, true, false, [OK, OK, OK, SAID, SILENT]),
    (State::InitOk, false, true, [OK, EPERM, SAID, SAID, SILENT]),
    (State::InitOk, false, false, [OK, EPERM, SAID, SAID, SILENT]),
    (State::InitFailed, false, true, [OK, OK, OK, SAID, OK]),
    (State::InitFailed, false, false, [OK, OK, OK, SAID, SILENT]),
];

/// The same rows for what is nobody's yet: the range check as reviewed, and a list that grows.
const FURTHER: [[Cell; 2]; 8] = [
    [OK, OK],
    [SAID, SILENT],
    [OK, OK],
    [SAID, SILENT],
    [SAID, OK],
    [SAID, SILENT],
    [OK, OK],
    [OK, SILENT],
];

/// A machine with 256 GiB at boot, and the block at 512 GiB where the row wants it.
pub(crate) fn machine(state: State, taken: bool, convertible: bool) -> World {
    let (dram, block) = (Memory::dram().range, gib(512, 514));
    let mut cmrs = vec![dram];
    cmrs.extend(convertible.then_some(block));
    let mut snapshot = vec![node(dram, 0)];
    snapshot.extend(taken.then_some(node(block, 1)));
    World::x86(match state {
        State::Uninit => Tdx::new(cmrs),
        State::InitOk => in_use(cmrs, snapshot),
        State::InitFailed => failed(cmrs),
    })
}

fn cell(gate: &dyn Gate, asked: Asked, world: &World, caps: Caps) -> Cell {
    let of = memory(gib(512, 514), caps, Origin::Cxl);
    let verdict = match asked {
        Asked::Add => gate.add(world.view(), &of),
        Asked::Online => gate.online(world.view(), &of),
    };
    match no(verdict) {
        None => Cell::Ok,
        Some(refusal) => Cell::No(refusal.errno, refusal.line.iter().count()),
    }
}

/// The column of a gate. What memory says of itself changes no answer of these gates.
fn column(gate: &dyn Gate, asked: Asked, expected: impl Fn(usize) -> Cell) -> Judgement {
    for (n, (state, taken, convertible, _)) in TDX.into_iter().enumerate() {
        let world = machine(state, taken, convertible);
        for caps in [Caps::empty(), Caps::TEE, Caps::all()] {
            let what = format!("{} {asked:?} {state:?} {taken} {convertible}", gate.name());
            same(&what, cell(gate, asked, &world, caps), expected(n))?;
        }
    }
    Ok(())
}

const COLUMNS: [(&dyn Gate, Asked); 5] = [
    (&TdxNotifier, Asked::Add),
    (&TdxNotifier, Asked::Online),
    (&TdxRange, Asked::Add),
    (&RejectAdd, Asked::Add),
    (&CmrState, Asked::Add),
];

#[test]
fn section_1_2_decisions_with_tdx() {
    for (n, (gate, asked)) in COLUMNS.into_iter().enumerate() {
        assert_eq!(column(gate, asked, |row| TDX[row].3[n]), Ok(()));
    }
    for (n, gate) in [&TdxRangeLocked as &dyn Gate, &CmrDynamic].into_iter().enumerate() {
        assert_eq!(column(gate, Asked::Add, |row| FURTHER[row][n]), Ok(()));
    }
}

/// What is refused when it is added is asked about no more.
#[test]
fn section_1_2_gates_of_additions_leave_onlining_alone() {
    let gates: [&dyn Gate; 5] = [&TdxRange, &TdxRangeLocked, &RejectAdd, &CmrState, &CmrDynamic];
    for gate in gates {
        assert_eq!(column(gate, Asked::Online, |_| OK), Ok(()));
    }
    assert!(column(&TdxNotifier, Asked::Online, |_| OK).is_err(), "canary");
}

#[test]
fn canary_columns_of_section_1_2_are_of_their_gates() {
    let wrong: [&[&dyn Gate]; 5] = [
        &[&TdxRange, &RejectAdd],
        &[&Ungated, &TdxRange],
        &[&TdxRangeLocked, &TdxNotifier, &CmrState],
        &[&CmrState, &TdxRange],
        &[&CmrDynamic, &RejectAdd, &TdxRangeLocked],
    ];
    for (n, gates) in wrong.into_iter().enumerate() {
        for gate in gates {
            let judged = column(*gate, COLUMNS[n].1, |row| TDX[row].3[n]);
            assert!(judged.is_err(), "{} passes in column {n}", gate.name());
        }
    }
    let swapped = column(&CmrDynamic, Asked::Add, |row| FURTHER[row][0]);
    assert!(swapped.is_err());
}

/// On a platform without TDX nothing is refused.
#[test]
fn section_1_2_without_tdx_all_is_open() {
    let world = World::arm(Mte::Absent);
    for (gate, asked) in COLUMNS {
        assert_eq!(cell(gate, asked, &world, Caps::empty()), OK);
    }
    let rejects = Fake::adding("rejects", |view, of| RejectAdd.add(machine_view(view), of));
    assert_ne!(cell(&rejects, Asked::Add, &world, Caps::empty()), OK, "canary");
}

/// A view with TDX where there is none.
fn machine_view(view: View<'_>) -> View<'_> {
    static NEW: Tdx = Tdx::new(Vec::new());
    View { tdx: Some(&NEW), ..view }
}

// ---- tags --------------------------------------------------------------------------------------

/// What comes of memory on arm64.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It is memory, as good as any.
    Ram,
    /// It is memory, and pages of it lose tags.
    Unsafe,
    /// It stays a device, and a line says what to do about it.
    DevdaxWarned,
    /// It is a device, as was wanted.
    Device,
    /// It is nobody's.
    Lost,
}

/// How memory comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Comes {
    Boot,
    Hot,
    Memremap,
}

/// Tagging of the CPUs, how memory comes, whether it keeps tags; then what mainline does, and what
/// was proposed in 2024. "Any" has a row for each.
pub(crate) const TAGS: [(Mte, Comes, bool, [Fate; 2]); 12] = [
    (Mte::Absent, Comes::Hot, true, [Fate::Ram, Fate::Ram]),
    (Mte::Absent, Comes::Hot, false, [Fate::Ram, Fate::Ram]),
    (Mte::Absent, Comes::Boot, true, [Fate::Ram, Fate::Ram]),
    (Mte::Absent, Comes::Boot, false, [Fate::Ram, Fate::Ram]),
    (Mte::Disabled, Comes::Hot, true, [Fate::Ram, Fate::Ram]),
    (Mte::Disabled, Comes::Hot, false, [Fate::Ram, Fate::Ram]),
    (Mte::Disabled, Comes::Boot, true, [Fate::Ram, Fate::Ram]),
    (Mte::Disabled, Comes::Boot, false, [Fate::Ram, Fate::Ram]),
    (Mte::On, Comes::Hot, true, [Fate::Ram, Fate::Ram]),
    (Mte::On, Comes::Hot, false, [Fate::Unsafe, Fate::DevdaxWarned]),
    (Mte::On, Comes::Boot, false, [Fate::Unsafe, Fate::Unsafe]),
    (Mte::On, Comes::Memremap, false, [Fate::Device, Fate::Device]),
];

fn fate(gate: &dyn Gate, mte: Mte, comes: Comes, taggable: bool) -> Result<Fate, String> {
    let world = World::arm(mte);
    let origin = if comes == Comes::Boot { Origin::Boot } else { Origin::Cxl };
    let caps = if taggable { Caps::TAG } else { Caps::empty() };
    let of = memory(gib(512, 576), caps, origin);
    let wanted = if comes == Comes::Memremap { Driver::Devdax } else { Driver::Kmem };
    let (end, said) = way(gate, world.view(), &of, wanted);
    let advice = said.iter().filter(|line| line.text.contains("arm64.nomte")).count();
    let whole = world.view().lacking(of.caps).is_empty();
    match (end, said.len(), advice) {
        (End::Ram, 0, 0) => Ok(if whole { Fate::Ram } else { Fate::Unsafe }),
        (End::Devdax, 0, 0) => Ok(Fate::Device),
        (End::Devdax, 1, 1) => Ok(Fate::DevdaxWarned),
        (End::Stranded, 0, 0) => Ok(Fate::Lost),
        other => Err(format!("{}: {other:?} {said:?}", gate.name())),
    }
}

fn tags(gate: &dyn Gate, column: usize) -> Judgement {
    TAGS.into_iter().try_for_each(|(mte, comes, taggable, expected)| {
        let what = format!("{} {mte:?} {comes:?} {taggable}", gate.name());
        same(&what, fate(gate, mte, comes, taggable)?, expected[column])
    })
}

#[test]
fn section_1_4_decisions_with_tags() {
    assert_eq!(tags(&Ungated, 0), Ok(()));
    assert_eq!(tags(&Capability, 1), Ok(()));
}

/// The last row, for who asked whether to refuse it.
#[test]
fn section_1_4_device_memory_may_be_refused() {
    assert_eq!(fate(&NoMemremap, Mte::On, Comes::Memremap, false), Ok(Fate::Lost));
    assert_eq!(fate(&NoMemremap, Mte::On, Comes::Memremap, true), Ok(Fate::Lost));
    assert_eq!(fate(&NoMemremap, Mte::Disabled, Comes::Memremap, false), Ok(Fate::Device));
    assert_eq!(fate(&NoMemremap, Mte::On, Comes::Hot, false), Ok(Fate::Unsafe));
}

#[test]
fn canary_columns_of_section_1_4_are_of_their_gates() {
    for gate in [&Capability as &dyn Gate, &DenyRegion, &NoMemremap] {
        assert!(tags(gate, 0).is_err(), "{} passes for mainline", gate.name());
    }
    let quiet = Fake {
        name: "quiet",
        probe: |view, of, wanted| (Capability.probe(view, of, wanted).0, None),
        ..Fake::OPEN
    };
    // Looks at memory of boot, too.
    let late = Fake {
        name: "late",
        probe: |view, of, wanted| match view.lacking(of.caps).is_empty() {
            true => (wanted, None),
            false => (Driver::Devdax, Some(warning("arm64.nomte".to_owned()))),
        },
        ..Fake::OPEN
    };
    for gate in [&Ungated as &dyn Gate, &DenyRegion, &NoMemremap, &quiet, &late] {
        assert!(tags(gate, 1).is_err(), "{} passes for the proposal", gate.name());
    }
}
