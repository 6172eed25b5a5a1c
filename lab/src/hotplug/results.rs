//! What scenarios came to, and whether that is what they promised.

use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::hotplug::gate::Gate;

use super::error::HotplugError;
use super::expect::Expect;
use super::facts::Facts;
use super::measure::Unit;
use super::runner::Outcome;
use super::scenario::Scenario;
use super::step::End;
use crate::place::Place;

/// A scenario and what it came to under each gate.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The scenario.
    pub scenario: Scenario,
    /// By gate.
    pub outcomes: Vec<Outcome>,
}

/// A number that was promised, and the one that came.
#[derive(Clone, Debug)]
pub struct Verdict<'a> {
    /// What was promised.
    pub expect: &'a Expect,
    /// Under which gate.
    pub gate: &'static str,
    /// What came; nothing when the run ended before.
    pub value: Option<u64>,
}

impl Verdict<'_> {
    /// Whether the promise holds.
    #[must_use]
    pub fn is_met(&self) -> bool {
        let (least, most) = self.expect.bounds;
        self.value.is_some_and(|value| (least..=most).contains(&value))
    }
}

impl Ran {
    /// Carries a scenario out, under its own gates or others.
    ///
    /// # Errors
    ///
    /// When its machine is impossible.
    pub fn carry_out(
        scenario: Scenario,
        gates: Option<&[&'static dyn Gate]>,
    ) -> Result<Self, HotplugError> {
        let gates = gates.map_or_else(|| scenario.gates.clone(), <[_]>::to_vec);
        let outcomes = gates.into_iter().map(|gate| Outcome::carry_out(&scenario, gate));
        let outcomes = outcomes.collect::<Result<_, _>>().map_err(|why| {
            let place = Place::File { file: scenario.file.clone(), line: 0 };
            HotplugError::Text { place, key: "memory".to_owned(), why: why.to_string() }
        })?;
        Ok(Self { scenario, outcomes })
    }

    /// Every promise about the gates that ran.
    #[must_use]
    pub fn verdicts(&self) -> Vec<Verdict<'_>> {
        let mut all = Vec::new();
        for expect in &self.scenario.expects {
            for outcome in &self.outcomes {
                if self.is_about(expect, outcome.gate.name()) {
                    let value = value(expect, outcome);
                    all.push(Verdict { expect, gate: outcome.gate.name(), value });
                }
            }
        }
        all
    }

    fn is_about(&self, expect: &Expect, gate: &str) -> bool {
        match expect.gates.is_empty() {
            true => self.scenario.gates.iter().any(|own| own.name() == gate),
            false => expect.gates.iter().any(|name| name == gate),
        }
    }

    /// What did not come out as promised, a line each: file and line first.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let file = &self.scenario.file;
        let mut found = Vec::new();
        for verdict in self.verdicts().iter().filter(|verdict| !verdict.is_met()) {
            let Expect { line, .. } = verdict.expect;
            found.push(format!("{file}:{line}: {}", self.unmet(verdict)));
        }
        for outcome in &self.outcomes {
            let gate = outcome.gate.name();
            for (step, ended) in self.scenario.steps.iter().zip(&outcome.steps) {
                if let Some(instead) = ended.instead {
                    let (is, should) = (result(ended.result), end(instead));
                    let (line, words) = (step.line, &step.words);
                    found.push(format!("{file}:{line}: {gate}: {words}: {is}, expected {should}"));
                }
            }
            if let Some(what) = &outcome.violation {
                let line =
                    outcome.steps.len().checked_sub(1).map_or(0, |at| self.scenario.steps[at].line);
                found.push(format!("{file}:{line}: {gate}: inconsistent: {what}"));
            }
        }
        found
    }

    fn unmet(&self, verdict: &Verdict<'_>) -> String {
        let Verdict { expect, gate, value } = verdict;
        let shown = |value| shown(value, expect.what.unit, self.scenario.machine.geometry);
        let is = value.map_or("never came".to_owned(), |value| format!("is {}", shown(value)));
        let should = match expect.bounds {
            (least, most) if least == most => shown(least),
            (0, most) => format!("at most {}", shown(most)),
            (least, u64::MAX) => format!("at least {}", shown(least)),
            (least, most) => format!("{} to {}", shown(least), shown(most)),
        };
        format!("{gate}: {}{}: {is}, expected {should}", expect.what.name, self.scope(expect))
    }

    /// Of what, and after which step.
    #[must_use]
    pub fn scope(&self, expect: &Expect) -> String {
        let of = expect.of.map(|at| format!(" of {}", self.scenario.memories[at].name));
        let after = expect.after.and_then(|at| self.scenario.steps[at].name.as_ref());
        let after = after.map(|name| format!(" after {name}"));
        let since = expect.since.and_then(|at| self.scenario.steps[at].name.as_ref());
        let since = since.map(|name| format!(" since {name}"));
        [of, since, after].into_iter().flatten().collect()
    }
}

fn value(expect: &Expect, outcome: &Outcome) -> Option<u64> {
    if outcome.violation.is_some() && expect.after.is_none() {
        return None;
    }
    let at = |facts: &Facts| match (expect.of, expect.what.within) {
        (Some(memory), Some(within)) => facts.memories.get(memory).map(within),
        _ => Some((expect.what.of)(facts)),
    };
    let before = match expect.since {
        Some(step) => at(outcome.facts(Some(step))?)?,
        None => 0,
    };
    Some(at(outcome.facts(expect.after)?)?.saturating_sub(before))
}

/// How a step ended, in a word.
#[must_use]
pub fn result(result: Result<(), pagelab_allocator::hotplug::errno::Errno>) -> &'static str {
    result.map_or_else(|errno| errno.symbol(), |()| "no error")
}

/// How it should have ended.
#[must_use]
pub const fn end(end: End) -> &'static str {
    match end {
        End::Done => "no error",
        End::Failed(errno) => errno.symbol(),
    }
}

/// A number as people read it.
#[must_use]
pub fn shown(value: u64, unit: Unit, geometry: Geometry) -> String {
    match unit {
        Unit::Count => value.to_string(),
        Unit::Pages => size(value.saturating_mul(geometry.page_size())),
    }
}

/// Bytes in the largest unit of which there is one, exactly or with the pages that make it up.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (name, shift) in UNITS {
        let eighths = bytes >> (shift - 3);
        if bytes >= 1 << shift && bytes == eighths << (shift - 3) {
            let (whole, part) = (eighths / 8, eighths % 8 * 125);
            let decimals = format!("{part:03}");
            let decimals = decimals.trim_end_matches('0');
            let point = if decimals.is_empty() { "" } else { "." };
            return format!("{whole}{point}{decimals} {name}");
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_exact() {
        for (bytes, words) in [
            (0, "0 bytes"),
            (4096, "4 KiB"),
            (64 << 30, "64 GiB"),
            (485 << 29, "242.5 GiB"),
            ((64 << 30) - 4096, "67108860 KiB"),
            (126 << 20, "126 MiB"),
            (9 << 37, "1.125 TiB"),
        ] {
            assert_eq!(size(bytes), words);
        }
    }
}
