//! The catalogue of what is measured of a machine. Tables, data files and expected numbers are made
//! from it.

use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::units::PageCount;

use super::facts::{Facts, MemoryFacts, State};

/// What a measure is counted in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Base pages.
    Pages,
    /// Times that something happened.
    Count,
}

impl Unit {
    /// The word in data files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pages => "pages",
            Self::Count => "count",
        }
    }
}

/// One number of a machine.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    /// Its stable name.
    pub name: &'static str,
    /// What it is counted in.
    pub unit: Unit,
    /// What it says, for people.
    pub meaning: &'static str,
    /// The number.
    pub of: fn(&Facts) -> u64,
    /// The same of one memory of the scenario, where that says something.
    pub within: Option<fn(&MemoryFacts) -> u64>,
}

const fn pages(name: &'static str, meaning: &'static str, of: fn(&Facts) -> u64) -> Measure {
    Measure { name, unit: Unit::Pages, meaning, of, within: None }
}

const fn count(name: &'static str, meaning: &'static str, of: fn(&Facts) -> u64) -> Measure {
    Measure { name, unit: Unit::Count, meaning, of, within: None }
}

impl Measure {
    const fn or(self, within: fn(&MemoryFacts) -> u64) -> Self {
        Self { within: Some(within), ..self }
    }
}

fn refused(facts: &Facts, errno: Errno) -> u64 {
    facts.tally.refused.get(&errno).copied().unwrap_or(0)
}

const fn sum(a: PageCount, b: PageCount) -> u64 {
    a.get() + b.get()
}

/// Every measure, in the order of tables.
pub const ALL: &[Measure] = &[
    pages("installed", "all memory of the machine", |f| f.capacity.installed.get()),
    pages("online", "memory in blocks that are online", |f| f.blocks.joined.get())
        .or(|m| sum(m.pages(State::Kernel), m.pages(State::Movable))),
    pages("kernel", "of that, in zones for anything", |f| f.kernel.get())
        .or(|m| m.pages(State::Kernel).get()),
    pages("movable", "of that, in ZONE_MOVABLE", |f| f.movable.get())
        .or(|m| m.pages(State::Movable).get()),
    pages("buddy", "the allocator's, without private memory and metadata", |f| {
        f.capacity.buddy.get()
    }),
    pages("free", "of that, free", |f| f.free.get()),
    pages("offline", "memory blocks that nobody has onlined", |f| f.capacity.offline.get())
        .or(|m| m.pages(State::Offline).get()),
    pages("limbo", "memory blocks that were refused", |f| f.capacity.limbo.get())
        .or(|m| m.pages(State::Limbo).get()),
    pages("devdax", "devices that programs map", |f| f.capacity.devdax.get())
        .or(|m| m.pages(State::Devdax).get()),
    pages("private", "private memory of guests", |f| f.capacity.private.get()),
    pages("idle", "no driver has it, but one could", |f| f.capacity.idle.get())
        .or(|m| m.pages(State::Idle).get()),
    pages("stranded", "no driver can have it", |f| f.capacity.stranded.get())
        .or(|m| m.pages(State::Stranded).get()),
    pages("metadata", "struct pages, and tables that hardware wants", |f| {
        f.capacity.metadata.get()
    })
    .or(|m| m.pages(State::Metadata).get()),
    pages("memmap", "of that, struct pages that the allocator gave", |f| f.memmap.get()),
    pages("block_size", "a memory block", |f| f.blocks.size.get()),
    count("blocks", "memory blocks that there are", |f| f.blocks.all),
    count("blocks_online", "of those, online", |f| f.blocks.online),
    count("blocks_limbo", "of those, refused", |f| f.blocks.limbo),
    count("blocks_tried", "blocks whose state somebody wrote", |f| f.tally.blocks_tried),
    count("blocks_done", "of those, without an error", |f| f.tally.blocks_done),
    count("log_visible", "lines that a reader of the log sees", |f| f.log.visible),
    count("log_hidden", "lines of a level that is not printed", |f| f.log.hidden),
    count("log_suppressed", "lines that the rate limit kept back", |f| f.log.suppressed),
    count("vetoes", "refusals of the gate and of the architecture", |f| f.vetoes),
    pages("violations", "pages of the allocator that lack what every page should have", |f| {
        f.violations.get()
    }),
    count("refused", "calls that failed", |f| f.tally.refused.values().sum()),
    count("refused_eperm", "of those, with EPERM", |f| refused(f, Errno::Perm)),
    count("refused_eintr", "of those, with EINTR", |f| refused(f, Errno::Intr)),
    count("refused_eio", "of those, with EIO", |f| refused(f, Errno::Io)),
    count("refused_enxio", "of those, with ENXIO", |f| refused(f, Errno::NxIo)),
    count("refused_e2big", "of those, with E2BIG", |f| refused(f, Errno::TooBig)),
    count("refused_enomem", "of those, with ENOMEM", |f| refused(f, Errno::NoMem)),
    count("refused_efault", "of those, with EFAULT", |f| refused(f, Errno::Fault)),
    count("refused_ebusy", "of those, with EBUSY", |f| refused(f, Errno::Busy)),
    count("refused_eexist", "of those, with EEXIST", |f| refused(f, Errno::Exist)),
    count("refused_einval", "of those, with EINVAL", |f| refused(f, Errno::Inval)),
    count("refused_enospc", "of those, with ENOSPC", |f| refused(f, Errno::NoSpc)),
    pages("moved", "pages that moved because their memory went away", |f| f.evacuated.get()),
    pages("moved_for_tdx", "pages that moved for the tables of TDX", |f| {
        f.tally.moved_for_tdx.get()
    }),
    pages("filled", "pages that fill has allocated", |f| f.tally.filled.get()),
    pages("unfilled", "pages that fill wanted besides", |f| f.tally.unfilled.get()),
    count("pinned", "pages that are pinned", |f| f.tally.pinned),
    pages("private_short", "private memory that was wanted and not there", |f| {
        f.tally.private_short.get()
    }),
    pages("demoted", "pages of guests that went to a slower node", |f| f.tally.demoted.get()),
    pages("barred", "pages that may not lie on the slower node", |f| f.tally.barred.get()),
    pages("promoted", "pages that came back for the sake of a tag", |f| f.tally.promoted.get()),
    count("schedules", "orders of addition and initialization that were tried", |f| {
        u64::try_from(f.tally.schedules.len()).unwrap_or(u64::MAX)
    }),
    count("schedules_bad", "of those, orders that let foreign memory in", |f| {
        f.tally.schedules_bad
    }),
    count("exits", "times that a guest was left for the sake of a tag", |f| f.tally.exits),
    pages("lost_tags", "pages that lost their tags", |f| f.tally.lost_tags.get()),
    count("tdx", "1 if TDX is in use", |f| f.tdx),
    count("going_online", "blocks that began to go online", |f| f.phases.going_online),
    count("cancel_online", "of those, called off", |f| f.phases.cancel_online),
    count("going_offline", "blocks that began to go offline", |f| f.phases.going_offline),
    count("cancel_offline", "of those, called off", |f| f.phases.cancel_offline),
];

/// The measure of that name.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Measure> {
    ALL.iter().find(|measure| measure.name == name)
}
