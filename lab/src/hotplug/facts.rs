//! What a machine is at a moment: a value that knows no machine.

use std::collections::BTreeMap;

use pagelab_allocator::event::Sink;
use pagelab_allocator::gfp::ZoneType;
use pagelab_allocator::hotplug::capacity::Capacity;
use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::hotplug::memory_block::{BlockState, MemoryBlock, Refused};
use pagelab_allocator::hotplug::phases::Phases;
use pagelab_allocator::hotplug::range::Owner;
use pagelab_allocator::units::{PageCount, PfnRange};
use pagelab_allocator::zone::Zone;
use pagelab_migrate::hotplug::host::Host;
use pagelab_migrate::hotplug::interleavings::Outcome;

use super::memory::Memory;

/// What a stretch of memory is, as pictures show it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum State {
    /// The page allocator's, in a zone for anything.
    Kernel,
    /// The page allocator's, in ZONE_MOVABLE.
    Movable,
    /// Memory blocks that nobody has onlined.
    Offline,
    /// Memory blocks that a gate has refused.
    Limbo,
    /// A device for programs.
    Devdax,
    /// No driver has it.
    Idle,
    /// No driver can have it.
    Stranded,
    /// Struct pages of the memory around it.
    Metadata,
}

impl State {
    /// All, in the order of legends.
    pub const ALL: [Self; 8] = [
        Self::Kernel,
        Self::Movable,
        Self::Offline,
        Self::Limbo,
        Self::Devdax,
        Self::Idle,
        Self::Stranded,
        Self::Metadata,
    ];

    /// One word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Movable => "movable",
            Self::Offline => "offline",
            Self::Limbo => "limbo",
            Self::Devdax => "devdax",
            Self::Idle => "idle",
            Self::Stranded => "stranded",
            Self::Metadata => "memmap",
        }
    }

    /// What it means.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Kernel => "online, zone for anything",
            Self::Movable => "online, ZONE_MOVABLE",
            Self::Offline => "offline blocks",
            Self::Limbo => "limbo: blocks that were refused",
            Self::Devdax => "devdax",
            Self::Idle => "idle: no driver",
            Self::Stranded => "stranded",
            Self::Metadata => "its own struct pages",
        }
    }
}

/// A stretch of memory in one state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stretch {
    /// The frames.
    pub range: PfnRange,
    /// What they are.
    pub state: State,
}

/// A memory of the scenario, from its first frame to its last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemoryFacts {
    /// Its name.
    pub name: String,
    /// What it is, ascending.
    pub stretches: Vec<Stretch>,
}

impl MemoryFacts {
    /// Pages in a state.
    #[must_use]
    pub fn pages(&self, state: State) -> PageCount {
        let own = self.stretches.iter().filter(|stretch| stretch.state == state);
        own.map(|stretch| stretch.range.len()).sum()
    }
}

/// What the steps so far have counted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Calls that failed, by error.
    pub refused: BTreeMap<Errno, u64>,
    /// Blocks whose state somebody wrote.
    pub blocks_tried: u64,
    /// Of those, without an error.
    pub blocks_done: u64,
    /// Pages that filling has allocated.
    pub filled: PageCount,
    /// Pages that it wanted besides, and that were not there.
    pub unfilled: PageCount,
    /// Pages that are pinned.
    pub pinned: u64,
    /// Pages that went to a slower node.
    pub demoted: PageCount,
    /// Pages that may not lie there.
    pub barred: PageCount,
    /// Pages that came back for the sake of a tag.
    pub promoted: PageCount,
    /// Times that a guest was left for the sake of a tag.
    pub exits: u64,
    /// Pages that lost their tags.
    pub lost_tags: PageCount,
    /// Private memory that was wanted, and not there.
    pub private_short: PageCount,
    /// Pages that moved when TDX was initialized.
    pub moved_for_tdx: PageCount,
    /// Orders of an addition and an initialization that were tried.
    pub schedules: Vec<Outcome>,
    /// Of those, orders after which TDX works and the allocator has memory that it cannot use.
    pub schedules_bad: u64,
}

/// Memory blocks by state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BlockFacts {
    /// All that there are.
    pub all: u64,
    /// Those that the allocator has.
    pub online: u64,
    /// Those that a gate has refused.
    pub limbo: u64,
    /// Pages of one.
    pub size: PageCount,
    /// Pages of those that are online, present.
    pub joined: PageCount,
}

/// Lines of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogFacts {
    /// Those that a reader sees.
    pub visible: u64,
    /// Those of a level that is not printed.
    pub hidden: u64,
    /// Those that the rate limit kept back.
    pub suppressed: u64,
}

