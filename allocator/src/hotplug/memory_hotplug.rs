//! All that the kernel knows of memory that comes and goes, as one value.

use std::collections::BTreeMap;

use crate::event::Sink;
use crate::geometry::Geometry;
use crate::gfp::ZoneType;
use crate::hotplug::caps::{Caps, Origin};
use crate::hotplug::errno::Errno;
use crate::hotplug::gate::{Candidate, Gate, Refusal, Verdict, View};
use crate::hotplug::group::Groups;
use crate::hotplug::memblock::{DriverManaged, Memblock, MemblockRegion};
use crate::hotplug::memory_block::{BlockId, BlockState, Early, MemoryBlock, Refused, block_pages};
use crate::hotplug::pagemap::Pagemap;
use crate::hotplug::phases::Phases;
use crate::hotplug::platform::{Phase, Platform};
use crate::hotplug::printk::{Level, Line, Log};
use crate::hotplug::range::{MemoryRange, Owner, RangeError, Ranges};
use crate::hotplug::resource::Resources;
use crate::hotplug::spec::HotplugSpec;
use crate::hotplug::tdx::Tdx;
use crate::hotplug::veto::{EntryPoint, Veto};
use crate::hotplug::vmemmap::Memmap;
use crate::page_alloc::PageAllocator;
use crate::units::{NodeId, PageCount, Pfn, PfnRange};
use crate::watermark::Tunables;
use crate::zone::Zone;

/// Blocks, ranges, claims and refusals of a machine. Linux: mm/memory_hotplug.c and
/// drivers/base/memory.c.
///
/// Pages are the allocator's: calls that touch some take it as an argument.
#[derive(Clone, Debug)]
pub struct MemoryHotplug {
    pub(crate) geometry: Geometry,
    pub(crate) spec: HotplugSpec,
    pub(crate) block: PageCount,
    pub(crate) phase: Phase,
    pub(crate) resources: Resources,
    pub(crate) memblock: Memblock,
    pub(crate) blocks: BTreeMap<BlockId, MemoryBlock>,
    pub(crate) ranges: Ranges,
    pub(crate) groups: Groups,
    pub(crate) pagemaps: Vec<Pagemap>,
    pub(crate) log: Log,
    pub(crate) vetoes: Vec<Veto>,
    pub(crate) phases: Phases,
    /// Pages of the allocator that hold private memory of guests, and what describes it.
    pub(crate) private: PageCount,
    /// Pages of the allocator that hold what some hardware wants to know of memory. Linux: PAMT.
    pub(crate) tables: PageCount,
}

impl MemoryHotplug {
    /// The machine as it has booted: all memory of `alloc` is online.
    ///
    /// # Panics
    ///
    /// Panics when pieces of `memory` overlap, or when a memory block would not be a power of two
    /// of pages and at least a pageblock, which is so only if the platform asks for it.
    #[must_use]
    pub fn at_boot<S: Sink>(
        alloc: &PageAllocator<S>,
        mut spec: HotplugSpec,
        memory: &[(NodeId, PfnRange)],
        log: Log,
    ) -> Self {
        spec.give_up(spec.gate.gives_up());
        let end = memory.iter().map(|(_, range)| range.end()).max().unwrap_or_default();
        let block = block_pages(&spec.platform, end, alloc.geometry().page_size());
        let whole = block.get().is_power_of_two() && block >= alloc.geometry().pageblock_pages();
        assert!(whole, "memory blocks of {} pages are no power of two of pageblocks", block.get());
        let mut this = Self {
            geometry: alloc.geometry(),
            block,
            phase: Phase::Running,
            resources: Resources::default(),
            memblock: Memblock::default(),
            blocks: BTreeMap::new(),
            ranges: Ranges::default(),
            groups: Groups::at_boot(alloc),
            pagemaps: Vec::new(),
            log,
            vetoes: Vec::new(),
            phases: Phases::default(),
            private: PageCount::ZERO,
            tables: PageCount::ZERO,
            spec,
        };
        for &(node, range) in memory {
            this.boot_memory(alloc, node, range);
        }
        this
    }

