//! Experiments: every scene under every design, on as many threads as there are cores.
//!
//! All designs run on the same scenes, so that they see the same requests (common random numbers).
//! Which thread runs what changes nothing: results are put in the order of the plan. The
//! machines of the first seed are checked at their end, and everything on them is freed again.

pub mod csv;
pub mod estimate;
pub mod files;
pub mod headline;
pub mod html;
pub mod jsonl;
pub mod table;

use std::collections::BTreeMap;

use pagelab_allocator::check::Violation;
use rayon::prelude::*;
use serde_json::Value;

use crate::contender::Contender;
use crate::costs::CostModel;
use crate::metric::{self, Metric};
use crate::plan::{Plan, Scene, TraceChoice};
use crate::progress::Progress;
use crate::report::blocks::TimedMap;
use crate::report::{Moment, RunReport};
use crate::run::stage::Stage;
use crate::run::turn::{Audit, KeepMaps, Shown, Turn};
use crate::run::{RunError, preface};
use crate::size::Share;
use estimate::Estimate;

/// What one run of an experiment leaves.
#[derive(Clone, PartialEq, Debug)]
pub struct Cell {
    /// The values of [`metric::ALL`], in that order.
    pub values: Vec<Option<f64>>,
    /// Counters with the names of /proc/vmstat, and those of tag storage.
    pub counters: BTreeMap<&'static str, u64>,
    /// The machine at moments of the run.
    pub moments: Vec<Moment>,
    /// The pageblocks at some moments: of the first seed, when they are to be shown.
    pub maps: Vec<TimedMap>,
    /// Machine's pages.
    pub pages: u64,
    /// What the run takes by the cost model, in that one's unit; `None` when none was asked for.
    pub price: Option<f64>,
}

/// What came out of an experiment.
#[derive(Debug)]
pub struct Results {
    /// The plan in words.
    pub preface: String,
    /// The plan as data.
    pub plan: Value,
    /// The designs, the first of which the others are measured against.
    pub designs: Vec<Contender>,
    /// Groups of runs that differ in their seed only.
    pub groups: Vec<Group>,
    /// The cost model that was asked for.
    pub costs: Option<CostModel>,
    /// Runs whose machine was found inconsistent at the end, and what was wrong.
    pub violations: Vec<(Contender, Scene, Violation)>,
}

/// Every design on the scenes of one memory size and tagged share.
#[derive(Clone, PartialEq, Debug)]
pub struct Group {
    /// The first scene; the others differ in their seed.
    pub scene: Scene,
    /// `cells[design][seed]`.
    pub cells: Vec<Vec<Cell>>,
}

impl Results {
    /// The groups of each memory size.
    pub fn by_memory(&self) -> impl Iterator<Item = &[Group]> {
        self.groups.chunk_by(|a, b| a.pages() == b.pages())
    }
}

impl Group {
    /// Pages of the machine.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.cells[0][0].pages
    }

    /// Memory of the machine in MiB.
    #[must_use]
    pub fn mebibytes(&self) -> u64 {
        self.pages() >> 8
    }

    /// The tagged share in words.
    #[must_use]
    pub fn tagged(&self) -> String {
        match (self.share(), &self.scene.trace) {
            (Some(share), _) => share.to_string(),
            (None, TraceChoice::Workload(_)) => "its own".to_owned(),
            (None, _) => "as recorded".to_owned(),
        }
    }

    /// The tagged share in percent; `None`: as recorded, or what the workload always tags.
    #[must_use]
    pub fn tagged_percent(&self) -> Option<f64> {
        self.share().map(|share| f64::from(share.per_10_000()) / 100.0)
    }

    /// The share that was asked for; of a workload that tags nothing unasked, nothing.
    fn share(&self) -> Option<Share> {
        let Scene { trace, ops, tagged, .. } = &self.scene;
        let unasked = match (trace, ops) {
            (TraceChoice::Workload(load), None) => load.kind.always_tagged(),
            _ => Some("what stands there"),
        };
        tagged.or(unasked.is_none().then_some(Share::NONE))
    }

    /// A metric of a design over the seeds; `None` where no run has it.
    #[must_use]
    pub fn estimate(&self, design: usize, metric: usize) -> Option<Estimate> {
        Estimate::of(self.cells[design].iter().filter_map(|cell| cell.values[metric]))
    }

    /// What a design's runs take by the cost model; `None` when none was asked for.
    #[must_use]
    pub fn price(&self, design: usize) -> Option<Estimate> {
        Estimate::of(self.cells[design].iter().filter_map(|cell| cell.price))
    }

    /// By how much a design's metric is larger than the first design's, seed by seed; `None` where
    /// no seed has both.
    #[must_use]
    pub fn difference(&self, design: usize, metric: usize) -> Option<Estimate> {
        let pairs = self.cells[0].iter().zip(&self.cells[design]);
        let both =
            pairs.filter_map(|(first, own)| Some(own.values[metric]? - first.values[metric]?));
        Estimate::of(both)
    }
}

