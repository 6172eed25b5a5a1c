//! Adding memory. Linux: `add_memory_resource()`.

use crate::event::Sink;
use crate::hotplug::caps::{Caps, Origin};
use crate::hotplug::errno::Errno;
use crate::hotplug::gate::{Candidate, Checked, Extends};
use crate::hotplug::group::GroupId;
use crate::hotplug::memblock::{DriverManaged, MemblockRegion};
use crate::hotplug::memory_block::{BlockState, Early, MemoryBlock, Refused};
use crate::hotplug::memory_hotplug::MemoryHotplug;
use crate::hotplug::platform::{AutoOnline, MemmapOnMemory, Phase};
use crate::hotplug::printk::Level;
use crate::hotplug::range::{MemoryRange, Owner};
use crate::hotplug::tdx::TdxMemblock;
use crate::hotplug::veto::EntryPoint;
use crate::hotplug::vmemmap::Memmap;
use crate::online::OnlineTo;
use crate::page_alloc::PageAllocator;
use crate::units::{CpuId, NodeId, PageCount, Pfn, PfnRange};

/// Memory that somebody adds. Linux: the arguments of `add_memory_driver_managed()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AddMemory<'a> {
    /// The frames.
    pub range: PfnRange,
    /// Their node.
    pub node: NodeId,
    /// What the resource is called: `System RAM`, or `System RAM (kmem)` of a driver.
    pub name: &'a str,
    /// What else comes and goes with it. Linux: `MHP_NID_IS_MGID`.
    pub group: Option<GroupId>,
    /// Whether the caller wants struct pages in the memory itself. Linux: `MHP_MEMMAP_ON_MEMORY`.
    pub memmap: MemmapOnMemory,
}

/// Memory that passed every check that is made before the lock.
#[derive(PartialEq, Eq, Debug)]
#[must_use = "an accepted range still has to be added or released"]
pub struct Accepted {
    range: PfnRange,
    node: NodeId,
    group: Option<GroupId>,
    memmap: MemmapOnMemory,
    managed: DriverManaged,
}

impl Accepted {
    /// The frames.
    #[must_use]
    pub const fn range(&self) -> PfnRange {
        self.range
    }
}

/// What a driver may call its memory. Linux: `add_memory_driver_managed()`.
fn is_driver_name(name: &str) -> bool {
    name.strip_prefix("System RAM (").is_some_and(|rest| rest.ends_with(')'))
}

impl MemoryHotplug {
    /// Adds memory for a driver that manages it. Linux: `add_memory_driver_managed()`.
    ///
    /// # Errors
    ///
    /// The error number of the first check that fails; nothing has changed then.
    pub fn add_memory_driver_managed<S: Sink>(
        &mut self,
        alloc: &mut PageAllocator<S>,
        cpu: CpuId,
        add: AddMemory<'_>,
    ) -> Result<(), Errno> {
        if !is_driver_name(add.name) {
            return Err(Errno::Inval);
        }
        self.add_memory(alloc, cpu, add)
    }

    /// Adds memory that firmware announced. Linux: `add_memory()`.
    ///
    /// # Errors
    ///
    /// The error number of the first check that fails; nothing has changed then.
    pub fn add_memory<S: Sink>(
        &mut self,
        alloc: &mut PageAllocator<S>,
        cpu: CpuId,
        add: AddMemory<'_>,
    ) -> Result<(), Errno> {
        let accepted = self.check_add(add)?;
        self.commit_add(alloc, cpu, accepted)
    }

