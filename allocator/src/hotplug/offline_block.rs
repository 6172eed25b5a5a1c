//! Offlining a memory block, but for emptying it. Linux: `memory_block_offline()`,
//! `offline_pages()`.

use crate::event::Sink;
use crate::hotplug::Hotplug;
use crate::hotplug::errno::Errno;
use crate::hotplug::gate::Verdict;
use crate::hotplug::memory_block::{BlockId, BlockState, Early, Refused};
use crate::hotplug::memory_hotplug::MemoryHotplug;
use crate::hotplug::platform::BootMemory;
use crate::hotplug::printk::Level;
use crate::hotplug::veto::{EntryPoint, Why};
use crate::page_alloc::PageAllocator;
use crate::units::{PageCount, PfnRange};

/// Why offlining failed, as the kernel says it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum OfflineFailure {
    /// Frames of the block are no memory.
    MemoryHoles,
    /// Its frames belong to several zones.
    MultizoneRange,
    /// Something in it can never move.
    Isolate,
    /// Somebody vetoed it.
    Notifier,
    /// Whoever asked for it gave up: something did not move, however often it was tried.
    Signal,
    /// Something in it turned out to be unmovable.
    UnmovablePage,
    /// No memory for what would have to move.
    NoTarget,
}

impl OfflineFailure {
    /// The kernel's words.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::MemoryHoles => "memory holes",
            Self::MultizoneRange => "multizone range",
            Self::Isolate => "failure to isolate range",
            Self::Notifier => "notifier failure",
            Self::Signal | Self::NoTarget => "signal backoff",
            Self::UnmovablePage => "unmovable page",
        }
    }

    /// What the caller gets.
    #[must_use]
    pub const fn errno(self) -> Errno {
        match self {
            Self::MemoryHoles | Self::MultizoneRange => Errno::Inval,
            Self::Isolate | Self::UnmovablePage => Errno::Busy,
            Self::Notifier => Errno::Perm,
            Self::Signal | Self::NoTarget => Errno::Intr,
        }
    }
}

/// What has to be emptied for a block to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GoingOffline {
    /// All of the block.
    pub range: PfnRange,
    /// Pages at its front that hold its struct pages, and stay.
    pub memmap: PageCount,
}

impl GoingOffline {
    /// What was handed over, and has to come back.
    #[must_use]
    pub fn given(self) -> PfnRange {
        PfnRange::new(self.range.start() + self.memmap, self.range.end())
    }
}

impl MemoryHotplug {
    /// The checks before anything is isolated.
    ///
    /// # Errors
    ///
    /// [`Errno::NxIo`] when there is no such block, [`Errno::Inval`] when it is offline already, or
    /// that of [`OfflineFailure::MemoryHoles`] and
    /// [`OfflineFailure::MultizoneRange`].
    pub fn start_offline<S: Sink>(
        &mut self,
        alloc: &PageAllocator<S>,
        id: BlockId,
    ) -> Result<GoingOffline, Errno> {
        let block = self.blocks.get(&id).ok_or(Errno::NxIo)?;
        if !block.is_online() {
            return Err(Errno::Inval);
        }
        let (range, memmap) = (block.range, block.memmap.inside());
        if block.present != range.len() {
            return Err(self.cancel_offline(id, OfflineFailure::MemoryHoles));
        }
        let zone = alloc.zone_index(range.start());
        let mut pageblocks = range.blocks(self.geometry.pageblock_order());
        if !pageblocks.all(|pfn| alloc.zone_index(pfn) == zone) {
            return Err(self.cancel_offline(id, OfflineFailure::MultizoneRange));
        }
        Ok(GoingOffline { range, memmap })
    }

    /// Asks whoever has a say, once the block is isolated. Linux: `MEM_GOING_OFFLINE`.
    ///
    /// # Errors
    ///
    /// [`OfflineFailure::Notifier`]; the isolation has to be undone then.
    pub fn going_offline(&mut self, id: BlockId) -> Result<(), OfflineFailure> {
        self.phases.going_offline += 1;
        let block = &self.blocks[&id];
        let range = block.range;
        let stays = self.spec.platform.arch.boot_memory() == BootMemory::Stays;
        if block.early == Early::Yes && stays {
            let (start, end) = self.bytes(range);
            self.print(Level::Warn, format!("Boot memory [{start:x} {end:x}] offlining attempted"));
            let verdict = Verdict::refuse(Why::BootMemory, Errno::Perm);
            let vetoed = self.enforce(EntryPoint::Offline, range, verdict);
            return vetoed.map_err(|_| OfflineFailure::Notifier);
        }
        Ok(())
    }

    /// Says why a block stays, and gives the error number.
    pub fn cancel_offline(&mut self, id: BlockId, failure: OfflineFailure) -> Errno {
        if !matches!(
            failure,
            OfflineFailure::MemoryHoles | OfflineFailure::MultizoneRange | OfflineFailure::Isolate
        ) {
            self.phases.cancel_offline += 1;
        }
        let (start, last) = self.ends(self.range_of(id));
        let reason = failure.reason();
        self.print(
            Level::Debug,
            format!("memory offlining [mem {start:#010x}-{last:#010x}] failed due to {reason}"),
        );
        failure.errno()
    }

    /// Counts a block as offline whose pages have left the allocator.
    ///
    /// # Panics
    ///
    /// Panics when there is no such block.
    pub fn finish_offline(&mut self, id: BlockId) {
        let block = &self.blocks[&id];
        if let (BlockState::Online(kind), Some(group)) = (block.state, block.group) {
            self.groups.count(group, kind, block.range.len(), Hotplug::Leaves);
        }
        self.phases.offline += 1;
        self.set_state(id, BlockState::Offline, Refused::No);
    }
}
