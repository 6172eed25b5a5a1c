//! A machine for every design: the zones it needs, and a second carve-out where the hardware has
//! one.

use std::collections::BTreeMap;
use std::sync::Arc;

use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::event::Silent;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::{GfpFlags, ZoneType};
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::{CpuId, NodeId, Order, PageCount, Pfn, PfnRange};
use pagelab_allocator::zone::ZoneSpec;
use pagelab_migrate::emulator::{Emulator, EmulatorSpec, SpecError, TagSpec};
use pagelab_migrate::folio::{FolioId, SpaceId, VirtPage};
use pagelab_migrate::tag_storage::catalogue::Design;
use pagelab_migrate::tag_storage::design::{CarveOutTags, TagStorageDesign};
use pagelab_migrate::tag_storage::formula::Formula;
use pagelab_migrate::tag_storage::taggable_hw::TaggableHw;
use pagelab_migrate::tag_storage::zones::with_own_zone;
use pagelab_migrate::vma::{Backing, Prot, VirtRange};

pub(crate) const CPU: CpuId = CpuId::BOOT;
/// 64 MiB of data, 2 MiB of tags behind it.
pub(crate) const DATA: PfnRange = PfnRange::new(Pfn::new(0x4_0000), Pfn::new(0x4_4000));
pub(crate) const TAGS: PfnRange = PfnRange::new(Pfn::new(0x4_4000), Pfn::new(0x4_4200));

/// Where things lie.
pub(crate) struct Layout {
    pub(crate) geometry: Geometry,
    pub(crate) profile: KernelProfile,
    /// Pages in a tag block.
    pub(crate) block: u64,
    pub(crate) data: PfnRange,
    pub(crate) tags: PfnRange,
    /// For the tags of tag storage, where the hardware keeps such.
    pub(crate) fixed: PfnRange,
    /// Ordinary CMA.
    pub(crate) cma: Option<PfnRange>,
}

impl Layout {
    /// One unit of data and tags, with the usual pageblocks.
    pub(crate) fn usual() -> Self {
        let fixed = PfnRange::from_len(TAGS.end(), PageCount::new(512));
        let (geometry, profile) = (Geometry::PAGES_4K, KernelProfile::V6_12);
        Self { geometry, profile, block: 1, data: DATA, tags: TAGS, fixed, cma: None }
    }

    pub(crate) fn boot(
        &self,
        design: Arc<dyn TagStorageDesign>,
    ) -> Result<Emulator<Silent>, SpecError> {
        let taggable = design.carve_out_tags() == CarveOutTags::Possible;
        self.boot_with(design, taggable.then_some(self.fixed))
    }

    /// With this second carve-out, whatever the design thinks of it.
    pub(crate) fn boot_with(
        &self,
        design: Arc<dyn TagStorageDesign>,
        fixed: Option<PfnRange>,
    ) -> Result<Emulator<Silent>, SpecError> {
        let end = fixed.map_or(self.tags.end(), |fixed| fixed.end());
        let memory = PfnRange::new(self.data.start(), end);
        let mut machine =
            MachineSpec::single(self.geometry, self.profile, ZoneType::Normal, memory);
        let all = ZoneSpec { kind: ZoneType::Normal, node: NodeId::default(), span: memory };
        let own = PfnRange::new(self.tags.start(), end);
        machine.zones = with_own_zone(&[all], design.residence(), own);
        machine.cma.extend(self.cma);
        // Tag storage alone, free, is enough memory to go on with; and no kswapd takes a boost
        // back.
        machine.tunables.min_free_kbytes = Some(512);
        machine.tunables.watermark_boost_factor = 0;
        let mut regions = vec![(self.data, self.tags)];
        regions.extend(fixed.map(|fixed| (self.tags, fixed)));
        let block_size = self.block * 4096;
        let tags = TagSpec { regions, block_size, formula: Formula::Intent, design };
        Emulator::new(&EmulatorSpec { machine, tags: Some(tags) }, Silent)
    }
}

pub(crate) fn boot(design: Design) -> Emulator<Silent> {
    Layout::usual().boot(design.build()).unwrap()
}

pub(crate) fn boot_taggable(design: Design) -> Emulator<Silent> {
    Layout::usual().boot(Arc::new(TaggableHw::new(design.build()))).unwrap()
}

pub(crate) const MOVABLE: GfpFlags = GfpFlags::HIGHUSER_MOVABLE;
pub(crate) const TAGGED: GfpFlags = MOVABLE.union(GfpFlags::TAGGED);

/// Single pages until none is left, watermarks or not, by frame.
pub(crate) fn fill(emulator: &mut Emulator, gfp: GfpFlags) -> BTreeMap<Pfn, FolioId> {
    let gfp = gfp | GfpFlags::MEMALLOC;
    let mut all = BTreeMap::new();
    while let Some(id) = last_page(emulator, gfp) {
        all.insert(emulator.folios()[id].pfn(), id);
    }
    emulator.check().unwrap();
    all
}

/// A page, even if it has to come off another type's per-CPU list.
pub(crate) fn last_page(emulator: &mut Emulator, gfp: GfpFlags) -> Option<FolioId> {
    let first = emulator.allocate(CPU, Order::ZERO, gfp);
    first.ok().or_else(|| {
        emulator.drain();
        emulator.allocate(CPU, Order::ZERO, gfp).ok()
    })
}

/// Frees the pages of `all` at frames for which `goes` says yes.
pub(crate) fn leave(
    emulator: &mut Emulator,
    all: &mut BTreeMap<Pfn, FolioId>,
    goes: impl Fn(Pfn) -> bool,
) {
    let frames: Vec<_> = all.keys().copied().filter(|pfn| goes(*pfn)).collect();
    for id in frames.iter().filter_map(|pfn| all.remove(pfn)) {
        emulator.free(CPU, id);
    }
    emulator.drain();
    emulator.check().unwrap();
}

/// A range of a new program.
pub(crate) fn program(emulator: &mut Emulator, pages: u64, prot: Prot) -> (SpaceId, VirtRange) {
    let space = emulator.create_space();
    let range = VirtRange::from_len(VirtPage::new(0x1000), pages);
    emulator.mmap(space, range, prot, Backing::Anon).unwrap();
    (space, range)
}

/// Blocks that hold tags.
pub(crate) fn reserved(emulator: &Emulator) -> usize {
    emulator.tags().ledger().blocks().reserved()
}

/// The design's name, for messages.
pub(crate) fn name(emulator: &Emulator) -> String {
    emulator.tags().design().name().to_owned()
}
