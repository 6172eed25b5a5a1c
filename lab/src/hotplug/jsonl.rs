//! Results as lines of JSON, one for each scenario and gate: `scenario`, `title`, `answers`,
//! `gate`, `steps` (what was done, and the error or null), `measures` at the end, `memories` (each
//! a list of stretches: first byte, bytes, state), `log` (the first lines), `expected` (each with
//! `is`, `least`, `most` and `met`), `inconsistent` (text or null).

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Value, json};

use super::measure;
use super::results::Ran;
use super::runner::Outcome;

/// Writes all of it.
///
/// # Errors
///
/// What `out` says.
pub fn write(all: &[Ran], out: &mut impl Write) -> io::Result<()> {
    for ran in all {
        for outcome in &ran.outcomes {
            writeln!(out, "{}", line(ran, outcome))?;
        }
    }
    Ok(())
}

fn line(ran: &Ran, outcome: &Outcome) -> Value {
    let scenario = &ran.scenario;
    let steps = scenario.steps.iter().zip(&outcome.steps).map(|(step, ended)| {
        let error = ended.result.err().map(|errno| errno.symbol());
        json!({ "do": step.words, "error": error })
    });
    let measures: BTreeMap<_, _> =
        measure::ALL.iter().map(|one| (one.name, (one.of)(&outcome.end))).collect();
    let size = scenario.machine.geometry.page_size();
    let memories = outcome.end.memories.iter().map(|memory| {
        let stretches = memory.stretches.iter().map(|stretch| {
            let (start, len) = (stretch.range.start().get(), stretch.range.len().get());
            json!([start * size, len * size, stretch.state.name()])
        });
        json!({ "name": memory.name, "stretches": stretches.collect::<Vec<_>>() })
    });
    let verdicts = ran.verdicts();
    let own = verdicts.iter().filter(|verdict| verdict.gate == outcome.gate.name());
    let expected = own.map(|verdict| {
        let (least, most) = verdict.expect.bounds;
        let what = format!("{}{}", verdict.expect.what.name, ran.scope(verdict.expect));
        json!({ "what": what, "is": verdict.value, "least": least, "most": most,
                "met": verdict.is_met() })
    });
    json!({
        "scenario": scenario.short_name(),
        "title": scenario.title,
        "answers": scenario.answers,
        "gate": outcome.gate.name(),
        "steps": steps.collect::<Vec<_>>(),
        "measures": measures,
        "memories": memories.collect::<Vec<_>>(),
        "log": outcome.lines,
        "expected": expected.collect::<Vec<_>>(),
        "inconsistent": outcome.violation.as_ref().map(ToString::to_string),
    })
}
