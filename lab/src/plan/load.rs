//! What was typed about a workload.

use crate::cli::Common;
use crate::machine::MAX_MEMORY;
use crate::size::{Share, parse_size};
use crate::workload::tagging::{TagChoice, TagLayout, TagTime, TagUnit};
use crate::workload::{DEFAULT_TICKS, Kind, LEAST_MEMORY, MOST_MEMORY, WorkloadPlan};

use super::PlanError;
use super::words::{SIZE, parse_share};

/// A workload's machine when nothing was said, bytes.
const WORKLOAD_MEMORY: u64 = 4 << 30;
/// The longest workload: a week.
const MAX_TICKS: u32 = 7 * 24 * 3600 * 10;

/// The workload that is none: a recorded trace.
const TRACE: &str = "trace";

/// What was typed about a workload; `None` when none was asked for.
pub(super) fn parse_workload(words: &Common) -> Result<Option<WorkloadPlan>, PlanError> {
    let load = &words.load;
    let Some(name) = words.workload.as_deref().filter(|name| *name != TRACE) else {
        return without_workload(words);
    };
    let kind = parse_kind(name, words)?;
    let share =
        |flag, word: &Option<String>, other| parse_share(flag, word.as_deref().unwrap_or(other));
    Ok(Some(WorkloadPlan {
        kind,
        ticks: load.ticks.as_deref().map_or(Ok(DEFAULT_TICKS), parse_ticks)?,
        tags: TagChoice {
            share: Share::NONE,
            unit: one_of("--tag-by", &load.tag_by, &UNITS)?,
            time: one_of("--tag-when", &load.tag_when, &TIMES)?,
            layout: one_of("--tag-layout", &load.tag_layout, &LAYOUTS)?,
        },
        swap: load.swap.as_deref().map(parse_swap).transpose()?,
        target_index: share("--index", &load.index, "75%")?,
        unmovable: share("--unmovable", &load.unmovable, "50%")?,
    }))
}

/// The kind of that name, when the other words go with it.
fn parse_kind(name: &str, words: &Common) -> Result<Kind, PlanError> {
    let unknown = "not one of phone, server, kbuild, fragment, adversary, guest, trace";
    let kind = Kind::parse(name).ok_or_else(|| PlanError::new("--workload", name, unknown))?;
    if let Some(trace) = &words.trace {
        return Err(PlanError::new("--trace", trace, "not together with --workload"));
    }
    let load = &words.load;
    for (flag, word) in [("--index", &load.index), ("--unmovable", &load.unmovable)] {
        if let (Some(word), false) = (word, kind == Kind::Fragment) {
            return Err(PlanError::new(flag, word, "only with --workload fragment"));
        }
    }
    Ok(kind)
}

/// The plain machine of a file of operations, or nothing; words about workloads are idle then.
fn without_workload(words: &Common) -> Result<Option<WorkloadPlan>, PlanError> {
    let load = &words.load;
    if is_plain(words) {
        return plain_machine(load.swap.as_deref()).map(Some);
    }
    let given = [
        ("--ticks", &load.ticks),
        ("--tag-by", &load.tag_by),
        ("--tag-when", &load.tag_when),
        ("--tag-layout", &load.tag_layout),
        ("--swap", &load.swap),
        ("--index", &load.index),
        ("--unmovable", &load.unmovable),
    ];
    match given.into_iter().find_map(|(flag, word)| Some((flag, word.as_deref()?))) {
        Some((flag, word)) => {
            Err(PlanError::new(flag, word, "only with a workload that is made up"))
        }
        None => Ok(None),
    }
}

/// Whether operations come from a file, and no trace or workload says on which machine.
fn is_plain(words: &Common) -> bool {
    words.ops.is_some() && words.trace.is_none() && words.workload.is_none()
}

/// The machine of a file of operations.
fn plain_machine(swap: Option<&str>) -> Result<WorkloadPlan, PlanError> {
    let (unit, time, layout) = (TagUnit::Memory, TagTime::Mmap, TagLayout::Clustered);
    Ok(WorkloadPlan {
        kind: Kind::Plain,
        ticks: 1,
        tags: TagChoice { share: Share::NONE, unit, time, layout },
        swap: swap.map(parse_swap).transpose()?,
        target_index: Share::NONE,
        unmovable: Share::NONE,
    })
}

/// Words with meanings, the default first, and what is said about all others.
type Choices<T, const N: usize> = ([(&'static str, T); N], &'static str);

const UNITS: Choices<TagUnit, 3> = (
    [("memory", TagUnit::Memory), ("process", TagUnit::Process), ("vma", TagUnit::Vma)],
    "not one of process, memory, vma",
);
const TIMES: Choices<TagTime, 2> =
    ([("mmap", TagTime::Mmap), ("mprotect", TagTime::Mprotect)], "not one of mmap, mprotect");
const LAYOUTS: Choices<TagLayout, 2> = (
    [("clustered", TagLayout::Clustered), ("scattered", TagLayout::Scattered)],
    "not one of clustered, scattered",
);

fn one_of<T: Copy, const N: usize>(
    flag: &'static str,
    word: &Option<String>,
    (choices, why): &Choices<T, N>,
) -> Result<T, PlanError> {
    let Some(word) = word else { return Ok(choices[0].1) };
    let found = choices.iter().find(|(name, _)| name == word);
    found.map(|(_, value)| *value).ok_or_else(|| PlanError::new(flag, word, why))
}

fn parse_ticks(text: &str) -> Result<u32, PlanError> {
    let error = |why| PlanError::new("--ticks", text, why);
    match text.parse() {
        Ok(0) => Err(error("zero")),
        Ok(ticks) if ticks <= MAX_TICKS => Ok(ticks),
        Ok(_) => Err(error("more than a week")),
        Err(_) => Err(error("not a whole number of ticks")),
    }
}

fn parse_swap(text: &str) -> Result<u64, PlanError> {
    let error = |why| PlanError::new("--swap", text, why);
    let bytes = parse_size(text).ok_or_else(|| error(SIZE))?;
    match bytes {
        _ if !bytes.is_multiple_of(4096) => Err(error("not a multiple of 4KiB")),
        _ if bytes > MAX_MEMORY => Err(error("more than 1TiB")),
        _ => Ok(bytes),
    }
}

/// Memory of a workload's machine in bytes.
pub(super) fn workload_memory(words: &Common, memory: Option<u64>) -> Result<u64, PlanError> {
    let usual = if is_plain(words) { LEAST_MEMORY } else { WORKLOAD_MEMORY };
    let memory = memory.unwrap_or(usual);
    let text = words.memory.as_deref().unwrap_or_default();
    match memory {
        _ if memory < LEAST_MEMORY => {
            Err(PlanError::new("--memory", text, "less than 256MiB, too little for a workload"))
        }
        _ if memory > MOST_MEMORY => {
            Err(PlanError::new("--memory", text, "more than 64GiB, too much for a workload"))
        }
        _ => Ok(memory),
    }
}
