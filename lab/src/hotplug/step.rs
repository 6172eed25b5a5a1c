//! What is done to a machine: `[[step]]`.

use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::hotplug::gate::{Driver, Gate};
use pagelab_allocator::online::OnlineTo;
use pagelab_allocator::units::{NodeId, Order, PageCount, PfnRange};
use pagelab_migrate::hotplug::actor::Actor;
use pagelab_migrate::hotplug::guest::GuestTags;

use super::error::HotplugError;
use super::machine::Machine;
use super::memory::{Memory, NODES};
use super::nearest::unknown;
use super::section::{ByGate, Found, Section};
use crate::size::Share;

/// Steps of a scenario.
pub const MOST_STEPS: usize = 256;
/// Folios that all steps of a scenario may ask for.
pub const MOST_FOLIOS: u64 = 1 << 26;
/// Longest that the clock moves at once: a day.
const MOST_MS: u64 = 24 * 3600 * 1000;

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
    Memremap(Part),
    /// They go.
    Memunmap(Part),
    /// Blocks are onlined.
    Online(Part, Actor, OnlineTo),
    /// Blocks are offlined.
    Offline(Part, Actor),
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
    /// Private memory of a guest, near or on a node.
    Private {
        /// How much.
        pages: PageCount,
        /// Where.
        node: NodeId,
        /// Whether nowhere else.
        only: bool,
    },
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
        /// Where to.
        node: NodeId,
    },
    /// A guest uses tags of some of its pages.
    UseTags {
        /// The guest.
        guest: String,
        /// How much of its memory, from its first page on.
        pages: PageCount,
    },
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

/// What steps may refer to.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// Its memory.
    pub memories: &'a [Memory],
    /// Whether it has TDX.
    pub has_tdx: bool,
    /// The steps before.
    pub before: &'a [Step],
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
    ("memremap", "struct pages for a device's memory"),
    ("memunmap", "take them away"),
    ("online", "online blocks, one after the other"),
    ("offline", "offline blocks, one after the other"),
    ("remove", "remove memory whose blocks are offline"),
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
    ("advance", "let time pass"),
];

const DONE: &str = "none";

impl Step {
    /// Reads one `[[step]]`.
    ///
    /// # Errors
    ///
    /// With the line and the key of what is wrong.
    pub fn read(mut of: Section<'_>, known: &Known<'_>) -> Result<Self, HotplugError> {
        let line = of.source.line(of.at);
        let does = of.word("do")?;
        let does = of.need("do", does)?;
        let name = of.ident("name")?.map(|found| found.value.to_owned());
        if let Some(name) = &name
            && known.before.iter().any(|step| step.name.as_ref() == Some(name))
        {
            return Err(of.lacks("name", format!("{name:?} is taken")));
        }
        let ends = of.by_gate("fails")?;
        let ends = ends.into_iter().map(|end| read_end(&of, end)).collect::<Result<_, _>>()?;
        let mut reader = Reader { of, known, words: does.value.to_owned() };
        let action = reader.action(does)?;
        let Reader { of, words, .. } = reader;
        of.finish()?;
        Ok(Self { name, action, words, ends, line })
    }
}

/// Error numbers that a step may end with.
pub const ERRNOS: [Errno; 13] = [
    Errno::Perm,
    Errno::Intr,
    Errno::Io,
    Errno::NxIo,
    Errno::TooBig,
    Errno::NoMem,
    Errno::Fault,
    Errno::Busy,
    Errno::Exist,
    Errno::Inval,
    Errno::NoSpc,
    Errno::OpNotSupp,
    Errno::HwPoison,
];

fn read_end(
    of: &Section<'_>,
    (gate, word): ByGate<'_>,
) -> Result<(Option<String>, End), HotplugError> {
    if let Some(gate) = gate {
        super::gates::by_name(gate.value).map_err(|why| of.error(gate.at, "fails", why))?;
    }
    let found = ERRNOS.into_iter().find(|errno| errno.symbol() == word.value);
    let end = match found {
        Some(errno) => End::Failed(errno),
        None if word.value == DONE => End::Done,
        None => {
            let known: Vec<&str> =
                ERRNOS.iter().map(|errno| errno.symbol()).chain([DONE]).collect();
            let why = format!("error {}", unknown(word.value, &known));
            return Err(of.error(word.at, "fails", why));
        }
    };
    Ok((gate.map(|gate| gate.value.to_owned()), end))
}

/// A step that is being read.
struct Reader<'a, 'k> {
    of: Section<'a>,
    known: &'k Known<'k>,
    words: String,
}

