//! What was meant: typed words, validated and with units. Prints nothing, touches no file.

use core::fmt;
use std::path::PathBuf;

use pagelab_allocator::profile::KernelProfile;
pub use pagelab_migrate::tag_storage::catalogue::Design;

use crate::cli::{Cli, Command, Common};
use crate::contender::{Contender, NoContender};
use crate::emit::Destination;
use crate::machine::MAX_MEMORY;
use crate::size::{Share, parse_size};
use crate::trace::Strictness;
use crate::workload::tagging::{TagChoice, TagLayout, TagTime, TagUnit};
use crate::workload::{DEFAULT_TICKS, Kind, LEAST_MEMORY, MOST_MEMORY, WorkloadPlan};

/// The seed when none was given; it is printed like any other.
pub const DEFAULT_SEED: u64 = 42;

/// A workload's machine when nothing was said, bytes.
const WORKLOAD_MEMORY: u64 = 4 << 30;
/// The longest workload: a week.
const MAX_TICKS: u32 = 7 * 24 * 3600 * 10;

/// The tag block when none was given, in bytes: one page of 4 KiB.
const DEFAULT_BLOCK: u64 = 4096;

/// A run, ready to be carried out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// What was asked for.
    pub action: Action,
    /// Which trace or workload.
    pub trace: TraceChoice,
    /// Under which designs: at least one, each once.
    pub designs: Vec<Contender>,
    /// Memory of the emulated machine in bytes; `None`: that of the recorded one. Always there for
    /// workloads.
    pub memory: Option<u64>,
    /// Movable user pages to tag besides the recorded ones; `None`: none.
    pub tagged: Option<Share>,
    /// Seed of the generator that chooses them.
    pub seed: u64,
    /// How to print.
    pub output: Output,
    /// What to do with lines of the trace that cannot be read.
    pub strictness: Strictness,
    /// Whose rules to follow; `None`: the recorded kernel's.
    pub profile: Option<KernelProfile>,
    /// Tag block of the hardware in bytes, a multiple of 4 KiB.
    pub block_size: u64,
    /// Size of an ordinary CMA area in bytes; `None`: that of the recorded machine.
    pub cma: Option<u64>,
    /// Where to write the run down; `None`: nowhere.
    pub record: Option<Destination>,
}

/// What was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// No command was given.
    Demo,
    /// One design.
    Run,
    /// Several, side by side.
    Compare,
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
            Self::Demo => f.write_str(crate::demo::NAME),
            Self::File(path) => path.display().fmt(f),
            Self::Workload(plan) => plan.fmt(f),
        }
    }
}

/// How to print.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// What the demonstration sets side by side.
pub const DEMO: [Design; 2] = [Design::Carveout, Design::CmaV3];

/// A word that does not make a plan.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{flag} {value:?}: {why}")]
pub struct PlanError {
    /// The flag.
    pub flag: &'static str,
    /// What was typed after it.
    pub value: String,
    /// What is wrong with that.
    pub why: &'static str,
}

impl PlanError {
    /// A value that is none of those a flag may have.
    pub(crate) fn not_possible(flag: &'static str, value: &str) -> Self {
        Self::new(flag, value, "not possible")
    }

    fn new(flag: &'static str, value: &str, why: &'static str) -> Self {
        Self { flag, value: value.to_owned(), why }
    }
}

impl Plan {
    /// The plan that `cli` asks for.
    ///
    /// # Errors
    ///
    /// [`PlanError`] names the first flag whose value is impossible.
    pub fn new(cli: &Cli) -> Result<Self, PlanError> {
        match &cli.command {
            None => {
                Self::build(Action::Demo, DEMO.map(Contender::from).to_vec(), &Common::default())
            }
            Some(Command::Run { design, ftrace, case, common }) => {
                let designs = vec![parse_design("--design", design)?];
                let record = parse_record(ftrace.as_deref(), case.as_deref())?;
                Ok(Self { record, ..Self::build(Action::Run, designs, common)? })
            }
            Some(Command::Compare { designs, common }) => {
                Self::build(Action::Compare, parse_designs(designs)?, common)
            }
            Some(Command::Replay(words)) => {
                Err(PlanError::new("replay", &words.case, "is no run of a design"))
            }
        }
    }

