//! Results as one page: tables, and the address map of each scenario and gate. It loads nothing and
//! runs nothing; its colours are those of the reader's theme.

use std::io::{self, Write};

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, context};
use serde::Serialize;

use super::facts::{Facts, MemoryFacts, State};
use super::measure;
use super::results::{Ran, shown, size};
use super::runner::Outcome;

const PAGE: &str = include_str!("page.html");

/// Width of all bars of a machine together, in the units of the picture.
const WIDTH: f64 = 1000.0;
/// Between two bars.
const GAP: f64 = 8.0;
/// Least width of a bar.
const LEAST: f64 = 24.0;
/// A letter of a label, at most.
const LETTER: f64 = 7.0;

#[derive(Serialize)]
struct Chapter {
    name: String,
    title: String,
    answers: String,
    because: String,
    steps: Vec<String>,
    heads: Vec<&'static str>,
    rows: Vec<(String, Vec<String>)>,
    bars: Vec<Bar>,
    maps: Vec<Map>,
    complaints: Vec<String>,
    promises: Vec<Promise>,
}

/// Where a memory of the scenario lies in the picture.
#[derive(Clone, Serialize)]
struct Bar {
    name: String,
    /// What stands above it: its name, and its size where there is room.
    label: String,
    x: f64,
    width: f64,
    words: String,
}

/// One gate's picture.
#[derive(Serialize)]
struct Map {
    gate: String,
    about: &'static str,
    pieces: Vec<Piece>,
    lines: Vec<String>,
}

/// A stretch as a rectangle.
#[derive(Serialize)]
struct Piece {
    class: &'static str,
    x: f64,
    width: f64,
    words: String,
}

#[derive(Serialize)]
struct Promise {
    gate: &'static str,
    what: String,
    should: String,
    is: String,
    met: bool,
}

#[derive(Serialize)]
struct Key {
    class: &'static str,
    words: &'static str,
}

#[derive(Serialize)]
struct Definition {
    name: &'static str,
    unit: &'static str,
    meaning: &'static str,
}

/// Writes the page.
///
/// # Errors
///
/// What `out` says.
///
/// # Panics
///
/// Never: the template is part of this program, and a test fills it.
pub fn write(all: &[Ran], out: &mut impl Write) -> io::Result<()> {
    let mut engine = Environment::empty();
    engine.set_auto_escape_callback(|_| AutoEscape::Html);
    engine.add_template("page", PAGE).expect("the template is whole");
    let chapters: Vec<_> = all.iter().map(chapter).collect();
    let legend = State::ALL.map(|state| Key { class: state.name(), words: state.words() });
    let measures = measure::ALL.iter().map(|one| Definition {
        name: one.name,
        unit: one.unit.name(),
        meaning: one.meaning,
    });
    let page = engine.get_template("page").expect("just added");
    let page = page.render(context! {
        chapters => Serde(chapters),
        legend => Serde(legend),
        measures => Serde(measures.collect::<Vec<_>>()),
    });
    out.write_all(page.expect("the template asks for what is given").as_bytes())
}

/// Measures of the table: those that are not zero under every gate.
fn columns(ran: &Ran) -> Vec<&'static measure::Measure> {
    let says = |one: &&measure::Measure| {
        one.name != "block_size" && ran.outcomes.iter().any(|outcome| (one.of)(&outcome.end) != 0)
    };
    measure::ALL.iter().filter(says).collect()
}

fn chapter(ran: &Ran) -> Chapter {
    let scenario = &ran.scenario;
    let columns = columns(ran);
    let geometry = scenario.machine.geometry;
    let row = |outcome: &Outcome| {
        let cell = |one: &&measure::Measure| shown((one.of)(&outcome.end), one.unit, geometry);
        (outcome.gate.name().to_owned(), columns.iter().map(cell).collect())
    };
    let bars = ran.outcomes.first().map_or_else(Vec::new, |outcome| bars(&outcome.end, ran));
    Chapter {
        name: scenario.short_name().to_owned(),
        title: scenario.title.clone(),
        answers: scenario.answers.join(", "),
        because: scenario.because.clone(),
        steps: scenario.steps.iter().map(|step| step.words.clone()).collect(),
        heads: columns.iter().map(|one| one.name).collect(),
        rows: ran.outcomes.iter().map(row).collect(),
        maps: ran.outcomes.iter().map(|outcome| map(outcome, ran, &bars)).collect(),
        bars,
        complaints: ran.complaints(),
        promises: promises(ran),
    }
}

