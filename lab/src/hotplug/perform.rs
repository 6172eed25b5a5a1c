//! One step on a machine.

use pagelab_allocator::frame::Frame;
use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::hotplug::add::AddMemory;
use pagelab_allocator::hotplug::caps::{Caps, Origin};
use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::hotplug::gate::Driver;
use pagelab_allocator::hotplug::pagemap::{PagemapKind, PagemapMemmap, PagemapOps, Remap};
use pagelab_allocator::hotplug::platform::MemmapOnMemory;
use pagelab_allocator::hotplug::range::Owner;
use pagelab_allocator::units::{CpuId, NodeId, PageCount, PfnRange};
use pagelab_migrate::folio::{FolioId, PinTerm};
use pagelab_migrate::hotplug::actor::Attempts;
use pagelab_migrate::hotplug::dax::DaxDevice;
use pagelab_migrate::hotplug::interleavings::explore;
use pagelab_migrate::hotplug::pamt::Pamt;
use pagelab_migrate::hotplug::placement::Binding;
use rand::RngExt;
use rand::seq::SliceRandom;

use super::question::Question;
use super::runner::Run;
use super::step::{Action, Filling, GuestStart, Pages, Part, Spread};
use crate::size::Share;

const CPU: CpuId = CpuId::BOOT;

/// How a step ended.
type Done = Result<(), Errno>;

