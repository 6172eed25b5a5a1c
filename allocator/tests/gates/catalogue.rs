//! The list of gates: each is there once, under its name.

use pagelab_allocator::hotplug::gate::catalogue::{all, by_name};
use pagelab_allocator::hotplug::gate::{Gate, ungated::Ungated};

use crate::fake::Fake;
use crate::way::Judgement;

const ORDER: [&str; 15] = [
    "ungated",
    "tdx-notifier",
    "tdx-notifier-loud",
    "tdx-range",
    "tdx-range-locked",
    "reject-add",
    "cmr-state",
    "cmr-dynamic",
    "capability",
    "deny-region",
    "private-node",
    "page-filter",
    "feature-off",
    "documented",
    "no-memremap",
];

/// Names are words of a command line and differ; what they are about fits a line of a table.
fn judge(gates: &[&dyn Gate]) -> Judgement {
    for (n, gate) in gates.iter().enumerate() {
        let name = gate.name();
        if gates[..n].iter().any(|other| other.name() == name) {
            return Err(format!("{name} is there twice"));
        }
        if name.is_empty() || name.bytes().any(|b| !b.is_ascii_lowercase() && b != b'-') {
            return Err(format!("{name:?} is not a word"));
        }
        let about = gate.about();
        if about.is_empty() || about.len() > 76 || about.contains('\n') {
            return Err(format!("{name} is about {about:?}"));
        }
    }
    Ok(())
}

#[test]
fn gates_stand_in_the_order_of_tables() {
    assert_eq!(judge(&all()), Ok(()));
    assert_eq!(all().iter().map(|gate| gate.name()).collect::<Vec<_>>(), ORDER);
}

#[test]
fn a_name_finds_its_gate() {
    for gate in all() {
        let found = by_name(gate.name()).expect("it is in the list");
        let of = |gate: &dyn Gate| (gate.name(), gate.about(), format!("{gate:?}"));
        assert_eq!(of(found), of(gate));
    }
    assert!(by_name("").is_none() && by_name("tdx").is_none());
}

#[test]
fn canary_names_that_are_not_names() {
    let empty = Fake { name: "", ..Fake::OPEN };
    let shouting = Fake { name: "Open Gate", ..Fake::OPEN };
    for gates in [[&Ungated as &dyn Gate, &Ungated], [&Ungated, &empty], [&Ungated, &shouting]] {
        assert!(judge(&gates).is_err());
    }
}
