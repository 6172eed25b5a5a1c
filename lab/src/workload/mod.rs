//! Workloads: streams of operations that are made up, not recorded.
//!
//! A workload writes its operations tick by tick from a seed and its parameters, and never hears
//! what became of them: under one seed the stream is the same for every design, kernel and tagged
//! share. Its memory is that of what lives, however long the stream is.
//!
//! Parameters are documented with their units and where the value comes from. Nearly all are
//! *assumed*: plausible sizes, chosen by us, measured on no device.

mod adversary;
mod fragment;
mod guest;
mod kbuild;
mod phone;
pub mod script;
mod server;
pub mod tagging;

use core::fmt;

use pagelab_allocator::units::{CpuId, PageCount};

pub use adversary::{Adversary, AdversaryParams};
pub use fragment::{Fragment, FragmentParams};
pub use guest::{Guest, GuestParams};
pub use kbuild::{Kbuild, KbuildParams};
pub use phone::{Phone, PhoneParams};
pub use server::{Server, ServerParams};

use crate::logical::process::ProcessOp;
use crate::logical::{Op, Step};
use crate::size::Share;
use script::Script;
use tagging::{TagChoice, TagDraws};

/// A workload by name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Launching and leaving apps; see [`Phone`].
    Phone,
    /// Long-lived memory, file churn, forks; see [`Server`].
    Server,
    /// Short-lived compilers; see [`Kbuild`].
    Kbuild,
    /// Free memory in pieces, held while a build runs; see [`Fragment`].
    Fragment,
    /// Pins and spread tags; see [`Adversary`].
    Adversary,
    /// A virtual machine, all of it tagged; see [`Guest`].
    Guest,
    /// Nothing happens: the machine of operations from a file. Nobody can type it.
    Plain,
}

impl Kind {
    /// Every workload that one can type.
    pub const ALL: [Self; 6] =
        [Self::Phone, Self::Server, Self::Kbuild, Self::Fragment, Self::Adversary, Self::Guest];

    /// The name to type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Phone => "phone",
            Self::Server => "server",
            Self::Kbuild => "kbuild",
            Self::Fragment => "fragment",
            Self::Adversary => "adversary",
            Self::Guest => "guest",
            Self::Plain => "plain",
        }
    }

    /// The workload of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Ordinary CMA when nothing else is said: one part in so many of memory. Assumed: a phone's
    /// camera and display take 1/64, elsewhere there is a little.
    #[must_use]
    pub const fn cma_part(self) -> u64 {
        match self {
            Self::Phone => 64,
            _ => 256,
        }
    }

    /// Swap in memory when nothing else is said, as a part of memory; `None`: no swap. Assumed: a
    /// quarter of memory on a phone, none elsewhere.
    #[must_use]
    pub const fn swap_part(self) -> Option<u64> {
        match self {
            Self::Phone => Some(4),
            _ => None,
        }
    }

    /// What is tagged whatever the share.
    #[must_use]
    pub const fn always_tagged(self) -> Option<&'static str> {
        match self {
            Self::Adversary => Some("every 32nd page of the attackers"),
            Self::Guest => Some("the whole guest"),
            _ => None,
        }
    }

    /// Linux's `vm.swappiness`. Assumed: 100 on a phone, whose swap is memory; Linux's default
    /// elsewhere.
    #[must_use]
    pub const fn swappiness(self) -> u32 {
        match self {
            Self::Phone => 100,
            _ => 60,
        }
    }
}

/// A workload with what was typed about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WorkloadPlan {
    /// Which one.
    pub kind: Kind,
    /// Length in ticks of a tenth of a second.
    pub ticks: u32,
    /// Which pages are tagged.
    pub tags: TagChoice,
    /// Swap in bytes before compression; `None`: as the workload has it.
    pub swap: Option<u64>,
    /// For `fragment`: the unusable free space index to reach at pageblock order.
    pub target_index: Share,
    /// For `fragment`: how much of what keeps pageblocks apart is unmovable.
    pub unmovable: Share,
}

impl fmt::Display for WorkloadPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "workload {}", self.kind.name())
    }
}

/// The length when nothing else is said: a minute.
pub const DEFAULT_TICKS: u32 = 600;

/// Nanoseconds in a tick.
pub(crate) const TICK: u64 = 100_000_000;

