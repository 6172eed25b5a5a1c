//! What all designs are asked alike.

use core::fmt;
use std::path::PathBuf;

use pagelab_allocator::profile::KernelProfile;

use super::load::{parse_workload, workload_memory};
use super::words::{
    list, parse_block, parse_cma, parse_memory, parse_path, parse_profile, parse_shares,
    parse_trace,
};
use super::{Action, PlanError};
use crate::cli::Common;
use crate::demo;
use crate::size::Share;
use crate::trace::Strictness;
use crate::workload::WorkloadPlan;

/// The tag block when none was given, in bytes: one page of 4 KiB.
const DEFAULT_BLOCK: u64 = 4096;

/// What all designs are asked alike: a machine, and a stream of requests to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scene {
    /// Which trace or workload; with `ops`, whose machine.
    pub trace: TraceChoice,
    /// A file of operations that are carried out in place of those.
    pub ops: Option<PathBuf>,
    /// Memory of the emulated machine in bytes; `None`: that of the recorded one. Always there for
    /// workloads.
    pub memory: Option<u64>,
    /// Movable user pages to tag besides the recorded ones, or the share of a workload; `None`:
    /// none.
    pub tagged: Option<Share>,
    /// Seed of the generator that chooses them, and of the workload.
    pub seed: u64,
    /// What to do with lines of the trace that cannot be read.
    pub strictness: Strictness,
    /// Whose rules to follow; `None`: the recorded kernel's.
    pub profile: Option<KernelProfile>,
    /// Tag block of the hardware in bytes, a multiple of 4 KiB.
    pub block_size: u64,
    /// Size of an ordinary CMA area in bytes; `None`: that of the recorded machine.
    pub cma: Option<u64>,
}

/// Where the trace comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TraceChoice {
    /// The one inside this program; see [`crate::demo`].
    Demo,
    /// A file.
    File(PathBuf),
    /// None: operations are made up.
    Workload(WorkloadPlan),
}

impl fmt::Display for TraceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Demo => f.write_str(demo::NAME),
            Self::File(path) => path.display().fmt(f),
            Self::Workload(plan) => plan.fmt(f),
        }
    }
}

/// Every combination of the values of each axis.
pub(super) fn scenes(
    action: Action,
    words: &Common,
    seed: u64,
    seeds: usize,
) -> Result<Vec<Scene>, PlanError> {
    let load = parse_workload(words)?;
    let common = common(words, load)?;
    let memories = memories(action, words, load)?;
    if let (Some(text), Some(cma)) = (&words.cma, common.cma)
        && memories.iter().flatten().any(|memory| cma >= *memory)
    {
        return Err(PlanError::new("--cma", text, "not smaller than --memory"));
    }
    let shares = match words.tagged.as_deref() {
        None => vec![None],
        Some(text) => parse_shares(text)?.into_iter().map(Some).collect(),
    };
    let mut scenes = Vec::new();
    for &memory in &memories {
        for &share in &shares {
            scenes.extend((seed..).take(seeds).map(|seed| common.with(memory, share, seed)));
        }
    }
    Ok(scenes)
}

/// What all scenes have in common.
fn common(words: &Common, load: Option<WorkloadPlan>) -> Result<Scene, PlanError> {
    Ok(Scene {
        trace: load.map_or_else(|| parse_trace(words), |load| Ok(TraceChoice::Workload(load)))?,
        ops: words.ops.as_deref().map(|text| parse_path("--ops", text)).transpose()?,
        memory: None,
        tagged: None,
        seed: 0,
        strictness: strictness(words, load)?,
        profile: words.profile.as_deref().map(parse_profile).transpose()?,
        block_size: words.block_size.as_deref().map_or(Ok(DEFAULT_BLOCK), parse_block)?,
        cma: words.cma.as_deref().map(parse_cma).transpose()?,
    })
}

/// Lines that cannot be read only traces have.
fn strictness(words: &Common, load: Option<WorkloadPlan>) -> Result<Strictness, PlanError> {
    match (words.lenient, load) {
        (true, Some(_)) => Err(PlanError::new("--lenient", "", "only with a trace")),
        (true, None) => Ok(Strictness::Lenient),
        (false, _) => Ok(Strictness::Strict),
    }
}

/// The sizes of machines, as far as they are known before a trace is read.
fn memories(
    action: Action,
    words: &Common,
    load: Option<WorkloadPlan>,
) -> Result<Vec<Option<u64>>, PlanError> {
    let typed = match words.memory.as_deref() {
        None => vec![(action == Action::Demo).then_some(demo::MEMORY)],
        Some(text) => list("--memory", text, parse_memory)?.into_iter().map(Some).collect(),
    };
    match load {
        Some(_) => {
            typed.into_iter().map(|memory| workload_memory(words, memory).map(Some)).collect()
        }
        None => Ok(typed),
    }
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source())?;
        if let Some(memory) = self.memory {
            write!(f, ", {} MiB", memory >> 20)?;
        }
        if let Some(share) = self.tagged {
            write!(f, ", {share} tagged")?;
        }
        write!(f, ", seed {}", self.seed)
    }
}

impl Scene {
    /// Where its operations come from, in words.
    #[must_use]
    pub fn source(&self) -> String {
        match (&self.ops, &self.trace) {
            (None, trace) => trace.to_string(),
            (Some(ops), trace) => format!("{} on the machine of {trace}", ops.display()),
        }
    }

    /// Whether its operations come from lines of a trace.
    #[must_use]
    pub const fn has_lines(&self) -> bool {
        self.ops.is_none() && !matches!(self.trace, TraceChoice::Workload(_))
    }

    fn with(&self, memory: Option<u64>, tagged: Option<Share>, seed: u64) -> Self {
        let trace = match self.trace.clone() {
            TraceChoice::Workload(mut load) => {
                load.tags.share = tagged.unwrap_or(Share::NONE);
                TraceChoice::Workload(load)
            }
            other => other,
        };
        Self { trace, memory, tagged, seed, ..self.clone() }
    }
}