fn promises(ran: &Ran) -> Vec<Promise> {
    let geometry = ran.scenario.machine.geometry;
    let one = |verdict: super::results::Verdict<'_>| {
        let unit = verdict.expect.what.unit;
        let words = |value| shown(value, unit, geometry);
        let should = match verdict.expect.bounds {
            (least, most) if least == most => words(least),
            (least, u64::MAX) => format!("at least {}", words(least)),
            (least, most) => format!("{} to {}", words(least), words(most)),
        };
        Promise {
            gate: verdict.gate,
            what: format!("{}{}", verdict.expect.what.name, ran.scope(verdict.expect)),
            should,
            is: verdict.value.map_or_else(String::new, words),
            met: verdict.is_met(),
        }
    };
    ran.verdicts().into_iter().map(one).collect()
}

/// Thousandths of a unit are enough for a picture.
#[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
fn part(of: u64, all: u64, width: f64) -> f64 {
    let exact = of as f64 / all.max(1) as f64 * width;
    (exact * 100.0).round() / 100.0
}

/// Every memory as wide as it is large, but none too small to be seen.
fn bars(facts: &Facts, ran: &Ran) -> Vec<Bar> {
    let mut memories: Vec<_> = facts.memories.iter().zip(&ran.scenario.memories).collect();
    memories.sort_by_key(|(_, memory)| memory.range.start());
    let all: u64 = memories.iter().map(|(_, memory)| memory.range.len().get()).sum();
    let page = ran.scenario.machine.geometry.page_size();
    let mut x = 0.0;
    let mut bars = Vec::new();
    for (_, memory) in memories {
        let width = part(memory.range.len().get(), all, WIDTH).max(LEAST);
        let bytes = memory.range.len().get() * page;
        let start = memory.range.start().get() * page;
        let words = format!(
            "{}: {} at {start:#x}, node {}, can do: {}",
            memory.name,
            size(bytes),
            memory.node.get(),
            memory.caps,
        );
        let name = memory.name.clone();
        let label = format!("{name}, {}", size(bytes));
        let letters = u32::try_from(label.chars().count()).unwrap_or(u32::MAX);
        let fits = f64::from(letters) * LETTER < width;
        let label = if fits { label } else { name.clone() };
        bars.push(Bar { name, label, x, width, words });
        x = ((x + width + GAP) * 100.0).round() / 100.0;
    }
    bars
}

fn map(outcome: &Outcome, ran: &Ran, bars: &[Bar]) -> Map {
    let page = ran.scenario.machine.geometry.page_size();
    let mut pieces = Vec::new();
    for (facts, memory) in outcome.end.memories.iter().zip(&ran.scenario.memories) {
        let Some(bar) = bars.iter().find(|bar| bar.name == memory.name) else { continue };
        for (stretch, share) in shares(facts) {
            let all = memory.range.len().get();
            let from = (stretch.range.start() - memory.range.start()).get();
            let bytes = stretch.range.len().get() * page;
            pieces.push(Piece {
                class: stretch.state.name(),
                x: ((bar.x + part(from, all, bar.width)) * 100.0).round() / 100.0,
                width: part(share, all, bar.width),
                words: format!("{}: {}, {}", memory.name, size(bytes), stretch.state.words()),
            });
        }
    }
    let lines = outcome.lines.iter().take(3).cloned().collect();
    Map { gate: outcome.gate.name().to_owned(), about: outcome.gate.about(), pieces, lines }
}

/// Most stretches of a bar that are drawn; more could not be told apart.
const MOST_PIECES: usize = 512;

/// The stretches of a memory with their pages; of a great many, those that are large.
fn shares(facts: &MemoryFacts) -> Vec<(super::facts::Stretch, u64)> {
    let mut all: Vec<_> = facts.stretches.clone();
    if all.len() > MOST_PIECES {
        all.sort_by_key(|stretch| core::cmp::Reverse(stretch.range.len()));
        all.truncate(MOST_PIECES);
        all.sort_by_key(|stretch| stretch.range.start());
    }
    all.into_iter().map(|stretch| (stretch, stretch.range.len().get())).collect()
}
