//! Cost models: what events take, from a TOML file. Only asked for, and never without their name.

use std::path::Path;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::metric::by_name;
use crate::report::{RunReport, approximate};
use crate::run::counters::Counters;
use crate::text_file::{TextFile, TextFileError, line_of};

/// What some events take. The rest takes nothing.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct CostModel {
    /// Its name, which stands at every number made with it.
    pub name: String,
    /// Unit of the costs, such as `ns` or `cycles`.
    pub unit: String,
    /// The events that it prices.
    pub events: Vec<EventCost>,
}

/// What one event takes.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct EventCost {
    /// A counter of a run, or a metric.
    pub counter: String,
    /// What each takes, in the model's unit.
    pub cost: f64,
    /// Who measured that, and how.
    pub source: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawModel {
    name: Spanned<String>,
    unit: Spanned<String>,
    event: Vec<RawEvent>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEvent {
    counter: Spanned<String>,
    cost: Spanned<f64>,
    source: Spanned<String>,
}

/// Letters of a model's name and unit.
const MOST_LETTERS: usize = 32;
/// What one event may take, in the model's unit.
const MOST_COST: f64 = 1e12;

/// Why a file is no cost model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CostError {
    /// The file.
    #[error(transparent)]
    File(#[from] TextFileError),
    /// A line says something impossible.
    #[error("{file}:{line}: {why}")]
    Text {
        /// Name of the file.
        file: String,
        /// Line, from 1.
        line: usize,
        /// What is wrong, with the key.
        why: String,
    },
}

impl CostModel {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`CostError`] when it cannot be read or is no cost model.
    pub fn read(path: &Path) -> Result<Self, CostError> {
        let TextFile { name, text } = TextFile::read(path)?;
        Self::parse(&name, &text)
    }

    /// Reads the text of a file that errors call `file`.
    ///
    /// # Errors
    ///
    /// [`CostError::Text`] with the line.
    pub fn parse(file: &str, text: &str) -> Result<Self, CostError> {
        let error = |at: usize, why: String| {
            let line = line_of(text.as_bytes(), at);
            CostError::Text { file: file.to_owned(), line, why }
        };
        let raw: RawModel = toml::from_str(text).map_err(|cause| {
            let at = cause.span().map_or(0, |span| span.start);
            error(at, cause.message().replace('\n', " "))
        })?;
        let wordy = [("name", &raw.name), ("unit", &raw.unit)];
        let sources = raw.event.iter().map(|event| ("source", &event.source));
        for (key, word) in wordy.into_iter().chain(sources) {
            let text = word.get_ref();
            if text.trim().is_empty() || text.contains(char::is_control) {
                return Err(error(word.span().start, format!("{key} says nothing")));
            }
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
            if key != "source" && (text.len() > MOST_LETTERS || !text.chars().all(plain)) {
                let why =
                    format!("{key} is not up to {MOST_LETTERS} letters, digits, or one of -_./");
                return Err(error(word.span().start, why));
            }
        }
        if raw.event.is_empty() {
            return Err(error(text.len(), "event: there is none".to_owned()));
        }
        for (at, event) in raw.event.iter().enumerate() {
            let name = event.counter.get_ref();
            if raw.event[..at].iter().any(|other| other.counter.get_ref() == name) {
                let why = format!("counter {name:?} has a cost already");
                return Err(error(event.counter.span().start, why));
            }
        }
        let events: Vec<_> = raw.event.into_iter().map(|event| event.check(&error)).collect();
        let events = events.into_iter().collect::<Result<_, _>>()?;
        Ok(Self { name: raw.name.into_inner(), unit: raw.unit.into_inner(), events })
    }

    /// What a run takes by this model.
    #[must_use]
    pub fn price(&self, report: &RunReport) -> f64 {
        let count = |name: &str| {
            let counted = report.counters.get(name).map(|count| approximate(*count));
            counted.or_else(|| (by_name(name)?.of)(report)).unwrap_or(0.0)
        };
        self.events.iter().map(|event| event.cost * count(&event.counter)).sum()
    }

    /// The model in words, each event on lines of its own.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut out = format!("cost model {}, in {}\n", self.name, self.unit);
        for event in &self.events {
            let words = format!("{} x {}: {}", event.cost, event.counter, event.source);
            out.push_str(&filled(&words));
        }
        out
    }
}

/// Words on lines that fit a mail, those after the first further in.
fn filled(text: &str) -> String {
    const WIDTH: usize = 100;
    let mut lines = vec![" ".to_owned()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is one");
        if last.chars().count() + 1 + word.chars().count() <= WIDTH {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(format!("    {word}"));
        }
    }
    lines.join("\n") + "\n"
}

impl RawEvent {
    fn check<E>(self, error: &impl Fn(usize, String) -> E) -> Result<EventCost, E> {
        let (counter, cost) = (self.counter.get_ref(), *self.cost.get_ref());
        if by_name(counter).is_none() && !Counters::has(counter) {
            let why = format!("counter {counter:?} is neither a counter nor a metric");
            return Err(error(self.counter.span().start, why));
        }
        if !(0.0..=MOST_COST).contains(&cost) {
            return Err(error(self.cost.span().start, format!("cost {cost} is not possible")));
        }
        Ok(EventCost { counter: self.counter.into_inner(), cost, source: self.source.into_inner() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../costs/copies.toml");

    #[test]
    fn the_shipped_model_is_one() {
        let model = CostModel::parse("copies.toml", SHIPPED).unwrap();
        assert_eq!((model.name.as_str(), model.events.len()), ("copies-epyc-2026", 2));
        let said = model.describe();
        assert!(said.contains("\n  536 x pgmigrate_success: copy of a 4 KiB page"), "{said}");
        assert!(said.lines().all(|line| line.chars().count() <= 100), "{said}");
        assert!(said.contains("\n    26), 2026-11-20\n  90 x"), "{said}");
    }

    #[track_caller]
    fn check(from: &str, to: &str, expected: &str) {
        let error = CostModel::parse("m", &SHIPPED.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn costs_are_whole_or_not_and_of_any_base() {
        let cost = |text: &str| {
            let text = SHIPPED.replacen("cost = 536", &format!("cost = {text}"), 1);
            CostModel::parse("m", &text).unwrap().events[0].cost
        };
        for (text, expected) in [("0x218", 536.0), ("5_36.0", 536.0), ("5e2", 500.0)] {
            assert!((cost(text) - expected).abs() < 1e-9, "{text}");
        }
    }

    #[test]
    fn a_broken_one_names_the_line() {
        check("name = ", "nom = ", "m:9: unknown field `nom`");
        check("cost = 536", "cost = -1", "m:14: cost -1 is not possible");
        check("cost = 536", "cost = nan", "m:14: cost NaN is not possible");
        check("cost = 536", "cost = \"x\"", "m:14: invalid type");
        check("pgmigrate_success", "pgmigrate", "m:13: counter \"pgmigrate\" is neither");
        check("unit = \"ns\"", "unit = \"\"", "m:10: unit says nothing");
        check("unit = ", "unit ", "m:10: ");
        check("copies-epyc", "copies,epyc", "m:9: name is not up to 32 letters");
        check("cost = 536", "cost = 1e13", "m:14: cost 10000000000000 is not possible");
        let twice = "m:18: counter \"pgmigrate_success\" has a cost";
        check("tag_restored_pages", "pgmigrate_success", twice);
    }
}
