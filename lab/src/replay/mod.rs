//! Replaying a recorded case: the same requests on the emulated machine, the same frames or a miss.
//!
//! `recorded.rs` moves the lists as Linux moved them and predicts each removal; `predicted.rs`
//! foresees from the requests alone what the per-CPU lists do. Cases are recorded on one CPU, or
//! the order of their events would not be certain. What comes out is one value,
//! [`summary::Summary`], and renderers of it.

mod attempts;
pub mod cause;
pub mod compare;
mod drains;
mod fallback;
mod hearing;
pub mod hotplug;
pub mod in_use;
pub mod isolation;
pub mod json;
pub mod ledger;
pub mod markers;
pub mod origin;
pub mod plan;
pub mod predicted;
pub mod recorded;
mod requests;
pub mod rotation;
pub mod said;
pub mod summary;
pub mod table;
pub mod tally;
pub mod text;
pub mod timer;
pub mod tuning;
pub mod window;

use std::io::Read;

use pagelab_allocator::event::{Silent, Sink};
use pagelab_allocator::page_alloc::PageAllocator;
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::restore::MachineState;
use pagelab_allocator::units::{Pfn, PfnRange};

use crate::case::error::CaseError;
use crate::case::{Case, Dump};
use crate::trace::{Record, TraceError, TraceEvent, TraceReader};
use cause::Cause;
use compare::{DifferentList, SnapshotVerdict, compare};
use in_use::{Contradiction, InUse};
use ledger::Ledger;
use markers::Markers;
use origin::Origin;
use plan::{Level, ReplayPlan};
use predicted::Predicted;
use recorded::{PerCpu, Recorded};
use said::Said;
use summary::Summary;
use tally::Kind;
use timer::{Hz, StatTimer};
use window::Window;

/// Why a case could not be replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// A file of the case.
    #[error(transparent)]
    Case(#[from] CaseError),
    /// A line of the trace.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// There is no such line to stop before.
    #[error("--until {0}: the trace ends at line {1}")]
    NoSuchLine(u64, u64),
    /// There is no such miss to explain.
    #[error("--explain {0}: there are {1} misses")]
    NoSuchMiss(u64, u64),
}

/// Carries a plan out.
///
/// # Errors
///
/// [`ReplayError`] for a file that is missing, truncated or contradictory.
pub fn replay(plan: &ReplayPlan) -> Result<Summary, ReplayError> {
    let case = Case::open(&plan.case)?;
    let profile = plan.profile.or(case.meta.profile);
    let profile = profile.ok_or_else(|| case.unknown_kernel())?;
    let start = case.dump(0, profile)?;
    let mut trace = case.trace()?;
    trace.set_page_map(start.pages);
    let mut run = Run::new(&case, plan, profile, &start)?;
    let stopped = run.follow(trace)?;
    let misses = run.ledger.tally.misses();
    if let Some(wanted) = plan.explain.filter(|wanted| *wanted > misses) {
        return Err(ReplayError::NoSuchMiss(wanted, misses));
    }
    Ok(run.finish(stopped))
}

/// An error at a line of the trace.
fn at<R: Read>(
    window: &Window<R>,
    line: u64,
    field: &str,
    why: impl core::fmt::Display,
) -> CaseError {
    let line = usize::try_from(line).unwrap_or(usize::MAX);
    CaseError::at(window.reader().file(), line, field, why)
}

/// A replay under way.
struct Run<'a> {
    case: &'a Case,
    plan: &'a ReplayPlan,
    origin: Origin,
    profile: KernelProfile,
    recorded: Recorded,
    /// At the per-CPU level: the machine that is driven by requests alone.
    predicted: Option<Predicted>,
    ledger: Ledger,
    /// At the per-CPU level: what is predicted on the way at the buddy level.
    aside: Ledger,
    events: u64,
    frames: PfnRange,
    in_use: InUse,
    snapshots: Vec<SnapshotVerdict>,
}

/// Turns what a dump contradicts itself in into an error that names its line.
fn restore<S: Sink>(
    dump: &Dump,
    machine: &MachineState,
    origin: &Origin,
    sink: S,
) -> Result<PageAllocator<S>, CaseError> {
    let mut machine = machine.clone();
    if origin.is_kernel() {
        machine.make_room();
    }
    PageAllocator::restore(&machine, sink).map_err(|error| {
        let said = error.to_string();
        let hex = said.split(|c: char| !c.is_ascii_alphanumeric());
        let hex = hex.filter_map(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok());
        let line = hex.map(|pfn| dump.lists.line_of(&pfn.to_string())).find(|line| *line > 0);
        CaseError::at(&dump.lists.file, line.unwrap_or(1), "lists", said)
    })
}

/// The machine of a dump without its per-CPU lists: what is on them is in use.
fn without_pcp(machine: &MachineState) -> MachineState {
    let mut machine = machine.clone();
    for pcp in machine.zones.iter_mut().flat_map(|zone| &mut zone.pcp) {
        pcp.blocks.clear();
    }
    machine
}

