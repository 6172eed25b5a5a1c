//! Machines and helpers for the tests of this crate.

use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::event::Sink;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::{GfpFlags, ZoneType};
use pagelab_allocator::page_alloc::{AllocRequest, PageAllocator};
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::{CpuId, Order, PageCount, Pfn, PfnRange};

use crate::folio::{FolioId, FolioKind};
use crate::memory::Memory;

pub(crate) const CPU: CpuId = CpuId::BOOT;
pub(crate) const PROFILES: [KernelProfile; 2] = [KernelProfile::V6_1, KernelProfile::V6_12];

pub(crate) fn range(start: u64, end: u64) -> PfnRange {
    PfnRange::new(Pfn::new(start), Pfn::new(end))
}

/// A machine with pageblocks of 16 pages and blocks of at most 32, so that small ranges have many
/// pageblocks. Frames start at 0x1000.
pub(crate) fn spec(profile: KernelProfile, pages: u64, cma: Option<PfnRange>) -> MachineSpec {
    let geometry = Geometry::new(12, Order::of(4), Order::of(5)).unwrap();
    let memory = range(0x1000, 0x1000 + pages);
    let mut spec = MachineSpec::single(geometry, profile, ZoneType::Normal, memory);
    spec.cma.extend(cma);
    spec.tunables.min_free_kbytes = Some(64);
    spec
}

pub(crate) fn machine(profile: KernelProfile, pages: u64, cma: Option<PfnRange>) -> Memory {
    boot(&spec(profile, pages, cma), pagelab_allocator::event::Silent)
}

/// A machine with the usual pageblocks of 512 pages. Frames start at 0x40000.
pub(crate) fn usual(profile: KernelProfile, pages: u64) -> Memory {
    let memory = range(0x4_0000, 0x4_0000 + pages);
    let spec = MachineSpec::single(Geometry::PAGES_4K, profile, ZoneType::Normal, memory);
    boot(&spec, pagelab_allocator::event::Silent)
}

pub(crate) fn boot<S: Sink>(spec: &MachineSpec, sink: S) -> Memory<S> {
    Memory::new(PageAllocator::boot(spec, sink).unwrap())
}

pub(crate) fn anon(order: u8) -> AllocRequest {
    AllocRequest::new(Order::of(order), GfpFlags::HIGHUSER_MOVABLE)
}

pub(crate) fn kernel(order: u8) -> AllocRequest {
    AllocRequest::new(Order::of(order), GfpFlags::KERNEL)
}

/// Allocates single anonymous pages until nothing is left; never waits for memory.
pub(crate) fn fill<S: Sink>(memory: &mut Memory<S>) -> Vec<FolioId> {
    let request = AllocRequest::new(Order::ZERO, GfpFlags::HIGHUSER_MOVABLE)
        .granting(pagelab_allocator::gfp::AllocFlags::NO_WATERMARKS);
    let all = core::iter::from_fn(|| memory.alloc(CPU, &request, FolioKind::Anon).ok());
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(|id| memory.folios[*id].pfn());
    all
}

/// Frees the folios for which `keep` says no; returns the others.
pub(crate) fn thin_out<S: Sink>(
    memory: &mut Memory<S>,
    folios: Vec<FolioId>,
    keep: impl Fn(Pfn) -> bool,
) -> Vec<FolioId> {
    let (kept, freed): (Vec<_>, Vec<_>) =
        folios.into_iter().partition(|id| keep(memory.folios[*id].pfn()));
    for id in freed {
        memory.free(CPU, id);
    }
    kept
}

/// Every invariant holds, nothing is isolated, and as many pages exist as before.
#[track_caller]
pub(crate) fn check_sound<S: Sink>(memory: &Memory<S>) {
    memory.check().unwrap();
    assert!(memory.folios.iter().all(|(_, folio)| !folio.is_isolated()), "a folio stayed isolated");
    for zone in memory.page_alloc.zones() {
        let owned = memory.rmap.occupied();
        let known = zone.free_pages().all + zone.pcp_pages() + owned;
        assert!(known <= zone.managed(), "{known} of {} pages", zone.managed());
    }
}

/// Frees everything; every page has to come back.
#[track_caller]
pub(crate) fn check_all_returns<S: Sink>(mut memory: Memory<S>) {
    let all: Vec<_> = memory.folios.iter().map(|(id, _)| id).collect();
    for id in all {
        memory.free(CPU, id);
    }
    memory.page_alloc.drain_all();
    memory.check().unwrap();
    for zone in memory.page_alloc.zones() {
        assert_eq!(zone.free_pages().all, zone.managed(), "pages of {} got lost", zone.kind());
    }
}

pub(crate) fn pages(count: u64) -> PageCount {
    PageCount::new(count)
}