impl Reader<'_, '_> {
    fn action(&mut self, does: Found<&str>) -> Result<Action, HotplugError> {
        Ok(match does.value {
            "tdx-init" if !self.known.has_tdx => {
                return Err(self.of.error(does.at, "do", "there is no [tdx]"));
            }
            "tdx-init" => Action::TdxInit,
            "kmem" => Action::Bind(self.later()?, Driver::Kmem),
            "devdax" => Action::Bind(self.later()?, Driver::Devdax),
            "unbind" => Action::Unbind(self.later()?),
            "add" => Action::Add(self.part()?),
            "add-check" => Action::AddCheck(self.part()?),
            "add-commit" => Action::AddCommit(self.part()?),
            "memremap" => Action::Memremap(self.part()?),
            "memunmap" => Action::Memunmap(self.later()?),
            "online" => Action::Online(self.part()?, self.actor()?, self.to()?),
            "offline" => Action::Offline(self.part()?, self.actor()?),
            "remove" => Action::Remove(self.part()?),
            "fill" => Action::Fill(self.part()?, self.filling()?),
            "free" => Action::Free(self.filled()?),
            "pin" => {
                let part = self.part()?;
                let chance = self.of.share("chance")?;
                let chance = self.of.need("chance", chance)?;
                self.words.push_str(&format!(" with a chance of {chance}"));
                Action::Pin(part, chance)
            }
            "unpin" => Action::Unpin,
            "private" => self.private()?,
            "free-private" => Action::FreePrivate,
            "guest" => Action::Guest(self.guest()?),
            "stop-guest" => Action::StopGuest(self.started()?),
            "demote" => Action::Demote {
                guest: self.started()?,
                pages: self.size("size")?,
                node: self.node()?,
            },
            "use-tags" => Action::UseTags { guest: self.started()?, pages: self.size("size")? },
            "advance" => {
                let ms = self.of.number("ms", (1, MOST_MS))?;
                let ms = self.of.need("ms", ms)?.value;
                self.words.push_str(&format!(" by {ms} ms"));
                Action::Advance(ms)
            }
            other => {
                let known: Vec<&str> = STEPS.iter().map(|(name, _)| *name).collect();
                return Err(self.of.error(
                    does.at,
                    "do",
                    format!("step {}", unknown(other, &known)),
                ));
            }
        })
    }

    /// The memory that `of` names, or the part of it that `offset` and `length` say.
    fn part(&mut self) -> Result<Part, HotplugError> {
        let found = self.of.ident("of")?;
        let Found { value, at } = self.of.need("of", found)?;
        let Known { machine, memories, .. } = *self.known;
        let memory = memories.iter().position(|memory| memory.name == value);
        let memory = memory.ok_or_else(|| {
            let names: Vec<&str> = memories.iter().map(|memory| &*memory.name).collect();
            self.of.error(at, "of", format!("memory {}", unknown(value, &names)))
        })?;
        let whole = memories[memory].range;
        let offset = self.of.pages("offset", machine.geometry)?;
        let length = self.of.pages("length", machine.geometry)?;
        self.words.push_str(&format!(" {value}"));
        if offset.is_none() && length.is_none() {
            return Ok(Part { memory, range: whole });
        }
        let from = offset.map_or(PageCount::ZERO, |found| found.value);
        let len = length.map_or(whole.len().saturating_sub(from), |found| found.value);
        let fits = from.get().checked_add(len.get()).is_some_and(|end| end <= whole.len().get());
        if !fits || len == PageCount::ZERO {
            let at = length.or(offset).map_or(at, |found| found.at);
            return Err(self.of.error(at, "length", format!("not inside of {value:?}")));
        }
        let mib = |pages: PageCount| machine.geometry.bytes_of(pages) >> 20;
        self.words.push_str(&format!(" [{} MiB + {} MiB]", mib(from), mib(len)));
        Ok(Part { memory, range: PfnRange::from_len(whole.start() + from, len) })
    }

    /// A part of memory that is not there at boot.
    fn later(&mut self) -> Result<Part, HotplugError> {
        let part = self.part()?;
        match self.known.memories[part.memory].is_boot() {
            false => Ok(part),
            true => Err(self.of.lacks("of", "boot memory has no driver")),
        }
    }

    /// A part that a step before has filled.
    fn filled(&mut self) -> Result<Part, HotplugError> {
        let part = self.part()?;
        let by = |step: &Step| matches!(&step.action, Action::Fill(filled, _) if *filled == part);
        match self.known.before.iter().any(by) {
            true => Ok(part),
            false => Err(self.of.lacks("of", "no step before has filled that")),
        }
    }

