//! A whole run: a plan becomes machines, the trace drives them, reports come out.

use std::collections::BTreeMap;
use std::io::Read;

use pagelab_allocator::check::Violation;
use pagelab_allocator::event::{Event, Silent, Sink};
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::PageCount;
use pagelab_migrate::emulator::{Emulator, SpecError};
use pagelab_migrate::reclaim::swap::SwapSpec;
use serde_json::{Value, json};

use crate::background::Background;
use crate::case::error::CaseError;
use crate::case::meta::CaseMeta;
use crate::contender::Contender;
use crate::demo;
use crate::drive::{Driver, NoRoom};
use crate::emit::{EmitError, NoRecord, Provenance, Recorder, Recording};
use crate::logical::{Logical, Step};
use crate::machine::{self, LayoutError, MachinePlan, Mib};
use crate::picture::picture;
use crate::plan::{Action, Plan, TraceChoice};
use crate::progress::Progress;
use crate::report::text::wrapped;
use crate::report::{Claims, MachineFacts, Picture, Reclaimed, RunReport};
use crate::sample::Sampler;
use crate::survey::Survey;
use crate::tagger::Tagger;
use crate::trace::{TraceError, TraceReader};
use crate::workload::{LEAST_MEMORY, Stream, WorkloadPlan};

/// Memory of a machine whose recording says nothing is a multiple of this.
const MEMORY_STEP: u64 = 64 << 20;

