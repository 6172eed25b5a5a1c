//! Removing memory. Linux: `try_remove_memory()`.

use crate::event::Sink;
use crate::hotplug::errno::Errno;
use crate::hotplug::memory_block::MemoryBlock;
use crate::hotplug::memory_hotplug::MemoryHotplug;
use crate::hotplug::printk::Level;
use crate::hotplug::range::Owner;
use crate::page_alloc::PageAllocator;
use crate::units::{CpuId, Pfn, PfnRange};

impl MemoryHotplug {
    /// Removes memory all of whose blocks are offline; its frames are `to`'s then: a dax device's,
    /// or nobody's. Linux: `remove_memory()`.
    ///
    /// # Errors
    ///
    /// [`Errno::Busy`] and a warning when a block is online, [`Errno::Inval`] when the range is not
    /// whole blocks that are there, or cannot be `to`'s; nothing has changed then.
    pub fn remove_memory<S: Sink>(
        &mut self,
        alloc: &mut PageAllocator<S>,
        cpu: CpuId,
        range: PfnRange,
        to: Owner,
    ) -> Result<(), Errno> {
        let block = self.block.get();
        let aligned = |pfn: Pfn| pfn.get().is_multiple_of(block);
        if range.is_empty() || !aligned(range.start()) || !aligned(range.end()) {
            return Err(Errno::Inval);
        }
        let ids: Vec<_> = self.ids(range).collect();
        if ids.iter().any(|id| !self.blocks.contains_key(id)) {
            return Err(Errno::Inval);
        }
        if ids.iter().filter_map(|id| self.blocks.get(id)).any(MemoryBlock::is_online) {
            let (start, last) = self.ends(range);
            self.print(
                Level::Warn,
                format!("removing memory fails, because memory [{start:#x}-{last:#x}] is onlined"),
            );
            return Err(Errno::Busy);
        }
        if !matches!(to, Owner::DaxIdle | Owner::Free) {
            return Err(Errno::Inval);
        }
        self.ranges.give(range, to).map_err(|_| Errno::Inval)?;
        for id in ids {
            if let Some(block) = self.blocks.remove(&id) {
                block.memmap.free(alloc, cpu);
            }
        }
        self.memblock.remove(range);
        self.resources.release(range);
        Ok(())
    }
}
