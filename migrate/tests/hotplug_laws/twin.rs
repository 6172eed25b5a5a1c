//! The naive twin: one owner for each quarter of a block, one state for each block.

use pagelab_migrate::allocator::event::Silent;
use pagelab_migrate::allocator::hotplug::capacity::Capacity;
use pagelab_migrate::allocator::hotplug::memory_block::{BlockState, MemoryBlock, Refused};
use pagelab_migrate::allocator::hotplug::platform::AutoOnline;
use pagelab_migrate::allocator::hotplug::range::{Owner, Stranded};
use pagelab_migrate::allocator::units::{PageCount, Pfn, PfnRange};
use pagelab_migrate::hotplug::actor::{Actor, Attempts};
use pagelab_migrate::hotplug::host::Host;

use crate::machine::{GRAINS, Setting};

/// What a memory block is to the twin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Absent,
    Offline,
    Limbo,
    Online,
}

impl State {
    fn of(block: Option<&MemoryBlock>) -> Self {
        let Some(block) = block else { return Self::Absent };
        match (block.state, block.refused) {
            (BlockState::Online(_), _) => Self::Online,
            (BlockState::Offline, Refused::Yes) => Self::Limbo,
            (BlockState::Offline, Refused::No) => Self::Offline,
        }
    }

    fn may_become(self, next: Self) -> bool {
        use State::{Limbo, Offline, Online};
        self == next || matches!((self, next), (Offline | Limbo, Online | Limbo))
    }
}

/// Something that the twin gets wrong, for canaries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    None,
    /// Struct pages are nobody's.
    ForgetsMetadata,
    /// Less than a block stays with its device.
    ForgetsTails,
    /// What was refused is as good as what nobody tried.
    ForgetsRefusals,
    /// Memory that is taken from its driver while online comes back.
    ForgetsLeaks,
}

#[derive(Clone, Debug)]
pub(crate) struct Twin {
    start: Pfn,
    block: u64,
    auto: AutoOnline,
    fault: Fault,
    pub(crate) owners: Vec<Owner>,
    pub(crate) states: Vec<State>,
}

impl Twin {
    pub(crate) fn new(setting: &Setting, fault: Fault) -> Self {
        let all = setting.all();
        let blocks = all.len().get() / setting.block;
        let boot = setting.boot().len().get() / setting.block;
        let owner = |at: u64| if at < boot * GRAINS { Owner::Blocks } else { Owner::Free };
        let state = |at: u64| if at < boot { State::Online } else { State::Absent };
        Self {
            start: all.start(),
            block: setting.block,
            auto: setting.auto_online,
            fault,
            owners: (0..blocks * GRAINS).map(owner).collect(),
            states: (0..blocks).map(state).collect(),
        }
    }

    fn grains(&self, range: PfnRange) -> core::ops::Range<usize> {
        let grain = self.block / GRAINS;
        let at = |pfn: Pfn| usize::try_from((pfn - self.start).get() / grain).expect("few");
        at(range.start())..at(range.end())
    }

    fn ids(&self, range: PfnRange) -> core::ops::Range<usize> {
        let at = |pfn: Pfn| usize::try_from((pfn - self.start).get() / self.block).expect("few");
        at(range.start())..at(range.end())
    }

    /// Whether every quarter of a range has such an owner.
    pub(crate) fn all(&self, range: PfnRange, is: impl Fn(Owner) -> bool) -> bool {
        self.owners[self.grains(range)].iter().all(|owner| is(*owner))
    }

    pub(crate) fn give(&mut self, range: PfnRange, to: Owner) {
        let grains = self.grains(range);
        self.owners[grains].fill(to);
    }

    /// Whether a range is whole blocks that are all there.
    fn has_blocks(&self, range: PfnRange) -> bool {
        let whole = |pfn: Pfn| (pfn - self.start).get().is_multiple_of(self.block);
        whole(range.start())
            && whole(range.end())
            && self.states[self.ids(range)].iter().all(|state| *state != State::Absent)
    }

