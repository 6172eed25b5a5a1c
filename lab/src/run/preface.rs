//! What a report begins with: the plan, the machine and the trace, in words and as data.

use serde_json::{Value, json};

use super::stage::{COMPRESSION, Stage, swap_bytes};
use crate::machine::Mib;
use crate::plan::{Plan, Scene, TraceChoice};
use crate::report::text::wrapped;
use crate::size::Share;
use crate::workload::WorkloadPlan;

fn workload_json(scene: &Scene, load: &WorkloadPlan) -> Value {
    let tags = load.tags;
    json!({
        "name": load.kind.name(),
        "ticks": load.ticks,
        "tag_by": tags.unit.name(),
        "tag_when": tags.time.name(),
        "tag_layout": tags.layout.name(),
        "swap_bytes": swap_bytes(scene, load),
        "swappiness": load.kind.swappiness(),
        "target_index": load.target_index.to_string(),
        "unmovable": load.unmovable.to_string(),
    })
}

/// `shares` is what of the workload's memory is tagged, in words.
fn workload_preface(scene: &Scene, load: &WorkloadPlan, shares: &[String]) -> String {
    if let Some(ops) = &scene.ops {
        let swap = super::mebibytes(swap_bytes(scene, load));
        let (ops, machine) = (ops.display(), load.kind.name());
        return format!("Operations of {ops}, {machine} machine\n  swap          {swap}\n");
    }
    let tags = load.tags;
    let chosen = (!shares.is_empty()).then(|| {
        let (unit, time, layout) = (tags.unit.name(), tags.time.name(), tags.layout.name());
        format!("{} by {unit}, {time}, {layout}", shares.join(", "))
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
        super::mebibytes(swap_bytes(scene, load)),
    )
}

/// The beginning of a report about one scene.
#[must_use]
pub fn preface(stage: &Stage<'_>) -> String {
    let Stage { scene, machine, meta, survey, .. } = stage;
    let recorded = meta.as_ref().map_or_else(
        || "an unknown machine".to_owned(),
        |meta| format!("{} MiB, kernel {}", meta.mem_mib, meta.kernel),
    );
    let tagged = scene.tagged.map_or_else(
        || "as recorded".to_owned(),
        |share| format!("as recorded, and {share} of all other movable user pages"),
    );
    let mut text = format!(
        "pagelab {}, Linux {} rules, seed {}\n\n\
         Machine\n  memory        {}, of which CMA {}; tag blocks of {} KiB\n\
         \x20 in use        {} before the trace\n\n",
        env!("CARGO_PKG_VERSION"),
        machine.profile.version(),
        scene.seed,
        super::mebibytes(machine.memory),
        super::mebibytes(machine.cma),
        machine.block_size >> 10,
        Mib(machine.background.used()),
    );
    match &scene.trace {
        TraceChoice::Workload(load) => {
            let share = scene.tagged.iter().map(ToString::to_string).collect::<Vec<_>>();
            text.push_str(&workload_preface(scene, load, &share));
        }
        _ => text.push_str(&format!(
            "Trace {}, recorded on {recorded}\n\
             \x20 peak          {} in use\n  tagged pages  {tagged}\n",
            scene.source(),
            Mib(survey.peak),
        )),
    }
    for (name, items) in survey.lists() {
        text.push_str(&wrapped(name, &items));
    }
    text
}

/// The same as data, with the designs that were run.
#[must_use]
pub fn describe(plan: &Plan, stage: &Stage<'_>) -> Value {
    let Stage { scene, machine, survey, .. } = stage;
    with_common(
        plan,
        stage,
        [
            ("memory_bytes", json!(machine.memory)),
            ("cma_bytes", json!(machine.cma)),
            ("tagged_share", json!(scene.tagged.map(|share| share.to_string()))),
            ("seed", json!(scene.seed)),
            ("survey", survey.json()),
        ],
    )
}

/// `more`, and what reports of one scene and of several begin with alike.
fn with_common<const N: usize>(plan: &Plan, stage: &Stage<'_>, more: [(&str, Value); N]) -> Value {
    let Stage { scene, machine, meta, .. } = stage;
    let mut all = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "kernel": machine.profile.version(),
        "trace": scene.source(),
        "recorded_on": meta.as_ref().map(|meta| meta.kernel.clone()),
        "designs": plan.designs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "block_size_bytes": machine.block_size,
        "workload": match &scene.trace {
            TraceChoice::Workload(load) => workload_json(scene, load),
            _ => Value::Null,
        },
    });
    more.into_iter().for_each(|(key, value)| all[key] = value);
    all
}

/// The beginning of a report about an experiment; `stages` are those of its scenes.
#[must_use]
pub fn of_experiment(plan: &Plan, stages: &[Stage<'_>]) -> String {
    let Stage { scene, machine, .. } = &stages[0];
    let seeds = match (plan.scenes.first(), plan.scenes.get(plan.seeds - 1)) {
        (Some(first), Some(last)) if plan.seeds > 1 => {
            format!("seeds {}-{}", first.seed, last.seed)
        }
        _ => format!("seed {}", scene.seed),
    };
    let memory = machines(stages).map(|stage| super::mebibytes(stage.machine.memory));
    let mut text = format!(
        "pagelab {}, Linux {} rules, {seeds}\n\n\
         Machine\n  memory        {}; tag blocks of {} KiB\n\
         \x20 CMA           {}\n\n",
        env!("CARGO_PKG_VERSION"),
        machine.profile.version(),
        memory.collect::<Vec<_>>().join(", "),
        machine.block_size >> 10,
        super::mebibytes(machine.cma),
    );
    let shares: Vec<_> = shares(plan).iter().map(ToString::to_string).collect();
    match &scene.trace {
        TraceChoice::Workload(load) => text.push_str(&workload_preface(scene, load, &shares)),
        trace => {
            let besides = if shares.is_empty() { String::new() } else { ", and of others ".into() };
            let shares = shares.join(", ");
            text.push_str(&format!(
                "Trace {trace}\n  tagged        as recorded{besides}{shares}\n"
            ));
        }
    }
    text
}

/// The same as data.
#[must_use]
pub fn describe_experiment(plan: &Plan, stages: &[Stage<'_>]) -> Value {
    let sized = machines(stages).map(
        |stage| json!({ "memory_bytes": stage.machine.memory, "cma_bytes": stage.machine.cma }),
    );
    let shares: Vec<_> = shares(plan).iter().map(ToString::to_string).collect();
    with_common(
        plan,
        &stages[0],
        [
            ("machines", sized.collect()),
            ("tagged_shares", json!(shares)),
            ("first_seed", json!(stages[0].scene.seed)),
            ("seeds", json!(plan.seeds)),
        ],
    )
}

/// The first stage of each memory size.
fn machines<'a, 'b>(stages: &'b [Stage<'a>]) -> impl Iterator<Item = &'b Stage<'a>> {
    let differs = |at: usize| at == 0 || stages[at - 1].machine.memory != stages[at].machine.memory;
    (0..stages.len()).filter(move |at| differs(*at)).map(|at| &stages[at])
}

/// The tagged shares, each once.
fn shares(plan: &Plan) -> Vec<Share> {
    let mut shares: Vec<_> = plan.scenes.iter().filter_map(|scene| scene.tagged).collect();
    shares.sort_unstable();
    shares.dedup();
    shares
}
