//! What was meant: typed words, validated and with units. Prints nothing, touches no file.

mod error;
pub mod file;
mod load;
mod scene;
mod words;

use std::path::PathBuf;

pub use pagelab_migrate::tag_storage::catalogue::Design;

use crate::cli::{Cli, Command, Common, CompareWords};
use crate::contender::Contender;
use crate::emit::Destination;

pub use error::PlanError;
pub use scene::{Scene, TraceChoice};
pub(crate) use words::parse_profile;

use scene::scenes;
use words::parse_threads;
use words::{parse_design, parse_designs, parse_path, parse_record, parse_seed, parse_seeds};

/// The seed when none was given; it is printed like any other.
pub const DEFAULT_SEED: u64 = 42;

/// Runs, ready to be carried out: every scene under every design.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// What was asked for.
    pub action: Action,
    /// Under which designs: at least one, each once.
    pub designs: Vec<Contender>,
    /// What they are asked: at least one scene. First by memory, then by tagged share, then by
    /// seed.
    pub scenes: Vec<Scene>,
    /// How many of the scenes in a row differ in their seed only.
    pub seeds: usize,
    /// How to print.
    pub output: Output,
    /// Where to write the results to, besides.
    pub files: Files,
    /// The file of the cost model.
    pub costs: Option<PathBuf>,
    /// Where to write the run down; `None`: nowhere.
    pub record: Option<Destination>,
    /// Threads that carry runs out; `None`: as many as there are cores. Changes no result.
    pub threads: Option<usize>,
}

/// Files of results.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Files {
    /// Comma-separated values.
    pub csv: Option<PathBuf>,
    /// One JSON object a line.
    pub jsonl: Option<PathBuf>,
    /// A page with pictures.
    pub html: Option<PathBuf>,
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

impl Plan {
    /// The plan that `cli` asks for.
    ///
    /// # Errors
    ///
    /// [`PlanError`] names the first flag whose value is impossible.
    pub fn new(cli: &Cli) -> Result<Self, PlanError> {
        match &cli.command {
            None => {
                let designs = DEMO.map(Contender::from).to_vec();
                Self::single(Action::Demo, designs, &Common::default())
            }
            Some(Command::Run { design, ftrace, case, common }) => {
                let designs = vec![parse_design("--design", design)?];
                let record = parse_record(ftrace.as_deref(), case.as_deref())?;
                Ok(Self { record, ..Self::single(Action::Run, designs, common)? })
            }
            Some(Command::Compare(words)) => Self::compare(words),
            Some(
                Command::Replay(_)
                | Command::Metrics
                | Command::Shrink(_)
                | Command::Explain(_)
                | Command::Hotplug(_),
            ) => Err(PlanError::new("--design", "", "needed for a run")),
        }
    }

    /// One scene.
    fn single(action: Action, designs: Vec<Contender>, words: &Common) -> Result<Self, PlanError> {
        let seed = words.seed.as_deref().map_or(Ok(DEFAULT_SEED), parse_seed)?;
        let mut scenes = scenes(action, words, seed, 1)?;
        if scenes.len() > 1 {
            let several = |word: &Option<String>| word.clone().filter(|word| word.contains(','));
            let (flag, value) = match several(&words.memory) {
                Some(value) => ("--memory", value),
                None => ("--tagged", several(&words.tagged).unwrap_or_default()),
            };
            return Err(PlanError::new(flag, &value, "several values; compare takes them"));
        }
        scenes.truncate(1);
        let output = if words.json { Output::Json } else { Output::Text };
        let files = Files::default();
        let (record, costs, threads) = (None, None, None);
        Ok(Self { action, designs, scenes, seeds: 1, output, files, costs, record, threads })
    }

    /// One design on one scene.
    ///
    /// # Errors
    ///
    /// [`PlanError`] names the first flag whose value is impossible.
    pub(crate) fn one(
        flag: &'static str,
        design: &str,
        words: &Common,
    ) -> Result<(Contender, Scene, Output), PlanError> {
        let design = parse_design(flag, design)?;
        let mut plan = Self::single(Action::Run, vec![design], words)?;
        Ok((design, plan.scenes.swap_remove(0), plan.output))
    }

    /// Where something is written.
    ///
    /// # Errors
    ///
    /// [`PlanError`] when the word names no file.
    pub(crate) fn path(flag: &'static str, text: &str) -> Result<PathBuf, PlanError> {
        parse_path(flag, text)
    }

