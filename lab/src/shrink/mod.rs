//! Few operations on which two designs differ, none of them superfluous.
//!
//! Streams name what they act on by number and never hear what became of it, so any part of a
//! stream is a stream: what names something that is gone is passed over. That makes delta debugging
//! plain: leave operations out, join them, make them smaller, as long as one design shows the
//! property and the other does not.

mod duel;
pub mod plan;
mod property;
mod search;
mod smaller;
pub mod text;

use std::collections::BTreeSet;

use crate::logical::{Op, Step};
use crate::ops;
use crate::run::RunError;
use crate::run::stage::Stage;
use crate::survey::kind;
use crate::workload::op::ProcessOp;

pub use duel::{Act, Counts, Differ, Duel, Shows, Where};
pub use property::Property;
pub use search::{End, Found, Search};

use plan::ShrinkPlan;

/// What a shrink came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shrunk {
    /// Operations of the scene.
    pub operations: u64,
    /// Runs of the search.
    pub runs: u64,
    /// The difference; `None` when the designs never differ.
    pub difference: Option<Difference>,
}

/// Operations on which the designs differ.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// After how many of the scene's operations it showed.
    pub first: usize,
    /// The operations.
    pub steps: Vec<Step>,
    /// How often each design shows the property.
    pub counts: Counts,
    /// In what way they differ.
    pub differ: Differ,
    /// Why the search ended.
    pub end: End,
}

/// Looks for a difference, and shrinks it.
///
/// # Errors
///
/// [`RunError`] when machine or operations are impossible.
pub fn shrink(plan: &ShrinkPlan) -> Result<Shrunk, RunError> {
    let stage = Stage::new(&plan.scene)?;
    let duel = Duel { stage: &stage, designs: plan.designs, property: plan.property };
    let operations = stage.operations();
    let Some((first, differ)) = duel.first_difference(stage.steps()?)? else {
        return Ok(Shrunk { operations, runs: 1, difference: None });
    };
    let fewer = fewer_kinds(&duel, (first, differ), plan.budget)?;
    let search = Search::new((fewer.runs, plan.budget), |candidate: &[Act]| {
        // The machine was built once; it is built again.
        duel.counts(candidate).is_ok_and(|counts| counts.differ(differ.within) == Some(differ))
    });
    let Found { acts, runs, end } = search.shrink(fewer.acts);
    let counts = duel.counts(&acts)?;
    let difference = Difference { first, steps: ops::steps(acts), counts, differ, end };
    Ok(Shrunk { operations, runs, difference: Some(difference) })
}

/// Whether memory comes back by it; without such operations memory only fills.
const fn gives_back(op: Op) -> bool {
    use ProcessOp::{Exit, RemoveFile, Unpin};
    matches!(op, Op::Free { .. } | Op::Process(Exit { .. } | RemoveFile { .. } | Unpin { .. }))
}

/// How much further than to the first difference the operations are looked at, as a factor.
const REACH: usize = 4;

/// Operations without those of some kinds.
struct Fewer {
    acts: Vec<Act>,
    runs: u64,
}

/// Leaves out all operations of a kind, for each kind that takes memory, if the designs still come to differ soon.
///
/// Where pages lie decides, and everything shifts them. While there are many pins and tags, some
/// fit wherever pages lie; the last of them fits only where it was, and would keep operations that
/// do nothing but shift.
fn fewer_kinds(
    duel: &Duel<'_>,
    (first, differ): (usize, Differ),
    budget: u64,
) -> Result<Fewer, RunError> {
    let mut acts = duel.acts(first.saturating_mul(REACH))?;
    let (mut runs, mut end) = (0, first);
    let taking = acts.iter().filter(|(op, _)| !gives_back(*op));
    let kinds: BTreeSet<_> = taking.map(|(op, _)| kind(*op)).collect();
    for gone in kinds {
        if runs == budget {
            break;
        }
        let kept = acts.iter().copied().filter(|(op, _)| kind(*op) != gone);
        let kept: Vec<Act> = kept.collect();
        runs += 1;
        let steps = ops::steps(kept.iter().copied());
        match duel.first_difference(steps.into_iter().map(Ok))? {
            Some((here, how)) if how == differ => (acts, end) = (kept, here),
            _ => {}
        }
    }
    acts.truncate(end);
    Ok(Fewer { acts, runs })
}