/// The metrics with their positions in [`Cell::values`].
pub fn metrics() -> impl Iterator<Item = (usize, &'static Metric)> {
    metric::ALL.iter().enumerate()
}

/// The metric of that name, with its position.
#[must_use]
pub fn find_metric(name: &str) -> Option<(usize, &'static Metric)> {
    metrics().find(|(_, metric)| metric.name == name)
}

/// Carries a plan out, and prices what happens by `costs`.
///
/// # Errors
///
/// [`RunError`] of the first scene, in the plan's order, that makes no machine.
pub fn carry_out(plan: &Plan, costs: Option<&CostModel>) -> Result<Results, RunError> {
    in_pool(plan.threads, || {
        let stages: Vec<_> = plan.scenes.par_iter().map(Stage::new).collect();
        let stages = stages.into_iter().collect::<Result<Vec<_>, _>>()?;
        let operations = stages.iter().map(Stage::operations);
        let designs = u64::try_from(plan.designs.len()).unwrap_or(u64::MAX);
        let progress = Progress::new(operations.sum::<u64>() * designs);
        let runs: Vec<(usize, Contender)> = (0..stages.len())
            .flat_map(|scene| plan.designs.iter().map(move |design| (scene, *design)))
            .collect();
        let carried = runs.par_iter().map(|&(scene, design)| {
            let first = scene.is_multiple_of(plan.seeds);
            let audit = if first { Audit::Full } else { Audit::None };
            let drawn = first && plan.files.html.is_some();
            let maps = if drawn { KeepMaps::Yes } else { KeepMaps::No };
            let turn = Turn { stage: &stages[scene], design, progress: &progress, maps, audit };
            turn.carry_out(None).map(|shown| leave(shown, costs))
        });
        let carried: Vec<Result<_, RunError>> = carried.collect();
        progress.finish();
        let carried = carried.into_iter().collect::<Result<_, _>>()?;
        Ok(results(plan, &stages, carried, costs))
    })
}

/// Runs `work` on so many threads.
fn in_pool<T: Send>(threads: Option<usize>, work: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0)).build();
    match pool {
        Ok(pool) => pool.install(work),
        // The system gives no threads: the work is done on those that are there.
        Err(_) => work(),
    }
}

/// Keeps of a run what an experiment shows.
fn leave((report, checked): Shown, costs: Option<&CostModel>) -> (Cell, Option<Violation>) {
    let price = costs.map(|costs| costs.price(&report));
    let values = metric::ALL.iter().map(|metric| (metric.of)(&report)).collect();
    let RunReport { counters, moments, maps, machine, .. } = report;
    (Cell { values, counters, moments, maps, pages: machine.pages, price }, checked.err())
}

fn results(
    plan: &Plan,
    stages: &[Stage<'_>],
    carried: Vec<(Cell, Option<Violation>)>,
    costs: Option<&CostModel>,
) -> Results {
    let mut violations = Vec::new();
    let mut groups = Vec::new();
    let mut carried = carried.into_iter();
    for scenes in plan.scenes.chunks(plan.seeds) {
        let mut cells = vec![Vec::new(); plan.designs.len()];
        for scene in scenes {
            for (design, (cell, violation)) in carried.by_ref().take(plan.designs.len()).enumerate()
            {
                let what = violation.map(|what| (plan.designs[design], scene.clone(), what));
                violations.extend(what);
                cells[design].push(cell);
            }
        }
        groups.push(Group { scene: scenes[0].clone(), cells });
    }
    Results {
        preface: preface::of_experiment(plan, stages),
        plan: preface::describe_experiment(plan, stages),
        designs: plan.designs.clone(),
        groups,
        costs: costs.cloned(),
        violations,
    }
}
