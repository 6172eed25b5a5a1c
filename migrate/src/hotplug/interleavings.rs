//! Every order in which memory can be added while TDX is initialized.
//!
//! Whoever adds memory checks it, adds it and onlines a block, in this order; initialization may
//! come before, between or after. Where a gate decides under the lock under which memory is added,
//! nothing comes between the first two.

use pagelab_allocator::event::Sink;
use pagelab_allocator::hotplug::add::{Accepted, AddMemory};
use pagelab_allocator::hotplug::gate::Checked;
use pagelab_allocator::online::OnlineTo;
use pagelab_allocator::units::PageCount;

use crate::hotplug::host::Host;
use crate::hotplug::pamt::Pamt;

/// A step of one of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The gate is asked about the range.
    Check,
    /// The range is added: memblock has it, blocks exist.
    Add,
    /// TDX takes its snapshot and is initialized.
    Init,
    /// The first block is onlined.
    Online,
}

impl Step {
    /// The letter of the fact sheet's schedules.
    #[must_use]
    pub const fn letter(self) -> &'static str {
        match self {
            Self::Check => "A1",
            Self::Add => "A2",
            Self::Init => "T",
            Self::Online => "A3",
        }
    }
}

/// The order of steps.
pub type Schedule = [Step; 4];

/// All four schedules: initialization first, second, third, last.
#[must_use]
pub fn schedules() -> [Schedule; 4] {
    use Step::{Add, Check, Init, Online};
    [
        [Init, Check, Add, Online],
        [Check, Init, Add, Online],
        [Check, Add, Init, Online],
        [Check, Add, Online, Init],
    ]
}

/// What a schedule led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The order of steps.
    pub schedule: Schedule,
    /// The step that was refused, if one was.
    pub refused: Option<Step>,
    /// Whether TDX works at the end.
    pub tdx: TdxWorks,
    /// Pages in the allocator that a guest could get and TDX cannot use.
    pub foreign: PageCount,
}

/// Whether TDX works.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TdxWorks {
    /// It does.
    Yes,
    /// Initialization failed.
    No,
}

impl Outcome {
    /// Whether TDX works and the allocator has memory that it cannot use.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        self.tdx == TdxWorks::Yes && self.foreign > PageCount::ZERO
    }

    /// The schedule as the fact sheet writes it.
    #[must_use]
    pub fn text(&self) -> String {
        self.schedule.map(Step::letter).join(" ")
    }
}

/// Carries every schedule out, each on its own copy of `host`.
#[must_use]
pub fn explore<S: Sink + Clone>(host: &Host<S>, add: AddMemory<'_>, pamt: Pamt) -> Vec<Outcome> {
    schedules().into_iter().map(|schedule| play(host.clone(), add, pamt, schedule)).collect()
}

fn play<S: Sink>(mut host: Host<S>, add: AddMemory<'_>, pamt: Pamt, schedule: Schedule) -> Outcome {
    let mut accepted: Option<Accepted> = None;
    let mut refused = None;
    let atomic = host.hot.gate().add_checked() == Checked::UnderLock;
    for step in schedule {
        let done = match step {
            _ if refused.is_some() && step != Step::Init => continue,
            // With the check under the lock there is nothing to be done before it.
            Step::Check if atomic => Ok(()),
            Step::Check => host.hot.check_add(add).map(|token| accepted = Some(token)),
            Step::Add if atomic => host.add_memory(add),
            Step::Add => accepted.take().map_or(Ok(()), |token| host.commit_add(token)),
            Step::Init => {
                // Whether it failed, the state of the module says.
                let _ = host.tdx_init(pamt);
                Ok(())
            }
            Step::Online => host
                .hot
                .ids(add.range)
                .next()
                .map_or(Ok(()), |id| host.online_block(id, OnlineTo::Default)),
        };
        if done.is_err() {
            refused = Some(step);
        }
    }
    let works = host.hot.tdx().is_some_and(|tdx| tdx.memlist().is_some());
    let tdx = if works { TdxWorks::Yes } else { TdxWorks::No };
    Outcome { schedule, refused, tdx, foreign: host.hot.violations() }
}
