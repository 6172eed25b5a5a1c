//! One operation of a run, explained: the path of its request through the allocator.
//!
//! The run is carried out as always up to that operation; then a witness hears the machine's own
//! events and notes. Nothing is computed a second time here.

mod flags;
mod line;
mod path;
pub mod plan;
mod refill;
mod storage;
mod sum;
mod tell;
pub mod text;
mod witness;

use crate::logical::Step;
use crate::ops::Line as OpLine;
use crate::run::RunError;
use crate::run::boot::boot;
use crate::run::stage::Stage;

pub use line::{Depth, Line};
pub use path::{Outcome, Path, Paths};
pub use witness::{Ears, Fact, Witness};

use plan::{At, ExplainPlan};

/// An operation and what became of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// The scene and the design, in words.
    pub scene: String,
    /// The operation's number, from 1.
    pub number: u64,
    /// How many there are.
    pub operations: u64,
    /// Line of the trace that it comes from; `None` when it comes from no trace.
    pub line: Option<u64>,
    /// Nanoseconds of the stream's clock since its first operation.
    pub since: u64,
    /// The operation in words.
    pub op: String,
    /// What happened.
    pub paths: Paths,
}

/// Why nothing could be explained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExplainError {
    /// The run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The stream ends before.
    #[error("--at {at}: there are {operations} operations")]
    PastTheEnd {
        /// What was asked for.
        at: At,
        /// How many there are.
        operations: u64,
    },
    /// The line of the trace is no operation.
    #[error("--at line:{line}: no operation comes from that line; {}", nearest(*.before, *.after))]
    NoSuchLine {
        /// The line.
        line: u64,
        /// The nearest line before that has one.
        before: Option<u64>,
        /// The nearest line behind that has one.
        after: Option<u64>,
    },
    /// The operation has no such page.
    #[error("--page {0}: the operation does not come to that page")]
    NoSuchPage(u64),
}

fn nearest(before: Option<u64>, after: Option<u64>) -> String {
    let lines: Vec<_> = before.into_iter().chain(after).map(|line| line.to_string()).collect();
    match lines.is_empty() {
        true => "no line has one".to_owned(),
        false => format!("the nearest that have one: {}", lines.join(", ")),
    }
}

impl From<crate::trace::TraceError> for ExplainError {
    fn from(error: crate::trace::TraceError) -> Self {
        Self::Run(error.into())
    }
}

/// Carries the plan's run out up to its operation, and listens to that one.
///
/// # Errors
///
/// [`ExplainError`] when the run is impossible or has no such operation.
pub fn explain(plan: &ExplainPlan) -> Result<Explanation, ExplainError> {
    let stage = Stage::new(&plan.scene)?;
    let number = number(&stage, plan.at)?;
    let (_, mut driver) = boot(&stage, plan.design, Witness::default())?;
    let mut steps = stage.steps()?;
    let mut start = None;
    for _ in 1..number {
        let Some(step) = steps.next().transpose()? else { break };
        start.get_or_insert(step.timestamp);
        driver.step(&step);
    }
    let operations = stage.operations();
    let past = ExplainError::PastTheEnd { at: plan.at, operations };
    let step = steps.next().transpose()?.ok_or(past)?;
    driver.sink_mut().ears = Ears::Open;
    driver.step(&step);
    let facts = core::mem::take(&mut driver.sink_mut().facts);
    let paths = Paths::new(&facts, plan.page, stage.machine.profile);
    if let (Some(page), true) = (plan.page, paths.paths.is_empty()) {
        return Err(ExplainError::NoSuchPage(page));
    }
    Ok(Explanation {
        scene: format!("{}, design {}", plan.scene, plan.design),
        number,
        operations,
        line: stage.has_lines().then_some(step.line),
        since: step.timestamp - start.unwrap_or(step.timestamp),
        op: OpLine::from(step).to_string(),
        paths,
    })
}

/// The number of the operation that is meant.
fn number(stage: &Stage<'_>, at: At) -> Result<u64, ExplainError> {
    let At::Line(line) = at else {
        let At::Operation(number) = at else { unreachable!("two ways to say where") };
        let operations = stage.operations();
        return match number <= operations {
            true => Ok(number),
            false => Err(ExplainError::PastTheEnd { at, operations }),
        };
    };
    let (mut found, mut before, mut after) = (None, None, None);
    for (number, step) in (1..).zip(stage.steps()?) {
        let Step { line: here, .. } = step?;
        match here.cmp(&line) {
            core::cmp::Ordering::Less => before = before.max(Some(here)),
            core::cmp::Ordering::Equal => found = Some(number),
            core::cmp::Ordering::Greater => {
                after = Some(here);
                break;
            }
        }
    }
    found.ok_or(ExplainError::NoSuchLine { line, before, after })
}
