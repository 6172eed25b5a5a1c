//! What there is: scenarios, gates, steps and measures, for those who come without a file.

use std::fmt::Write as _;

use pagelab_allocator::hotplug::gate::catalogue;

use super::error::HotplugError;
use super::measure;
use super::scenario::Scenario;
use super::shipped;
use super::step::STEPS;

/// Columns of a mail.
const WIDTH: usize = 100;

/// Lists everything; nothing runs.
///
/// # Errors
///
/// When a scenario of the program is none, which a test excludes.
pub fn render() -> Result<String, HotplugError> {
    let mut out = "Memory that comes and goes, and who may enter the page allocator.\n\n\
         pagelab hotplug q01-log-volume          run a scenario of those below\n\
         pagelab hotplug q01-log-volume --gate all   under every gate\n\
         pagelab hotplug all --html page.html    all of them, with pictures\n\
         pagelab hotplug mine.toml               run your own; those below show how one is written,\n\
         \u{20}                                       and so does notes/hotplug-scenarios.md\n"
        .to_owned();
    let scenarios = shipped::ALL
        .iter()
        .map(|(name, text)| Scenario::parse(name, text).map(|scenario| (*name, scenario.title)));
    let scenarios = scenarios.collect::<Result<Vec<_>, _>>()?;
    section(&mut out, "scenarios", scenarios.iter().map(|(name, title)| (*name, &**title)));
    section(&mut out, "gates", catalogue::all().iter().map(|gate| (gate.name(), gate.about())));
    section(&mut out, "steps", STEPS.iter().copied());
    let meaning = |m: &measure::Measure| format!("{}, {}", m.meaning, m.unit.name());
    let measures: Vec<_> = measure::ALL.iter().map(|m| (m.name, meaning(m))).collect();
    section(&mut out, "measures", measures.iter().map(|(name, meaning)| (*name, &**meaning)));
    Ok(out)
}

fn section<'a>(out: &mut String, title: &str, rows: impl Iterator<Item = (&'a str, &'a str)>) {
    let rows: Vec<_> = rows.collect();
    let widest = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let _ = writeln!(out, "\n{title}");
    for (name, words) in rows {
        let line = format!("  {name:<widest$}  {words}");
        let _ = writeln!(out, "{}", cut(&line, WIDTH));
    }
}

/// A line of at most so many columns.
#[must_use]
pub fn cut(line: &str, columns: usize) -> String {
    if line.chars().count() <= columns {
        return line.to_owned();
    }
    line.chars().take(columns - 3).chain("...".chars()).collect()
}