    pub(crate) fn is_online(&self, range: PfnRange) -> bool {
        self.has_blocks(range) && self.states[self.ids(range)].contains(&State::Online)
    }

    /// Memory was added: new blocks, of which the first ones may be online.
    pub(crate) fn added(&mut self, host: &Host<Silent>, range: PfnRange) -> Result<(), String> {
        if !self.all(range, |owner| matches!(owner, Owner::Free | Owner::DaxIdle)) {
            return Err(format!("{range} was added and was not free"));
        }
        self.give(range, Owner::Blocks);
        let ids = self.ids(range);
        self.states[ids.clone()].fill(State::Offline);
        if self.auto == AutoOnline::Offline {
            return Ok(());
        }
        let mut failed = false;
        for at in ids {
            let now = self.now(host, at);
            if failed && now != State::Offline {
                return Err(format!("block {at} was tried after one that failed"));
            }
            failed |= now != State::Online;
            self.states[at] = if self.forgets(now) { State::Offline } else { now };
        }
        Ok(())
    }

    fn forgets(&self, state: State) -> bool {
        self.fault == Fault::ForgetsRefusals && state == State::Limbo
    }

    fn now(&self, host: &Host<Silent>, at: usize) -> State {
        let first = self.start + PageCount::new(self.block * at as u64);
        let one = PfnRange::from_len(first, PageCount::new(self.block));
        State::of(host.hot().ids(one).next().and_then(|id| host.hot().block(id)))
    }

    /// Somebody onlined blocks: as many as it says.
    pub(crate) fn onlined(
        &mut self,
        host: &Host<Silent>,
        range: PfnRange,
        actor: Actor,
        attempts: Attempts,
    ) -> Result<(), String> {
        let ids = self.ids(range);
        let there = self.states[ids.clone()].iter().filter(|state| **state != State::Absent);
        let there = there.count() as u64;
        let (mut done, mut failed) = (0, false);
        for at in ids {
            let (before, now) = (self.states[at], self.now(host, at));
            if !before.may_become(now) {
                return Err(format!("block {at} went from {before:?} to {now:?}"));
            }
            if actor == Actor::Daxctl && failed && now != before {
                return Err(format!("block {at} was tried after one that failed"));
            }
            failed |= now == State::Limbo || (now == State::Offline && before == now);
            done += u64::from(now != before && now == State::Online);
            self.states[at] = if self.forgets(now) { State::Offline } else { now };
        }
        let tried = if actor == Actor::Udev { there } else { attempts.tried };
        same("blocks onlined", (attempts.tried, attempts.done), (tried, done))
    }

    pub(crate) fn offlined(
        &mut self,
        host: &Host<Silent>,
        range: PfnRange,
        attempts: Attempts,
    ) -> Result<(), String> {
        let mut done = 0;
        for at in self.ids(range) {
            let (before, now) = (self.states[at], self.now(host, at));
            if before == State::Online && now == State::Offline {
                done += 1;
                self.states[at] = now;
            }
        }
        same("blocks offlined", attempts.done, done)
    }

    /// Memory was removed.
    pub(crate) fn removed(&mut self, range: PfnRange, to: Owner) -> Result<(), String> {
        let ours = self.all(range, |owner| owner == Owner::Blocks);
        if !ours || !self.has_blocks(range) || self.is_online(range) {
            return Err(format!("{range} was removed and was not offline"));
        }
        let ids = self.ids(range);
        self.states[ids].fill(State::Absent);
        self.give(range, to);
        Ok(())
    }

