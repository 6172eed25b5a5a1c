//! Plan files: TOML whose keys are the flags of `compare` without their dashes.

use std::io;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::words::Place;
use super::{Plan, PlanError};
use crate::cli::{Cli, Command, CompareWords};

/// Why a plan file says nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanFileError {
    /// The file.
    #[error("{file}: {why}")]
    Read {
        /// Its name.
        file: String,
        /// What is wrong.
        why: io::Error,
    },
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
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|why| PlanFileError::Read { file: name.clone(), why })?;
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
            place: Place::File { file: name.to_owned(), line: line_of(text, at) },
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
                Slot::Word(_) => word(value).map(Some),
                Slot::Switch(_) => switch(value).map(|on| on.then(String::new)),
            };
            let word = word.map_err(|why| error(value.span().start, key.get_ref(), why.into()))?;
            words.extend(word.map(|word| (*flag, line_of(text, at), word)));
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
        let mut used = Vec::new();
        if let Some(Command::Compare(typed)) = &mut cli.command {
            for (flag, line, word) in &self.words {
                let key = KEYS.iter().find(|(name, _)| name == flag);
                match key.map(|(_, slot)| slot(typed)) {
                    Some(Slot::Word(slot @ None)) => {
                        *slot = Some(word.clone());
                        used.push((*flag, *line));
                    }
                    Some(Slot::Switch(slot)) => *slot = true,
                    _ => {}
                }
            }
        }
        Plan::new(&cli).map_err(|error| match used.iter().find(|(flag, _)| *flag == error.flag) {
            Some((_, line)) => {
                let place = Place::File { file: self.name.clone(), line: *line };
                PlanError { place, ..error }
            }
            None => error,
        })
    }
}

fn known_keys() -> String {
    let names: Vec<&str> = KEYS.iter().map(|(flag, _)| &flag[2..]).collect();
    format!("there are {}", names.join(", "))
}

/// Line of a byte, from 1.
fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count()
}

/// A value as it would have been typed.
fn word(value: &Spanned<DeValue<'_>>) -> Result<String, &'static str> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text.clone().into_owned()),
        DeValue::Integer(number) => Ok(number.to_string()),
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

fn switch(value: &Spanned<DeValue<'_>>) -> Result<bool, &'static str> {
    match value.get_ref() {
        DeValue::Boolean(on) => Ok(*on),
        _ => Err("not true or false"),
    }
}
