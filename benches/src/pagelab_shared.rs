//! Ours, the page allocator for several threads: a CPU's handle for each of them.

use std::marker::PhantomData;

use pagelab_allocator::{
    boot::MachineSpec,
    event::Silent,
    geometry::Geometry,
    gfp::{GfpFlags, ZoneType},
    page_alloc::{AllocRequest, PageAllocator},
    profile::KernelProfile,
    smp::{Cpu, SharedAllocator},
    units::{NodeId, Order, PageCount, Pfn, PfnRange},
    zone::ZoneSpec,
};
use pagelab_percpu::{Asymmetric, Exclusive, Locked};

use crate::{CACHE_SLICE, FRAMES, Frame, Peer, SPARE, Shared, shared::only};

/// How a CPU's lists are kept apart from those who drain them.
pub trait Keep: Exclusive + Default + Send + Sync + 'static {
    /// The name in reports, with all memory in one zone.
    const ONE_ZONE: &'static str;
    /// And with a zone a thread.
    const ZONES: &'static str;
}

impl Keep for Asymmetric {
    const ONE_ZONE: &'static str = "pagelab-shared";
    const ZONES: &'static str = "pagelab-shared, a zone each";
}

impl Keep for Locked {
    const ONE_ZONE: &'static str = "pagelab-shared, locked";
    const ZONES: &'static str = "pagelab-shared, locked, a zone each";
}

/// Where the memory is.
pub trait Layout: Send + 'static {
    /// The name in reports.
    fn name<P: Keep>() -> &'static str;

    /// Zones for a number of threads. A thread asks for its own zone's pages first.
    fn zones(threads: usize) -> usize;
}

/// All in one zone.
#[derive(Debug)]
pub struct OneZone;

/// A node with one zone for each thread.
#[derive(Debug)]
pub struct ZoneEach;

/// User memory by `SharedAllocator`. Blocks are kept as numbers, as those of the peers are.
#[derive(Debug)]
pub struct PagelabShared<P = Asymmetric, L = OneZone> {
    cpu: Cpu<P>,
    node: NodeId,
    layout: PhantomData<L>,
}

/// A machine with [`FRAMES`] frames to give, in `nodes` nodes, and its CPUs.
pub(crate) fn machine(nodes: usize, cpus: usize) -> PageAllocator {
    let nodes = u64::try_from(nodes).expect("few nodes");
    let memory = PfnRange::from_len(Pfn::new(0), PageCount::new(FRAMES) + SPARE);
    let share = (FRAMES + SPARE.get()) / nodes;
    let (geometry, profile) = (Geometry::PAGES_4K, KernelProfile::V6_12);
    let mut spec = MachineSpec::single(geometry, profile, ZoneType::Normal, memory);
    spec.cache_slice = CACHE_SLICE;
    spec.cpus = u16::try_from(cpus).expect("few threads");
    spec.zones = (0..nodes).map(|node| zone(node, share)).collect();
    PageAllocator::boot(&spec, Silent).expect("zones side by side are a machine")
}

fn zone(node: u64, share: u64) -> ZoneSpec {
    let span = PfnRange::from_len(Pfn::new(node * share), PageCount::new(share));
    let node = NodeId::new(u8::try_from(node).expect("few nodes"));
    ZoneSpec { kind: ZoneType::Normal, node, span }
}

impl<P: Keep, L: Layout> Peer for PagelabShared<P, L> {
    const NAME: &'static str = "pagelab-shared";

    type Block = Frame;

    fn name() -> &'static str {
        L::name::<P>()
    }

    fn new() -> Self {
        only()
    }

    #[inline(always)]
    fn alloc(&mut self, order: Order) -> Option<Frame> {
        let mut request = AllocRequest::new(order, GfpFlags::HIGHUSER_MOVABLE);
        request.node = self.node;
        self.cpu.alloc_pages(&request).ok().map(|pages| Frame::from(pages.into_raw().0))
    }

    #[inline(always)]
    fn free(&mut self, block: Frame, order: Order) {
        self.cpu.free_raw(block.pfn(), order);
    }

    #[inline(always)]
    fn alloc_at(&mut self, start: Pfn, order: Order) -> Option<Frame> {
        self.cpu.take_at(start, order).map(|pages| Frame::from(pages.into_raw().0))
    }

    #[inline(always)]
    fn put_back(&mut self, block: Frame, order: Order) {
        self.cpu.put_back_raw(block.pfn(), order);
    }

    fn start(block: &Frame) -> Pfn {
        block.pfn()
    }
}

impl<P: Keep, L: Layout> Shared for PagelabShared<P, L> {
    fn handles(threads: usize) -> Vec<Self> {
        let nodes = L::zones(threads);
        let machine = machine(nodes, threads);
        let (_, cpus) = SharedAllocator::share(machine).expect("zones do not overlap");
        let own = |(thread, cpu)| {
            let node = NodeId::new(u8::try_from(thread % nodes).expect("few nodes"));
            Self { cpu, node, layout: PhantomData }
        };
        cpus.into_iter().enumerate().map(own).collect()
    }
}

impl Layout for OneZone {
    fn name<P: Keep>() -> &'static str {
        P::ONE_ZONE
    }

    fn zones(_threads: usize) -> usize {
        1
    }
}

impl Layout for ZoneEach {
    fn name<P: Keep>() -> &'static str {
        P::ZONES
    }

    fn zones(threads: usize) -> usize {
        threads
    }
}