    fn compare(words: &CompareWords) -> Result<Self, PlanError> {
        let Some(designs) = &words.designs else {
            return Err(PlanError::new("--designs", "", "needed, here or in a plan file"));
        };
        let common = &words.common;
        let seed = common.seed.as_deref().map_or(Ok(DEFAULT_SEED), parse_seed)?;
        let seeds = words.seeds.as_deref().map_or(Ok(1), |text| parse_seeds(text, seed))?;
        let files = [("--csv", &words.csv), ("--jsonl", &words.jsonl), ("--html", &words.html)];
        for (at, (flag, word)) in files.iter().enumerate() {
            if let Some(word) = word
                && files[..at].iter().any(|(_, other)| other.as_ref() == Some(word))
            {
                return Err(PlanError::new(flag, word, "the file of other results"));
            }
        }
        let file = |flag, word: &Option<String>| {
            word.as_deref().map(|text| parse_path(flag, text)).transpose()
        };
        Ok(Self {
            action: Action::Compare,
            designs: parse_designs(designs)?,
            scenes: scenes(Action::Compare, common, seed, seeds)?,
            seeds,
            output: if common.json { Output::Json } else { Output::Text },
            files: Files {
                csv: file("--csv", &words.csv)?,
                jsonl: file("--jsonl", &words.jsonl)?,
                html: file("--html", &words.html)?,
            },
            costs: file("--costs", &words.costs)?,
            record: None,
            threads: words.threads.as_deref().map(parse_threads).transpose()?,
        })
    }

    /// Whether numbers of all runs are wanted, and not one report a design.
    #[must_use]
    pub fn is_experiment(&self) -> bool {
        self.scenes.len() > 1 || self.files != Files::default() || self.costs.is_some()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use pagelab_allocator::profile::KernelProfile;

    use super::words::NO_DESIGN;
    use super::*;
    use crate::size::Share;
    use crate::trace::Strictness;

    fn plan(words: &str) -> Result<Plan, PlanError> {
        let words = core::iter::once("pagelab").chain(words.split_whitespace());
        Plan::new(&Cli::try_parse_from(words).expect("words that clap accepts"))
    }

    #[test]
    fn no_words_are_the_demonstration() {
        let plan = plan("").unwrap();
        let [scene] = &plan.scenes[..] else { panic!("one scene") };
        assert_eq!((plan.action, &scene.trace), (Action::Demo, &TraceChoice::Demo));
        assert_eq!((scene.seed, scene.tagged, scene.block_size), (DEFAULT_SEED, None, 4096));
    }

    #[test]
    fn words_have_meanings() {
        let words = "compare --trace t.zst --designs cma,carveout --memory 512MiB --tagged 12.5% \
                     --seed 7 --json --lenient --profile 6.12 --block-size 8KiB --cma 32M";
        let plan = plan(words).unwrap();
        assert_eq!(plan.designs, [Design::CmaV3, Design::Carveout].map(Contender::from));
        let [scene] = &plan.scenes[..] else { panic!("one scene") };
        assert_eq!(
            (scene.memory, scene.cma, scene.block_size),
            (Some(512 << 20), Some(32 << 20), 8192)
        );
        assert_eq!(scene.tagged.map(Share::per_10_000), Some(1250));
        assert_eq!((scene.seed, plan.output), (7, Output::Json));
        assert_eq!(
            (scene.strictness, scene.profile),
            (Strictness::Lenient, Some(KernelProfile::V6_12))
        );
        assert_eq!(scene.trace, TraceChoice::File("t.zst".into()));
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
    fn axes_are_combined() {
        let words = "compare --designs cma,carveout --workload phone --memory 1GiB,2GiB \
                     --tagged 0,5,12.5% --seed 7 --seeds 4";
        let plan = plan(words).unwrap();
        assert!(plan.is_experiment());
        let found = plan.scenes.iter().map(|scene| {
            let share = scene.tagged.map(Share::per_10_000);
            let TraceChoice::Workload(load) = &scene.trace else { panic!("a workload") };
            assert_eq!(Some(load.tags.share.per_10_000()), share);
            (scene.memory.unwrap() >> 30, share.unwrap(), scene.seed)
        });
        let expected = [1, 2].iter().flat_map(|memory| {
            let shares = [0, 500, 1250].into_iter();
            shares.flat_map(move |share| (7..11).map(move |seed| (*memory, share, seed)))
        });
        assert!(found.eq(expected));
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
            ("compare", "--designs \"\": needed, here or in a plan file"),
            (
                "run --design cma --tagged 1,2%",
                "--tagged \"1,2%\": several values; compare takes them",
            ),
            (
                "run --design cma --memory 32M,64M",
                "--memory \"32M,64M\": several values; compare takes them",
            ),
            ("compare --designs cma --tagged 1,1%", "--tagged \"1,1%\": names a value twice"),
            (
                "compare --designs cma --memory 32M,32MiB",
                "--memory \"32M,32MiB\": names a value twice",
            ),
            ("compare --designs cma --seeds 0", "--seeds \"0\": zero"),
            ("compare --designs cma --seeds x", "--seeds \"x\": not a whole number up to 100000"),
            (
                "compare --designs cma --seeds 9 --seed 18446744073709551610",
                "--seeds \"9\": more than there are seeds from --seed on",
            ),
            ("compare --designs cma --threads 0", "--threads \"0\": zero"),
            ("compare --designs cma --csv a/", "--csv \"a/\": a folder"),
            ("compare --designs cma --csv a --html a", "--html \"a\": the file of other results"),
            ("compare --designs cma --html=", "--html \"\": a file name is needed"),
            ("run --design cma --seed x", "--seed \"x\": not a whole number of 64 bits"),
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
