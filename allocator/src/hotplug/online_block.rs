//! Onlining a memory block. Linux: `memory_block_online()`, `online_pages()`.

use crate::event::Sink;
use crate::hotplug::Hotplug;
use crate::hotplug::errno::Errno;
use crate::hotplug::memory_block::{BlockId, BlockState, MemoryBlock, Refused};
use crate::hotplug::memory_hotplug::MemoryHotplug;
use crate::hotplug::printk::Level;
use crate::hotplug::veto::EntryPoint;
use crate::online::OnlineTo;
use crate::page_alloc::PageAllocator;

impl MemoryHotplug {
    /// Onlines a block. Linux: writing `online` and its like to its state,
    /// `memory_block_online()`.
    ///
    /// # Errors
    ///
    /// [`Errno::NxIo`] when there is no such block, [`Errno::HwPoison`], [`Errno::Inval`] when it
    /// is online already or the node's zones have no room for it, and what the gate says; nothing
    /// has changed then.
    pub fn online_block<S: Sink>(
        &mut self,
        alloc: &mut PageAllocator<S>,
        id: BlockId,
        to: OnlineTo,
    ) -> Result<(), Errno> {
        let block = self.blocks.get(&id).ok_or(Errno::NxIo)?;
        if block.is_online() {
            return Err(Errno::Inval);
        }
        let MemoryBlock { range, node, group, .. } = *block;
        let (memmap, poisoned) = (block.memmap.inside(), block.poisoned);
        let kind = self.groups.zone_for(alloc, self.spec.policy, (node, range, group), to);
        if poisoned > 0 {
            return Err(Errno::HwPoison);
        }
        let Some(onlining) = alloc.start_online(node, range, kind) else {
            return Err(Errno::Inval);
        };
        self.phases.going_online += 1;
        let of = self.candidate(range, node);
        let verdict = self.spec.gate.online(self.view(), &of);
        if let Err(errno) = self.enforce(EntryPoint::Online, range, verdict) {
            self.phases.cancel_online += 1;
            alloc.cancel_online(onlining);
            let (start, last) = self.ends(range);
            self.print(
                Level::Debug,
                format!("online_pages [mem {start:#010x}-{last:#010x}] failed"),
            );
            self.set_state(id, BlockState::Offline, Refused::Yes);
            return Err(errno);
        }
        alloc.finish_online(onlining, memmap, &self.spec.tunables);
        if let Some(group) = group {
            self.groups.count(group, kind, range.len(), Hotplug::Joins);
        }
        self.phases.online += 1;
        self.set_state(id, BlockState::Online(kind), Refused::No);
        Ok(())
    }

    pub(crate) fn set_state(&mut self, id: BlockId, state: BlockState, refused: Refused) {
        if let Some(block) = self.blocks.get_mut(&id) {
            block.state = state;
            block.refused = refused;
        }
    }
}