    fn boot_memory<S: Sink>(&mut self, alloc: &PageAllocator<S>, node: NodeId, range: PfnRange) {
        let caps = self.spec.boot_caps;
        let of = Candidate { range, node, caps, origin: Origin::Boot };
        self.ranges.install(of, Owner::Blocks).expect("boot memory does not overlap");
        assert!(self.resources.request(range, "System RAM"), "boot memory does not overlap");
        self.memblock.add(MemblockRegion { range, node, managed: DriverManaged::No });
        for id in self.ids(range) {
            let whole = self.range_of(id);
            let part = whole.intersect(range).expect("the block touches the range");
            let kind = alloc.zone_of(part.start()).map_or(ZoneType::Normal, Zone::kind);
            let block = self.blocks.entry(id).or_insert_with(|| MemoryBlock {
                range: whole,
                node,
                state: BlockState::Online(kind),
                refused: Refused::No,
                early: Early::Yes,
                present: PageCount::ZERO,
                poisoned: 0,
                group: None,
                memmap: Memmap::AtBoot,
            });
            block.present += part.len();
        }
    }

    /// Pages of a memory block. Linux: `memory_block_size_bytes()`.
    #[must_use]
    pub const fn block_pages(&self) -> PageCount {
        self.block
    }

    /// The blocks that a range touches, ascending.
    pub fn ids(&self, range: PfnRange) -> impl DoubleEndedIterator<Item = BlockId> + use<> {
        let block = self.block.get();
        let end = if range.is_empty() { range.start().get() } else { range.end().get() };
        (range.start().get() / block..end.div_ceil(block)).map(BlockId::new)
    }

    /// The frames of a block, whether there is one or not.
    #[must_use]
    pub fn range_of(&self, id: BlockId) -> PfnRange {
        PfnRange::from_len(Pfn::new(id.get() * self.block.get()), self.block)
    }

    /// A block.
    #[must_use]
    pub fn block(&self, id: BlockId) -> Option<&MemoryBlock> {
        self.blocks.get(&id)
    }

    /// All blocks, ascending.
    pub fn blocks(&self) -> impl Iterator<Item = (BlockId, &MemoryBlock)> {
        self.blocks.iter().map(|(id, block)| (*id, block))
    }

    /// Counts a frame of a block that has a hardware error: it cannot be onlined any more. Nothing
    /// happens if there is no such block. Linux: `memblk_nr_poison_inc()`.
    pub fn count_poison(&mut self, id: BlockId) {
        if let Some(block) = self.blocks.get_mut(&id) {
            block.poisoned += 1;
        }
    }

    /// The machine.
    #[must_use]
    pub const fn platform(&self) -> &Platform {
        &self.spec.platform
    }

    /// Tunables of watermarks.
    #[must_use]
    pub const fn tunables(&self) -> &Tunables {
        &self.spec.tunables
    }

    /// TDX.
    #[must_use]
    pub const fn tdx(&self) -> Option<&Tdx> {
        self.spec.tdx.as_ref()
    }

    /// TDX, to be initialized.
    pub const fn tdx_mut(&mut self) -> Option<&mut Tdx> {
        self.spec.tdx.as_mut()
    }

