//! A machine of 64 MiB of data with 2 MiB of tag storage behind it, and what tests do to it.

use std::sync::Arc;

use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::event::Silent;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::ZoneType;
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::{CpuId, Order, PageCount, Pfn, PfnRange};
use pagelab_migrate::emulator::{Emulator, EmulatorSpec, SpecError, TagSpec};
use pagelab_migrate::fault::{Access, AccessError, Accessed};
use pagelab_migrate::folio::{FolioId, SpaceId, VirtPage};
use pagelab_migrate::tag_storage::design::TagStorageDesign;
use pagelab_migrate::tag_storage::formula::Formula;
use pagelab_migrate::vma::{Backing, Prot, VirtRange};

pub(crate) const CPU: CpuId = CpuId::BOOT;
pub(crate) const DATA: PfnRange = PfnRange::new(Pfn::new(0x4_0000), Pfn::new(0x4_4000));
pub(crate) const TAGS: PfnRange = PfnRange::new(Pfn::new(0x4_4000), Pfn::new(0x4_4200));

/// A machine with this many blocks of 64 MiB of data, each with its 2 MiB of tags.
pub(crate) fn boot(design: impl TagStorageDesign + 'static, units: u64) -> Emulator<Silent> {
    let data = PfnRange::from_len(DATA.start(), PageCount::new(0x4000 * units));
    let tags = PfnRange::from_len(data.end(), PageCount::new(0x200 * units));
    let memory = PfnRange::new(data.start(), tags.end());
    let machine =
        MachineSpec::single(Geometry::PAGES_4K, KernelProfile::V6_12, ZoneType::Normal, memory);
    boot_on(machine, vec![(data, tags)], design).unwrap()
}

/// A machine with tag storage in blocks of one page.
pub(crate) fn boot_on(
    machine: MachineSpec,
    regions: Vec<(PfnRange, PfnRange)>,
    design: impl TagStorageDesign + 'static,
) -> Result<Emulator<Silent>, SpecError> {
    let tags = TagSpec { regions, ..TagSpec::single(DATA, TAGS, Arc::new(design)) };
    Emulator::new(&EmulatorSpec { machine, tags: Some(tags) }, Silent)
}

/// One unit with tag blocks of two pages, by this arithmetic.
pub(crate) fn boot_coded(design: impl TagStorageDesign + 'static, formula: Formula) -> Emulator {
    let memory = PfnRange::new(DATA.start(), TAGS.end());
    let machine =
        MachineSpec::single(Geometry::PAGES_4K, KernelProfile::V6_12, ZoneType::Normal, memory);
    let tags = TagSpec::single(DATA, TAGS, Arc::new(design));
    let tags = Some(TagSpec { block_size: 0x2000, formula, ..tags });
    Emulator::new(&EmulatorSpec { machine, tags }, Silent).unwrap()
}

/// A program and the range it uses.
#[derive(Clone, Copy)]
pub(crate) struct Program {
    pub(crate) space: SpaceId,
    pub(crate) range: VirtRange,
}

impl Program {
    pub(crate) fn start(emulator: &mut Emulator<Silent>, pages: u64, prot: Prot) -> Self {
        let space = emulator.create_space();
        let range = emulator.space(space).unwrap().unmapped_area(pages, 512);
        emulator.mmap(space, range, prot, Backing::Anon).unwrap();
        Self { space, range }
    }

    pub(crate) fn page(self, offset: u64) -> VirtPage {
        self.range.start().plus(offset)
    }

    pub(crate) fn touch(
        self,
        emulator: &mut Emulator<Silent>,
        offset: u64,
    ) -> Result<Accessed, AccessError> {
        let outcome = emulator.access(CPU, self.space, self.page(offset), Access::Write);
        emulator.check().unwrap();
        outcome
    }

    /// The folio behind a page, accessible or not.
    pub(crate) fn folio(self, emulator: &Emulator<Silent>, offset: u64) -> FolioId {
        let table = emulator.space(self.space).unwrap().table();
        table.get(self.page(offset)).folio().unwrap()
    }

    pub(crate) fn pfn(self, emulator: &Emulator<Silent>, offset: u64) -> Pfn {
        emulator.folios()[self.folio(emulator, offset)].pfn()
    }

    pub(crate) fn marked(self, emulator: &Emulator<Silent>) -> usize {
        let table = emulator.space(self.space).unwrap().table();
        table.range(self.range).filter(|(_, pte)| pte.faults_on_access()).count()
    }

    pub(crate) fn protect(self, emulator: &mut Emulator<Silent>, prot: Prot) {
        emulator.mprotect(CPU, self.space, self.range, prot).unwrap();
        emulator.check().unwrap();
    }

    pub(crate) fn dontneed(self, emulator: &mut Emulator<Silent>) {
        emulator.madvise_dontneed(CPU, self.space, self.range).unwrap();
        emulator.check().unwrap();
    }
}

/// Reserved blocks besides the zero page's.
pub(crate) fn reserved(emulator: &Emulator<Silent>) -> usize {
    emulator.tags().ledger().blocks().reserved() - 1
}

/// The count of the block that holds the tags of `pfn`.
pub(crate) fn count(emulator: &Emulator<Silent>, pfn: Pfn) -> u32 {
    let ledger = emulator.tags().ledger();
    ledger.blocks().count(ledger.map().block_of(pfn).unwrap())
}

/// Free pages of a type, per-CPU lists left out.
pub(crate) fn free_cma(emulator: &Emulator<Silent>) -> u64 {
    let tags = emulator.tags().ledger().map().regions().map(|region| region.tags());
    let free = |pfn: &Pfn| {
        use pagelab_allocator::frame::Frame;
        matches!(emulator.frame(*pfn), Frame::Free { .. } | Frame::PerCpu { .. })
    };
    u64::try_from(tags.flat_map(PfnRange::iter).filter(free).count()).unwrap()
}

pub(crate) const ORDER_9: Order = Order::of(9);