    /// The checks before `mem_hotplug_begin()`; the range is claimed afterwards.
    ///
    /// # Errors
    ///
    /// The error number of the first check that fails; nothing is claimed then.
    pub fn check_add(&mut self, add: AddMemory<'_>) -> Result<Accepted, Errno> {
        let AddMemory { range, node, name, group, memmap } = add;
        self.range_allowed(range, Mapping::Needed, Errno::TooBig)?;
        let limit = self.spec.platform.mem_limit.filter(|_| self.phase == Phase::Booting);
        if limit.is_some_and(|limit| range.end() > limit) {
            return Err(Errno::TooBig);
        }
        let device = |piece: MemoryRange| piece.owner == Owner::Devdax;
        if self.ranges.inside(range).any(device) || !self.resources.request(range, name) {
            let text = "Unable to reserve System RAM region".to_owned();
            self.print(Level::Debug, text);
            return Err(Errno::Exist);
        }
        let checked = self.check_claimed(range, node, group);
        if checked.is_err() {
            self.resources.release(range);
        }
        checked?;
        let managed = if is_driver_name(name) { DriverManaged::Yes } else { DriverManaged::No };
        Ok(Accepted { range, node, group, memmap, managed })
    }

    /// The checks while the range is claimed.
    fn check_claimed(
        &mut self,
        range: PfnRange,
        node: NodeId,
        group: Option<GroupId>,
    ) -> Result<(), Errno> {
        let block = self.block.get();
        let (start, end) = (range.start().get(), range.end().get());
        if range.is_empty() || !start.is_multiple_of(block) || !end.is_multiple_of(block) {
            let size = self.geometry.page_size();
            let (block, start) = (block * size, start * size);
            let len = range.len().get() * size;
            self.print(Level::Err, format!(
                "Block size [{block:#x}] unaligned hotplug range: start {start:#x}, size {len:#x}"
            ));
            return Err(Errno::Inval);
        }
        if self.spec.gate.add_checked() == Checked::BeforeLock {
            self.ask_add(range, node)?;
        }
        if group.is_some_and(|id| self.groups.get(id).is_none()) {
            return Err(Errno::Inval);
        }
        if !self.spec.possible.contains(&node) {
            let node = node.get();
            self.print(Level::Warn, format!("node {node} was absent from the node_possible_map"));
            return Err(Errno::Inval);
        }
        Ok(())
    }

    fn ask_add(&mut self, range: PfnRange, node: NodeId) -> Result<(), Errno> {
        let of = self.candidate(range, node);
        let verdict = self.spec.gate.add(self.view(), &of);
        self.enforce(EntryPoint::AddMemory, range, verdict)
    }

    /// What is known of a range; of one that is not installed, nothing.
    pub(crate) fn candidate(&self, range: PfnRange, node: NodeId) -> Candidate {
        let unknown = Candidate { range, node, caps: Caps::empty(), origin: Origin::Acpi };
        self.ranges.describe(range).map_or(unknown, |of| Candidate { node, ..of })
    }

    /// What is done under `mem_hotplug_begin()`, and auto-onlining after it.
    ///
    /// # Errors
    ///
    /// The gate's error number if it decides under the lock, [`Errno::NoMem`] if there is none for
    /// struct pages, [`Errno::Exist`] if a device has some, [`Errno::Inval`] if the memory is not
    /// installed or somebody else's; the claim is gone then.
    pub fn commit_add<S: Sink>(
        &mut self,
        alloc: &mut PageAllocator<S>,
        cpu: CpuId,
        accepted: Accepted,
    ) -> Result<(), Errno> {
        let range = accepted.range;
        if let Err(errno) = self.add_locked(alloc, cpu, accepted) {
            self.resources.release(range);
            return Err(errno);
        }
        self.auto_online(alloc, range);
        Ok(())
    }

