//! A machine whose memory comes and goes: the emulator and what hotplug knows, as one value.

use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::check::{Violation, same};
use pagelab_allocator::event::{Silent, Sink};
use pagelab_allocator::hotplug::add::{Accepted, AddMemory};
use pagelab_allocator::hotplug::capacity::Capacity;
use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::hotplug::memory_block::BlockId;
use pagelab_allocator::hotplug::memory_hotplug::MemoryHotplug;
use pagelab_allocator::hotplug::pagemap::Remap;
use pagelab_allocator::hotplug::printk::Log;
use pagelab_allocator::hotplug::range::Owner;
use pagelab_allocator::hotplug::spec::HotplugSpec;
use pagelab_allocator::online::OnlineTo;
use pagelab_allocator::units::{CpuId, NodeId, PageCount, PfnRange};

use crate::emulator::{Emulator, EmulatorSpec, SpecError};
use crate::hotplug::private_memory::PrivateMemory;
use crate::mover::Split;

/// Emulator and hotplug. Its methods are spread over files by subject.
#[derive(Clone, Debug)]
pub struct Host<S: Sink = Silent> {
    pub(crate) emulator: Emulator<S>,
    pub(crate) hot: MemoryHotplug,
    /// Pages that moved since boot because their memory went away.
    pub(crate) evacuated: PageCount,
    /// Private memory of guests, in runs.
    pub(crate) private: Vec<PfnRange>,
    /// Files of private memory.
    pub(crate) files: Vec<PrivateMemory>,
    /// Large folios that were split since boot, in order.
    splits: Vec<Split>,
}

impl<S: Sink> Host<S> {
    /// Boots a machine all of whose memory is online. A single CPU works on it.
    ///
    /// # Errors
    ///
    /// [`SpecError`] when the machine is impossible.
    pub fn new(
        machine: MachineSpec,
        hotplug: HotplugSpec,
        log: Log,
        sink: S,
    ) -> Result<Self, SpecError> {
        let zone_node = |range: &PfnRange| {
            let of = machine.zones.iter().find(|zone| zone.span.overlaps(*range));
            of.map_or(NodeId::new(0), |zone| zone.node)
        };
        let memory: Vec<_> =
            machine.memory.iter().map(|range| (zone_node(range), *range)).collect();
        let emulator = Emulator::new(&EmulatorSpec { machine, tags: None }, sink)?;
        let hot = MemoryHotplug::at_boot(emulator.page_alloc(), hotplug, &memory, log);
        let (evacuated, private, splits) = (PageCount::ZERO, Vec::new(), Vec::new());
        let files = Vec::new();
        let mut host = Self { emulator, hot, evacuated, private, files, splits };
        host.restrict_targets();
        Ok(host)
    }

    /// Pages and who uses them.
    #[must_use]
    pub const fn emulator(&self) -> &Emulator<S> {
        &self.emulator
    }

    /// Pages and who uses them, to use some.
    pub const fn emulator_mut(&mut self) -> &mut Emulator<S> {
        &mut self.emulator
    }

    /// Large folios that were split since boot, in order: whoever holds one holds its pages from
    /// then on. Guests look here themselves, so that nobody should take splits from the emulator.
    pub fn splits(&mut self) -> &[Split] {
        self.splits.extend(self.emulator.take_splits());
        &self.splits
    }

    /// Blocks, ranges, refusals, the log.
    #[must_use]
    pub const fn hot(&self) -> &MemoryHotplug {
        &self.hot
    }

    /// Blocks, ranges, refusals, the log, to install memory and to print.
    pub const fn hot_mut(&mut self) -> &mut MemoryHotplug {
        &mut self.hot
    }

    /// Pages that moved since boot because their memory went away.
    #[must_use]
    pub const fn evacuated(&self) -> PageCount {
        self.evacuated
    }