/// More CMA than any machine has memory; keeps absurd descriptions from overflowing.
const CMA_LIMIT: u64 = 1 << 50;

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
    /// The run that was to be written down.
    #[error(transparent)]
    Emit(#[from] EmitError),
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

/// What came out.
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

/// The trace and what is known about the machine it comes from.
struct Case {
    meta: Option<CaseMeta>,
    background: Background,
    survey: Survey,
}

/// Runs the plan.
///
/// # Errors
///
/// [`RunError`] when trace or machine are impossible.
pub fn run(plan: &Plan) -> Result<Outcome, RunError> {
    let case = open_case(plan)?;
    let machine = machine_plan(plan, &case);
    let mut reports = Vec::new();
    let mut violations = Vec::new();
    for &design in &plan.designs {
        let run = Run { plan, machine: &machine, case: &case, design };
        let (report, checked) = run.carry_out()?;
        reports.push(report);
        violations.extend(checked.err().map(|what| (design, what)));
    }
    let preface = preface(plan, &machine, &case);
    Ok(Outcome { preface, plan: describe(plan, &machine, &case), reports, violations })
}

fn open(plan: &Plan) -> Result<TraceReader<Box<dyn Read>>, TraceError> {
    match &plan.trace {
        TraceChoice::Workload(_) => unreachable!("workloads have no trace to open"),
        TraceChoice::Demo => TraceReader::new(demo::NAME, Box::new(demo::TRACE), plan.strictness),
        TraceChoice::File(path) => TraceReader::open(path, plan.strictness),
    }
}

fn open_case(plan: &Plan) -> Result<Case, RunError> {
    if let TraceChoice::Workload(load) = &plan.trace {
        return Ok(made_up(plan, load));
    }
    // The small files before the long one: what is wrong with them is said at once.
    let reader = open(plan)?;
    let (meta, background) = match &plan.trace {
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
fn made_up(plan: &Plan, load: &WorkloadPlan) -> Case {
    let page = Geometry::PAGES_4K.page_size();
    let memory = PageCount::new(plan.memory.unwrap_or(LEAST_MEMORY) / page);
    let image = (64 << 20) / page;
    let reserved = memory.get() * 64 / page + image.min(memory.get() / 16);
    let background = Background { reserved: PageCount::new(reserved), ..Background::default() };
    let survey = Survey::of_workload(stream(plan, load));
    Case { meta: None, background, survey }
}

/// Ordinary CMA of a workload's machine in bytes, whole pageblocks.
fn workload_cma(plan: &Plan, load: &WorkloadPlan) -> u64 {
    let memory = plan.memory.unwrap_or(LEAST_MEMORY);
    plan.cma.unwrap_or_else(|| (memory / load.kind.cma_part()).next_multiple_of(2 << 20))
}

fn stream(plan: &Plan, load: &WorkloadPlan) -> Stream {
    let page = Geometry::PAGES_4K.page_size();
    let memory = PageCount::new(plan.memory.unwrap_or(LEAST_MEMORY) / page);
    let cma = PageCount::new(workload_cma(plan, load) / page);
    Stream::new(load, memory, cma, plan.seed)
}

/// Swap and its eagerness, as plan and workload have it.
fn turn_swap_on<S: Sink>(emulator: &mut Emulator<S>, plan: &Plan, load: &WorkloadPlan) {
    emulator.set_swappiness(load.kind.swappiness());
    let slots = PageCount::new(swap_bytes(plan, load) / Geometry::PAGES_4K.page_size());
    if slots > PageCount::ZERO {
        let on = emulator.swap_on(SwapSpec { slots, pages_per_page: COMPRESSION });
        on.expect("swap of at most 1 TiB");
    }
}

/// Swap in memory, before compression.
fn swap_bytes(plan: &Plan, load: &WorkloadPlan) -> u64 {
    let memory = plan.memory.unwrap_or(LEAST_MEMORY);
    load.swap.or(load.kind.swap_part().map(|part| memory / part)).unwrap_or(0)
}

/// Pages of swap in a page of memory. Assumed: one in three.
const COMPRESSION: u32 = 3;

/// The machine to build: what the plan says, else what was recorded, else twice what the trace
/// needs at its peak.
fn machine_plan(plan: &Plan, case: &Case) -> MachinePlan {
    let meta = case.meta.as_ref();
    let page = Geometry::PAGES_4K.page_size();
    let guess = || (2 * case.survey.peak.get() * page).max(1).next_multiple_of(MEMORY_STEP);
    let recorded_cma = meta.map_or(PageCount::ZERO, |m| m.zones.iter().map(|z| z.cma).sum());
    let recorded = meta.map(|m| m.mem_mib << 20);
    let demo = (plan.action == Action::Demo).then_some(demo::MEMORY);
    MachinePlan {
        memory: plan.memory.or(demo).or(recorded).unwrap_or_else(guess),
        cma: match &plan.trace {
            TraceChoice::Workload(load) => workload_cma(plan, load),
            _ => plan.cma.unwrap_or_else(|| (recorded_cma.get() * page).min(CMA_LIMIT)),
        },
        block_size: plan.block_size,
        profile: plan.profile.or(meta.and_then(|m| m.profile)).unwrap_or(KernelProfile::V6_1),
        background: case.background,
    }
}

/// One design's turn.
struct Run<'a> {
    plan: &'a Plan,
    machine: &'a MachinePlan,
    case: &'a Case,
    design: Contender,
}

/// What a turn shows, and whether the machine was consistent at its end.
type Shown = (RunReport, Result<(), Violation>);

impl Run<'_> {
    fn carry_out(&self) -> Result<Shown, RunError> {
        let Some(record) = &self.plan.record else { return self.drive(Silent, &mut NoRecord) };
        let workload = format!("{} under {}", self.plan.trace, self.design);
        let provenance = Provenance { workload, seed: self.plan.seed };
        let mut recording = Recording::create(record, provenance)?;
        self.drive(Vec::<Event>::new(), &mut recording)
    }

    fn drive<S: Sink>(&self, sink: S, recorder: &mut impl Recorder<S>) -> Result<Shown, RunError> {
        let &Run { plan, machine, case, design } = self;
        let memory = machine.memory;
        let layout_error = |why| RunError::Layout { memory, why };
        let layout = machine::layout(machine, design.carve_out_tags()).map_err(layout_error)?;
        let spec = machine::spec(machine, design.build()).map_err(layout_error)?;
        let emulator = Emulator::new(&spec, sink);
        let mut emulator = emulator.map_err(|why| RunError::Spec { memory, why })?;
        let tagger = match &plan.trace {
            TraceChoice::Workload(load) => {
                turn_swap_on(&mut emulator, plan, load);
                None
            }
            _ => plan.tagged.map(|share| Tagger::new(share, plan.seed)),
        };
        let driver = Driver::new(emulator, &machine.background, tagger);
        let mut driver = driver.map_err(|why| RunError::NoRoom { memory, why })?;
        let mut sampler = Sampler::new(&driver, layout.tags.lent());
        let before = picture(&driver, layout.tags.tags);
        let mut progress = Progress::new(case.survey.operations.values().sum());
        recorder.begin(&mut driver)?;
        let steps: Box<dyn Iterator<Item = Result<Step, TraceError>>> = match &plan.trace {
            TraceChoice::Workload(load) => Box::new(stream(plan, load).map(Ok)),
            _ => Box::new(Logical::new(open(plan)?)),
        };
        for step in steps {
            let step = step?;
            driver.step(&step);
            recorder.step(&mut driver, &step)?;
            sampler.step(&driver, step.timestamp);
            progress.step();
        }
        progress.finish();
        recorder.end(&mut driver)?;
        Ok(report(self, &layout, (driver, sampler), before))
    }
}

fn report<S: Sink>(
    run: &Run<'_>,
    layout: &machine::Layout,
    (driver, sampler): (Driver<S>, Sampler),
    before: Picture,
) -> Shown {
    let &Run { machine, design, .. } = run;
    let report = RunReport {
        design: design.to_string(),
        machine: facts(machine, layout),
        lent: sampler.lent(&driver),
        requests: *driver.requests(),
        tagging: *driver.tagging(),
        tagged_peak_pages: sampler.tagged_peak(),
        claims: driver.lends().then(|| claims(&driver)),
        barred_cma: sampler.barred(&driver),
        reclaim: reclaimed(&driver),
        before,
        after: picture(&driver, layout.tags.tags),
        counters: counters(&driver),
    };
    (report, conserved(driver))
}

/// Whether the machine is consistent, and every page comes back.
fn conserved<S: Sink>(mut driver: Driver<S>) -> Result<(), Violation> {
    driver.emulator().check()?;
    driver.release_all()?;
    driver.emulator().check()
}

fn facts(plan: &MachinePlan, layout: &machine::Layout) -> MachineFacts {
    let geometry = Geometry::PAGES_4K;
    MachineFacts {
        kernel: plan.profile.version(),
        page_size: geometry.page_size(),
        pageblock_pages: geometry.pageblock_pages().get(),
        pages: layout.memory.len().get(),
        carve_out_pages: layout.tags.tags.len().get(),
        tag_block_pages: (plan.block_size / geometry.page_size()).max(1),
        cma_pages: layout.cma.len().get(),
        boot_reserved_pages: layout.image.len().get(),
        background_pages: plan.background.allocated().get(),
    }
}

fn claims<S: Sink>(driver: &Driver<S>) -> Claims {
    let tags = driver.emulator().tags().stats();
    Claims {
        free: tags.claims_free,
        moved: tags.claims_moved,
        dropped: tags.claims_dropped,
        retries: tags.claim_retries,
        failed: BTreeMap::from([
            ("pinned", tags.claims_pinned),
            ("unmovable", tags.claims_unmovable),
            ("isolated", tags.claims_isolated),
            ("not_moved", tags.claims_not_moved),
            ("no_target", tags.claims_no_target),
        ]),
        displaced_pages: tags.displaced_pages,
        moved_tagged_pages: tags.fault_migrations,
    }
}

fn counters<S: Sink>(driver: &Driver<S>) -> BTreeMap<&'static str, u64> {
    let emulator = driver.emulator();
    let caches = emulator.tags().caches();
    let maintenance = [
        ("tag_data_cache_invalidations", caches.data_invalidations()),
        ("tag_cache_invalidations", caches.tag_invalidations()),
        ("tag_cache_corruptions", caches.corruptions()),
    ];
    let tags = emulator.tags();
    let counted = emulator.mm_stats().iter().chain(tags.stats().iter());
    let counted = counted.chain(tags.clean().stats().iter());
    counted.chain(emulator.reclaim().stats.iter()).chain(maintenance).collect()
}

