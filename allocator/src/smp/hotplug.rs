//! Memory that comes and goes while several threads look.
//!
//! One lock orders whoever adds memory, gives it to a device or takes a snapshot of it. What is
//! checked before it is taken may be old when it is acted upon: whether that matters is what the
//! models in `loom-tests/` show. Linux: `device_hotplug_lock`, `mem_hotplug_lock`.

use crate::hotplug::add::AddMemory;
use crate::hotplug::errno::Errno;
use crate::hotplug::gate::Checked;
use crate::hotplug::memory_block::BlockId;
use crate::hotplug::memory_hotplug::MemoryHotplug;
use crate::hotplug::pagemap::Remap;
use crate::hotplug::range::Owner;
use crate::hotplug::tdx::Tdx;
use crate::online::OnlineTo;
use crate::page_alloc::PageAllocator;
use crate::smp::{Step, Steps};
use crate::sync::Mutex;
use crate::units::CpuId;

/// Hotplug behind its lock, with the allocator of a machine that nobody else drives.
#[derive(Debug)]
pub struct SharedHotplug {
    state: Mutex<(MemoryHotplug, PageAllocator)>,
    steps: Steps<Step>,
}

impl SharedHotplug {
    /// Puts hotplug behind a lock.
    #[must_use]
    pub fn new(hot: MemoryHotplug, alloc: PageAllocator) -> Self {
        Self { state: Mutex::new((hot, alloc)), steps: Steps::ALL }
    }

    /// The same with a step of its protocols left out: for canaries.
    #[cfg(any(all(loom, feature = "loom"), all(shuttle, feature = "shuttle")))]
    #[doc(hidden)]
    #[must_use]
    pub fn new_without(hot: MemoryHotplug, alloc: PageAllocator, step: Step) -> Self {
        Self { state: Mutex::new((hot, alloc)), steps: Steps::without(step) }
    }

    /// Adds memory. A gate that decides before the lock is asked before the lock.
    /// Linux: `add_memory_resource()`.
    ///
    /// # Errors
    ///
    /// See [`MemoryHotplug::add_memory`].
    pub fn add_memory(&self, add: AddMemory<'_>) -> Result<(), Errno> {
        let mut state = self.state.lock();
        let accepted = state.0.check_add(add)?;
        if state.0.gate().add_checked() == Checked::BeforeLock {
            drop(state);
            state = self.state.lock();
        }
        let (hot, alloc) = &mut *state;
        hot.commit_add(alloc, CpuId::BOOT, accepted)
    }

    /// Onlines a block. Linux: `memory_block_online()`.
    ///
    /// # Errors
    ///
    /// See [`MemoryHotplug::online_block`].
    pub fn online_block(&self, id: BlockId, to: OnlineTo) -> Result<(), Errno> {
        let (hot, alloc) = &mut *self.state.lock();
        hot.online_block(alloc, id, to)
    }

    /// Takes a snapshot of memory and turns TDX on, if all of it is convertible; its tables are
    /// left out here. Linux: `init_tdx_module()` under `get_online_mems()`.
    ///
    /// # Errors
    ///
    /// [`Errno::NxIo`] on a platform without TDX, [`Errno::Io`] when some memory is not
    /// convertible.
    pub fn init_tdx(&self) -> Result<(), Errno> {
        let mut state = self.state.lock();
        let snapshot = Tdx::snapshot(state.0.memblock());
        if !self.steps.has(Step::InitHoldsLock) {
            drop(state);
            state = self.state.lock();
        }
        let tdx = state.0.tdx_mut().ok_or(Errno::NxIo)?;
        if snapshot.iter().all(|piece| tdx.is_convertible(piece.range)) {
            tdx.initialized(snapshot);
            return Ok(());
        }
        tdx.failed(Errno::Io);
        Err(Errno::Io)
    }

    /// Struct pages for a device's memory, which is the device's from then on.
    /// Linux: `memremap_pages()` after `request_mem_region()`.
    ///
    /// # Errors
    ///
    /// See [`MemoryHotplug::memremap_pages`]; [`Errno::Busy`] when somebody else has the memory.
    /// The memory is the device's no more then, if it was.
    pub fn memremap_pages(&self, remap: &Remap) -> Result<(), Errno> {
        let mut state = self.state.lock();
        for &range in &remap.ranges {
            state.0.check_pagemap(remap, range)?;
        }
        let takes = self.steps.has(Step::RemapTakesRange);
        let idle = |owner| owner == Owner::DaxIdle;
        if takes && !remap.ranges.iter().all(|range| state.0.ranges().is_owned(*range, idle)) {
            return Err(Errno::Busy);
        }
        if takes {
            give_all(&mut state.0, remap, Owner::Devdax)?;
        }
        drop(state);
        let (hot, alloc) = &mut *self.state.lock();
        let mut ranges = remap.ranges.iter();
        let made = ranges.try_for_each(|&of| hot.commit_pagemap(alloc, CpuId::BOOT, remap, of));
        if made.is_err() && takes {
            remap.ranges.iter().for_each(|of| hot.memunmap_pages(alloc, CpuId::BOOT, *of));
            give_all(hot, remap, Owner::DaxIdle)?;
        }
        made
    }

    /// Looks at everything while nobody changes it.
    pub fn with<T>(&self, look: impl FnOnce(&MemoryHotplug, &PageAllocator) -> T) -> T {
        let (hot, alloc) = &*self.state.lock();
        look(hot, alloc)
    }
}

fn give_all(hot: &mut MemoryHotplug, remap: &Remap, to: Owner) -> Result<(), Errno> {
    remap.ranges.iter().try_for_each(|range| hot.give(*range, to).map_err(|_| Errno::Busy))
}