    fn build(action: Action, designs: Vec<Contender>, words: &Common) -> Result<Self, PlanError> {
        let memory = words.memory.as_deref().map(parse_memory).transpose()?;
        let cma = words.cma.as_deref().map(parse_cma).transpose()?;
        if let (Some(text), Some(cma), Some(memory)) = (&words.cma, cma, memory)
            && cma >= memory
        {
            return Err(PlanError::new("--cma", text, "not smaller than --memory"));
        }
        let trace = match parse_workload(words)? {
            Some(plan) => TraceChoice::Workload(plan),
            None => parse_trace(words)?,
        };
        let memory = match &trace {
            TraceChoice::Workload(_) => Some(workload_memory(words, memory)?),
            _ => memory,
        };
        Ok(Self {
            action,
            trace,
            designs,
            memory,
            tagged: words
                .tagged
                .as_deref()
                .map(|text| parse_share("--tagged", text))
                .transpose()?,
            seed: words.seed.as_deref().map_or(Ok(DEFAULT_SEED), parse_seed)?,
            output: if words.json { Output::Json } else { Output::Text },
            strictness: if words.lenient { Strictness::Lenient } else { Strictness::Strict },
            profile: words.profile.as_deref().map(parse_profile).transpose()?,
            block_size: words.block_size.as_deref().map_or(Ok(DEFAULT_BLOCK), parse_block)?,
            cma,
            record: None,
        })
    }
}

fn parse_trace(words: &Common) -> Result<TraceChoice, PlanError> {
    match words.trace.as_deref() {
        None => Ok(TraceChoice::Demo),
        Some("") => Err(PlanError::new("--trace", "", "a file name is needed")),
        Some(path) => Ok(TraceChoice::File(PathBuf::from(path))),
    }
}

