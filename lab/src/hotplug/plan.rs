//! What was typed after `pagelab hotplug`, and the scenarios that it means.

use std::path::{Path, PathBuf};

use pagelab_allocator::hotplug::gate::Gate;

use super::error::HotplugError;
use super::gates;
use super::scenario::Scenario;
use super::shipped;
use crate::cli::HotplugWords;

/// Scenarios of one run.
const MOST_SCENARIOS: usize = 512;

/// What to do.
#[derive(Debug)]
pub struct HotplugPlan {
    /// The scenarios, read and possible; none to list what there is.
    pub scenarios: Vec<Scenario>,
    /// The gates, if not those of each scenario.
    pub gates: Option<Vec<&'static dyn Gate>>,
    /// Where values go.
    pub csv: Option<PathBuf>,
    /// The same.
    pub jsonl: Option<PathBuf>,
    /// Where the page goes.
    pub html: Option<PathBuf>,
    /// The files that were read.
    pub inputs: Vec<PathBuf>,
    /// Lines of the log that are shown.
    pub log_lines: usize,
}

impl HotplugPlan {
    /// Reads every scenario that the words mean.
    ///
    /// # Errors
    ///
    /// [`HotplugError`] for the first word or file that makes no plan.
    pub fn new(words: &HotplugWords) -> Result<Self, HotplugError> {
        let gates = words.gate.as_deref().map(parse_gates).transpose()?;
        let log_lines = words.log.as_deref().map_or(Ok(3), parse_lines)?;
        let path = |flag, word: &Option<String>| {
            word.as_deref().map(|word| parse_path(flag, word)).transpose()
        };
        let (csv, jsonl) = (path("--csv", &words.csv)?, path("--jsonl", &words.jsonl)?);
        let html = path("--html", &words.html)?;
        let idle = [("--gate", &words.gate), ("--csv", &words.csv), ("--jsonl", &words.jsonl)];
        let idle = idle.into_iter().chain([("--html", &words.html), ("--log", &words.log)]);
        if words.scenarios.is_empty()
            && let Some((flag, word)) = idle.into_iter().find_map(|(f, w)| Some((f, w.as_ref()?)))
        {
            return Err(HotplugError::word(flag, word, "only with a scenario"));
        }
        let (mut scenarios, mut inputs) = (Vec::new(), Vec::new());
        for word in &words.scenarios {
            add(word, &mut scenarios, &mut inputs)?;
            if scenarios.len() > MOST_SCENARIOS {
                let why = format!("more than {MOST_SCENARIOS} scenarios");
                return Err(HotplugError::word("SCENARIO", word, why));
            }
        }
        Ok(Self { scenarios, gates, csv, jsonl, html, inputs, log_lines })
    }
}

/// A file, a folder of files, or the name of a scenario that is part of the program.
fn add(
    word: &str,
    scenarios: &mut Vec<Scenario>,
    inputs: &mut Vec<PathBuf>,
) -> Result<(), HotplugError> {
    let path = Path::new(word);
    if path.is_dir() {
        let files = files_in(path)?;
        if files.is_empty() {
            return Err(HotplugError::word("SCENARIO", word, "a folder without .toml files"));
        }
        for file in files {
            scenarios.push(Scenario::read(&file)?);
            inputs.push(file);
        }
        return Ok(());
    }
    let like_a_file = word.contains('/') || word.contains('.') || path.exists();
    if like_a_file {
        scenarios.push(Scenario::read(path)?);
        inputs.push(path.to_owned());
        return Ok(());
    }
    for (name, text) in
        shipped::named(word).map_err(|why| HotplugError::word("SCENARIO", word, why))?
    {
        scenarios.push(Scenario::parse(&format!("{name}.toml"), text)?);
    }
    Ok(())
}

/// The scenarios of a folder, by name.
fn files_in(path: &Path) -> Result<Vec<PathBuf>, HotplugError> {
    let entries = std::fs::read_dir(path).map_err(|why| HotplugError::folder(path, why))?;
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.map_err(|why| HotplugError::folder(path, why))?.path();
        if file.extension().is_some_and(|ending| ending == "toml") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn parse_gates(words: &str) -> Result<Vec<&'static dyn Gate>, HotplugError> {
    let names = words.split(',').map(str::trim);
    gates::by_names(names).map_err(|(_, why)| HotplugError::word("--gate", words, why))
}

fn parse_path(flag: &'static str, word: &str) -> Result<PathBuf, HotplugError> {
    match word {
        "" => Err(HotplugError::word(flag, "", "a file name is needed")),
        _ if word.ends_with('/') => Err(HotplugError::word(flag, word, "a folder")),
        _ => Ok(PathBuf::from(word)),
    }
}

fn parse_lines(word: &str) -> Result<usize, HotplugError> {
    let lines = word.parse().ok().filter(|lines| *lines <= super::runner::KEPT_LINES);
    let why = format!("not a whole number up to {}", super::runner::KEPT_LINES);
    lines.ok_or_else(|| HotplugError::word("--log", word, why))
}