impl Run<'_> {
    /// Carries a step out, and counts errors.
    pub(super) fn perform(&mut self, action: &Action) -> Done {
        let done = match action {
            Action::Online(part, actor, to) => {
                let attempts = self.host.online_range(part.range, *actor, *to);
                return self.attempted(&attempts);
            }
            Action::Offline(part, actor) => {
                let attempts = self.host.offline_range(part.range, *actor);
                return self.attempted(&attempts);
            }
            Action::UseTags { guest, pages } => return self.use_tags(guest, *pages),
            Action::TdxInit => self.tdx_init(),
            Action::Bind(part, driver) => self.bind(*part, *driver),
            Action::Unbind(part) => self.unbind(*part),
            Action::Add(part) => self.add(*part),
            Action::AddCheck(part) => self.add_check(*part),
            Action::AddCommit(part) => self.add_commit(*part),
            Action::Memremap(part, kind, ops) => self.memremap(*part, *kind, *ops),
            Action::File(call, page) => self.file_call(*call, *page),
            Action::Ask(question, about) => self.ask(*question, *about),
            Action::Memunmap(part) => {
                self.host.memunmap_pages(part.range);
                Ok(())
            }
            Action::Attest(part, caps) => self.attest(*part, *caps),
            Action::Remove(part) => self.host.remove_memory(part.range, Owner::Free),
            Action::Demote { guest, pages, node } => self.demote(guest, *pages, *node),
            Action::PlugDimm { pages, node } => {
                self.host.plug_dimm(*pages, *node).map(|dimm| self.dimms.push(dimm))
            }
            Action::Private(pages, binding) => self.private(*pages, *binding),
            Action::Guest(start) => self.start_guest(start),
            Action::Race(_)
            | Action::Fill(..)
            | Action::Free(_)
            | Action::Pin(..)
            | Action::Unpin
            | Action::FreePrivate
            | Action::StopGuest(_)
            | Action::UnplugDimms
            | Action::Advance(_) => {
                self.always(action);
                Ok(())
            }
        };
        if let Err(errno) = done {
            self.refused(errno, 1);
        }
        done
    }

    /// Steps that cannot fail.
    fn always(&mut self, action: &Action) {
        match action {
            Action::Race(part) => self.race(*part),
            Action::Fill(part, filling) => self.fill(*part, *filling),
            Action::Free(part) => self.free(*part),
            Action::Pin(part, chance) => self.pin(part.range, *chance),
            Action::UnplugDimms => {
                let dimms = core::mem::take(&mut self.dimms);
                dimms.into_iter().for_each(|dimm| self.host.unplug_dimm(dimm));
            }
            Action::Unpin => {
                let pins = core::mem::take(&mut self.pinned);
                pins.into_iter()
                    .for_each(|id| self.host.emulator_mut().unpin(CPU, id, PinTerm::Short));
                self.tally.pinned = 0;
            }
            Action::FreePrivate => self.host.free_private(),
            Action::StopGuest(name) => {
                if let Some(guest) = self.guests.remove(name) {
                    self.stopped.0 += guest.exits;
                    self.stopped.1 += guest.lost;
                    self.host.stop_guest(guest);
                }
            }
            Action::Advance(ms) => self.host.hot_mut().log_mut().advance_ms(*ms),
            other => unreachable!("{other:?} can fail"),
        }
    }

    fn refused(&mut self, errno: Errno, times: u64) {
        *self.tally.refused.entry(errno).or_default() += times;
    }

    fn attempted(&mut self, attempts: &Attempts) -> Done {
        self.tally.blocks_tried += attempts.tried;
        self.tally.blocks_done += attempts.done;
        for (errno, times) in &attempts.errors {
            self.refused(*errno, *times);
        }
        attempts.error.map_or(Ok(()), Err)
    }

    fn tdx_init(&mut self) -> Done {
        let done = self.host.tdx_init(self.pamt())?;
        self.tally.moved_for_tdx += done.migrated;
        Ok(())
    }

    fn pamt(&self) -> Pamt {
        self.scenario.tdx.as_ref().map_or(Pamt::Static, |tdx| tdx.pamt)
    }

    /// Tries every order on copies; the machine stays as it is.
    fn race(&mut self, part: Part) {
        let add = self.addition(part);
        for outcome in explore(&self.host, add, self.pamt()) {
            self.tally.schedules_bad += u64::from(outcome.is_bad());
            self.tally.schedules.push(outcome);
        }
    }

    fn node(&self, part: Part) -> NodeId {
        self.scenario.memories[part.memory].node
    }

    fn device(&self, part: Part) -> DaxDevice {
        let memory = &self.scenario.memories[part.memory];
        let memmap = match memory.origin {
            Origin::Cxl => MemmapOnMemory::On,
            _ => MemmapOnMemory::Off,
        };
        DaxDevice { ranges: vec![part.range], node: Some(memory.node), memmap }
    }

    fn owner(&self, range: PfnRange) -> Option<Owner> {
        self.host.hot().ranges().inside(range).next().map(|piece| piece.owner)
    }

    /// Puts a dax device on a part; a region of CXL memory is made first. A part with a driver has
    /// to be unbound before.
    fn bind(&mut self, part: Part, driver: Driver) -> Done {
        let pieces: Vec<_> = self.host.hot().ranges().inside(part.range).collect();
        let taken = |owner| matches!(owner, Owner::Devdax | Owner::Blocks | Owner::Leaked);
        if pieces.iter().any(|piece| taken(piece.owner)) {
            return Err(Errno::Busy);
        }
        for piece in pieces.iter().filter(|piece| piece.owner == Owner::DaxIdle) {
            let freed = self.host.hot_mut().give(piece.of.range, Owner::Free);
            freed.map_err(|_| Errno::Inval)?;
        }
        let untouched = pieces.iter().all(|piece| piece.owner == Owner::Free);
        if untouched && self.scenario.memories[part.memory].origin == Origin::Cxl {
            self.host.create_region(part.range)?;
        }
        let device = self.device(part);
        self.host.create_dax(&device, driver).map(|_| ())
    }

    /// From now on memory can do more than was known.
    fn attest(&mut self, part: Part, caps: Caps) -> Done {
        let known = self.host.hot().ranges().describe(part.range).ok_or(Errno::Inval)?;
        let vouched = self.host.hot_mut().vouch(part.range, known.caps | caps);
        vouched.map_err(|_| Errno::Inval)
    }

    fn unbind(&mut self, part: Part) -> Done {
        let device = self.device(part);
        match self.owner(self.host.whole_blocks(part.range)) {
            Some(Owner::Blocks) => self.host.kmem_remove(&device),
            _ => self.host.devdax_remove(&device),
        }
    }

    fn addition(&mut self, part: Part) -> AddMemory<'static> {
        let node = self.node(part);
        let group = Some(self.host.hot_mut().groups_mut().register(node, part.range.len()));
        let memmap = MemmapOnMemory::On;
        AddMemory { range: part.range, node, name: "System RAM", group, memmap }
    }

    fn add(&mut self, part: Part) -> Done {
        let add = self.addition(part);
        self.host.add_memory(add)
    }

    fn add_check(&mut self, part: Part) -> Done {
        let add = self.addition(part);
        let accepted = self.host.hot_mut().check_add(add)?;
        self.accepted.insert(part.memory, accepted);
        Ok(())
    }

    fn add_commit(&mut self, part: Part) -> Done {
        let accepted = self.accepted.remove(&part.memory).ok_or(Errno::Inval)?;
        self.host.commit_add(accepted)
    }

    fn ask(&self, question: Question, about: Option<Part>) -> Done {
        let ranges = self.host.hot().ranges();
        let of = about.and_then(|part| ranges.describe(part.range));
        let caps = of.map_or(Caps::empty(), |of| of.caps);
        question.ask(self.host.hot().platform().mte, caps)
    }

    fn memremap(&mut self, part: Part, kind: PagemapKind, ops: PagemapOps) -> Done {
        self.host.memremap_pages(&Remap {
            ranges: vec![part.range],
            node: self.node(part),
            kind,
            ops,
            memmap: PagemapMemmap::Compound,
        })
    }

    /// Pages of a range that the allocator has.
    fn online(&self, range: PfnRange) -> u64 {
        let hot = self.host.hot();
        let blocks = hot.ids(range).filter_map(|id| hot.block(id));
        let given = blocks.filter(|block| block.is_online()).map(|block| block.given());
        let pieces = given.filter_map(|given| given.intersect(range));
        let there = pieces.flat_map(|given| hot.ranges().inside(given));
        there.map(|piece| piece.of.range.len().get()).sum()
    }

    /// Allocates on the part's node; what lies elsewhere goes back at the end.
    fn fill(&mut self, part: Part, filling: Filling) {
        let gfp = match filling.pages {
            Pages::Movable => GfpFlags::HIGHUSER_MOVABLE,
            Pages::Unmovable => GfpFlags::KERNEL,
        };
        let gfp = gfp | GfpFlags::NOWARN;
        let size = filling.order.pages().get();
        let all = self.online(part.range) / size;
        let wanted = scaled(all, filling.share);
        let first = if filling.spread == Spread::Packed { wanted } else { all };
        let nodes = [self.node(part)];
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        while u64::try_from(inside.len()).is_ok_and(|len| len < first) {
            let Ok(id) = self.host.allocate(filling.order, gfp, &nodes) else { break };
            let pfn = self.host.emulator().folios()[id].pfn();
            if part.range.contains(pfn) { &mut inside } else { &mut outside }.push(id);
        }
        if filling.spread == Spread::Scattered {
            inside.shuffle(&mut self.rng);
            let keep = usize::try_from(wanted).unwrap_or(usize::MAX).min(inside.len());
            outside.extend(inside.split_off(keep));
        }
        outside.into_iter().for_each(|id| self.host.emulator_mut().free(CPU, id));
        let got = u64::try_from(inside.len()).unwrap_or(u64::MAX);
        self.tally.filled += PageCount::new(got * size);
        self.tally.unfilled += PageCount::new(wanted.saturating_sub(got) * size);
        self.filled.push((part, inside));
    }

    /// Frees what is not pinned.
    fn free(&mut self, part: Part) {
        let (own, others) = self.filled.drain(..).partition(|(filled, _)| *filled == part);
        self.filled = others;
        for id in Vec::into_iter(own).flat_map(|(_, ids): (Part, Vec<FolioId>)| ids) {
            if !self.pinned.contains(&id) {
                self.host.emulator_mut().free(CPU, id);
            }
        }
    }

    fn pin(&mut self, range: PfnRange, chance: Share) {
        let order = self.scenario.machine.geometry.pageblock_order();
        let odds = u32::from(chance.per_10_000());
        for block in range.blocks(order) {
            if !self.rng.random_ratio(odds, u32::from(Share::ALL)) {
                continue;
            }
            let found = self.movable_in(PfnRange::block(block, order));
            let Some(id) = found.filter(|id| !self.pinned.contains(id)) else { continue };
            if self.host.emulator_mut().pin(CPU, id, PinTerm::Short).is_ok() {
                self.pinned.push(id);
                self.tally.pinned += 1;
            }
        }
    }

    /// The first movable folio of a pageblock.
    fn movable_in(&self, block: PfnRange) -> Option<FolioId> {
        let emulator = self.host.emulator();
        let mut pfn = block.start();
        while pfn < block.end() {
            let frame: Frame = emulator.frame(pfn);
            let found = emulator.folio_at(pfn);
            if let Some(id) = found.filter(|id| emulator.folios()[*id].is_movable()) {
                return Some(id);
            }
            pfn = frame.next(pfn);
        }
        None
    }

    fn private(&mut self, pages: PageCount, binding: Binding) -> Done {
        let got = self.host.allocate_private(pages, binding);
        let short = pages.saturating_sub(got);
        self.tally.private_short += short;
        if short > PageCount::ZERO { Err(Errno::NoMem) } else { Ok(()) }
    }

    fn start_guest(&mut self, start: &GuestStart) -> Done {
        let folios = start.pages.get() >> start.order.get();
        let guest = self.host.start_guest(folios, start.order, start.tags, start.node)?;
        if let Some(old) = self.guests.insert(start.name.clone(), guest) {
            self.host.stop_guest(old);
        }
        Ok(())
    }

    /// Folios of a guest that make up so many pages.
    fn count(&self, guest: &str, pages: PageCount) -> usize {
        let Some(guest) = self.guests.get(guest) else { return 0 };
        let Some(first) = guest.pages.first() else { return 0 };
        let order = self.host.emulator().folios()[first.folio].order();
        let folios = usize::try_from(pages.get() >> order.get()).unwrap_or(usize::MAX);
        folios.min(guest.pages.len())
    }

    /// Demotes to a node, or to the tier below that of the guest's first page.
    fn demote(&mut self, name: &str, pages: PageCount, to: Option<NodeId>) -> Done {
        let count = self.count(name, pages);
        let guest = self.guests.get_mut(name).ok_or(Errno::Inval)?;
        let home = guest.pages.first().and_then(|page| self.host.node_of(page.folio));
        let below = || self.host.tiers().demotion_target(home?);
        let to = to.or_else(below).ok_or(Errno::Inval)?;
        let done = self.host.demote(guest, 0..count, to);
        self.tally.demoted += done.moved;
        self.tally.barred += done.refused;
        Ok(())
    }

    fn use_tags(&mut self, name: &str, pages: PageCount) -> Done {
        if !self.guests.contains_key(name) {
            self.refused(Errno::Inval, 1);
            return Err(Errno::Inval);
        }
        let count = self.count(name, pages);
        let mut done = Ok(());
        for at in 0..count {
            let Some(guest) = self.guests.get_mut(name) else { break };
            match self.host.use_tags(guest, at) {
                Ok(moved) => self.tally.promoted += moved,
                Err(errno) => {
                    self.refused(errno, 1);
                    done = done.and(Err(errno));
                }
            }
        }
        done
    }
}

fn scaled(all: u64, share: Share) -> u64 {
    let part = u128::from(all) * u128::from(share.per_10_000()) / u128::from(Share::ALL);
    u64::try_from(part).expect("no more than all")
}
