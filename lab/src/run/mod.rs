//! Runs: the scenes of a plan become machines, traces and workloads drive them, reports come out.

pub mod boot;
pub mod counters;
pub mod preface;
pub mod stage;
pub mod turn;

use pagelab_allocator::check::Violation;
use pagelab_migrate::emulator::SpecError;
use rayon::prelude::*;
use serde_json::Value;

use crate::case::error::CaseError;
use crate::contender::Contender;
use crate::drive::NoRoom;
use crate::machine::LayoutError;
use crate::ops::OpsError;
use crate::partial::WriteError;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::report::RunReport;
use crate::trace::TraceError;

use stage::Stage;
use turn::{Audit, KeepMaps, Turn};

/// Why nothing could be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The trace.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// What lies beside the trace: the recorded machine's description, and its counters.
    #[error(transparent)]
    Case(#[from] CaseError),
    /// The file of operations.
    #[error(transparent)]
    Ops(#[from] OpsError),
    /// The run that was to be written down.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The machine's layout.
    #[error("memory of {} (--memory): {why}", mebibytes(*.memory))]
    Layout {
        /// Memory of the machine in bytes.
        memory: u64,
        /// What does not fit.
        why: LayoutError,
    },
    /// The machine itself.
    #[error("memory of {} (--memory): {why}", mebibytes(*.memory))]
    Spec {
        /// Memory of the machine in bytes.
        memory: u64,
        /// What is impossible.
        why: SpecError,
    },
    /// What is in use before the trace.
    #[error("memory of {} (--memory): {why}", mebibytes(*.memory))]
    NoRoom {
        /// Memory of the machine in bytes.
        memory: u64,
        /// What does not fit.
        why: NoRoom,
    },
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// What came out of a plan of one scene.
#[derive(Debug)]
pub struct Outcome {
    /// The plan, the machine and the trace, as lines.
    pub preface: String,
    /// The same as data.
    pub plan: Value,
    /// One report a design, in the plan's order.
    pub reports: Vec<RunReport>,
    /// Designs whose machine was found inconsistent at the end, and what was wrong.
    pub violations: Vec<(Contender, Violation)>,
}

/// Runs the first scene of the plan under every design.
///
/// # Errors
///
/// [`RunError`] when trace or machine are impossible.
pub fn run(plan: &Plan) -> Result<Outcome, RunError> {
    let stage = Stage::new(&plan.scenes[0])?;
    let designs = u64::try_from(plan.designs.len()).unwrap_or(u64::MAX);
    let progress = Progress::new(stage.operations() * designs);
    let turn = |&design: &Contender| {
        let turn = Turn {
            stage: &stage,
            design,
            progress: &progress,
            maps: KeepMaps::No,
            audit: Audit::Full,
        };
        turn.carry_out(plan.record.as_ref()).map(|shown| (design, shown))
    };
    let shown = plan.designs.par_iter().map(turn).collect::<Result<Vec<_>, _>>()?;
    progress.finish();
    let mut reports = Vec::new();
    let mut violations = Vec::new();
    for (design, (report, checked)) in shown {
        reports.push(report);
        violations.extend(checked.err().map(|what| (design, what)));
    }
    let preface = preface::preface(&stage);
    Ok(Outcome { preface, plan: preface::describe(plan, &stage), reports, violations })
}
