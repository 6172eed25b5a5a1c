//! Reading `[[step]]`.

use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::hotplug::gate::{Driver, Gate};
use pagelab_allocator::hotplug::pagemap::{PagemapKind, PagemapOps, Provided};
use pagelab_allocator::online::OnlineTo;
use pagelab_allocator::units::{NodeId, Order, PageCount, PfnRange};
use pagelab_migrate::hotplug::actor::Actor;
use pagelab_migrate::hotplug::guest::GuestTags;
use pagelab_migrate::hotplug::placement::Binding;

use super::error::HotplugError;
use super::machine::{Machine, caps};
use super::memory::{Memory, NODES};
use super::nearest::unknown;
use super::private_file::FileCall;
use super::question::Question;
use super::section::{ByGate, Found, Section};
use super::step::{Action, End, Filling, GuestStart, Pages, Part, STEPS, Spread, Step};

/// Longest that the clock moves at once: a day.
const MOST_MS: u64 = 24 * 3600 * 1000;

/// What steps may refer to.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// Its memory.
    pub memories: &'a [Memory],
    /// The gates that the file is about.
    pub gates: &'a [&'static dyn Gate],
    /// Whether it has TDX.
    pub has_tdx: bool,
    /// The steps before.
    pub before: &'a [Step],
}

impl Known<'_> {
    /// That something may be said about a gate: it exists, and the file is about it.
    ///
    /// # Errors
    ///
    /// Words about what is wrong.
    pub fn gate(&self, name: &str) -> Result<(), String> {
        super::gates::by_name(name)?;
        match self.gates.iter().any(|own| own.name() == name) {
            true => Ok(()),
            false => Err(format!("gate {name:?} is not one of the file's")),
        }
    }

    /// Guests that steps before have started and not stopped.
    fn guests(&self) -> Vec<&str> {
        let mut running: Vec<&str> = Vec::new();
        for step in self.before {
            match &step.action {
                Action::Guest(start) => running.push(&start.name),
                Action::StopGuest(name) => running.retain(|other| other != name),
                _ => {}
            }
        }
        running
    }
}

