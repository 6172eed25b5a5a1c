//! The shortest operations on which two designs differ.
//!
//! Streams name what they act on by number and never hear what became of it, so any part of a
//! stream is a stream: what names something that is gone is passed over. That makes delta debugging
//! plain: leave operations out, join them, make them smaller, as long as one design shows the
//! property and the other does not.

mod duel;
pub mod file;
pub mod plan;
mod property;
mod search;
mod smaller;
pub mod text;

use crate::logical::Step;
use crate::ops;
use crate::run::RunError;
use crate::run::stage::Stage;

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
    let Some((acts, differ)) = duel.first_difference()? else {
        return Ok(Shrunk { operations, runs: 1, difference: None });
    };
    let first = acts.len();
    let search = Search::new(plan.budget, |candidate: &[Act]| {
        // The machine was built once; it is built again.
        duel.counts(candidate).is_ok_and(|counts| counts.differ(differ.within) == Some(differ))
    });
    let Found { acts, runs, end } = search.shrink(acts);
    let counts = duel.counts(&acts)?;
    let difference = Difference { first, steps: ops::steps(acts), counts, differ, end };
    Ok(Shrunk { operations, runs, difference: Some(difference) })
}
