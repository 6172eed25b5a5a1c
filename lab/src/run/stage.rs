//! A scene made ready: the trace or workload surveyed, and the machine decided on.

use std::io::Read;

use pagelab_allocator::event::Sink;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::PageCount;
use pagelab_migrate::emulator::Emulator;
use pagelab_migrate::reclaim::swap::SwapSpec;

use super::RunError;
use crate::background::Background;
use crate::case::meta::CaseMeta;
use crate::demo;
use crate::logical::{Logical, Step};
use crate::machine::MachinePlan;
use crate::ops::{OpsFile, Room};
use crate::plan::{Scene, TraceChoice};
use crate::survey::{Span, Survey};
use crate::trace::{TraceError, TraceReader};
use crate::workload::{LEAST_MEMORY, Stream, WorkloadPlan};

/// Memory of a machine whose recording says nothing is a multiple of this.
const MEMORY_STEP: u64 = 64 << 20;

/// More CMA than any machine has memory; keeps absurd descriptions from overflowing.
const CMA_LIMIT: u64 = 1 << 50;

/// A scene, and what is known before any design runs it.
#[derive(Debug)]
pub struct Stage<'a> {
    /// The scene.
    pub scene: &'a Scene,
    /// The machine that its requests go to.
    pub machine: MachinePlan,
    /// What was recorded about the trace's machine.
    pub meta: Option<CaseMeta>,
    /// What the trace holds.
    pub survey: Survey,
    /// Operations in place of those of the trace or workload.
    ops: Option<Vec<Step>>,
}

impl<'a> Stage<'a> {
    /// Reads the scene's trace, or goes through its workload once.
    ///
    /// # Errors
    ///
    /// [`RunError`] for what cannot be read.
    pub fn new(scene: &'a Scene) -> Result<Self, RunError> {
        let ops = scene.ops.as_deref().map(OpsFile::read).transpose()?;
        let case = open_case(scene)?;
        let machine = machine_plan(scene, &case);
        let ops = ops.map(|ops| ops.fit(room(scene, &machine))).transpose()?;
        let survey = match &ops {
            Some(ops) => Survey::of_workload(ops.iter().copied()),
            None => case.survey,
        };
        Ok(Self { scene, machine, meta: case.meta, survey, ops })
    }

    /// What its machine can take of written operations.
    #[must_use]
    pub fn room(&self) -> Room {
        room(self.scene, &self.machine)
    }

    /// Whether operations come from lines of a trace.
    #[must_use]
    pub const fn has_lines(&self) -> bool {
        self.scene.has_lines()
    }

    /// How many operations there are.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.survey.operations.values().sum()
    }

    /// Nanoseconds of the trace's clock from its first to its last operation.
    #[must_use]
    pub const fn duration(&self) -> Span {
        self.survey.time
    }

    /// The operations, one after the other.
    ///
    /// # Errors
    ///
    /// [`TraceError`] when the trace cannot be opened.
    pub fn steps(&self) -> Result<Steps<'_>, TraceError> {
        Ok(match (&self.ops, &self.scene.trace) {
            (Some(ops), _) => Box::new(ops.iter().copied().map(Ok)),
            (None, TraceChoice::Workload(load)) => Box::new(stream(self.scene, load).map(Ok)),
            (None, _) => Box::new(Logical::new(open(self.scene)?)),
        })
    }
}

/// Operations in their order.
pub type Steps<'s> = Box<dyn Iterator<Item = Result<Step, TraceError>> + 's>;

/// The trace and what is known about the machine it comes from.
struct Case {
    meta: Option<CaseMeta>,
    background: Background,
    survey: Survey,
}

fn open(scene: &Scene) -> Result<TraceReader<Box<dyn Read>>, TraceError> {
    match &scene.trace {
        TraceChoice::Workload(_) => unreachable!("workloads have no trace to open"),
        TraceChoice::Demo => TraceReader::new(demo::NAME, Box::new(demo::TRACE), scene.strictness),
        TraceChoice::File(path) => TraceReader::open(path, scene.strictness),
    }
}

