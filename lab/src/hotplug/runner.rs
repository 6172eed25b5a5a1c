//! A scenario under one gate: a machine of its own, the steps in order, a look at it.

use std::collections::BTreeMap;

use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::check::{Violation, same};
use pagelab_allocator::event::Silent;
use pagelab_allocator::gfp::ZoneType;
use pagelab_allocator::hotplug::add::Accepted;
use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::hotplug::gate::{Candidate, Gate};
use pagelab_allocator::hotplug::printk::Log;
use pagelab_allocator::hotplug::spec::HotplugSpec;
use pagelab_allocator::hotplug::tdx::Tdx;
use pagelab_allocator::units::{NodeId, PageCount, PfnRange};
use pagelab_allocator::zone::ZoneSpec;
use pagelab_migrate::emulator::SpecError;
use pagelab_migrate::folio::FolioId;
use pagelab_migrate::hotplug::dimm::VirtualDimm;
use pagelab_migrate::hotplug::guest::Guest;
use pagelab_migrate::hotplug::host::Host;
use rand::SeedableRng;
use rand_pcg::Pcg64;

use super::facts::{Facts, Tally};
use super::memory::{self, Memory};
use super::private_file::PrivateFile;
use super::scenario::Scenario;
use super::step::{End, Part};

/// Lines of the log that are kept for reports.
pub(super) const KEPT_LINES: usize = 20;

/// How a step ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StepOutcome {
    /// With which error, if any.
    pub result: Result<(), Errno>,
    /// How it was expected to end, if that was something else.
    pub instead: Option<End>,
    /// The machine afterwards, if the step has a name.
    pub facts: Option<Facts>,
}

/// What a scenario came to under one gate.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The gate.
    pub gate: &'static dyn Gate,
    /// The steps; fewer than in the scenario when the machine was found inconsistent.
    pub steps: Vec<StepOutcome>,
    /// The machine at the end.
    pub end: Facts,
    /// The first lines of its log.
    pub lines: Vec<String>,
    /// What was inconsistent after the last step.
    pub violation: Option<Violation>,
}

/// A machine, and what steps have left on it.
pub(super) struct Run<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) host: Host<Silent>,
    pub(super) tally: Tally,
    pub(super) rng: Pcg64,
    pub(super) accepted: BTreeMap<usize, Accepted>,
    /// Folios of `fill`, by the part that was filled.
    pub(super) filled: Vec<(Part, Vec<FolioId>)>,
    splits_seen: usize,
    pub(super) pinned: Vec<FolioId>,
    pub(super) guests: BTreeMap<String, Guest>,
    pub(super) dimms: Vec<VirtualDimm>,
    pub(super) file: PrivateFile,
    /// Exits and lost pages of guests that have stopped.
    pub(super) stopped: (u64, PageCount),
}

impl Outcome {
    /// Carries a scenario out under a gate.
    ///
    /// # Errors
    ///
    /// [`SpecError`] when the machine is impossible.
    pub fn carry_out(scenario: &Scenario, gate: &'static dyn Gate) -> Result<Self, SpecError> {
        let mut run = Run::boot(scenario, gate)?;
        let mut steps = Vec::new();
        let mut violation = run.check().err();
        for step in &scenario.steps {
            if violation.is_some() {
                break;
            }
            let result = run.perform(&step.action);
            run.settle();
            let ended = result.map_or_else(End::Failed, |()| End::Done);
            let instead = step.end(gate.name(), &scenario.gates).filter(|end| *end != ended);
            let facts = step.name.is_some().then(|| run.facts());
            steps.push(StepOutcome { result, instead, facts });
            violation = run.check().err();
        }
        let lines = run.host.hot().log().visible().iter().take(KEPT_LINES);
        let lines = lines.map(|line| line.text.clone()).collect();
        Ok(Self { gate, steps, end: run.facts(), lines, violation })
    }

    /// The machine after a step, or at the end.
    #[must_use]
    pub fn facts(&self, after: Option<usize>) -> Option<&Facts> {
        after.map_or(Some(&self.end), |step| self.steps.get(step)?.facts.as_ref())
    }
}

