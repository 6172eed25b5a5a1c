//! The emulator: allocator, live memory, address spaces and tag storage as one value.
//!
//! Everything that can be done to a machine is a method of [`Emulator`]; the methods are spread
//! over files by subject: `mapping.rs`, `file_io.rs`, `fork.rs`, `fault.rs`, `mprotect.rs`,
//! `gup.rs`, `claims.rs`, `contig_pages.rs`, `tagged.rs`, `cleancache.rs` and `audit.rs`. A
//! snapshot is a clone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pagelab_allocator::boot::{BootError, MachineSpec};
use pagelab_allocator::event::{Silent, Sink};
use pagelab_allocator::frame::Frame;
use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::migratetype::{MigrateType, TypeSet};
use pagelab_allocator::page_alloc::PageAllocator;
use pagelab_allocator::units::{CpuId, Order, PageCount, Pfn, PfnRange};
use pagelab_allocator::zone::ZoneSpec;

use crate::alloc::AllocFailure;
use crate::cma::CmaArea;
use crate::compact::Compaction;
use crate::folio::{FolioId, FolioKind, SpaceId};
use crate::folios::Folios;
use crate::memory::Memory;
use crate::mover::{Evicted, Moved, Split};
use crate::numbered::Numbered;
use crate::page_table::Pte;
use crate::space::AddressSpace;
use crate::stats::MmStats;
use crate::tag_storage::TagStorage;
use crate::tag_storage::design::{CarveOutTags, Reservation, Residence, TagStorageDesign};
use crate::tag_storage::formula::Formula;
use crate::tag_storage::map::TagMap;
use crate::tag_storage::region::{RegionError, TagRegion, block_pages};
use crate::tag_storage::reserve::ReserveError;
use crate::vma::ShmemId;

/// Tag storage of a machine.
#[derive(Clone, Debug)]
pub struct TagSpec {
    /// Data ranges and the ranges that hold their tags.
    pub regions: Vec<(PfnRange, PfnRange)>,
    /// Smallest run of tag storage whose tags belong together, in bytes: a multiple of 4 KiB.
    pub block_size: u64,
    /// Which arithmetic to follow.
    pub formula: Formula,
    /// What is done with the storage.
    pub design: Arc<dyn TagStorageDesign>,
}

impl TagSpec {
    /// One region with tag blocks of 4 KiB, by the intended arithmetic.
    #[must_use]
    pub fn single(data: PfnRange, tags: PfnRange, design: Arc<dyn TagStorageDesign>) -> Self {
        Self { regions: vec![(data, tags)], block_size: 4096, formula: Formula::Intent, design }
    }
}

/// A machine and what is done with its tag storage.
#[derive(Clone, Debug)]
pub struct EmulatorSpec {
    /// Memory, zones and kernel.
    pub machine: MachineSpec,
    /// Tag storage; `None` for machines without MTE.
    pub tags: Option<TagSpec>,
}

/// Why an emulator cannot be built.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// The machine is impossible.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The tag storage is impossible.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// The design keeps tag storage in a zone or node of its own, and it is not there.
    #[error("tag storage {0} does not lie in the design's zone or node")]
    Elsewhere(PfnRange),
    /// The design lets tag storage be tagged, and nothing keeps the tags.
    #[error("tag storage {0} has no tag storage of its own")]
    NoTagsOfTags(PfnRange),
    /// No memory is left for the zero page.
    #[error("no memory for the zero page: {0}")]
    ZeroPage(AllocateError),
}

/// Why pages could not be allocated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AllocateError {
    /// The page allocator has none.
    #[error(transparent)]
    Alloc(#[from] AllocFailure),
    /// A tagged request in atomic context, or every page offered was refused for want of tag
    /// storage.
    #[error(transparent)]
    Tags(#[from] ReserveError),
}

/// A whole machine: frames, folios, address spaces, tag storage.
///
/// Deterministic and single-threaded; the CPU is an argument.
#[derive(Clone, Debug)]
pub struct Emulator<S: Sink = Silent> {
    pub(crate) memory: Memory<S>,
    pub(crate) tags: TagStorage,
    pub(crate) spaces: Numbered<SpaceId, AddressSpace>,
    pub(crate) shmem: BTreeMap<ShmemId, BTreeMap<u64, FolioId>>,
    pub(crate) next_shmem: u32,
    /// Unmapped folios that live until their last pin goes.
    pub(crate) lingering: BTreeSet<FolioId>,
    pub(crate) zero_page: Option<FolioId>,
    pub(crate) cma: Vec<CmaArea>,
    moves: Vec<Moved>,
    splits: Vec<Split>,
}

/// Live memory by use, in pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Folios that cannot move.
    pub unmovable: PageCount,
    /// Folios that can.
    pub movable: PageCount,
    /// Folios that carry tags, among the movable ones.
    pub tagged: PageCount,
    /// Data that lies in tag storage.
    pub in_tag_storage: PageCount,
    /// Clean copies that lie in tag storage; no folios.
    pub clean_copies: PageCount,
    /// Tag storage that holds tags.
    pub reserved_tag_storage: PageCount,
}