    /// Who may join.
    #[must_use]
    pub const fn gate(&self) -> &'static dyn Gate {
        self.spec.gate
    }

    /// What a gate may look at.
    #[must_use]
    pub const fn view(&self) -> View<'_> {
        View { geometry: self.geometry, platform: &self.spec.platform, tdx: self.spec.tdx.as_ref() }
    }

    /// The memory that the architecture knows of.
    #[must_use]
    pub const fn memblock(&self) -> &Memblock {
        &self.memblock
    }

    /// Claims of system memory.
    #[must_use]
    pub const fn resources(&self) -> &Resources {
        &self.resources
    }

    /// What is installed and who has it.
    #[must_use]
    pub const fn ranges(&self) -> &Ranges {
        &self.ranges
    }

    /// Memory that was added together.
    #[must_use]
    pub const fn groups(&self) -> &Groups {
        &self.groups
    }

    /// Memory that was added together, to register more.
    pub const fn groups_mut(&mut self) -> &mut Groups {
        &mut self.groups
    }

    /// What the kernel said.
    #[must_use]
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// What the kernel says, for drivers that print.
    pub const fn log_mut(&mut self) -> &mut Log {
        &mut self.log
    }

    /// Every refusal, in order.
    #[must_use]
    pub fn vetoes(&self) -> &[Veto] {
        &self.vetoes
    }

    /// How often blocks began, finished and gave up changing.
    #[must_use]
    pub const fn phases(&self) -> &Phases {
        &self.phases
    }

    /// Whether the machine still boots. Linux: `system_state`.
    pub const fn set_phase(&mut self, phase: Phase) {
        self.phase = phase;
    }

    /// Puts memory into the machine that nobody uses yet.
    ///
    /// # Errors
    ///
    /// [`RangeError::Overlaps`].
    pub fn install(&mut self, of: Candidate) -> Result<(), RangeError> {
        self.ranges.install(of, Owner::Free)
    }

    /// Gives a range to another owner: drivers come and go. Memory blocks do so by being added and
    /// removed, and devices' struct pages have to go first.
    ///
    /// # Errors
    ///
    /// [`RangeError`]; nothing has changed then.
    pub fn give(&mut self, range: PfnRange, to: Owner) -> Result<(), RangeError> {
        let mapped = |of: PfnRange| self.pagemaps.iter().any(|map| map.range.overlaps(of));
        let stays = |piece: &MemoryRange| match piece.owner {
            _ if to == Owner::Blocks => true,
            Owner::Blocks => to != Owner::Leaked,
            Owner::Devdax => mapped(piece.of.range),
            _ => false,
        };
        if let Some(piece) = self.ranges.inside(range).find(stays) {
            return Err(RangeError::NoWay(piece.of.range, piece.owner, to));
        }
        self.ranges.give(range, to)
    }

    /// Says what a range can do from now on: firmware about boot memory, a device that has been
    /// attested.
    ///
    /// # Errors
    ///
    /// [`RangeError::NotInstalled`]; nothing has changed then.
    pub fn vouch(&mut self, range: PfnRange, caps: Caps) -> Result<(), RangeError> {
        self.ranges.vouch(range, caps)
    }

    /// Counts pages of the allocator as private memory of guests.
    pub fn count_private(&mut self, pages: PageCount) {
        self.private += pages;
    }

    /// Counts private pages as ordinary ones again.
    pub fn uncount_private(&mut self, pages: PageCount) {
        self.private = self.private.saturating_sub(pages);
    }

    /// Counts pages of the allocator as tables about memory, such as the PAMT of TDX.
    pub fn count_tables(&mut self, pages: PageCount) {
        self.tables += pages;
    }

    /// Counts such tables as ordinary pages again.
    pub fn uncount_tables(&mut self, pages: PageCount) {
        self.tables = self.tables.saturating_sub(pages);
    }

    /// Prints.
    pub(crate) fn print(&mut self, level: Level, text: String) {
        self.log.print(Line::new(level, text));
    }

    /// Says what a gate has decided, and counts a refusal.
    ///
    /// # Errors
    ///
    /// The refusal's error number.
    pub fn enforce(
        &mut self,
        entry: EntryPoint,
        range: PfnRange,
        verdict: Verdict,
    ) -> Result<(), Errno> {
        let Verdict::Refuse(Refusal { why, errno, line }) = verdict else { return Ok(()) };
        let gate = self.spec.gate.name();
        if let Some(line) = line {
            self.log.print_ratelimited(gate, line);
        }
        self.vetoes.push(Veto { gate, entry, range, why, errno });
        Err(errno)
    }

    /// A range as the kernel prints physical addresses: both in bytes, the second exclusive.
    pub(crate) const fn bytes(&self, range: PfnRange) -> (u64, u64) {
        self.view().addresses(range)
    }

    /// First and last byte of a range.
    pub(crate) const fn ends(&self, range: PfnRange) -> (u64, u64) {
        self.view().ends(range)
    }

    /// Pages in the allocator that lack something that every page must have; while TDX is in use,
    /// those that it does not know, too, whatever they can do.
    #[must_use]
    pub fn violations(&self) -> PageCount {
        let required = self.view().required();
        let online = self.blocks.values().filter(|block| block.is_online());
        let lacking = online.flat_map(|block| self.ranges.inside(block.given()));
        let foreign = |piece: &MemoryRange| {
            let tdx = self.spec.tdx.as_ref();
            let unknown = tdx.is_some_and(|tdx| tdx.is_foreign(piece.of.range));
            unknown || !piece.of.caps.contains(required)
        };
        lacking.filter(foreign).map(|piece| piece.of.range.len()).sum()
    }
}