/// Smallest machine that workloads are made for, bytes.
pub const LEAST_MEMORY: u64 = 256 << 20;
/// Largest machine that workloads are made for, bytes.
pub const MOST_MEMORY: u64 = 64 << 30;

/// A source of operations.
pub trait Workload: fmt::Debug {
    /// Writes the operations before the first tick.
    fn begin(&mut self, script: &mut Script);

    /// Writes the operations of one tick.
    fn tick(&mut self, script: &mut Script, tick: u32);
}

/// Sizes that scale with the machine: pages of `mib` on a machine of 16 GiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scale(PageCount);

impl Scale {
    /// Of a machine with so much memory.
    #[must_use]
    pub const fn new(memory: PageCount) -> Self {
        Self(memory)
    }

    /// Pages of the machine.
    #[must_use]
    pub const fn memory(self) -> u64 {
        self.0.get()
    }

    /// As many pages as `mib` MiB are on a machine of 16 GiB; at least one.
    #[must_use]
    pub fn mib(self, mib: u32) -> u32 {
        let pages = u64::from(mib) * 256 * self.0.get() / (16 << 18);
        u32::try_from(pages.max(1)).unwrap_or(u32::MAX)
    }
}

/// See [`Kind::Plain`].
#[derive(Debug)]
struct Plain;

impl Workload for Plain {
    fn begin(&mut self, _: &mut Script) {}

    fn tick(&mut self, _: &mut Script, _: u32) {}
}

/// The operations of a plan, one after the other.
#[derive(Debug)]
pub struct Stream {
    workload: Box<dyn Workload>,
    script: Script,
    begun: Option<u32>,
    ticks: u32,
    number: u64,
}

impl Stream {
    /// The stream of `plan` on a machine of `memory` pages, of which `cma` are ordinary CMA.
    #[must_use]
    pub fn new(plan: &WorkloadPlan, memory: PageCount, cma: PageCount, seed: u64) -> Self {
        let scale = Scale::new(memory);
        let workload: Box<dyn Workload> = match plan.kind {
            Kind::Phone => Box::new(Phone::new(PhoneParams::new(scale, cma))),
            Kind::Server => Box::new(Server::new(ServerParams::new(scale))),
            Kind::Kbuild => Box::new(Kbuild::new(KbuildParams::new(scale))),
            Kind::Fragment => {
                let (target, unmovable) = (plan.target_index, plan.unmovable);
                let params = FragmentParams { target, unmovable };
                Box::new(Fragment::new(params, Kbuild::new(KbuildParams::beside(scale))))
            }
            Kind::Adversary => Box::new(Adversary::new(AdversaryParams::new(scale))),
            Kind::Guest => Box::new(Guest::new(GuestParams::new(scale))),
            Kind::Plain => Box::new(Plain),
        };
        let script = Script::new(seed, TagDraws::new(plan.tags, seed));
        Self { workload, script, begun: None, ticks: plan.ticks, number: 0 }
    }

    fn refill(&mut self) -> Option<()> {
        let tick = self.begun.map_or(0, |tick| tick + 1);
        if self.begun.is_none() {
            self.workload.begin(&mut self.script);
        } else if tick <= self.ticks {
            self.workload.tick(&mut self.script, tick);
        } else {
            return None;
        }
        self.script.tick();
        self.begun = Some(tick);
        Some(())
    }
}

impl Iterator for Stream {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let op = loop {
            match self.script.take() {
                Some(op) => break op,
                None => self.refill()?,
            }
        };
        self.number += 1;
        let pid = pid(op);
        let timestamp = u64::from(self.begun.unwrap_or(0)) * TICK;
        Some(Step { line: self.number, timestamp, cpu: CpuId::BOOT, pid, op })
    }
}

/// The task that does it; 1 for what no process does.
pub(crate) fn pid(op: Op) -> u32 {
    let Op::Process(op) = op else { return 1 };
    match op {
        ProcessOp::Spawn { process }
        | ProcessOp::Fork { parent: process, .. }
        | ProcessOp::Exit { process }
        | ProcessOp::Map { process, .. }
        | ProcessOp::Protect { process, .. }
        | ProcessOp::Touch { process, .. }
        | ProcessOp::Pin { process, .. } => process.0 + 2,
        _ => 1,
    }
}