impl<S: Sink> Emulator<S> {
    /// Boots a machine.
    ///
    /// # Errors
    ///
    /// [`SpecError`] when machine or tag storage are impossible.
    pub fn new(spec: &EmulatorSpec, sink: S) -> Result<Self, SpecError> {
        let mut machine = spec.machine.clone();
        let span = span_of(&machine);
        let (tags, lent) = match &spec.tags {
            Some(tags) => prepare_tags(tags, &mut machine, span)?,
            None => (no_tags(span), Vec::new()),
        };
        let mut page_alloc = PageAllocator::boot(&machine, sink)?;
        for (range, mt) in lent {
            page_alloc.init_lent(range, mt)?;
        }
        let area = |range: &PfnRange| {
            CmaArea::new(*range, Order::ZERO).expect("boot found whole pageblocks")
        };
        let areas = spec.machine.cma.iter().map(area).collect();
        let mut memory = Memory::new(page_alloc);
        memory.targets = tags.target_rules();
        let mut emulator = Self {
            memory,
            tags,
            spaces: Numbered::default(),
            shmem: BTreeMap::new(),
            next_shmem: 0,
            lingering: BTreeSet::new(),
            zero_page: None,
            cma: areas,
            moves: Vec::new(),
            splits: Vec::new(),
        };
        if spec.tags.is_some() {
            emulator.zero_page(CpuId::BOOT).map_err(SpecError::ZeroPage)?;
            emulator.tags.await_first_use();
        }
        Ok(emulator)
    }

    /// Allocates pages that no page table maps: kernel memory, or movable memory when the flags
    /// say so. Tagged requests get tag storage as the design demands. Linux: `alloc_pages()`.
    ///
    /// # Errors
    ///
    /// [`AllocateError`] when there are none, or a tagged request may not sleep.
    pub fn allocate(
        &mut self,
        cpu: CpuId,
        order: Order,
        gfp: GfpFlags,
    ) -> Result<FolioId, AllocateError> {
        let kind = match gfp.migratetype() {
            MigrateType::Movable => FolioKind::Anon,
            _ => FolioKind::Kernel,
        };
        self.allocate_kind(cpu, order, gfp, kind)
    }

    /// Frees pages of [`Emulator::allocate`]. Linux: `__free_pages()`.
    ///
    /// # Panics
    ///
    /// Panics when the folio is not live, mapped, or pinned, and when it was not handed out by
    /// [`Emulator::allocate`]: the zero page, pages of shared memory and of files.
    pub fn free(&mut self, cpu: CpuId, id: FolioId) {
        assert!(self.zero_page != Some(id), "{id} is the zero page");
        assert!(self.memory.folios[id].kind() != FolioKind::Shmem, "{id} is shared memory");
        assert!(self.memory.folios[id].file_page().is_none(), "{id} is page cache");
        self.free_folio(cpu, id);
    }

    pub(crate) fn free_folio(&mut self, cpu: CpuId, id: FolioId) {
        let pages = self.memory.disown(id);
        self.tags.free(&mut self.memory, cpu, (pages.pfn(), pages.order()));
        self.memory.page_alloc.free_pages(cpu, pages);
    }

    /// The page of zeroes behind every page that was only read. Its tags are zeroed once, and its
    /// tag storage stays reserved for ever. Linux: `empty_zero_page`.
    pub(crate) fn zero_page(&mut self, cpu: CpuId) -> Result<FolioId, AllocateError> {
        if let Some(id) = self.zero_page {
            return Ok(id);
        }
        let id = self.allocate(cpu, Order::ZERO, GfpFlags::KERNEL | GfpFlags::ZERO)?;
        self.zero_page = Some(id);
        if self.tags.ledger().map().block_of(self.memory.folios[id].pfn()).is_some() {
            self.reserve_folio(cpu, id, GfpFlags::KERNEL)?;
        }
        Ok(id)
    }

