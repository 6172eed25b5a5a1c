//! Random operations on small machines, every invariant after each; every page back at the end.

#![expect(clippy::unwrap_used, reason = "a history that cannot go on fails its test")]

use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::contig::ContigRange;
use pagelab_allocator::event::Silent;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::{GfpFlags, ZoneType};
use pagelab_allocator::isolate::IsolateMode;
use pagelab_allocator::page_alloc::{AllocRequest, PageAllocator};
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::{CpuId, Order, PageCount, Pfn, PfnRange};
use pagelab_migrate::cma::CmaArea;
use pagelab_migrate::folio::{FolioId, FolioKind, Mapping, PinTerm, SpaceId, VirtPage};
use pagelab_migrate::memory::Memory;

const MEMORY: (u64, u64) = (0x1000, 0x1200);
const LENT: (u64, u64) = (0x1140, 0x1180);

fn range((start, end): (u64, u64)) -> PfnRange {
    PfnRange::new(Pfn::new(start), Pfn::new(end))
}

/// xorshift64: the seed is the whole state.
struct Prng(u64);

impl Prng {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> Option<T> {
        let len = u64::try_from(items.len()).unwrap();
        (len > 0).then(|| items[usize::try_from(self.below(len)).unwrap()])
    }
}

struct Soak {
    prng: Prng,
    memory: Memory,
    area: CmaArea,
    live: Vec<FolioId>,
    mapped: Vec<(FolioId, Mapping)>,
    pins: Vec<(FolioId, PinTerm)>,
    claimed: Vec<ContigRange>,
    from_area: Vec<ContigRange>,
    pages: u64,
}

impl Soak {
    fn new(seed: u64, profile: KernelProfile) -> Self {
        let geometry = Geometry::new(12, Order::of(4), Order::of(5)).unwrap();
        let mut spec = MachineSpec::single(geometry, profile, ZoneType::Normal, range(MEMORY));
        spec.cma.push(range(LENT));
        spec.cpus = 2;
        spec.tunables.min_free_kbytes = Some(64);
        let memory = Memory::new(PageAllocator::boot(&spec, Silent).unwrap());
        Self {
            prng: Prng(seed),
            memory,
            area: CmaArea::new(range(LENT), Order::ZERO).unwrap(),
            live: Vec::new(),
            mapped: Vec::new(),
            pins: Vec::new(),
            claimed: Vec::new(),
            from_area: Vec::new(),
            pages: MEMORY.1 - MEMORY.0,
        }
    }

    fn cpu(&mut self) -> CpuId {
        CpuId::new(u16::try_from(self.prng.below(2)).unwrap())
    }

    fn step(&mut self) {
        match self.prng.below(20) {
            0..=7 => self.alloc(),
            8..=11 => self.free(),
            12 => self.map(),
            13 => self.unmap(),
            14 => self.pin(),
            15 => self.unpin(),
            16 => self.claim(),
            17 => self.release_claim(),
            18 => self.take_from_area(),
            _ => self.return_to_area(),
        }
        self.check();
    }

    fn alloc(&mut self) {
        let cpu = self.cpu();
        let order = Order::new(u8::try_from(self.prng.below(20)).unwrap());
        let order = order.filter(|order| *order <= Order::of(5)).unwrap_or_default();
        let (gfp, kind) = match self.prng.below(4) {
            0 => (GfpFlags::KERNEL, FolioKind::Kernel),
            1 => (GfpFlags::HIGHUSER_MOVABLE, FolioKind::Shmem),
            _ => (GfpFlags::HIGHUSER_MOVABLE, FolioKind::Anon),
        };
        if let Ok(id) = self.memory.alloc(cpu, &AllocRequest::new(order, gfp), kind) {
            self.live.push(id);
        }
    }

    fn is_idle(&self, id: FolioId) -> bool {
        self.memory.folios.get(id).is_some_and(|f| !f.is_mapped() && !f.is_pinned())
    }

    fn free(&mut self) {
        let cpu = self.cpu();
        let Some(id) = self.prng.pick(&self.live) else { return };
        if self.is_idle(id) {
            self.live.retain(|other| *other != id);
            self.memory.free(cpu, id);
        }
    }

    fn map(&mut self) {
        let Some(id) = self.prng.pick(&self.live) else { return };
        let page = VirtPage::new(u64::try_from(self.mapped.len()).unwrap() * 64);
        let mapping = Mapping { space: SpaceId::new(7), page };
        if !self.mapped.iter().any(|(_, other)| *other == mapping) {
            self.memory.folios.map(id, mapping);
            self.mapped.push((id, mapping));
        }
    }

