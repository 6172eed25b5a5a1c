//! Who onlines blocks from user space.

use std::collections::BTreeMap;

use pagelab_allocator::event::Sink;
use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::hotplug::memory_block::{BlockId, MemoryBlock};
use pagelab_allocator::online::OnlineTo;
use pagelab_allocator::units::{PageCount, PfnRange};

use crate::hotplug::host::Host;

/// A program that writes to the state of memory blocks, one after the other, ascending.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Actor {
    /// A udev rule or a loop in a shell: tries every block, whatever happens to the others.
    Udev,
    /// daxctl of ndctl v81: stops at the first block that fails, and says so.
    Daxctl,
}

/// What became of a program's attempts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Attempts {
    /// Blocks whose state was written.
    pub tried: u64,
    /// Of those, without an error.
    pub done: u64,
    /// The first error.
    pub error: Option<Errno>,
    /// How often each error came.
    pub errors: BTreeMap<Errno, u64>,
    /// Pages that moved on the way, for blocks that stayed, too.
    pub moved: PageCount,
}

impl Attempts {
    fn note(&mut self, outcome: Result<(), Errno>) {
        self.tried += 1;
        match outcome {
            Ok(()) => self.done += 1,
            Err(errno) => {
                self.error.get_or_insert(errno);
                *self.errors.entry(errno).or_default() += 1;
            }
        }
    }

    /// Blocks that failed.
    #[must_use]
    pub const fn failed(&self) -> u64 {
        self.tried - self.done
    }
}

impl<S: Sink> Host<S> {
    /// Onlines the blocks of a range. daxctl leaves those alone that are online; to a loop they are
    /// errors.
    pub fn online_range(&mut self, range: PfnRange, actor: Actor, to: OnlineTo) -> Attempts {
        let state = |block: &MemoryBlock| block.is_online();
        self.each_block(range, (actor, state), |host, id| host.online_block(id, to))
    }

    /// Offlines the blocks of a range, in the same way.
    pub fn offline_range(&mut self, range: PfnRange, actor: Actor) -> Attempts {
        let state = |block: &MemoryBlock| !block.is_online();
        self.each_block(range, (actor, state), |host, id| host.offline_block(id).map(drop))
    }

    /// Writes to the state of every block that there is and that is not `already` so.
    fn each_block(
        &mut self,
        range: PfnRange,
        (actor, already): (Actor, fn(&MemoryBlock) -> bool),
        mut write: impl FnMut(&mut Self, BlockId) -> Result<(), Errno>,
    ) -> Attempts {
        let (mut attempts, before) = (Attempts::default(), self.evacuated);
        for id in self.hot.ids(range) {
            match self.hot.block(id) {
                None => continue,
                Some(block) if actor == Actor::Daxctl && already(block) => continue,
                Some(_) => attempts.note(write(self, id)),
            }
            if actor == Actor::Daxctl && attempts.error.is_some() {
                break;
            }
        }
        attempts.moved = self.evacuated.saturating_sub(before);
        attempts
    }
}