    /// Carries out what moves and splits mean for page tables and tag storage. Called after every
    /// operation that may have moved something; what a design reserves in turn may move more, but
    /// never tagged pages, so this ends.
    pub(crate) fn settle(&mut self, cpu: CpuId) {
        loop {
            let log = core::mem::take(&mut self.memory.log);
            if log.is_empty() {
                return;
            }
            for split in &log.splits {
                self.remap_split(&split.pages);
            }
            self.splits.extend(log.splits);
            let mut evicted = log.evicted.into_iter().peekable();
            for (before, moved) in log.moves.into_iter().enumerate() {
                while let Some(gone) = evicted.next_if(|gone| gone.after_moves <= before) {
                    self.settle_eviction(cpu, &gone);
                }
                self.settle_move(cpu, &moved);
                self.moves.push(moved);
            }
            evicted.for_each(|gone| self.settle_eviction(cpu, &gone));
            log.dropped.into_iter().for_each(|page| self.keep_copy(page));
        }
    }

    /// Lets page tables name the slot of a page that went to swap, and gives its tag storage back.
    /// Linux: `try_to_unmap_one()`, the free hook.
    fn settle_eviction(&mut self, cpu: CpuId, gone: &Evicted) {
        for at in &gone.mappings {
            let space = self.spaces.get_mut(&at.space).expect("mapped folios name live spaces");
            space.table_mut().set(at.page, Pte::swapped(gone.slot));
        }
        self.tags.free(&mut self.memory, cpu, (gone.pfn, Order::ZERO));
    }

    fn settle_move(&mut self, cpu: CpuId, moved: &Moved) {
        let target = PfnRange::block(moved.to, moved.order);
        self.tags.wrote_data(target);
        self.tags.moved(&mut self.memory, cpu, moved);
        let is_current = |folio: &crate::folio::Folio| folio.pfn() == moved.to && folio.is_tagged();
        if self.tags.is_empty() || !self.memory.folios.get(moved.folio).is_some_and(is_current) {
            return;
        }
        let design = self.tags.design();
        let gfp = design.migration_target(GfpFlags::HIGHUSER_MOVABLE);
        let at_once = design.reservation() == Reservation::NotNeeded;
        if at_once || gfp.contains(GfpFlags::TAGGED) {
            let block = (moved.to, moved.order);
            if self.tags.reserve(&mut self.memory, cpu, block, gfp).is_ok() {
                self.tags.copied_into_storage(target);
            }
        }
        if !self.tags.is_reserved(moved.to) {
            self.fault_on_access(moved.folio);
        }
    }

    /// Folios that moved since the last call, in order. Whoever caches translations drops those of
    /// every mapping of such a folio; see [`Folios::mappings`]. Moves are kept until somebody asks.
    pub fn take_moves(&mut self) -> Vec<Moved> {
        core::mem::take(&mut self.moves)
    }

    /// Large folios that were split since the last call, in order, by migration too. Whoever holds
    /// such a folio holds its pages from then on. Splits are kept until somebody asks.
    pub fn take_splits(&mut self) -> Vec<Split> {
        core::mem::take(&mut self.splits)
    }

    /// Empties every per-CPU list. Linux: `drain_all_pages()`.
    pub fn drain(&mut self) {
        self.memory.page_alloc.drain_all();
    }

    /// The page allocator.
    #[must_use]
    pub fn page_alloc(&self) -> &PageAllocator<S> {
        &self.memory.page_alloc
    }

    /// The receiver of events, to empty it.
    pub const fn sink_mut(&mut self) -> &mut S {
        self.memory.page_alloc.sink_mut()
    }

    /// What compaction remembers of each zone, in the order of the zones.
    #[must_use]
    pub const fn compaction(&self) -> &Compaction {
        &self.memory.compaction
    }

    /// The live folios.
    #[must_use]
    pub fn folios(&self) -> &Folios {
        &self.memory.folios
    }

    /// Tag storage.
    #[must_use]
    pub const fn tags(&self) -> &TagStorage {
        &self.tags
    }

    /// Tag storage, to leave cache maintenance out.
    pub const fn tags_mut(&mut self) -> &mut TagStorage {
        &mut self.tags
    }

    /// Counters of migration, compaction and CMA.
    #[must_use]
    pub fn mm_stats(&self) -> &MmStats {
        &self.memory.stats
    }

