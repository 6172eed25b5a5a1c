//! Machines of a few frames, for the models of memory that threads share.

use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::event::Silent;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::ZoneType;
use pagelab_allocator::page_alloc::PageAllocator;
use pagelab_allocator::profile::{KernelProfile, MovablePcp};
use pagelab_allocator::smp::{Cpu, Locked, SharedAllocator};
use pagelab_allocator::sync::Arc;
use pagelab_allocator::units::{Order, PageCount, Pfn, PfnRange};
use pagelab_migrate::smp::page_table::SharedTable;
use pagelab_migrate::smp::{Contents, SharedMemory, Step};
use pagelab_migrate::tag_storage::formula::Formula;
use pagelab_migrate::tag_storage::map::TagMap;
use pagelab_migrate::tag_storage::region::TagRegion;

/// Frames with data: a pageblock at either end, whose tags lie in different pages of [`TAGS`].
pub const DATA: PfnRange = PfnRange::new(Pfn::new(0), Pfn::new(34));
/// Tag storage: one pageblock of CMA memory.
pub const TAGS: PfnRange = PfnRange::new(Pfn::new(34), Pfn::new(36));
const MEMORY: PfnRange = PfnRange::new(Pfn::new(0), Pfn::new(36));
/// What lies between the two is not the allocator's.
const HOLE: PfnRange = PfnRange::new(Pfn::new(2), Pfn::new(32));
const PAGEBLOCK: Order = Order::of(1);

/// A CPU whose lists are behind a lock: the models here are about what lies above them.
pub type LockedCpu = Cpu<Locked>;

/// The machine, as a thread of a model has it.
pub type Memory = Arc<SharedMemory<Locked>>;

/// Six frames in use and `N` CPUs. `missing` is the step that a canary leaves out.
///
/// # Panics
///
/// Panics when the machine cannot be built.
#[must_use]
pub fn machine<const N: usize>(missing: Option<Step>) -> (Memory, [LockedCpu; N]) {
    machine_with(Box::new(()), missing)
}

/// The same with something in its frames.
///
/// # Panics
///
/// Panics when the machine cannot be built.
#[must_use]
pub fn machine_with<const N: usize>(
    contents: Box<dyn Contents>,
    missing: Option<Step>,
) -> (Memory, [LockedCpu; N]) {
    let geometry = Geometry::new(12, PAGEBLOCK, PAGEBLOCK).expect("a tiny geometry");
    let mut spec = MachineSpec::single(geometry, KernelProfile::V6_12, ZoneType::Normal, MEMORY);
    spec.cpus = u16::try_from(N).expect("a few");
    spec.cma = vec![TAGS];
    spec.movable_pcp = Some(MovablePcp::OnlyWithCma);
    spec.reserved = vec![HOLE];
    spec.tunables.min_free_kbytes = Some(0);
    let alloc = PageAllocator::boot(&spec, Silent).expect("a tiny machine");
    let (alloc, cpus) = SharedAllocator::share(alloc).expect("one zone");
    let region = TagRegion::new(DATA, TAGS, PageCount::new(1)).expect("a region");
    let tags = TagMap::new(vec![region], geometry, Formula::Intent).expect("a region");
    let memory = SharedMemory::new(alloc, MEMORY, tags, contents);
    let cpus = cpus.try_into().expect("as many as asked for");
    (Arc::new(without(memory, missing)), cpus)
}

#[cfg(loom)]
fn without(memory: SharedMemory<Locked>, missing: Option<Step>) -> SharedMemory<Locked> {
    match missing {
        Some(step) => memory.without(step),
        None => memory,
    }
}

#[cfg(not(loom))]
fn without(memory: SharedMemory<Locked>, _missing: Option<Step>) -> SharedMemory<Locked> {
    memory
}

/// Ends what is left, and looks whether all pages came back. Nothing may be held, so that a model
/// that went wrong fails here or before, with no lock held.
///
/// # Panics
///
/// Panics when an invariant does not hold.
pub fn end(memory: &Memory, cpu: &mut LockedCpu, tables: Vec<Arc<SharedTable>>) {
    memory.check(&tables, PageCount::ZERO).expect("every page is in one place");
    tables.into_iter().for_each(|table| memory.exit(cpu, table));
    memory.check(&[], PageCount::ZERO).expect("every page came back");
}