/// The recorded machine as dumped.
fn start_of(dump: &Dump, level: Level, origin: &Origin) -> Result<Recorded, CaseError> {
    let (machine, per_cpu) = match level {
        Level::Buddy => (without_pcp(&dump.machine), PerCpu::Ignored),
        Level::PerCpu => (dump.machine.clone(), PerCpu::Kept),
    };
    Ok(Recorded::new(restore(dump, &machine, origin, Silent)?, per_cpu, origin.clone()))
}

impl<'a> Run<'a> {
    fn new(
        case: &'a Case,
        plan: &'a ReplayPlan,
        profile: KernelProfile,
        start: &Dump,
    ) -> Result<Self, ReplayError> {
        let origin = Origin::new(case.meta.design);
        let whole = restore(start, &start.machine, &origin, Said::default())?;
        let predicted = (plan.level == Level::PerCpu).then(|| {
            let timer = StatTimer::new(case.meta.hz.map(Hz).unwrap_or_default());
            Predicted::new(whole, &start.flags, timer, origin.clone())
        });
        let recorded = start_of(start, plan.level, &origin)?;
        let verdict = match &predicted {
            Some(predicted) => compare(&predicted.alloc, start, plan.level).0,
            None => compare(&recorded.alloc, start, plan.level).0,
        };
        let spans = || start.machine.zones.iter().map(|zone| zone.spec.span);
        let first = spans().map(PfnRange::start).min().unwrap_or(Pfn::new(0));
        let last = spans().map(PfnRange::end).max().unwrap_or(first);
        let frames = PfnRange::new(first, last);
        Ok(Self {
            case,
            plan,
            origin,
            profile,
            recorded,
            predicted,
            ledger: Ledger::new(plan.explain),
            aside: Ledger::default(),
            events: 0,
            frames,
            in_use: InUse::new(frames, &start.machine),
            snapshots: vec![verdict],
        })
    }

    /// Goes through the trace; the state as text where it was told to stop.
    fn follow<R: Read>(&mut self, trace: TraceReader<R>) -> Result<Option<String>, ReplayError> {
        let mut window = Window::new(trace, self.frames);
        let mut marks = Markers::new(self.case.last);
        while let Some(step) = window.next() {
            let step = step?;
            let line = step.record.line;
            let dumped = marks.pass(&step.record.event);
            let dumped = dumped.map_err(|why| at(&window, line, "SNAP", why))?;
            match dumped {
                Some(0) => self.start(line),
                Some(index) => self.snapshot(index, line)?,
                None => {}
            }
            if !marks.are_under_way() {
                self.in_use.note_before(&step.record);
                continue;
            }
            if step.lost {
                let why = "events were lost before this line; the lists cannot be followed";
                return Err(at(&window, line, "", why).into());
            }
            if self.plan.until.is_some_and(|until| line >= until) {
                return Ok(Some(self.state()));
            }
            self.events += 1;
            self.step(&step);
        }
        let end = window.reader().seen().lines;
        if let Some(mark) = marks.missing() {
            return Err(at(&window, end, "", format!("the trace ends before {mark}")).into());
        }
        if let Some(until) = self.plan.until {
            return Err(ReplayError::NoSuchLine(until, end));
        }
        if let Some(predicted) = &mut self.predicted {
            predicted.finish(end, &self.recorded.alloc, &mut self.ledger);
        }
        Ok(None)
    }

    /// Carries a step out. What no machine found to be wrong may still contradict what is in use.
    #[inline]
    fn step(&mut self, step: &window::Step) {
        let record = &step.record;
        let contradiction = if self.is_return(record) { None } else { self.in_use.note(record) };
        let contradiction = contradiction.or_else(|| self.other_type(record));
        let misses = self.ledger.tally.misses();
        self.perform(step);
        if let Some((kind, known)) = contradiction
            && self.ledger.tally.misses() == misses
        {
            self.ledger.impossible(kind, record, known);
        }
    }

    /// What is wrong with an allocation whose type is not that of its flags. A design may have a
    /// request served from another type. Linux: `gfp_migratetype()`.
    fn other_type(&self, record: &Record) -> Option<Contradiction> {
        let TraceEvent::PageAlloc { migratetype, gfp, .. } = record.event else { return None };
        let alloc = &self.recorded.alloc;
        let right = isolation::type_of(alloc, migratetype) == Some(alloc.migratetype_of(gfp));
        let said = (Kind::Allocated, "another type than that of the flags");
        (self.origin.is_kernel() && !right).then_some(said)
    }

    /// Whether a free is none, but the return of a page to the compacting task.
    fn is_return(&self, record: &Record) -> bool {
        match record.event {
            TraceEvent::PageFree { pfn, .. } => self.recorded.is_return(record, pfn),
            _ => false,
        }
    }

