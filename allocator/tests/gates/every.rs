//! What becomes of memory with every gate, in the rows of both decision tables.

use pagelab_allocator::hotplug::caps::{Caps, Origin};
use pagelab_allocator::hotplug::gate::catalogue::all;
use pagelab_allocator::hotplug::gate::{Candidate, Driver, Extends, Gate, Reach, Verdict};

use crate::fake::Fake;
use crate::tables::{Comes, TAGS, TDX, machine};
use crate::way::{End, Judgement, same, way};
use crate::world::{World, gib, memory};

/// For each gate, a letter for each row of the table of TDX, and of the table of tags:
/// `R` memory, `u` memory that is not what pages have to be, `P` such memory that only those get
/// who can use it, `D` a device, `L` blocks in limbo, `S` stranded.
const EVERY: [(&str, &str, &str); 15] = [
    ("ungated", "RRRuuuRR", "RRRRRRRRRuuD"),
    ("tdx-notifier", "RRRuLLRR", "RRRRRRRRRuuD"),
    ("tdx-notifier-loud", "RRRuLLRR", "RRRRRRRRRuuD"),
    ("tdx-range", "RRRuDDRR", "RRRRRRRRRuuD"),
    ("tdx-range-locked", "RDRDDDRR", "RRRRRRRRRuuD"),
    ("reject-add", "DDDDDDDD", "RRRRRRRRRuuD"),
    ("cmr-state", "RDDDDDRD", "RRRRRRRRRuuD"),
    ("cmr-dynamic", "RDRDRDRD", "RRRRRRRRRuuD"),
    // Convertible memory that TDX did not take can do all that is asked for, and is foreign.
    ("capability", "RRRDuDRR", "RRRRRRRRRDuD"),
    ("deny-region", "RRRSuSRR", "RRRRRRRRRSuS"),
    ("private-node", "RRRPuPRR", "RRRRRRRRRPPD"),
    ("page-filter", "RRRPuPRR", "RRRRRRRRRPPD"),
    ("feature-off", "RRRRRRRR", "RRRRRRRRRRRD"),
    ("documented", "RRRuuuRR", "RRRRRRRRRuuD"),
    ("no-memremap", "RRRuuuRR", "RRRRRRRRRuuS"),
];

fn letter(gate: &dyn Gate, mut world: World, of: &Candidate, wanted: Driver) -> char {
    let off = gate.gives_up();
    world.platform.give_up(off);
    if off.contains(Caps::TEE) {
        world.tdx = None;
    }
    let view = world.view();
    let lacking = view.lacking(of.caps);
    let in_use = view.tdx.filter(|tdx| tdx.memlist().is_some());
    let foreign = in_use.is_some_and(|tdx| !tdx.is_tdx_memory(of.range))
        && gate.extends(view, of) == Extends::No;
    let filtered = gate.reach() == Reach::Bound
        || matches!(gate.place(view, of.caps, lacking), Verdict::Refuse(_));
    match way(gate, view, of, wanted).0 {
        End::Ram if lacking.is_empty() && !foreign => 'R',
        End::Ram if !lacking.is_empty() && filtered => 'P',
        End::Ram => 'u',
        End::Devdax => 'D',
        End::Limbo => 'L',
        End::Stranded => 'S',
    }
}

/// Memory can hold private pages where firmware says that it is convertible.
fn tdx_row(gate: &dyn Gate) -> String {
    let letters = TDX.map(|(state, taken, convertible, _)| {
        let caps = if convertible { Caps::TEE } else { Caps::empty() };
        let of = memory(gib(512, 514), caps, Origin::Cxl);
        letter(gate, machine(state, taken, convertible), &of, Driver::Kmem)
    });
    letters.into_iter().collect()
}

fn tags_row(gate: &dyn Gate) -> String {
    let letters = TAGS.map(|(mte, comes, taggable, _)| {
        let caps = if taggable { Caps::TAG } else { Caps::empty() };
        let origin = if comes == Comes::Boot { Origin::Boot } else { Origin::Cxl };
        let of = memory(gib(512, 576), caps, origin);
        let wanted = if comes == Comes::Memremap { Driver::Devdax } else { Driver::Kmem };
        letter(gate, World::arm(mte), &of, wanted)
    });
    letters.into_iter().collect()
}

fn judge(gate: &dyn Gate, (_, tdx, tags): (&str, &str, &str)) -> Judgement {
    same("TDX", tdx_row(gate).as_str(), tdx)?;
    same("tags", tags_row(gate).as_str(), tags)
}

#[test]
fn every_gate_in_both_tables() {
    let gates = all();
    assert_eq!(gates.len(), EVERY.len());
    for (gate, row) in gates.into_iter().zip(EVERY) {
        assert_eq!(gate.name(), row.0);
        assert_eq!(judge(gate, row), Ok(()), "{}", row.0);
    }
}

#[test]
fn canary_a_gate_in_the_row_of_another() {
    for gate in all() {
        let own = EVERY.into_iter().find(|row| row.0 == gate.name()).expect("every gate is there");
        let others = EVERY.into_iter().filter(|row| (row.1, row.2) != (own.1, own.2));
        for row in others {
            assert!(judge(gate, row).is_err(), "{} passes for {}", gate.name(), row.0);
        }
    }
    let open = EVERY.into_iter().filter(|row| judge(&Fake::OPEN, *row).is_ok());
    assert_eq!(open.map(|row| row.0).collect::<Vec<_>>(), ["ungated", "documented"]);
}