const DONE: &str = "none";
const KINDS: [(&str, PagemapKind); 4] = [
    ("generic", PagemapKind::Generic),
    ("private", PagemapKind::Private),
    ("coherent", PagemapKind::Coherent),
    ("fs-dax", PagemapKind::FsDax),
];

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
        let ends = of.by_gate("fails")?.into_iter().map(|end| read_end(&of, known, end));
        let ends = ends.collect::<Result<_, _>>()?;
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
    known: &Known<'_>,
    (gate, word): ByGate<'_>,
) -> Result<(Option<String>, End), HotplugError> {
    if let Some(gate) = gate {
        known.gate(gate.value).map_err(|why| of.error(gate.at, "fails", why))?;
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

/// How the keys of a question are read.
type ReadQuestion = fn(&mut Section<'_>) -> Result<Question, HotplugError>;

/// A step that is being read.
struct Reader<'a, 'k> {
    of: Section<'a>,
    known: &'k Known<'k>,
    words: String,
}

impl Reader<'_, '_> {
    fn action(&mut self, does: Found<&str>) -> Result<Action, HotplugError> {
        Ok(match does.value {
            "tdx-init" | "race" if !self.known.has_tdx => {
                return Err(self.of.error(does.at, "do", "there is no [tdx]"));
            }
            "tdx-init" => Action::TdxInit,
            "kmem" => Action::Bind(self.later()?, Driver::Kmem),
            "devdax" => Action::Bind(self.later()?, Driver::Devdax),
            "unbind" => Action::Unbind(self.later()?),
            "add" => Action::Add(self.part()?),
            "add-check" => Action::AddCheck(self.part()?),
            "add-commit" => Action::AddCommit(self.checked()?),
            "race" => Action::Race(self.part()?),
            "memremap" => self.memremap()?,
            "private-file" => {
                let (call, page, words) = FileCall::read(&mut self.of)?;
                self.words.push_str(&words);
                Action::File(call, page)
            }
            "mmap" => self.ask(Question::read_mmap, None)?,
            "memslot" => self.ask(Question::read_memslot, None)?,
            "back-guest" => {
                let part = self.part()?;
                self.ask(Question::read_back_guest, Some(part))?
            }
            "memunmap" => Action::Memunmap(self.remapped()?),
            "online" => Action::Online(self.part()?, self.actor()?, self.to()?),
            "offline" => Action::Offline(self.part()?, self.actor()?),
            "remove" => Action::Remove(self.part()?),
            "attest" => {
                let part = self.part()?;
                let more = caps(&mut self.of, "caps")?;
                let more = self.of.need("caps", more)?;
                self.words.push_str(&format!(" can do {more}"));
                Action::Attest(part, more)
            }
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
                node: self.some_node()?,
            },
            "use-tags" => Action::UseTags { guest: self.started()?, pages: self.size("size")? },
            "plug-dimm" => Action::PlugDimm { pages: self.size("size")?, node: self.node()? },
            "unplug-dimms" => Action::UnplugDimms,
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

    fn ask(&mut self, read: ReadQuestion, about: Option<Part>) -> Result<Action, HotplugError> {
        let question = read(&mut self.of)?;
        self.words.push_str(&question.words());
        Ok(Action::Ask(question, about))
    }

    fn memremap(&mut self) -> Result<Action, HotplugError> {
        let part = self.part()?;
        let kind = self.of.choice("kind", &KINDS)?.unwrap_or(PagemapKind::Generic);
        let all = match self.of.switch("callbacks")? {
            Some(true) => Provided::Yes,
            Some(false) | None => Provided::No,
        };
        let ops = PagemapOps { migrate_to_ram: all, page_free: all, owner: all };
        Ok(Action::Memremap(part, kind, ops))
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
        let by = |step: &Action, part| matches!(step, Action::Fill(filled, _) if *filled == part);
        self.done_before(by, "filled")
    }

    /// A part that a step before has checked.
    fn checked(&mut self) -> Result<Part, HotplugError> {
        let by = |step: &Action, part| matches!(step, Action::AddCheck(of) if *of == part);
        self.done_before(by, "checked")
    }

    /// A part that has struct pages of a device since a step before.
    fn remapped(&mut self) -> Result<Part, HotplugError> {
        let by = |step: &Action, part| matches!(step, Action::Memremap(of, ..) if *of == part);
        self.done_before(by, "remapped")
    }

    fn done_before(
        &mut self,
        by: fn(&Action, Part) -> bool,
        word: &str,
    ) -> Result<Part, HotplugError> {
        let part = self.part()?;
        match self.known.before.iter().any(|step| by(&step.action, part)) {
            true => Ok(part),
            false => Err(self.of.lacks("of", format!("no step before has {word} that"))),
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
        let node = self.some_node()?;
        self.of.need("node", node)
    }

    fn some_node(&mut self) -> Result<Option<NodeId>, HotplugError> {
        let Some(found) = self.of.number("node", NODES)? else { return Ok(None) };
        let node = NodeId::new(u8::try_from(found.value).expect("few nodes"));
        if !self.known.memories.iter().any(|memory| memory.node == node) {
            return Err(self.of.error(found.at, "node", "no memory is on that node"));
        }
        self.words.push_str(&format!(" node {}", node.get()));
        Ok(Some(node))
    }

    fn private(&mut self) -> Result<Action, HotplugError> {
        let pages = self.size("size")?;
        let node = self.node()?;
        let binding = match self.of.switch("only")? {
            Some(true) => Binding::Only(node),
            Some(false) | None => Binding::Near(node),
        };
        Ok(Action::Private(pages, binding))
    }

    fn guest(&mut self) -> Result<GuestStart, HotplugError> {
        let name = self.of.ident("guest")?;
        let Found { value, at } = self.of.need("guest", name)?;
        if self.known.guests().contains(&value) {
            return Err(self.of.error(at, "guest", format!("guest {value:?} runs already")));
        }
        let name = value.to_owned();
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

    /// A guest that a step before has started, and none has stopped.
    fn started(&mut self) -> Result<String, HotplugError> {
        let name = self.of.ident("guest")?;
        let Found { value, at } = self.of.need("guest", name)?;
        let names = self.known.guests();
        if !names.contains(&value) {
            return Err(self.of.error(at, "guest", format!("guest {}", unknown(value, &names))));
        }
        self.words.push_str(&format!(" {value}"));
        Ok(value.to_owned())
    }
}