impl<'a> Run<'a> {
    fn boot(scenario: &'a Scenario, gate: &'static dyn Gate) -> Result<Self, SpecError> {
        let machine = &scenario.machine;
        let mut possible: Vec<NodeId> =
            scenario.memories.iter().map(|memory| memory.node).collect();
        possible.sort_unstable();
        possible.dedup();
        let spec = HotplugSpec {
            tdx: scenario.tdx.as_ref().map(|tdx| Tdx::new(tdx.cmrs.clone())),
            policy: machine.policy,
            ..HotplugSpec::new(machine.platform.clone(), gate, possible)
        };
        let log = Log::new(machine.debugging, machine.rate_limit);
        let mut host = Host::new(machine_spec(scenario), spec, log, Silent)?;
        for line in &scenario.cxl.lines {
            host.hot_mut().log_mut().print(line.clone());
        }
        for memory in scenario.memories.iter().filter(|memory| memory.is_boot()) {
            host.hot_mut().vouch(memory.range, memory.caps).expect("boot memory is there");
        }
        for memory in scenario.memories.iter().filter(|memory| !memory.is_boot()) {
            let Memory { range, node, caps, origin, .. } = *memory;
            let installed = host.hot_mut().install(Candidate { range, node, caps, origin });
            installed.expect("memories do not overlap");
        }
        Ok(Self {
            scenario,
            host,
            tally: Tally::default(),
            rng: Pcg64::seed_from_u64(machine.seed),
            accepted: BTreeMap::new(),
            filled: Vec::new(),
            splits_seen: 0,
            pinned: Vec::new(),
            guests: BTreeMap::new(),
            dimms: Vec::new(),
            file: PrivateFile::default(),
            stopped: (0, PageCount::ZERO),
        })
    }

    /// What follows from a step: pages of guests may have moved.
    fn settle(&mut self) {
        self.host.emulator_mut().take_moves();
        self.follow_splits();
        (self.tally.exits, self.tally.lost_tags) = self.stopped;
        for guest in self.guests.values_mut() {
            self.host.note_lost(guest);
            self.tally.exits += guest.exits;
            self.tally.lost_tags += guest.lost;
        }
    }

    /// What fills a range may have been split since the last step: all of its pages do now.
    fn follow_splits(&mut self) {
        let splits = self.host.splits();
        let new: BTreeMap<FolioId, Vec<FolioId>> =
            splits[self.splits_seen..].iter().map(|s| (s.folio, s.pages.clone())).collect();
        self.splits_seen = splits.len();
        if new.is_empty() {
            return;
        }
        for (_, ids) in &mut self.filled {
            let pages = |id: FolioId| new.get(&id).cloned().unwrap_or_else(|| vec![id]);
            *ids = ids.iter().copied().flat_map(pages).collect();
        }
    }

    /// That nothing got lost of what the scenario has installed, and all counts agree.
    fn check(&self) -> Result<(), Violation> {
        self.host.check()?;
        let all: PageCount = self.scenario.memories.iter().map(|memory| memory.range.len()).sum();
        same("installed pages", self.host.capacity().installed, all)
    }

    fn facts(&self) -> Facts {
        Facts::of(&self.host, &self.tally, &self.scenario.memories)
    }
}

/// The machine before anything is added.
fn machine_spec(scenario: &Scenario) -> MachineSpec {
    let machine = &scenario.machine;
    let first = PfnRange::default();
    let mut spec = MachineSpec::single(machine.geometry, machine.profile, ZoneType::Normal, first);
    let zones = memory::zones(&scenario.memories).into_iter();
    spec.zones = zones.map(|(node, kind, span)| ZoneSpec { kind, node, span }).collect();
    let (boot, later): (Vec<_>, Vec<_>) =
        scenario.memories.iter().partition(|memory| memory.is_boot());
    spec.memory = boot.iter().map(|memory| memory.range).collect();
    spec.hotpluggable = later.iter().map(|memory| (memory.node, memory.range)).collect();
    let cma = boot.iter().filter(|memory| memory.cma > PageCount::ZERO);
    spec.cma = cma.map(|memory| PfnRange::from_len(memory.range.start(), memory.cma)).collect();
    spec
}