    /// Adds memory that firmware announced. Linux: `add_memory()`.
    ///
    /// # Errors
    ///
    /// See [`MemoryHotplug::add_memory`].
    pub fn add_memory(&mut self, add: AddMemory<'_>) -> Result<(), Errno> {
        let done = self.hot.add_memory(&mut self.emulator.memory.page_alloc, CpuId::BOOT, add);
        self.restrict_targets();
        done
    }

    /// Adds memory for a driver. Linux: `add_memory_driver_managed()`.
    ///
    /// # Errors
    ///
    /// See [`MemoryHotplug::add_memory_driver_managed`].
    pub fn add_memory_driver_managed(&mut self, add: AddMemory<'_>) -> Result<(), Errno> {
        let alloc = &mut self.emulator.memory.page_alloc;
        let done = self.hot.add_memory_driver_managed(alloc, CpuId::BOOT, add);
        self.restrict_targets();
        done
    }

    /// The second half of an addition whose checks were made before.
    ///
    /// # Errors
    ///
    /// See [`MemoryHotplug::commit_add`].
    pub fn commit_add(&mut self, accepted: Accepted) -> Result<(), Errno> {
        let done = self.hot.commit_add(&mut self.emulator.memory.page_alloc, CpuId::BOOT, accepted);
        self.restrict_targets();
        done
    }

    /// Onlines a block. Linux: `memory_block_online()`.
    ///
    /// # Errors
    ///
    /// See [`MemoryHotplug::online_block`].
    pub fn online_block(&mut self, id: BlockId, to: OnlineTo) -> Result<(), Errno> {
        let done = self.hot.online_block(&mut self.emulator.memory.page_alloc, id, to);
        self.restrict_targets();
        done
    }

    /// Offlines a block; says how many pages moved. Linux: `memory_block_offline()`.
    ///
    /// # Errors
    ///
    /// See [`Emulator::offline_block`].
    pub fn offline_block(&mut self, id: BlockId) -> Result<PageCount, Errno> {
        let before = self.emulator.mm_stats().pgmigrate_success;
        let gone = self.emulator.offline_block(CpuId::BOOT, &mut self.hot, id);
        // A block that stays may have been emptied of all but what kept it.
        let moved = self.emulator.mm_stats().pgmigrate_success - before;
        self.evacuated += PageCount::new(moved);
        self.restrict_targets();
        gone
    }

    /// Removes memory all of whose blocks are offline. Linux: `remove_memory()`.
    ///
    /// # Errors
    ///
    /// See [`MemoryHotplug::remove_memory`].
    pub fn remove_memory(&mut self, range: PfnRange, to: Owner) -> Result<(), Errno> {
        let alloc = &mut self.emulator.memory.page_alloc;
        self.hot.remove_memory(alloc, CpuId::BOOT, range, to)
    }

    /// Struct pages for a device's memory. Linux: `memremap_pages()`.
    ///
    /// # Errors
    ///
    /// See [`MemoryHotplug::memremap_pages`].
    pub fn memremap_pages(&mut self, remap: &Remap) -> Result<(), Errno> {
        self.hot.memremap_pages(&mut self.emulator.memory.page_alloc, CpuId::BOOT, remap)
    }

    /// Takes them away. Linux: `memunmap_pages()`.
    pub fn memunmap_pages(&mut self, range: PfnRange) {
        self.hot.memunmap_pages(&mut self.emulator.memory.page_alloc, CpuId::BOOT, range);
    }

    /// Where all the memory is.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        self.hot.capacity()
    }

    /// That no page got lost, and everything below agrees.
    ///
    /// # Errors
    ///
    /// The first [`Violation`].
    pub fn check(&self) -> Result<(), Violation> {
        self.emulator.check()?;
        let bulk: PageCount = self.private.iter().map(|run| run.len()).sum();
        let in_files: PageCount = self.files.iter().map(PrivateMemory::allocated).sum();
        same("private pages", self.capacity().private, bulk + in_files)?;
        self.hot.check(self.emulator.page_alloc())
    }
}