fn reclaimed<S: Sink>(driver: &Driver<S>) -> Reclaimed {
    let reclaim = driver.emulator().reclaim();
    let stats = reclaim.stats;
    Reclaimed {
        kswapd_wakes: stats.kswapd_wakes,
        stalls: stats.allocstall,
        writeback_stalls: stats.writeback_stalls,
        scanned: stats.pgscan_kswapd + stats.pgscan_direct,
        file: stats.pgsteal_file,
        anon: stats.pswpout,
        refault_file: stats.workingset_refault_file,
        refault_anon: stats.workingset_refault_anon,
        contig_dropped: stats.contig_dropped,
        cached_end: reclaim.cache.pages(),
        swapped_end: reclaim.swap.used().get(),
        swap_memory_end: u64::try_from(reclaim.swap.pool().len()).unwrap_or(u64::MAX),
    }
}

fn workload_json(plan: &Plan, load: &WorkloadPlan) -> Value {
    let tags = load.tags;
    json!({
        "name": load.kind.name(),
        "ticks": load.ticks,
        "tag_by": format!("{:?}", tags.unit).to_lowercase(),
        "tag_when": format!("{:?}", tags.time).to_lowercase(),
        "tag_layout": format!("{:?}", tags.layout).to_lowercase(),
        "swap_bytes": swap_bytes(plan, load),
        "swappiness": load.kind.swappiness(),
        "target_index": load.target_index.to_string(),
        "unmovable": load.unmovable.to_string(),
    })
}