    /// A driver left a range: its blocks are gone, or stay for good.
    pub(crate) fn unbound(&mut self, range: PfnRange, whole: PfnRange) -> Result<(), String> {
        let ours = self.all(whole, |owner| owner == Owner::Blocks);
        if whole.is_empty() || !ours || !self.has_blocks(whole) {
            return Ok(());
        }
        if !self.is_online(whole) {
            self.removed(whole, Owner::DaxIdle)?;
        } else if self.fault != Fault::ForgetsLeaks {
            self.give(whole, Owner::Leaked);
        }
        let tail = Owner::Stranded(Stranded::Tail);
        for part in range.without(whole) {
            if self.all(part, |owner| owner == tail) {
                self.give(part, Owner::DaxIdle);
            }
        }
        Ok(())
    }

    pub(crate) fn strand_tails(&mut self, range: PfnRange, whole: PfnRange) {
        if self.fault != Fault::ForgetsTails {
            let inside = self.grains(whole);
            for at in self.grains(range).filter(|at| !inside.contains(at)) {
                self.owners[at] = Owner::Stranded(Stranded::Tail);
            }
        }
    }

    /// Compares everything.
    pub(crate) fn agrees(&self, host: &Host<Silent>) -> Result<(), String> {
        let grain = self.block / GRAINS;
        for (at, expected) in self.owners.iter().enumerate() {
            let start = self.start + PageCount::new(grain * at as u64);
            let one = PfnRange::from_len(start, PageCount::new(grain));
            let found: Vec<_> = host.hot().ranges().inside(one).map(|piece| piece.owner).collect();
            same(&format!("owner of quarter {at}"), found, vec![*expected])?;
        }
        for (at, expected) in self.states.iter().enumerate() {
            same(&format!("block {at}"), self.now(host, at), *expected)?;
        }
        self.counts(host)
    }

    /// The parts of all memory, counted from the vectors.
    fn counts(&self, host: &Host<Silent>) -> Result<(), String> {
        let capacity = self.seen(host.capacity());
        let sum: PageCount = capacity.parts().iter().map(|(_, pages)| *pages).sum();
        let all = PageCount::new(self.block * self.states.len() as u64);
        same("all memory", (sum, capacity.installed), (all, all))?;
        let grain = self.block / GRAINS;
        let stranded = self.owners.iter().filter(|owner| matches!(owner, Owner::Stranded(_)));
        let most = PageCount::new(stranded.count() as u64 * grain);
        let inside = |state: State| {
            let ids = (0..self.states.len()).filter(move |at| self.states[*at] == state);
            ids.count() as u64 * self.block
        };
        let own = self.own_struct_pages(host);
        for (what, found, expected) in [
            ("limbo", capacity.limbo, inside(State::Limbo) - own(State::Limbo)),
            ("offline", capacity.offline, inside(State::Offline) - own(State::Offline)),
        ] {
            same(what, found.get(), expected)?;
        }
        let taken = host.hot().memmap_pages() + capacity.private;
        let buddy = inside(State::Online) - own(State::Online);
        let tables = buddy.checked_sub((capacity.buddy + taken).get());
        if tables.is_none() || capacity.stranded > most {
            return Err(format!("too much: {capacity:?}"));
        }
        Ok(())
    }

    /// Pages of blocks in a state that hold their own struct pages.
    fn own_struct_pages(&self, host: &Host<Silent>) -> impl Fn(State) -> u64 {
        let of = |(_, block): (_, &MemoryBlock)| (State::of(Some(block)), block.memmap.inside());
        let own: Vec<_> = host.hot().blocks().map(of).collect();
        move |state| {
            let pages = own.iter().filter(|(of, _)| *of == state).map(|(_, pages)| pages.get());
            pages.sum()
        }
    }

    fn seen(&self, capacity: Capacity) -> Capacity {
        match self.fault {
            Fault::ForgetsMetadata => Capacity { metadata: PageCount::ZERO, ..capacity },
            _ => capacity,
        }
    }
}

pub(crate) fn same<T: PartialEq + core::fmt::Debug>(
    what: &str,
    found: T,
    expected: T,
) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: {found:?}, and the twin says {expected:?}"))
}