    fn unmap(&mut self) {
        if let Some((id, mapping)) = self.mapped.pop() {
            self.memory.folios.unmap(id, mapping);
        }
    }

    fn pin(&mut self) {
        let cpu = self.cpu();
        let Some(id) = self.prng.pick(&self.live) else { return };
        let term = if self.prng.below(2) == 0 { PinTerm::Short } else { PinTerm::Long };
        if self.memory.pin(cpu, id, term).is_ok() {
            self.pins.push((id, term));
        }
        self.adopt_splits();
    }

    fn unpin(&mut self) {
        if let Some((id, term)) = self.pins.pop() {
            self.memory.unpin(id, term);
        }
    }

    fn claim(&mut self) {
        let cpu = self.cpu();
        let start = MEMORY.0 + self.prng.below(self.pages - 48);
        let wanted = PfnRange::from_len(Pfn::new(start), PageCount::new(1 + self.prng.below(48)));
        let mode = IsolateMode::Other;
        let taken = self.memory.alloc_contig_range(cpu, wanted, mode, GfpFlags::KERNEL);
        self.claimed.extend(taken.map(|taken| taken.range));
        self.adopt_splits();
    }

    fn release_claim(&mut self) {
        let cpu = self.cpu();
        if let Some(range) = self.claimed.pop() {
            self.memory.page_alloc.free_contig_range(cpu, range);
        }
    }

    fn take_from_area(&mut self) {
        let cpu = self.cpu();
        let count = PageCount::new(1 + self.prng.below(12));
        let align = Order::new(u8::try_from(self.prng.below(4)).unwrap()).unwrap();
        let taken = self.memory.cma_alloc(cpu, &mut self.area, count, align);
        self.from_area.extend(taken.map(|taken| taken.range));
        self.adopt_splits();
    }

    fn return_to_area(&mut self) {
        let cpu = self.cpu();
        if let Some(range) = self.from_area.pop() {
            self.memory.cma_release(cpu, &mut self.area, range);
        }
    }

    /// Pages of split folios are owned, and mapped, one by one.
    fn adopt_splits(&mut self) {
        for split in std::mem::take(&mut self.memory.log.splits) {
            let mappings: Vec<_> =
                self.mapped.iter().filter(|(id, _)| *id == split.folio).copied().collect();
            for (offset, page) in (0..).zip(split.pages).skip(1) {
                self.live.push(page);
                for (_, m) in &mappings {
                    let page_of = Mapping { space: m.space, page: m.page.plus(offset) };
                    self.mapped.push((page, page_of));
                }
            }
        }
    }

    fn check(&mut self) {
        self.adopt_splits();
        self.memory.check().unwrap();
        assert!(self.memory.folios.iter().all(|(_, folio)| !folio.is_isolated()));
        assert_eq!(self.memory.folios.len(), self.live.len());
        let held = |ranges: &[ContigRange]| -> u64 {
            ranges.iter().map(|taken| taken.range().len().get()).sum()
        };
        let zone = &self.memory.page_alloc.zones()[0];
        let free = zone.free_pages().all + zone.pcp_pages();
        let used = self.memory.rmap.occupied().get() + held(&self.claimed) + held(&self.from_area);
        assert_eq!(free.get() + used, self.pages, "every page is free or somebody's");
        assert_eq!(self.area.used().get(), held(&self.from_area));
    }

    fn finish(mut self) {
        while !self.pins.is_empty() {
            self.unpin();
        }
        while !self.mapped.is_empty() {
            self.unmap();
        }
        for id in std::mem::take(&mut self.live) {
            self.memory.free(CpuId::BOOT, id);
        }
        while !(self.claimed.is_empty() && self.from_area.is_empty()) {
            self.release_claim();
            self.return_to_area();
        }
        self.check();
        self.memory.page_alloc.drain_all();
        let zone = &self.memory.page_alloc.zones()[0];
        assert_eq!(zone.free_pages().all.get(), self.pages);
        let lent = LENT.1 - LENT.0;
        assert_eq!(zone.free_pages().cma.get(), lent, "lent memory is lent again");
    }
}

fn soak(profile: KernelProfile) {
    for seed in 1..=40 {
        let mut soak = Soak::new(seed * 0x9e37_79b9, profile);
        for _ in 0..400 {
            soak.step();
        }
        soak.finish();
    }
}

#[test]
fn random_histories_of_6_1() {
    soak(KernelProfile::V6_1);
}

#[test]
fn random_histories_of_6_12() {
    soak(KernelProfile::V6_12);
}