fn workload_preface(plan: &Plan, load: &WorkloadPlan) -> String {
    let name = |text: String| text.to_lowercase();
    let tags = load.tags;
    let chosen = plan.tagged.map(|share| {
        let (unit, time) = (format!("{:?}", tags.unit), format!("{:?}", tags.time));
        name(format!("{share} by {unit}, {time}, {:?}", tags.layout))
    });
    let always = load.kind.always_tagged().map(str::to_owned);
    let tagged: Vec<_> = always.into_iter().chain(chosen).collect();
    let tagged = if tagged.is_empty() { "nothing".to_owned() } else { tagged.join("; ") };
    format!(
        "Workload {}, {} ticks of a tenth of a second\n\
         \x20 tagged        {tagged}\n\
         \x20 swap          {} in memory, {COMPRESSION} pages in one (assumed)\n\
         \x20 sizes         assumed, measured on no device: see the workload's parameters\n",
        load.kind.name(),
        load.ticks,
        mebibytes(swap_bytes(plan, load)),
    )
}

fn preface(plan: &Plan, machine: &MachinePlan, case: &Case) -> String {
    let recorded = case.meta.as_ref().map_or_else(
        || "an unknown machine".to_owned(),
        |meta| format!("{} MiB, kernel {}", meta.mem_mib, meta.kernel),
    );
    let tagged = plan.tagged.map_or_else(
        || "as recorded".to_owned(),
        |share| format!("as recorded, and {share} of all other movable user pages"),
    );
    let mut text = format!(
        "pagelab {}, Linux {} rules, seed {}\n\n\
         Machine\n  memory        {}, of which CMA {}; tag blocks of {} KiB\n\
         \x20 in use        {} before the trace\n\n",
        env!("CARGO_PKG_VERSION"),
        machine.profile.version(),
        plan.seed,
        mebibytes(machine.memory),
        mebibytes(machine.cma),
        machine.block_size >> 10,
        Mib(machine.background.used()),
    );
    match &plan.trace {
        TraceChoice::Workload(load) => text.push_str(&workload_preface(plan, load)),
        trace => text.push_str(&format!(
            "Trace {trace}, recorded on {recorded}\n\
             \x20 peak          {} in use\n  tagged pages  {tagged}\n",
            Mib(case.survey.peak),
        )),
    }
    for (name, items) in case.survey.lists() {
        text.push_str(&wrapped(name, &items));
    }
    text
}

fn describe(plan: &Plan, machine: &MachinePlan, case: &Case) -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "kernel": machine.profile.version(),
        "trace": plan.trace.to_string(),
        "recorded_on": case.meta.as_ref().map(|meta| meta.kernel.clone()),
        "designs": plan.designs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "memory_bytes": machine.memory,
        "cma_bytes": machine.cma,
        "block_size_bytes": machine.block_size,
        "tagged_share": plan.tagged.map(|share| share.to_string()),
        "seed": plan.seed,
        "survey": case.survey.json(),
        "workload": match &plan.trace {
            TraceChoice::Workload(load) => workload_json(plan, load),
            _ => Value::Null,
        },
    })
}
