//! Which two designs are to differ, in what, on which operations.

use std::path::PathBuf;

use super::property::Property;
use crate::cli::{Common, ShrinkWords};
use crate::contender::Contender;
use crate::plan::{Plan, PlanError, Scene, TraceChoice};

/// What was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShrinkPlan {
    /// The operations to begin with, and the machine.
    pub scene: Scene,
    /// The designs.
    pub designs: [Contender; 2],
    /// In what they differ.
    pub property: Property,
    /// Most times that operations are carried out under the designs.
    pub budget: u64,
    /// Where the operations go, besides.
    pub out: Option<PathBuf>,
    /// The words that make the machine, as they are typed.
    pub machine: Vec<String>,
}

/// Runs when nothing else is said.
const DEFAULT_BUDGET: u64 = 4_000;
/// Memory of a workload's machine when nothing else is said: the least there is.
const DEFAULT_MEMORY: &str = "256MiB";

impl ShrinkPlan {
    /// The plan that the words ask for.
    ///
    /// # Errors
    ///
    /// [`PlanError`] names the first flag whose value is impossible.
    pub fn new(words: &ShrinkWords) -> Result<Self, PlanError> {
        let mut common = words.common.clone();
        if common.memory.is_none() && common.workload.as_deref().is_some_and(|name| name != "trace")
        {
            common.memory = Some(DEFAULT_MEMORY.to_owned());
        }
        if common.json {
            return Err(PlanError::new("--json", "", "shrink prints text only"));
        }
        let (a, scene, _) = Plan::one("--a", &words.a, &common)?;
        let (b, ..) = Plan::one("--b", &words.b, &common)?;
        if a == b {
            return Err(PlanError::new("--b", &words.b, "the same design as --a"));
        }
        let property = parse_property(&words.property)?;
        let budget = words.budget.as_deref().map_or(Ok(DEFAULT_BUDGET), parse_budget)?;
        let out = words.output.as_deref().map(|path| Plan::path("--output", path)).transpose()?;
        let machine = machine_words(&common, &scene.trace);
        Ok(Self { scene, designs: [a, b], property, budget, out, machine })
    }
}

fn parse_property(text: &str) -> Result<Property, PlanError> {
    let unknown = "not one of tagged-failure, request-failure, no-progress, migration, \
                   contig-failure";
    let known = Property::ALL.into_iter().find(|known| known.name() == text);
    known.ok_or_else(|| PlanError::new("--property", text, unknown))
}

fn parse_budget(text: &str) -> Result<u64, PlanError> {
    match text.parse() {
        Ok(0) => Err(PlanError::new("--budget", text, "zero")),
        Ok(runs) => Ok(runs),
        Err(_) => Err(PlanError::new("--budget", text, "not a number of runs")),
    }
}

/// The words that say on which machine; those that say which operations are left out, but for those
/// by which a trace's pages are tagged while it is carried out.
fn machine_words(words: &Common, source: &TraceChoice) -> Vec<String> {
    let alone = words.workload.is_none() && words.trace.is_none();
    // Without a word for its machine, a file of operations has a plain one.
    let demo = (alone && words.ops.is_none()).then(|| "trace".to_owned());
    let made_up = matches!(source, TraceChoice::Workload(_));
    let draws = |word: &Option<String>| word.clone().filter(|_| !made_up);
    let flags = [
        ("--trace", words.trace.clone()),
        ("--workload", words.workload.clone().or(demo)),
        ("--memory", words.memory.clone()),
        ("--cma", words.cma.clone()),
        ("--swap", words.load.swap.clone()),
        ("--block-size", words.block_size.clone()),
        ("--profile", words.profile.clone()),
        ("--tagged", draws(&words.tagged)),
        ("--seed", draws(&words.seed)),
    ];
    let given = flags.into_iter().filter_map(|(flag, word)| Some([flag.to_owned(), word?]));
    let lenient = words.lenient.then(|| "--lenient".to_owned());
    given.flatten().chain(lenient).collect()
}