    /// What a frame is.
    #[must_use]
    pub fn frame(&self, pfn: Pfn) -> Frame {
        self.memory.page_alloc.frame(pfn)
    }

    /// The folio that occupies a frame.
    #[must_use]
    pub fn folio_at(&self, pfn: Pfn) -> Option<FolioId> {
        self.memory.rmap.folio_at(pfn)
    }

    /// An address space.
    #[must_use]
    pub fn space(&self, id: SpaceId) -> Option<&AddressSpace> {
        self.spaces.get(&id)
    }

    /// Live memory by use; walks all folios.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let mut usage = Usage { clean_copies: self.tags.clean().copies(), ..Usage::default() };
        for (_, folio) in self.memory.folios.iter() {
            let pages = folio.order().pages();
            let by_kind =
                if folio.is_movable() { &mut usage.movable } else { &mut usage.unmovable };
            *by_kind += pages;
            if folio.is_tagged() {
                usage.tagged += pages;
            }
            if self.tags.ledger().map().is_tag_storage(folio.pfn()) {
                usage.in_tag_storage += pages;
            }
        }
        for block in self.tags.ledger().map().ids() {
            if self.tags.ledger().blocks().is_reserved(block) {
                usage.reserved_tag_storage += self.tags.ledger().map().range(block).len();
            }
        }
        usage
    }
}

/// From the lowest to the highest frame of any zone.
fn span_of(machine: &MachineSpec) -> PfnRange {
    let start = machine.zones.iter().map(|zone| zone.span.start()).min().unwrap_or_default();
    let end = machine.zones.iter().map(|zone| zone.span.end()).max().unwrap_or_default();
    PfnRange::new(start, end)
}

fn no_tags(span: PfnRange) -> TagStorage {
    let design = Arc::new(crate::tag_storage::carveout::Carveout);
    TagStorage::new(design, TagMap::default(), PfnRange::from_len(span.start(), PageCount::ZERO))
}

/// Ranges to be lent out after boot, and as which type.
type Lent = Vec<(PfnRange, MigrateType)>;

/// Builds the tag storage and changes the machine to suit the design.
fn prepare_tags(
    spec: &TagSpec,
    machine: &mut MachineSpec,
    span: PfnRange,
) -> Result<(TagStorage, Lent), SpecError> {
    let block = block_pages(machine.geometry.page_size(), spec.block_size)?;
    let regions: Result<Vec<_>, _> =
        spec.regions.iter().map(|&(data, tags)| TagRegion::new(data, tags, block)).collect();
    let map = TagMap::new(regions?, machine.geometry, spec.formula)?;
    let (nested, own): (Vec<_>, Vec<_>) =
        map.regions().copied().partition(|region| map.is_nested(region));
    let tags = || own.iter().map(TagRegion::tags);
    if spec.design.carve_out_tags() == CarveOutTags::Possible
        && let Some(bare) = tags().find(|range| map.block_of(range.start()).is_none())
    {
        return Err(SpecError::NoTagsOfTags(bare));
    }
    machine.reserved.extend(nested.iter().map(TagRegion::tags));
    let mut lent = Vec::new();
    match spec.design.residence() {
        Residence::CarvedOut | Residence::CleanStore => machine.reserved.extend(tags()),
        Residence::Pageblocks(MigrateType::Cma) => machine.cma.extend(tags()),
        Residence::Pageblocks(mt) => {
            if mt == MigrateType::Metadata {
                machine.types = TypeSet::WITH_METADATA;
            }
            machine.reserved.extend(tags());
            lent.extend(tags().map(|range| (range, mt)));
        }
        Residence::Zone(kind) => settled(machine, tags(), |zone| zone.kind == kind)?,
        Residence::Node(node) => settled(machine, tags(), |zone| zone.node == node)?,
    }
    machine.movable_pcp = spec.design.movable_pcp().or(machine.movable_pcp);
    Ok((TagStorage::new(Arc::clone(&spec.design), map, span), lent))
}

/// Whether every range lies in a zone of the right sort; the machine has to provide it.
fn settled(
    machine: &MachineSpec,
    mut ranges: impl Iterator<Item = PfnRange>,
    suits: impl Fn(&ZoneSpec) -> bool,
) -> Result<(), SpecError> {
    let settled =
        |range: &PfnRange| machine.zones.iter().any(|zone| suits(zone) && zone.span.covers(*range));
    ranges.find(|range| !settled(range)).map_or(Ok(()), |range| Err(SpecError::Elsewhere(range)))
}