/// What was typed about a workload; `None` when none was asked for.
fn parse_workload(words: &Common) -> Result<Option<WorkloadPlan>, PlanError> {
    let load = &words.load;
    let Some(name) = words.workload.as_deref() else {
        let given = [
            ("--ticks", &load.ticks),
            ("--tag-by", &load.tag_by),
            ("--tag-when", &load.tag_when),
            ("--tag-layout", &load.tag_layout),
            ("--swap", &load.swap),
            ("--index", &load.index),
            ("--unmovable", &load.unmovable),
        ];
        let lonely = given.into_iter().find_map(|(flag, word)| Some((flag, word.as_deref()?)));
        return match lonely {
            Some((flag, word)) => Err(PlanError::new(flag, word, "only with --workload")),
            None => Ok(None),
        };
    };
    let unknown = "not one of phone, server, kbuild, fragment, adversary, guest";
    let kind = Kind::parse(name).ok_or_else(|| PlanError::new("--workload", name, unknown))?;
    if let Some(trace) = &words.trace {
        return Err(PlanError::new("--trace", trace, "not together with --workload"));
    }
    for (flag, word) in [("--index", &load.index), ("--unmovable", &load.unmovable)] {
        if let (Some(word), false) = (word, kind == Kind::Fragment) {
            return Err(PlanError::new(flag, word, "only with --workload fragment"));
        }
    }
    let share =
        |flag, word: &Option<String>, other| parse_share(flag, word.as_deref().unwrap_or(other));
    Ok(Some(WorkloadPlan {
        kind,
        ticks: load.ticks.as_deref().map_or(Ok(DEFAULT_TICKS), parse_ticks)?,
        tags: TagChoice {
            share: share("--tagged", &words.tagged, "0%")?,
            unit: one_of("--tag-by", &load.tag_by, &UNITS)?,
            time: one_of("--tag-when", &load.tag_when, &TIMES)?,
            layout: one_of("--tag-layout", &load.tag_layout, &LAYOUTS)?,
        },
        swap: load.swap.as_deref().map(parse_swap).transpose()?,
        target_index: share("--index", &load.index, "75%")?,
        unmovable: share("--unmovable", &load.unmovable, "50%")?,
    }))
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
        Err(_) => Err(error("not a number of ticks")),
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

/// A workload's machine.
fn workload_memory(words: &Common, memory: Option<u64>) -> Result<u64, PlanError> {
    let memory = memory.unwrap_or(WORKLOAD_MEMORY);
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

/// At most one of the two was given.
fn parse_record(
    ftrace: Option<&str>,
    case: Option<&str>,
) -> Result<Option<Destination>, PlanError> {
    match (ftrace, case) {
        (Some(""), _) => Err(PlanError::new("--ftrace", "", "a file name is needed")),
        (_, Some("")) => Err(PlanError::new("--case", "", "the name of a folder is needed")),
        (Some(path), _) if path.ends_with('/') => {
            Err(PlanError::new("--ftrace", path, "a folder; --case writes one"))
        }
        (Some(path), _) => Ok(Some(Destination::Ftrace(PathBuf::from(path)))),
        (None, Some(path)) => Ok(Some(Destination::Case(PathBuf::from(path)))),
        (None, None) => Ok(None),
    }
}

const NO_DESIGN: &str = "not one of carveout, metadata, cma-v2, cma-v3, cma, drop-movable, \
                         cma-filter, cma-flag, zone-movable, numa-node, grab-all, cleancache";
const NO_SUFFIX: &str = "only +taggable-hw can follow a design";

fn parse_contenders(flag: &'static str, word: &str) -> Result<Vec<Contender>, PlanError> {
    Contender::named(word).map_err(|error| match error {
        NoContender::Unknown => PlanError::new(flag, word, NO_DESIGN),
        NoContender::Suffix => PlanError::new(flag, word, NO_SUFFIX),
    })
}

fn parse_design(flag: &'static str, name: &str) -> Result<Contender, PlanError> {
    match parse_contenders(flag, name)?[..] {
        [one] => Ok(one),
        _ => Err(PlanError::new(flag, name, "several designs; compare takes them")),
    }
}

fn parse_designs(list: &str) -> Result<Vec<Contender>, PlanError> {
    let mut contenders = Vec::new();
    for word in list.split(',') {
        for contender in parse_contenders("--designs", word.trim())? {
            if contenders.contains(&contender) {
                return Err(PlanError::new("--designs", list, "names a design twice"));
            }
            contenders.push(contender);
        }
    }
    Ok(contenders)
}

const SIZE: &str = "not a size such as 512MiB or 16GiB";
const MIB: u64 = 1 << 20;

fn parse_memory(text: &str) -> Result<u64, PlanError> {
    let error = |why| PlanError::new("--memory", text, why);
    let bytes = parse_size(text).ok_or_else(|| error(SIZE))?;
    match bytes {
        _ if !bytes.is_multiple_of(2 * MIB) => Err(error("not a multiple of 2MiB")),
        _ if bytes < 16 * MIB => Err(error("less than 16MiB")),
        _ if bytes > MAX_MEMORY => Err(error("more than 1TiB")),
        _ => Ok(bytes),
    }
}

fn parse_cma(text: &str) -> Result<u64, PlanError> {
    let error = |why| PlanError::new("--cma", text, why);
    let bytes = parse_size(text).ok_or_else(|| error(SIZE))?;
    match bytes {
        _ if !bytes.is_multiple_of(2 * MIB) => Err(error("not a multiple of 2MiB")),
        _ if bytes > MAX_MEMORY => Err(error("more than 1TiB")),
        _ => Ok(bytes),
    }
}

fn parse_block(text: &str) -> Result<u64, PlanError> {
    let error = |why| PlanError::new("--block-size", text, why);
    let bytes = parse_size(text).ok_or_else(|| error("not a size such as 4096 or 8KiB"))?;
    match bytes {
        0 => Err(error("zero")),
        _ if !bytes.is_multiple_of(4096) => Err(error("not a multiple of 4096")),
        _ if bytes > 2 * MIB => Err(error("more than 2MiB")),
        _ => Ok(bytes),
    }
}

fn parse_share(flag: &'static str, text: &str) -> Result<Share, PlanError> {
    let why = "not a share between 0% and 100%, with at most two decimal places";
    Share::parse(text).ok_or_else(|| PlanError::new(flag, text, why))
}

fn parse_seed(text: &str) -> Result<u64, PlanError> {
    text.parse().map_err(|_| PlanError::new("--seed", text, "not a number of 64 bits"))
}

pub(crate) fn parse_profile(text: &str) -> Result<KernelProfile, PlanError> {
    match text {
        "6.1" => Ok(KernelProfile::V6_1),
        "6.12" => Ok(KernelProfile::V6_12),
        _ => Err(PlanError::new("--profile", text, "not one of 6.1, 6.12")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn plan(words: &str) -> Result<Plan, PlanError> {
        let words = core::iter::once("pagelab").chain(words.split_whitespace());
        Plan::new(&Cli::try_parse_from(words).expect("words that clap accepts"))
    }

    #[test]
    fn no_words_are_the_demonstration() {
        let plan = plan("").unwrap();
        assert_eq!((plan.action, plan.trace), (Action::Demo, TraceChoice::Demo));
        assert_eq!((plan.seed, plan.tagged, plan.block_size), (DEFAULT_SEED, None, 4096));
    }

    #[test]
    fn words_have_meanings() {
        let words = "compare --trace t.zst --designs cma,carveout --memory 512MiB --tagged 12.5% \
                     --seed 7 --json --lenient --profile 6.12 --block-size 8KiB --cma 32M";
        let plan = plan(words).unwrap();
        assert_eq!(plan.designs, [Design::CmaV3, Design::Carveout].map(Contender::from));
        assert_eq!(
            (plan.memory, plan.cma, plan.block_size),
            (Some(512 * MIB), Some(32 * MIB), 8192)
        );
        assert_eq!(plan.tagged.map(Share::per_10_000), Some(1250));
        assert_eq!((plan.seed, plan.output), (7, Output::Json));
        assert_eq!(
            (plan.strictness, plan.profile),
            (Strictness::Lenient, Some(KernelProfile::V6_12))
        );
        assert_eq!(plan.trace, TraceChoice::File("t.zst".into()));
    }

    #[test]
    fn all_designs_may_be_set_side_by_side() {
        let names = |words: &str| {
            let designs = plan(&format!("compare --designs {words}")).unwrap().designs;
            designs.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names("all"), Design::ALL.map(Design::name));
        assert_eq!(names("cma,cma+taggable-hw"), ["cma-v3", "cma-v3+taggable-hw"]);
        assert_eq!(names("all,all+taggable-hw").len(), 2 * Design::ALL.len());
    }

    #[test]
    fn a_run_may_be_written_down() {
        let record = |words: &str| plan(&format!("run --design cma {words}")).unwrap().record;
        assert_eq!(record(""), None);
        assert_eq!(record("--ftrace a.txt"), Some(Destination::Ftrace("a.txt".into())));
        assert_eq!(record("--case a/"), Some(Destination::Case("a/".into())));
    }

    #[test]
    fn errors_name_flag_and_value() {
        for (words, expected) in [
            ("run --design zfs", &*format!("--design \"zfs\": {NO_DESIGN}")),
            ("run --design all", "--design \"all\": several designs; compare takes them"),
            ("compare --designs cma,cma", "--designs \"cma,cma\": names a design twice"),
            ("compare --designs all,cma", "--designs \"all,cma\": names a design twice"),
            ("compare --designs cma,", &*format!("--designs \"\": {NO_DESIGN}")),
            (
                "compare --designs cma+hw",
                "--designs \"cma+hw\": only +taggable-hw can follow a design",
            ),
            (
                "run --design cma --memory 1MB",
                "--memory \"1MB\": not a size such as 512MiB or 16GiB",
            ),
            ("run --design cma --memory 17MiB", "--memory \"17MiB\": not a multiple of 2MiB"),
            ("run --design cma --memory 2M", "--memory \"2M\": less than 16MiB"),
            ("run --design cma --memory 2TiB", "--memory \"2TiB\": more than 1TiB"),
            ("run --design cma --seed x", "--seed \"x\": not a number of 64 bits"),
            ("run --design cma --ftrace a/", "--ftrace \"a/\": a folder; --case writes one"),
            ("run --design cma --profile 5", "--profile \"5\": not one of 6.1, 6.12"),
            ("run --design cma --block-size 5", "--block-size \"5\": not a multiple of 4096"),
            ("run --design cma --block-size 0", "--block-size \"0\": zero"),
            ("run --design cma --memory 32M --cma 32M", "--cma \"32M\": not smaller than --memory"),
            (
                "run --design cma --tagged 101%",
                "--tagged \"101%\": not a share between 0% and 100%, with at most two decimal places",
            ),
        ] {
            assert_eq!(plan(words).unwrap_err().to_string(), expected);
        }
    }
}