/// A machine at a moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// Memory by what it is good for.
    pub capacity: Capacity,
    /// Pages of zones for anything.
    pub kernel: PageCount,
    /// Pages of ZONE_MOVABLE.
    pub movable: PageCount,
    /// Pages that are free.
    pub free: PageCount,
    /// Memory blocks.
    pub blocks: BlockFacts,
    /// What was said.
    pub log: LogFacts,
    /// Refusals of the gate.
    pub vetoes: u64,
    /// Pages of the allocator that lack something every page should have.
    pub violations: PageCount,
    /// Pages that moved because their memory went away.
    pub evacuated: PageCount,
    /// Pages of the allocator that hold struct pages.
    pub memmap: PageCount,
    /// Whether TDX is in use: 0 or 1.
    pub tdx: u64,
    /// Changes of blocks.
    pub phases: Phases,
    /// What steps have counted.
    pub tally: Tally,
    /// The memories of the scenario.
    pub memories: Vec<MemoryFacts>,
}

impl Facts {
    /// Looks at a machine.
    #[must_use]
    pub fn of<S: Sink>(host: &Host<S>, tally: &Tally, memories: &[Memory]) -> Self {
        let (hot, alloc) = (host.hot(), host.emulator().page_alloc());
        let present = |movable: bool| -> PageCount {
            let own = |zone: &&Zone| (zone.kind() == ZoneType::Movable) == movable;
            alloc.zones().iter().filter(own).map(Zone::present).sum()
        };
        let free = alloc.zones().iter();
        let free = free.map(|zone| zone.free_pages().all + zone.pcp_pages()).sum();
        let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
        let log = hot.log();
        Self {
            capacity: host.capacity(),
            kernel: present(false),
            movable: present(true),
            free,
            blocks: blocks(host),
            log: LogFacts {
                visible: count(log.visible().len()),
                hidden: log.hidden(),
                suppressed: log.suppressed(),
            },
            vetoes: count(hot.vetoes().len()),
            violations: hot.violations(),
            evacuated: host.evacuated(),
            memmap: hot.memmap_pages(),
            tdx: u64::from(hot.tdx().is_some_and(|tdx| tdx.memlist().is_some())),
            phases: *hot.phases(),
            tally: tally.clone(),
            memories: memories.iter().map(|memory| memory_facts(host, memory)).collect(),
        }
    }
}

fn blocks<S: Sink>(host: &Host<S>) -> BlockFacts {
    let mut facts = BlockFacts { size: host.hot().block_pages(), ..BlockFacts::default() };
    for (_, block) in host.hot().blocks() {
        facts.all += 1;
        match (block.is_online(), block.refused) {
            (true, _) => {
                facts.online += 1;
                facts.joined += block.present;
            }
            (false, Refused::Yes) => facts.limbo += 1,
            (false, Refused::No) => {}
        }
    }
    facts
}

fn memory_facts<S: Sink>(host: &Host<S>, memory: &Memory) -> MemoryFacts {
    let mut stretches = Vec::new();
    for piece in host.hot().ranges().inside(memory.range) {
        let range = piece.of.range;
        let state = match piece.owner {
            Owner::Free | Owner::Region | Owner::DaxIdle => State::Idle,
            Owner::Devdax => State::Devdax,
            Owner::Stranded(_) => State::Stranded,
            Owner::Blocks | Owner::Leaked => {
                let ids = host.hot().ids(range).filter_map(|id| host.hot().block(id));
                ids.for_each(|block| of_block(&mut stretches, block, range));
                continue;
            }
        };
        join(&mut stretches, Stretch { range, state });
    }
    MemoryFacts { name: memory.name.clone(), stretches }
}

fn of_block(stretches: &mut Vec<Stretch>, block: &MemoryBlock, within: PfnRange) {
    let state = match (block.state, block.refused) {
        (BlockState::Online(ZoneType::Movable), _) => State::Movable,
        (BlockState::Online(_), _) => State::Kernel,
        (BlockState::Offline, Refused::Yes) => State::Limbo,
        (BlockState::Offline, Refused::No) => State::Offline,
    };
    let own = PfnRange::new(block.range.start(), block.given().start());
    for (range, state) in [(own, State::Metadata), (block.given(), state)] {
        if let Some(range) = range.intersect(within) {
            join(stretches, Stretch { range, state });
        }
    }
}

/// Appends a stretch, to the last one if that is alike.
fn join(stretches: &mut Vec<Stretch>, next: Stretch) {
    match stretches.last_mut() {
        _ if next.range.is_empty() => {}
        Some(last) if last.state == next.state && last.range.end() == next.range.start() => {
            last.range = last.range.hull(next.range);
        }
        _ => stretches.push(next),
    }
}
