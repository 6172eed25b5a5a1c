//! Few operations on which two designs differ, none of them superfluous.
//!
//! Streams name what they act on by number and never hear what became of it, so any part of a
//! stream is a stream: what names something that is gone is passed over. That makes delta debugging
//! plain: leave operations out, join them, make them smaller, as long as one design shows the
//! property and the other does not.

mod budget;
mod duel;
pub mod plan;
mod property;
mod search;
mod smaller;
pub mod text;

use std::collections::BTreeSet;

use crate::logical::process::ProcessOp;
use crate::logical::{Op, Step};
use crate::ops::{self, Line};
use crate::run::RunError;
use crate::run::stage::Stage;
use crate::survey::kind;

pub use budget::{Budget, Spent};
pub use duel::{Counts, Differ, Duel, Shows, Where};
pub use property::Property;
pub use search::{End, Found, Search};

use plan::ShrinkPlan;

/// What a shrink came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shrunk {
    /// Operations of the scene.
    pub operations: u64,
    /// Runs of the search; looking for the first difference and counting at the end are none.
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
    let mut budget = Budget::new(plan.budget);
    let Some((first, differ)) = duel.first_difference(stage.steps()?)? else {
        return Ok(Shrunk { operations, runs: budget.runs(), difference: None });
    };
    let lines = fewer_kinds(&duel, (first, differ), &mut budget)?;
    let search = Search::new(budget, |candidate: &[Line]| {
        // The machine was built once; it is built again.
        candidate.iter().all(|line| stage.room().take(line.op).is_ok())
            && duel
                .counts(candidate)
                .is_ok_and(|counts| counts.differ(differ.within) == Some(differ))
    });
    let Found { lines, runs, end } = search.shrink(lines);
    let counts = duel.counts(&lines)?;
    let difference = Difference { first, steps: ops::steps(lines), counts, differ, end };
    Ok(Shrunk { operations, runs, difference: Some(difference) })
}

/// Whether memory comes back by it; without such operations memory only fills.
const fn gives_back(op: Op) -> bool {
    use ProcessOp::{Exit, RemoveFile, Unpin};
    matches!(op, Op::Free { .. } | Op::Process(Exit { .. } | RemoveFile { .. } | Unpin { .. }))
}

/// How much further than to the first difference the operations are looked at, as a factor.
const REACH: usize = 4;

/// Leaves out all operations of a kind, for each kind that takes memory, if the designs still come
/// to differ soon.
///
/// Where pages lie decides, and everything shifts them. While there are many pins and tags, some
/// fit wherever pages lie; the last of them fits only where it was, and would keep operations that
/// do nothing but shift.
fn fewer_kinds(
    duel: &Duel<'_>,
    (first, differ): (usize, Differ),
    budget: &mut Budget,
) -> Result<Vec<Line>, RunError> {
    let mut lines = duel.lines(first.saturating_mul(REACH))?;
    let mut end = first;
    let taking = lines.iter().filter(|line| !gives_back(line.op));
    let kinds: BTreeSet<_> = taking.map(|line| kind(line.op)).collect();
    for gone in kinds {
        if budget.spend() == Err(Spent) {
            break;
        }
        let kept = lines.iter().copied().filter(|line| kind(line.op) != gone);
        let kept: Vec<Line> = kept.collect();
        let steps = ops::steps(kept.iter().copied());
        match duel.first_difference(steps.into_iter().map(Ok))? {
            Some((here, how)) if how == differ => (lines, end) = (kept, here),
            _ => {}
        }
    }
    lines.truncate(end);
    Ok(lines)
}
