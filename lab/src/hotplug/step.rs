//! What is done to a machine: steps as values.

use pagelab_allocator::hotplug::caps::Caps;
use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::hotplug::gate::{Driver, Gate};
use pagelab_allocator::hotplug::pagemap::{PagemapKind, PagemapOps};
use pagelab_allocator::online::OnlineTo;
use pagelab_allocator::units::{NodeId, Order, PageCount, PfnRange};
use pagelab_migrate::hotplug::actor::Actor;
use pagelab_migrate::hotplug::guest::GuestTags;
use pagelab_migrate::hotplug::placement::Binding;

use super::private_file::FileCall;
use super::question::Question;
use crate::size::Share;

/// Steps of a scenario.
pub const MOST_STEPS: usize = 256;
/// Folios that all steps of a scenario may ask for.
pub const MOST_FOLIOS: u64 = 1 << 26;

/// Some frames of a memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    /// Which memory of the scenario.
    pub memory: usize,
    /// The frames.
    pub range: PfnRange,
}

/// Which allocated pages are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pages {
    /// Those of programs.
    Movable,
    /// Those of the kernel.
    Unmovable,
}

/// Which of the places for pages are taken, when not all are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spread {
    /// As the allocator hands them out: one block after the other.
    Packed,
    /// By chance, all over the range.
    Scattered,
}

/// One step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// The TDX module is initialized.
    TdxInit,
    /// A dax device on a memory, for a driver.
    Bind(Part, Driver),
    /// The driver goes.
    Unbind(Part),
    /// Firmware adds memory.
    Add(Part),
    /// The checks before the lock.
    AddCheck(Part),
    /// The rest of an addition that was checked.
    AddCommit(Part),
    /// Struct pages for a device.
    Memremap(Part, PagemapKind, PagemapOps),
    /// They go.
    Memunmap(Part),
    /// Blocks are onlined.
    Online(Part, Actor, OnlineTo),
    /// Blocks are offlined.
    Offline(Part, Actor),
    /// Memory is added and TDX is initialized in every order, each on a copy of the machine.
    Race(Part),
    /// A rule is asked that looks at no pages; about a memory, where it has to do with one.
    Ask(Question, Option<Part>),
    /// A call to a page of a file of private memory.
    File(FileCall, u64),
    /// Memory turns out to be able to do more.
    Attest(Part, Caps),
    /// Memory that was added goes.
    Remove(Part),
    /// Pages are allocated in a part, up to a share of it.
    Fill(Part, Filling),
    /// They are freed.
    Free(Part),
    /// In each pageblock, one page is pinned by chance.
    Pin(Part, Share),
    /// All pins go.
    Unpin,
    /// Private memory of a guest, so much, near or on a node.
    Private(PageCount, Binding),
    /// It goes.
    FreePrivate,
    /// A guest with shared memory starts.
    Guest(GuestStart),
    /// The guest stops.
    StopGuest(String),
    /// Pages of a guest go to a slower node.
    Demote {
        /// The guest.
        guest: String,
        /// How much of its memory, from its first page on.
        pages: PageCount,
        /// Where to, when not to the next tier.
        node: Option<NodeId>,
    },
    /// A guest uses tags of some of its pages.
    UseTags {
        /// The guest.
        guest: String,
        /// How much of its memory, from its first page on.
        pages: PageCount,
    },
    /// A virtual DIMM of a guest with tags.
    PlugDimm {
        /// How much memory the guest gets.
        pages: PageCount,
        /// Where the guest is.
        node: NodeId,
    },
    /// All of them go.
    UnplugDimms,
    /// Time passes, in milliseconds.
    Advance(u64),
}

/// How a part is filled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Filling {
    /// How much of the part is in use then.
    pub share: Share,
    /// With folios of which size.
    pub order: Order,
    /// Whose.
    pub pages: Pages,
    /// Where, when not everywhere.
    pub spread: Spread,
}

/// A guest that starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GuestStart {
    /// Its name.
    pub name: String,
    /// Its memory.
    pub pages: PageCount,
    /// In folios of which size.
    pub order: Order,
    /// How it uses tags.
    pub tags: GuestTags,
    /// Where its CPUs are.
    pub node: NodeId,
}

/// How a step is expected to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Without an error.
    Done,
    /// With this one.
    Failed(Errno),
}

/// A step, and what is expected of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// What `after` of an expected number calls it.
    pub name: Option<String>,
    /// What is done.
    pub action: Action,
    /// The words of the file, for reports.
    pub words: String,
    /// How it ends, under one gate or all others.
    pub ends: Vec<(Option<String>, End)>,
    /// Its line in the file.
    pub line: usize,
}

impl Step {
    /// How it is expected to end under a gate, if anything is; what is said without a gate is about
    /// those `of` the scenario.
    #[must_use]
    pub fn end(&self, gate: &str, of: &[&'static dyn Gate]) -> Option<End> {
        let named = self.ends.iter().find(|(name, _)| name.as_deref() == Some(gate));
        let own = of.iter().any(|other| other.name() == gate);
        let all = || self.ends.iter().find(|(name, _)| name.is_none() && own);
        named.or_else(all).map(|(_, end)| *end)
    }
}

/// Every step, by the word after `do`.
pub const STEPS: &[(&str, &str)] = &[
    ("tdx-init", "initialize the TDX module"),
    ("kmem", "a dax device whose memory becomes memory blocks"),
    ("devdax", "a dax device for programs"),
    ("unbind", "take a device's driver away"),
    ("add", "add memory, as ACPI does"),
    ("add-check", "the checks of an addition before the lock"),
    ("add-commit", "the rest of an addition, under the lock"),
    ("race", "every order of adding memory and initializing TDX, each on a copy"),
    ("memremap", "struct pages for a device's memory"),
    ("memunmap", "take them away"),
    ("online", "online blocks, one after the other"),
    ("offline", "offline blocks, one after the other"),
    ("remove", "remove memory whose blocks are offline"),
    ("mmap", "map something, as a program does"),
    ("memslot", "give a guest a mapping as memory, as KVM does"),
    ("back-guest", "back the private memory of a guest"),
    ("private-file", "use a page of a file of private memory"),
    ("attest", "memory can do more from now on"),
    ("fill", "allocate pages in a range"),
    ("free", "free what fill allocated"),
    ("pin", "pin a page of each pageblock, by chance"),
    ("unpin", "drop all pins"),
    ("private", "allocate private memory of confidential guests"),
    ("free-private", "free it"),
    ("guest", "start a guest"),
    ("stop-guest", "stop it"),
    ("demote", "move pages of a guest to a slower node"),
    ("use-tags", "a guest uses tags of its pages"),
    ("plug-dimm", "plug a virtual DIMM into a guest with tags"),
    ("unplug-dimms", "unplug all of them"),
    ("advance", "let time pass"),
];

/// Folios that a step may ask for.
#[must_use]
pub fn folios(action: &Action) -> u64 {
    match action {
        Action::Fill(part, filling) => part.range.len().get() >> filling.order.get(),
        Action::Guest(start) => start.pages.get() >> start.order.get(),
        _ => 0,
    }
}