    fn actor(&mut self) -> Result<Actor, HotplugError> {
        let actor = self.of.choice("by", &[("udev", Actor::Udev), ("daxctl", Actor::Daxctl)])?;
        let actor = actor.unwrap_or(Actor::Udev);
        self.words.push_str(if actor == Actor::Udev { " by udev" } else { " by daxctl" });
        Ok(actor)
    }

    fn to(&mut self) -> Result<OnlineTo, HotplugError> {
        let zones = [
            ("default", OnlineTo::Default),
            ("kernel", OnlineTo::Kernel),
            ("movable", OnlineTo::Movable),
        ];
        let to = self.of.choice("to", &zones)?.unwrap_or_default();
        let (name, _) = zones.iter().find(|(_, zone)| *zone == to).expect("one of them");
        self.words.push_str(&format!(" to {name}"));
        Ok(to)
    }

    fn order(&mut self) -> Result<Order, HotplugError> {
        let most = self.known.machine.geometry.pageblock_order().get();
        let order = self.of.number("order", (0, u64::from(most)))?.map_or(0, |found| found.value);
        Ok(Order::of(u8::try_from(order).expect("small")))
    }

    fn filling(&mut self) -> Result<Filling, HotplugError> {
        let share = self.of.share("share")?;
        let share = self.of.need("share", share)?;
        let order = self.order()?;
        let kinds = [("movable", Pages::Movable), ("unmovable", Pages::Unmovable)];
        let pages = self.of.choice("pages", &kinds)?.unwrap_or(Pages::Movable);
        let spreads = [("packed", Spread::Packed), ("scattered", Spread::Scattered)];
        let spread = self.of.choice("spread", &spreads)?.unwrap_or(Spread::Packed);
        let (kind, _) = kinds.iter().find(|(_, kind)| *kind == pages).expect("one of them");
        self.words.push_str(&format!(" to {share} with {kind} pages"));
        Ok(Filling { share, order, pages, spread })
    }

    fn size(&mut self, key: &'static str) -> Result<PageCount, HotplugError> {
        let pages = self.of.pages(key, self.known.machine.geometry)?;
        let pages = self.of.need(key, pages)?.value;
        let mib = self.known.machine.geometry.bytes_of(pages) >> 20;
        self.words.push_str(&format!(" {mib} MiB"));
        Ok(pages)
    }

    fn node(&mut self) -> Result<NodeId, HotplugError> {
        let node = self.of.number("node", NODES)?;
        let found = self.of.need("node", node)?;
        let node = NodeId::new(u8::try_from(found.value).expect("few nodes"));
        if !self.known.memories.iter().any(|memory| memory.node == node) {
            return Err(self.of.error(found.at, "node", "no memory is on that node"));
        }
        self.words.push_str(&format!(" node {}", node.get()));
        Ok(node)
    }

    fn private(&mut self) -> Result<Action, HotplugError> {
        let pages = self.size("size")?;
        let node = self.node()?;
        let only = self.of.switch("only")?.unwrap_or(false);
        Ok(Action::Private { pages, node, only })
    }

    fn guest(&mut self) -> Result<GuestStart, HotplugError> {
        let name = self.of.ident("guest")?;
        let name = self.of.need("guest", name)?.value.to_owned();
        let pages = self.size("size")?;
        let tags = [
            ("none", GuestTags::None),
            ("every", GuestTags::Every),
            ("on-access", GuestTags::OnAccess),
        ];
        let tags = self.of.choice("tags", &tags)?.unwrap_or(GuestTags::None);
        let (order, node) = (self.order()?, self.node()?);
        Ok(GuestStart { name, pages, order, tags, node })
    }

    /// A guest that a step before has started.
    fn started(&mut self) -> Result<String, HotplugError> {
        let name = self.of.ident("guest")?;
        let Found { value, at } = self.of.need("guest", name)?;
        let starts = self.known.before.iter().filter_map(|step| match &step.action {
            Action::Guest(start) => Some(&*start.name),
            _ => None,
        });
        let names: Vec<&str> = starts.collect();
        if !names.contains(&value) {
            return Err(self.of.error(at, "guest", format!("guest {}", unknown(value, &names))));
        }
        self.words.push_str(&format!(" {value}"));
        Ok(value.to_owned())
    }
}

/// Folios that a step may ask for.
#[must_use]
pub fn folios(action: &Action) -> u64 {
    match action {
        Action::Fill(part, filling) => part.range.len().get() >> filling.order.get(),
        Action::Guest(start) => start.pages.get() >> start.order.get(),
        _ => 0,
    }
}