    #[inline]
    fn perform(&mut self, step: &window::Step) {
        let Some(predicted) = &mut self.predicted else {
            self.recorded.step(step, &mut self.ledger);
            return self.ledger.look_back(&self.recorded.alloc);
        };
        predicted.before(step, &self.recorded.alloc, &mut self.ledger);
        predicted.step(step, &mut self.ledger);
        self.recorded.step(step, &mut self.aside);
        if matches!(
            step.record.event,
            TraceEvent::PageAlloc { .. }
                | TraceEvent::PageAllocFailed { .. }
                | TraceEvent::VmapPages(_)
        ) {
            predicted.resync(&self.recorded.alloc, &mut self.ledger);
        }
        self.ledger.look_back(&predicted.alloc);
    }

    /// The first snapshot: its lists are given, and its texts are what they print as.
    fn start(&mut self, line: u64) {
        let differs = self.snapshots.first().and_then(|verdict| verdict.difference.clone());
        if let Some(differs) = differs {
            self.ledger.differs(line, differs);
        }
    }

    fn snapshot(&mut self, index: u32, line: u64) -> Result<(), ReplayError> {
        let dump = self.case.dump(index, self.profile)?;
        let level = self.plan.level;
        let (verdict, lists) = match &mut self.predicted {
            Some(predicted) => {
                predicted.finish(line, &self.recorded.alloc, &mut self.ledger);
                compare(&predicted.alloc, &dump, level)
            }
            None => compare(&self.recorded.alloc, &dump, level),
        };
        if let Some(predicted) = &mut self.predicted
            && tuning::take_over(&mut predicted.alloc, &dump.machine.zones)
        {
            self.ledger.tally.resyncs += 1;
        }
        let cached = verdict.pcp_equal != Some(false);
        let in_use = self.in_use.difference(&dump.machine);
        let good = verdict.pageblocks_equal && verdict.pagetypeinfo_equal && cached;
        let good = good && in_use.is_none();
        let differs = verdict.difference.clone().or(in_use);
        self.snapshots.push(verdict);
        if good && lists.is_empty() {
            self.ledger.tally.hit(Kind::Listed);
        }
        let only_order = lists.iter().all(DifferentList::same_blocks);
        for list in &lists {
            self.list_differs(list, line);
        }
        if !good || !only_order {
            if let Some(differs) = differs.filter(|_| lists.is_empty()) {
                self.ledger.differs(line, differs);
            }
            self.ledger.tally.resyncs += 1;
            self.go_on_from(&dump)?;
        }
        self.recorded.know_lists();
        Ok(())
    }

    /// Every machine is that of the dump now.
    fn go_on_from(&mut self, dump: &Dump) -> Result<(), CaseError> {
        self.recorded = start_of(dump, self.plan.level, &self.origin)?;
        self.in_use = InUse::new(self.frames, &dump.machine);
        if let Some(predicted) = &mut self.predicted {
            let whole = restore(dump, &dump.machine, &self.origin, Said::default())?;
            let (timer, origin) = (predicted.timer(), self.origin.clone());
            *predicted = Predicted::new(whole, &dump.flags, timer, origin);
        }
        Ok(())
    }

    /// A list is in another order than dumped, or has other blocks.
    fn list_differs(&mut self, list: &DifferentList, line: u64) {
        let said = list.difference().told();
        let zones = self.recorded.alloc.zones();
        let Some(zone) = zones.iter().position(|zone| zone.kind() == list.zone) else {
            return self.ledger.outside(Kind::Listed, line, said);
        };
        let turned = list.same_blocks()
            && list.migratetype == pagelab_allocator::migratetype::MigrateType::Movable
            && self.recorded.was_compacted(zone);
        let cause = if turned { Cause::ListRotation } else { Cause::Unexplained };
        let place = (&self.recorded.alloc, zone, list.order, list.migratetype);
        self.ledger.miss_at(Kind::Listed, cause, line, said, place);
        if list.same_blocks() {
            self.ledger.tally.resyncs += 1;
            self.recorded.arrange(zone, list);
            if let Some(predicted) = &mut self.predicted {
                predicted.restart(&self.recorded.alloc);
            }
        }
        self.ledger.look_back(&self.recorded.alloc);
    }

    /// The machine in the kernel's text formats.
    fn state(&self) -> String {
        let snapshot = match &self.predicted {
            Some(predicted) => predicted.alloc.snapshot(),
            None => self.recorded.alloc.snapshot(),
        };
        format!("{}\n{}", snapshot.buddyinfo(), snapshot.pagetypeinfo())
    }

    fn finish(self, stopped: Option<String>) -> Summary {
        let (mut tally, explained) = self.ledger.into_explained();
        let score = tally.settle();
        Summary {
            case: self.case.meta.name.clone(),
            kernel: self.case.meta.kernel.clone(),
            profile: self.profile.version(),
            level: self.plan.level,
            events: self.events,
            score,
            tally,
            snapshots: self.snapshots,
            explained,
            stopped,
        }
    }
}
