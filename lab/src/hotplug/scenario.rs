//! A scenario: a machine, what is done to it, and the numbers that come out. TOML.

use std::path::Path;

use pagelab_allocator::hotplug::gate::Gate;
use toml::de::DeTable;

use super::cxl::Cxl;
use super::error::HotplugError;
use super::expect::{Expect, MOST_EXPECTED};
use super::gates;
use super::machine::{Machine, TdxMachine};
use super::memory::{self, MOST_MEMORIES, Memory};
use super::read_step::Known;
use super::section::{Section, Source};
use super::step::{MOST_FOLIOS, MOST_STEPS, Step, folios};
use crate::text_file::TextFile;

/// Blocks that all steps of a scenario may touch.
const MOST_BLOCKS: u64 = 1 << 20;
/// Steps whose machines are looked at.
const MOST_NAMED: usize = 32;

/// A scenario that can run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Name of the file.
    pub file: String,
    /// What it is about, in one line.
    pub title: String,
    /// Which questions, rows and mails it answers.
    pub answers: Vec<String>,
    /// How its numbers come about.
    pub because: String,
    /// The gates that it is about.
    pub gates: Vec<&'static dyn Gate>,
    /// The machine.
    pub machine: Machine,
    /// TDX, if the machine has it.
    pub tdx: Option<TdxMachine>,
    /// What firmware and buses say about CXL.
    pub cxl: Cxl,
    /// Its memory.
    pub memories: Vec<Memory>,
    /// What is done.
    pub steps: Vec<Step>,
    /// What has to come out.
    pub expects: Vec<Expect>,
}

impl Scenario {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`HotplugError`] when it cannot be read, or says nothing.
    pub fn read(path: &Path) -> Result<Self, HotplugError> {
        let TextFile { name, text } = TextFile::read(path)?;
        Self::parse(&name, &text)
    }

    /// Reads the text of a file that errors call `name`.
    ///
    /// # Errors
    ///
    /// [`HotplugError::Text`] with line and key of the first thing that is wrong.
    pub fn parse(name: &str, text: &str) -> Result<Self, HotplugError> {
        let source = Source { name, text };
        let table = DeTable::parse(text).map_err(|cause| {
            let at = cause.span().map_or(0, |span| span.start);
            source.error(at, "TOML", cause.message().replace('\n', " "))
        })?;
        let mut top = Section::new(source, "", 0, table.get_ref());
        let title = top.words("title")?;
        let title = top.need("title", title)?;
        let answers = top.many_words("answers")?;
        let because = top.words("because")?.unwrap_or_default();
        let gates = read_gates(&mut top)?;
        let empty = DeTable::new();
        let platform = top.section("platform")?;
        let platform = platform.unwrap_or_else(|| Section::new(source, "platform", 0, &empty));
        let machine = Machine::read(platform)?;
        let memories = top.sections("memory", MOST_MEMORIES)?;
        let memories = memories.into_iter().map(|memory| Memory::read(memory, &machine));
        let mut memories = memories.collect::<Result<Vec<_>, _>>()?;
        let cxl = Cxl::read(&mut top, &machine, &mut memories)?;
        memory::check(&memories, &machine).map_err(|(at, key, why)| source.error(at, key, why))?;
        let tdx = top.section("tdx")?;
        let tdx = tdx.map(|tdx| TdxMachine::read(tdx, &machine, &memories)).transpose()?;
        let known = Known {
            machine: &machine,
            memories: &memories,
            gates: &gates,
            has_tdx: tdx.is_some(),
            before: &[],
        };
        let steps = read_steps(&mut top, known)?;
        let expects = top.sections("expect", MOST_EXPECTED)?;
        let known = Known { before: &steps, ..known };
        let expects = expects.into_iter().map(|one| Expect::read(one, &known));
        let expects = expects.collect::<Result<Vec<_>, _>>()?;
        top.finish()?;
        let file = name.to_owned();
        Ok(Self {
            file,
            title,
            answers,
            because,
            gates,
            machine,
            tdx,
            cxl,
            memories,
            steps,
            expects,
        })
    }

    /// The file's name without folder and ending.
    #[must_use]
    pub fn short_name(&self) -> &str {
        let name = self.file.rsplit('/').next().unwrap_or(&self.file);
        name.strip_suffix(".toml").unwrap_or(name)
    }
}

fn read_gates(top: &mut Section<'_>) -> Result<Vec<&'static dyn Gate>, HotplugError> {
    let Some(words) = top.list("gates")? else { return gates_of(&["ungated"]) };
    if words.is_empty() {
        return Err(top.lacks("gates", "none"));
    }
    let names = words.iter().map(|found| found.value);
    gates::by_names(names).map_err(|(at, why)| top.error(words[at].at, "gates", why))
}

fn gates_of(names: &[&str]) -> Result<Vec<&'static dyn Gate>, HotplugError> {
    let found = gates::by_names(names.iter().copied());
    found.map_err(|(_, why)| HotplugError::word("gates", "", why))
}

/// What is known before the first step is what all of them may refer to.
fn read_steps(top: &mut Section<'_>, known: Known<'_>) -> Result<Vec<Step>, HotplugError> {
    let Known { machine, memories, .. } = known;
    let mut steps: Vec<Step> = Vec::new();
    let source = top.source;
    let (mut asked, mut touched) = (0_u64, 0_u64);
    let section = machine.geometry.pages_in(machine.platform.arch.section_bytes());
    for of in top.sections("step", MOST_STEPS)? {
        let at = of.at;
        let step = Step::read(of, &Known { before: &steps, ..known })?;
        asked += folios(&step.action);
        let largest = memories.iter().map(|memory| memory.range.len().get()).max().unwrap_or(0);
        touched += largest / section.get();
        if asked > MOST_FOLIOS {
            let why = format!("more than {MOST_FOLIOS} folios in all; a larger order makes fewer");
            return Err(source.error(at, "step", why));
        }
        if touched > MOST_BLOCKS {
            return Err(source.error(at, "step", "too many steps for so much memory"));
        }
        steps.push(step);
    }
    if steps.iter().filter(|step| step.name.is_some()).count() > MOST_NAMED {
        return Err(source.error(0, "step", format!("more than {MOST_NAMED} have a name")));
    }
    Ok(steps)
}