    fn add_locked<S: Sink>(
        &mut self,
        alloc: &mut PageAllocator<S>,
        cpu: CpuId,
        accepted: Accepted,
    ) -> Result<(), Errno> {
        let Accepted { range, node, group, memmap, managed } = accepted;
        if self.spec.gate.add_checked() == Checked::UnderLock {
            self.ask_add(range, node)?;
        }
        if self.pagemaps.iter().any(|map| map.range.overlaps(range)) {
            return Err(Errno::Exist);
        }
        let maps = self.populate(alloc, cpu, (range, node), memmap)?;
        if self.ranges.give(range, Owner::Blocks).is_err() {
            maps.into_iter().for_each(|map| map.free(alloc, cpu));
            return Err(Errno::Inval);
        }
        self.memblock.add(MemblockRegion { range, node, managed });
        let of = self.candidate(range, node);
        let extends = self.spec.gate.extends(self.view(), &of);
        if let Some(tdx) = self.spec.tdx.as_mut().filter(|_| extends == Extends::Yes) {
            tdx.extend(TdxMemblock { range, node });
        }
        let ids = self.ids(range);
        for (id, memmap) in ids.zip(maps) {
            let whole = self.range_of(id);
            self.blocks.insert(
                id,
                MemoryBlock {
                    range: whole,
                    node,
                    state: BlockState::Offline,
                    refused: Refused::No,
                    early: Early::No,
                    present: whole.len(),
                    poisoned: 0,
                    group,
                    memmap,
                },
            );
        }
        Ok(())
    }

    /// Struct pages, block by block. Linux: `arch_add_memory()`.
    fn populate<S: Sink>(
        &self,
        alloc: &mut PageAllocator<S>,
        cpu: CpuId,
        (range, node): (PfnRange, NodeId),
        wanted: MemmapOnMemory,
    ) -> Result<Vec<Memmap>, Errno> {
        let mode = match wanted {
            MemmapOnMemory::Off => MemmapOnMemory::Off,
            MemmapOnMemory::On | MemmapOnMemory::Force => self.spec.platform.memmap_on_memory,
        };
        let own = Memmap::on_memory(mode, self.geometry, self.block);
        let mut maps = Vec::new();
        for id in self.ids(range) {
            let map = match own {
                Some(pages) => Ok(Memmap::Inside(pages)),
                None => Memmap::populate(alloc, cpu, node, self.range_of(id)),
            };
            match map {
                Ok(map) => maps.push(map),
                Err(errno) => {
                    maps.into_iter().for_each(|map| map.free(alloc, cpu));
                    return Err(errno);
                }
            }
        }
        Ok(maps)
    }

    /// Onlines new blocks as the machine is set up to, up to the first that fails; nobody is told.
    /// Linux: `walk_memory_blocks(.., online_memory_block)`.
    fn auto_online<S: Sink>(&mut self, alloc: &mut PageAllocator<S>, range: PfnRange) {
        let to = match self.spec.platform.auto_online {
            AutoOnline::Offline => return,
            AutoOnline::Online => OnlineTo::Default,
            AutoOnline::Kernel => OnlineTo::Kernel,
            AutoOnline::Movable => OnlineTo::Movable,
        };
        let _ = self.ids(range).try_for_each(|id| self.online_block(alloc, id, to));
    }

    /// Whether the machine can address a range at all. Linux: `mhp_range_allowed()`.
    ///
    /// # Errors
    ///
    /// `errno`, which the caller chooses, and a warning.
    pub(crate) fn range_allowed(
        &mut self,
        range: PfnRange,
        mapping: Mapping,
        errno: Errno,
    ) -> Result<(), Errno> {
        let all = PfnRange::new(Pfn::new(0), self.spec.platform.physmem_end);
        let allowed = match mapping {
            Mapping::Needed => all.intersect(self.spec.platform.mappable).unwrap_or_default(),
            Mapping::NotNeeded => all,
        };
        if allowed.covers(range) {
            return Ok(());
        }
        let ((start, end), (from, to)) = (self.bytes(range), self.bytes(allowed));
        let to = to.saturating_sub(1);
        self.print(Level::Warn, format!(
            "Hotplug memory [{start:#x}-{end:#x}] exceeds maximum addressable range [{from:#x}-{to:#x}]"
        ));
        Err(errno)
    }

    /// Pages that struct pages of blocks and devices take from the allocator.
    #[must_use]
    pub fn memmap_pages(&self) -> PageCount {
        let blocks = self.blocks.values().map(|block| block.memmap.allocated());
        let devices = self.pagemaps.iter().map(|map| map.memmap.allocated());
        blocks.chain(devices).sum()
    }
}

/// Whether memory has to be in the linear map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mapping {
    /// It has.
    Needed,
    /// It has not.
    NotNeeded,
}