fn open_case(scene: &Scene) -> Result<Case, RunError> {
    if let TraceChoice::Workload(load) = &scene.trace {
        return Ok(made_up(scene, load));
    }
    // The small files before the long one: what is wrong with them is said at once.
    let reader = open(scene)?;
    let (meta, background) = match &scene.trace {
        TraceChoice::Demo => (Some(demo::meta()), Some(demo::background())),
        TraceChoice::File(path) => (CaseMeta::beside(path)?, Background::beside(path)?),
        TraceChoice::Workload(_) => (None, None),
    };
    let survey = Survey::new(reader)?;
    let known = survey.live_at_start.unwrap_or_default();
    let background = background.unwrap_or_default().without(known);
    Ok(Case { meta, background, survey })
}

/// A workload's machine boots with the memory map (64 bytes for each page, Linux's `struct page`)
/// and 64 MiB of image and firmware (assumed; at most one part in sixteen) in use.
fn made_up(scene: &Scene, load: &WorkloadPlan) -> Case {
    let page = Geometry::PAGES_4K.page_size();
    let memory = PageCount::new(scene.memory.unwrap_or(LEAST_MEMORY) / page);
    let image = (64 << 20) / page;
    let reserved = memory.get() * 64 / page + image.min(memory.get() / 16);
    let background = Background { reserved: PageCount::new(reserved), ..Background::default() };
    let survey = Survey::of_workload(stream(scene, load));
    Case { meta: None, background, survey }
}

/// Ordinary CMA of a workload's machine in bytes, whole pageblocks.
fn workload_cma(scene: &Scene, load: &WorkloadPlan) -> u64 {
    let memory = scene.memory.unwrap_or(LEAST_MEMORY);
    scene.cma.unwrap_or_else(|| (memory / load.kind.cma_part()).next_multiple_of(2 << 20))
}

fn stream(scene: &Scene, load: &WorkloadPlan) -> Stream {
    let page = Geometry::PAGES_4K.page_size();
    let memory = PageCount::new(scene.memory.unwrap_or(LEAST_MEMORY) / page);
    let cma = PageCount::new(workload_cma(scene, load) / page);
    Stream::new(load, memory, cma, scene.seed)
}

/// Swap and its eagerness, as plan and workload have it.
pub(super) fn turn_swap_on<S: Sink>(
    emulator: &mut Emulator<S>,
    scene: &Scene,
    load: &WorkloadPlan,
) {
    emulator.set_swappiness(load.kind.swappiness());
    let slots = PageCount::new(swap_bytes(scene, load) / Geometry::PAGES_4K.page_size());
    if slots > PageCount::ZERO {
        let on = emulator.swap_on(SwapSpec { slots, pages_per_page: COMPRESSION });
        on.expect("swap of at most 1 TiB");
    }
}

/// Swap in memory, before compression.
pub(super) fn swap_bytes(scene: &Scene, load: &WorkloadPlan) -> u64 {
    let memory = scene.memory.unwrap_or(LEAST_MEMORY);
    load.swap.or(load.kind.swap_part().map(|part| memory / part)).unwrap_or(0)
}

/// Memory and swap of a scene's machine.
fn room(scene: &Scene, machine: &MachinePlan) -> Room {
    let swap = match &scene.trace {
        TraceChoice::Workload(load) => swap_bytes(scene, load),
        _ => 0,
    };
    Room(PageCount::new((machine.memory + swap) / Geometry::PAGES_4K.page_size()))
}

/// Pages of swap in a page of memory. Assumed: one in three.
pub(super) const COMPRESSION: u32 = 3;

/// The machine to build: what the plan says, else what was recorded, else twice what the trace
/// needs at its peak.
fn machine_plan(scene: &Scene, case: &Case) -> MachinePlan {
    let meta = case.meta.as_ref();
    let page = Geometry::PAGES_4K.page_size();
    let guess = || (2 * case.survey.peak.get() * page).max(1).next_multiple_of(MEMORY_STEP);
    let recorded_cma = meta.map_or(PageCount::ZERO, |m| m.zones.iter().map(|z| z.cma).sum());
    let recorded = meta.map(|m| m.mem_mib << 20);
    MachinePlan {
        memory: scene.memory.or(recorded).unwrap_or_else(guess),
        cma: match &scene.trace {
            TraceChoice::Workload(load) => workload_cma(scene, load),
            _ => scene.cma.unwrap_or_else(|| (recorded_cma.get() * page).min(CMA_LIMIT)),
        },
        block_size: scene.block_size,
        profile: scene.profile.or(meta.and_then(|m| m.profile)).unwrap_or(KernelProfile::V6_1),
        background: case.background,
    }
}
