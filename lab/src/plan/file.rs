//! Plan files: TOML whose keys are the flags of `compare` without their dashes.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::{Plan, PlanError};
use crate::cli::{Cli, Command, CompareWords};
use crate::place::Place;
use crate::text_file::{TextFile, TextFileError, line_of};

/// Why a plan file says nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanFileError {
    /// The file.
    #[error(transparent)]
    File(#[from] TextFileError),
    /// It is not TOML, or a key or its kind of value is wrong.
    #[error("{place}{key}: {why}")]
    Text {
        /// Where.
        place: Place,
        /// The key; `TOML` when it is not about one.
        key: String,
        /// What is wrong.
        why: String,
    },
}

/// Where a key's value goes.
enum Slot<'a> {
    Word(&'a mut Option<String>),
    Switch(&'a mut bool),
}

/// A flag of `compare` that a plan file may set.
type Key = (&'static str, fn(&mut CompareWords) -> Slot<'_>);

/// Every key.
const KEYS: &[Key] = &[
    ("--designs", |w| Slot::Word(&mut w.designs)),
    ("--seeds", |w| Slot::Word(&mut w.seeds)),
    ("--csv", |w| Slot::Word(&mut w.csv)),
    ("--jsonl", |w| Slot::Word(&mut w.jsonl)),
    ("--html", |w| Slot::Word(&mut w.html)),
    ("--costs", |w| Slot::Word(&mut w.costs)),
    ("--threads", |w| Slot::Word(&mut w.threads)),
    ("--trace", |w| Slot::Word(&mut w.common.trace)),
    ("--ops", |w| Slot::Word(&mut w.common.ops)),
    ("--workload", |w| Slot::Word(&mut w.common.workload)),
    ("--memory", |w| Slot::Word(&mut w.common.memory)),
    ("--tagged", |w| Slot::Word(&mut w.common.tagged)),
    ("--seed", |w| Slot::Word(&mut w.common.seed)),
    ("--json", |w| Slot::Switch(&mut w.common.json)),
    ("--lenient", |w| Slot::Switch(&mut w.common.lenient)),
    ("--profile", |w| Slot::Word(&mut w.common.profile)),
    ("--block-size", |w| Slot::Word(&mut w.common.block_size)),
    ("--cma", |w| Slot::Word(&mut w.common.cma)),
    ("--ticks", |w| Slot::Word(&mut w.common.load.ticks)),
    ("--tag-by", |w| Slot::Word(&mut w.common.load.tag_by)),
    ("--tag-when", |w| Slot::Word(&mut w.common.load.tag_when)),
    ("--tag-layout", |w| Slot::Word(&mut w.common.load.tag_layout)),
    ("--swap", |w| Slot::Word(&mut w.common.load.swap)),
    ("--index", |w| Slot::Word(&mut w.common.load.index)),
    ("--unmovable", |w| Slot::Word(&mut w.common.load.unmovable)),
];

/// The words of a plan file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlanFile {
    name: String,
    /// Flag, line and word; the word of a switch that is on is empty.
    words: Vec<(&'static str, usize, String)>,
}

impl PlanFile {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`PlanFileError`] when it cannot be read, or says nothing.
    pub fn read(path: &Path) -> Result<Self, PlanFileError> {
        let TextFile { name, text } = TextFile::read(path)?;
        Self::parse(&name, &text)
    }

    /// Reads the text of a file that errors call `name`.
    ///
    /// # Errors
    ///
    /// [`PlanFileError::Text`] with the line of what is no TOML, of an unknown key, or of a value
    /// of the wrong kind.
    pub fn parse(name: &str, text: &str) -> Result<Self, PlanFileError> {
        let error = |at: usize, key: &str, why: String| PlanFileError::Text {
            place: Place::File { file: name.to_owned(), line: line_of(text.as_bytes(), at) },
            key: key.to_owned(),
            why,
        };
        let table = DeTable::parse(text).map_err(|cause| {
            let at = cause.span().map_or(0, |span| span.start);
            error(at, "TOML", cause.message().replace('\n', " "))
        })?;
        let mut words = Vec::new();
        for (key, value) in table.get_ref() {
            let at = key.span().start;
            let known = KEYS.iter().find(|(flag, _)| flag[2..] == **key.get_ref());
            let Some((flag, slot)) = known else {
                return Err(error(at, key.get_ref(), format!("no such key; {}", known_keys())));
            };
            let word = match slot(&mut CompareWords::default()) {
                Slot::Word(_) if *flag == "--profile" => version(value).map(Some),
                Slot::Word(_) => word(value).map(Some),
                Slot::Switch(_) => switch(value).map(|on| on.then(String::new)),
            };
            let word = word.map_err(|why| error(value.span().start, key.get_ref(), why.into()))?;
            words.extend(word.map(|word| (*flag, line_of(text.as_bytes(), at), word)));
        }
        Ok(Self { name: name.to_owned(), words })
    }

    /// The plan of what was typed and, where nothing was, of this file.
    ///
    /// # Errors
    ///
    /// [`PlanError`], with the line when the impossible word stands in the file.
    pub fn plan(&self, cli: &Cli) -> Result<Plan, PlanError> {
        let mut cli = cli.clone();
        let place = |line| Place::File { file: self.name.clone(), line };
        let mut used = Vec::new();
        if let Some(Command::Compare(typed)) = &mut cli.command {
            used = self.add_to(typed);
            if typed.designs.is_none() {
                let error = PlanError::new("--designs", "", "needed, here or on the command line");
                return Err(PlanError { place: place(0), ..error });
            }
        }
        Plan::new(&cli).map_err(|error| match used.iter().find(|(flag, _)| *flag == error.flag) {
            Some((_, line)) => PlanError { place: place(*line), ..error },
            None => error,
        })
    }

    /// Adds the file's words to those typed; returns the flags that were not, and their lines.
    fn add_to(&self, typed: &mut CompareWords) -> Vec<(&'static str, usize)> {
        let mut used = Vec::new();
        for (flag, line, word) in &self.words {
            let key = KEYS.iter().find(|(name, _)| name == flag);
            match key.map(|(_, slot)| slot(typed)) {
                Some(Slot::Word(slot @ None)) => *slot = Some(word.clone()),
                Some(Slot::Switch(slot @ false)) => *slot = true,
                _ => continue,
            }
            used.push((*flag, *line));
        }
        used
    }
}

