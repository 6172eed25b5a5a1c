//! Results as comma-separated values, in long form:
//! `scenario,gate,after,of,measure,unit,value`. `after` is the name of a step, or `end`; `of` is a
//! memory of the scenario, or nothing.

use std::io::{self, Write};

use super::facts::Facts;
use super::measure::{self, Measure};
use super::results::Ran;

/// Writes all of it.
///
/// # Errors
///
/// What `out` says.
pub fn write(all: &[Ran], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "scenario,gate,after,of,measure,unit,value")?;
    for ran in all {
        let name = plain(ran.scenario.short_name());
        for outcome in &ran.outcomes {
            let row = format!("{name},{}", outcome.gate.name());
            for (step, ended) in ran.scenario.steps.iter().zip(&outcome.steps) {
                if let (Some(after), Some(facts)) = (&step.name, &ended.facts) {
                    rows(&format!("{row},{after}"), facts, out)?;
                }
            }
            rows(&format!("{row},end"), &outcome.end, out)?;
        }
    }
    Ok(())
}

fn rows(row: &str, facts: &Facts, out: &mut impl Write) -> io::Result<()> {
    for Measure { name, unit, of, .. } in measure::ALL {
        writeln!(out, "{row},,{name},{},{}", unit.name(), of(facts))?;
    }
    for memory in &facts.memories {
        for Measure { name, unit, within, .. } in measure::ALL {
            if let Some(within) = within {
                let value = within(memory);
                writeln!(out, "{row},{},{name},{},{value}", memory.name, unit.name())?;
            }
        }
    }
    Ok(())
}

/// A file's name without what would end a column or a row.
fn plain(name: &str) -> String {
    name.replace(|c: char| c == ',' || c == '"' || c.is_control(), "_")
}
