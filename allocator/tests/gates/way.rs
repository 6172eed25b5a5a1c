//! What becomes of memory: all of a gate's answers in the order in which they are asked for.

use core::fmt::Debug;

use pagelab_allocator::hotplug::caps::Origin;
use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::hotplug::gate::{Candidate, Driver, Gate, Refusal, Verdict, View};
use pagelab_allocator::hotplug::printk::Line;

/// Where memory ends up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// In the page allocator.
    Ram,
    /// A device.
    Devdax,
    /// In memory blocks that are not onlined.
    Limbo,
    /// Nobody has it.
    Stranded,
}

/// The way of a range that is one block, with what was said. Only CXL has regions.
pub(crate) fn way(
    gate: &dyn Gate,
    view: View<'_>,
    of: &Candidate,
    wanted: Driver,
) -> (End, Vec<Line>) {
    let mut said = Vec::new();
    let mut ok = |verdict: Verdict| {
        let refusal = no(verdict);
        said.extend(refusal.iter().flat_map(|refusal| refusal.line.clone()));
        refusal.is_none()
    };
    if of.origin == Origin::Cxl && !ok(gate.create_region(view, of)) {
        return (End::Stranded, said);
    }
    let (driver, line) = gate.probe(view, of, wanted);
    let added = driver == Driver::Kmem && ok(gate.add(view, of));
    let end = match added {
        true if ok(gate.online(view, of)) => End::Ram,
        true => End::Limbo,
        false if ok(gate.memremap(view, of)) => End::Devdax,
        false => End::Stranded,
    };
    said.splice(0..0, line);
    (end, said)
}

/// Where it ends up, whatever is said.
pub(crate) fn end(gate: &dyn Gate, view: View<'_>, of: &Candidate) -> End {
    way(gate, view, of, Driver::Kmem).0
}

pub(crate) fn no(verdict: Verdict) -> Option<Refusal> {
    match verdict {
        Verdict::Allow => None,
        Verdict::Refuse(refusal) => Some(refusal),
    }
}

pub(crate) fn errno(verdict: Verdict) -> Option<Errno> {
    no(verdict).map(|refusal| refusal.errno)
}

/// What an oracle answers.
pub(crate) type Judgement = Result<(), String>;

pub(crate) fn same<T: PartialEq + Debug>(what: &str, got: T, expected: T) -> Judgement {
    if got == expected { Ok(()) } else { Err(format!("{what}: {got:?}, not {expected:?}")) }
}

/// The oracle accepts the one gate, and refuses the others.
#[track_caller]
pub(crate) fn tells_apart(
    oracle: impl Fn(&dyn Gate) -> Judgement,
    right: &dyn Gate,
    wrong: &[&dyn Gate],
) {
    assert_eq!(oracle(right), Ok(()), "{}", right.name());
    for gate in wrong {
        assert!(oracle(*gate).is_err(), "{} passes for {}", gate.name(), right.name());
    }
}