fn known_keys() -> String {
    let names: Vec<&str> = KEYS.iter().map(|(flag, _)| &flag[2..]).collect();
    format!("there are {}", names.join(", "))
}

/// A value as it would have been typed.
fn word(value: &Spanned<DeValue<'_>>) -> Result<String, &'static str> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text.clone().into_owned()),
        DeValue::Integer(number) => Ok(decimal(number)),
        DeValue::Float(number) => Ok(number.to_string()),
        DeValue::Array(values) => {
            let words = values.iter().map(|value| match value.get_ref() {
                DeValue::Array(_) => Err("a list in a list"),
                _ => word(value),
            });
            Ok(words.collect::<Result<Vec<_>, _>>()?.join(","))
        }
        _ => Err("not a text, a number or a list of them"),
    }
}

/// A kernel's version. As a number 6.10 would be 6.1.
fn version(value: &Spanned<DeValue<'_>>) -> Result<String, &'static str> {
    match value.get_ref() {
        DeValue::Float(_) => Err("a version is text, such as \"6.1\""),
        _ => word(value),
    }
}

/// An integer as it would have been typed, whatever its base in the file.
fn decimal(number: &DeInteger<'_>) -> String {
    let value = i128::from_str_radix(number.as_str(), number.radix());
    value.map_or_else(|_| number.to_string(), |value| value.to_string())
}

fn switch(value: &Spanned<DeValue<'_>>) -> Result<bool, &'static str> {
    match value.get_ref() {
        DeValue::Boolean(on) => Ok(*on),
        _ => Err("not true or false"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::plan::{Files, TraceChoice};
    use crate::workload::Kind;

    const SHIPPED: &str = include_str!("../../plans/designs.toml");

    fn plan(text: &str, words: &str) -> Result<Plan, String> {
        let words = ["pagelab", "compare"].into_iter().chain(words.split_whitespace());
        let cli = Cli::try_parse_from(words).expect("words that clap accepts");
        let file = PlanFile::parse("p.toml", text).map_err(|error| error.to_string())?;
        file.plan(&cli).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_says_what_flags_say() {
        let typed = "--designs all --workload phone --memory 16GiB --tagged 0,5,10,25,50,100% \
                     --seeds 16";
        assert_eq!(plan(SHIPPED, "").unwrap(), plan("", typed).unwrap());
        let all = "designs = [\"cma\", \"carveout\"]\ntrace = \"t\"\nseed = 3\njson = true\n\
                   lenient = true\nprofile = \"6.12\"\nblock-size = 8192\ncma = \"4M\"\n\
                   csv = \"a\"\njsonl = \"b\"\nhtml = \"c\"\ncosts = \"d\"\nthreads = 2\n";
        let typed = "--designs cma,carveout --trace t --seed 3 --json --lenient --profile 6.12 \
                     --block-size 8192 --cma 4M --csv a --jsonl b --html c --costs d --threads 2";
        assert_eq!(plan(all, "").unwrap(), plan("", typed).unwrap());
        let load = "designs = \"cma\"\nworkload = \"fragment\"\nticks = 5\ntag-by = \"vma\"\n\
                    tag-when = \"mprotect\"\ntag-layout = \"scattered\"\nswap = \"1GiB\"\n\
                    index = 50\nunmovable = 12.5\n";
        let typed = "--designs cma --workload fragment --ticks 5 --tag-by vma --tag-when mprotect \
                     --tag-layout scattered --swap 1GiB --index 50 --unmovable 12.5";
        assert_eq!(plan(load, "").unwrap(), plan("", typed).unwrap());
    }

    #[test]
    fn typed_words_go_first() {
        let plan = plan(SHIPPED, "--seeds 2 --workload server --csv x.csv").unwrap();
        assert_eq!((plan.seeds, plan.scenes.len()), (2, 12));
        assert_eq!(plan.files, Files { csv: Some("x.csv".into()), ..Files::default() });
        let TraceChoice::Workload(load) = &plan.scenes[0].trace else { panic!("a workload") };
        assert_eq!(load.kind, Kind::Server);
    }

    #[test]
    fn integers_may_have_any_base() {
        let based = "designs = \"all\"\nworkload = \"phone\"\nseeds = 0x10\nticks = 0o17\n\
                     memory = 0x1000_0000\nseed = 0b101\ntagged = [0x5, +1_0]\nthreads = 0x2\n";
        let typed = "--designs all --workload phone --seeds 16 --ticks 15 --memory 256MiB \
                     --seed 5 --tagged 5,10 --threads 2";
        assert_eq!(plan(based, "").unwrap(), plan("", typed).unwrap());
        let said = plan("designs = \"all\"\nseeds = -0", "").unwrap_err();
        assert_eq!(said, "p.toml:2: --seeds \"0\": zero");
    }

    #[test]
    fn errors_name_file_line_and_key() {
        let known = format!("; {}", known_keys());
        for (text, expected) in [
            (
                "designs = \"all\"\n\nseed = \"x\"",
                "p.toml:3: --seed \"x\": not a whole number of 64 bits",
            ),
            ("designs = \"all\"\ntagged = [1, 101]", "p.toml:2: --tagged \"101\": not a share"),
            ("\nmemroy = 1", &*format!("p.toml:2: memroy: no such key{known}")),
            ("designs = [\n\"a\", 1.5,\n[2]]", "p.toml:1: designs: a list in a list"),
            ("designs = 2020-01-01", "p.toml:1: designs: not a text, a number or a list"),
            ("json = \"yes\"", "p.toml:1: json: not true or false"),
            ("profile = 6.10", "p.toml:1: profile: a version is text, such as \"6.1\""),
            ("seed = 1\nseed = 2", "p.toml:2: TOML: duplicate key"),
            ("seed = ", "p.toml:1: TOML: "),
            ("seeds = 3", "p.toml: --designs \"\": needed, here or on the command line"),
            ("", "p.toml: --designs \"\": needed, here or on the command line"),
            (
                "designs = \"all\"\nseeds = 2.0",
                "p.toml:2: --seeds \"2.0\": not a whole number up to 100000",
            ),
            (
                "designs = \"all\"\nworkload = \"phone\"\nlenient = true",
                "p.toml:3: --lenient \"\": only with a trace",
            ),
        ] {
            let said = plan(text, "").unwrap_err();
            assert!(said.starts_with(expected), "{text}: {said}");
        }
        // What was typed is not the file's fault.
        let said = plan("designs = \"all\"", "--seed x").unwrap_err();
        assert_eq!(said, "--seed \"x\": not a whole number of 64 bits");
    }

    #[test]
    fn the_schema_knows_every_key() {
        let schema = include_str!("../../plan.schema.json");
        let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
        let properties = schema["properties"].as_object().unwrap();
        let mut keys: Vec<&str> = KEYS.iter().map(|(flag, _)| &flag[2..]).collect();
        keys.sort_unstable();
        let mut described: Vec<&str> = properties.keys().map(String::as_str).collect();
        described.sort_unstable();
        assert_eq!(described, keys);
        let workloads = properties["workload"]["enum"].as_array().unwrap();
        let workloads: Vec<_> = workloads.iter().map(|name| name.as_str().unwrap()).collect();
        let known: Vec<_> = Kind::ALL.map(Kind::name).into_iter().chain(["trace"]).collect();
        assert_eq!(workloads, known);
        let designs = properties["designs"].to_string();
        for design in crate::plan::Design::ALL {
            assert!(designs.contains(design.name()), "{design}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".{0,200}", line in "[a-z-]{1,9} = .{0,20}") {
            let _ = PlanFile::parse("p", &text);
            let _ = PlanFile::parse("p", &line);
        }
    }
}
