//! Numbers that a scenario promises: `[[expect]]`.

use pagelab_allocator::geometry::Geometry;

use super::error::HotplugError;
use super::measure::{self, Measure, Unit};
use super::memory::Memory;
use super::nearest::unknown;
use super::read_step::Known;
use super::section::{Found, Section, bytes_of};
use super::step::Step;

/// Expected numbers of a scenario.
pub const MOST_EXPECTED: usize = 1024;

/// A number that a machine has to have.
#[derive(Clone, Debug)]
pub struct Expect {
    /// Under which gates; under all of the file if none is named.
    pub gates: Vec<String>,
    /// Which number.
    pub what: &'static Measure,
    /// Of which memory of the scenario, if not of all.
    pub of: Option<usize>,
    /// After which step, if not at the end.
    pub after: Option<usize>,
    /// Less what it was after which step, if it is counted from there on.
    pub since: Option<usize>,
    /// The least it may be, and the most.
    pub bounds: (u64, u64),
    /// Its line in the file.
    pub line: usize,
}

impl Expect {
    /// Reads one `[[expect]]`.
    ///
    /// # Errors
    ///
    /// With the line and the key of what is wrong.
    pub fn read(mut of: Section<'_>, known: &Known<'_>) -> Result<Self, HotplugError> {
        let Known { memories, before: steps, .. } = *known;
        let line = of.source.line(of.at);
        let names = gates(&mut of, known)?;
        let what = of.word("what")?;
        let Found { value, at } = of.need("what", what)?;
        let what = measure::by_name(value).ok_or_else(|| {
            let known: Vec<&str> = measure::ALL.iter().map(|measure| measure.name).collect();
            of.error(at, "what", format!("measure {}", unknown(value, &known)))
        })?;
        let within = memory(&mut of, memories, what)?;
        let after = moment(&mut of, "after", steps)?;
        let since = moment(&mut of, "since", steps)?;
        if let (Some(since), Some(after)) = (since, after)
            && since >= after
        {
            return Err(of.error(of.place("since"), "since", "not before \"after\""));
        }
        let bounds = bounds(&mut of, what.unit, known.machine.geometry)?;
        of.finish()?;
        Ok(Self { gates: names, what, of: within, after, since, bounds, line })
    }
}

/// The gates that are named, each of which the file is about.
fn gates(of: &mut Section<'_>, known: &Known<'_>) -> Result<Vec<String>, HotplugError> {
    let Some(found) = of.list("gate")? else { return Ok(Vec::new()) };
    let mut names: Vec<String> = Vec::new();
    for Found { value, at } in found {
        known.gate(value).map_err(|why| of.error(at, "gate", why))?;
        if names.iter().any(|other| other == value) {
            return Err(of.error(at, "gate", format!("gate {value:?} stands there twice")));
        }
        names.push(value.to_owned());
    }
    match names.is_empty() {
        true => Err(of.error(of.place("gate"), "gate", "none")),
        false => Ok(names),
    }
}

fn memory(
    of: &mut Section<'_>,
    memories: &[Memory],
    what: &Measure,
) -> Result<Option<usize>, HotplugError> {
    let Some(Found { value, at }) = of.ident("of")? else { return Ok(None) };
    let found = memories.iter().position(|memory| memory.name == value);
    let names: Vec<&str> = memories.iter().map(|memory| &*memory.name).collect();
    let found =
        found.ok_or_else(|| of.error(at, "of", format!("memory {}", unknown(value, &names))))?;
    if what.within.is_none() {
        return Err(of.error(at, "of", format!("{:?} is of the whole machine", what.name)));
    }
    Ok(Some(found))
}

/// A step by its name.
fn moment(
    of: &mut Section<'_>,
    key: &'static str,
    steps: &[Step],
) -> Result<Option<usize>, HotplugError> {
    let Some(Found { value, at }) = of.ident(key)? else { return Ok(None) };
    let found = steps.iter().position(|step| step.name.as_deref() == Some(value));
    let names: Vec<&str> = steps.iter().filter_map(|step| step.name.as_deref()).collect();
    let found =
        found.ok_or_else(|| of.error(at, key, format!("step {}", unknown(value, &names))))?;
    Ok(Some(found))
}

/// `is`, or `least` and `most`.
fn bounds(
    of: &mut Section<'_>,
    unit: Unit,
    geometry: Geometry,
) -> Result<(u64, u64), HotplugError> {
    let is = amount(of, "is", unit, geometry)?;
    let least = amount(of, "least", unit, geometry)?;
    let most = amount(of, "most", unit, geometry)?;
    match (is, least, most) {
        (Some(is), None, None) => Ok((is, is)),
        (None, Some(least), Some(most)) if least > most => {
            Err(of.lacks("least", "more than \"most\""))
        }
        (None, least, most) if least.is_some() || most.is_some() => {
            Ok((least.unwrap_or(0), most.unwrap_or(u64::MAX)))
        }
        (None, ..) => Err(of.lacks("is", "needed, or \"least\" and \"most\"")),
        (Some(_), ..) => Err(of.lacks("is", "not together with \"least\" and \"most\"")),
    }
}

/// A number with its unit: `512`, `512 pages` or `2MiB`.
fn amount(
    of: &mut Section<'_>,
    key: &'static str,
    unit: Unit,
    geometry: Geometry,
) -> Result<Option<u64>, HotplugError> {
    if of.is_text(key) {
        let Some(Found { value, at }) = of.word(key)? else { return Ok(None) };
        let amount = match (unit, value.strip_suffix(" pages")) {
            (Unit::Pages, Some(pages)) => pages.parse().ok(),
            (Unit::Pages, None) => bytes_of(value)
                .filter(|bytes| bytes.is_multiple_of(geometry.page_size()))
                .map(|bytes| geometry.pages_in(bytes).get()),
            (Unit::Count, _) => None,
        };
        let why = match unit {
            Unit::Pages => "not a size such as \"64GiB\" or \"512 pages\"",
            Unit::Count => "not a whole number",
        };
        return amount.map(Some).ok_or_else(|| of.error(at, key, why));
    }
    let number = of.number(key, (0, u64::MAX))?;
    match (unit, number) {
        (Unit::Pages, Some(Found { value, at })) if value != 0 => {
            Err(of.error(at, key, "without a unit: \"64GiB\", or \"512 pages\""))
        }
        _ => Ok(number.map(|found| found.value)),
    }
}
