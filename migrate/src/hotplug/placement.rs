//! Where a page may lie that has needs, and moving pages from node to node.

use pagelab_allocator::event::Sink;
use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::hotplug::caps::Caps;
use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::hotplug::gate::{Reach, Verdict};
use pagelab_allocator::hotplug::memory_block::{BlockId, Early, MemoryBlock};
use pagelab_allocator::hotplug::veto::EntryPoint;
use pagelab_allocator::page_alloc::AllocRequest;
use pagelab_allocator::units::{CpuId, NodeId, Order, PageCount, PfnRange};

use crate::folio::{FolioId, FolioKind};
use crate::hotplug::host::Host;
use crate::hotplug::tiers::{AbstractDistance, MemoryTiers, NodeCpus};
use crate::migrate::{MigrateMode, MigrateReason, Target};

/// Whether a request names the node it wants. Linux: `mbind(2)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Binding {
    /// From the nearest node that has memory.
    Near(NodeId),
    /// From this node or not at all.
    Only(NodeId),
}

impl<S: Sink> Host<S> {
    /// What all memory of a node can do that the page allocator has; nothing if it has none.
    #[must_use]
    pub fn node_caps(&self, node: NodeId) -> Caps {
        // There are few ranges and many blocks, of which the first is mostly online.
        let has_online = |range| {
            let mut blocks = self.hot.ids(range).filter_map(|id| self.hot.block(id));
            blocks.any(MemoryBlock::is_online)
        };
        let own = self.hot.ranges().all().iter().filter(|piece| piece.of.node == node);
        let online = own.filter(|piece| piece.owner.has_blocks() && has_online(piece.of.range));
        online.map(|piece| piece.of.caps).reduce(|a, b| a & b).unwrap_or_default()
    }

    /// Nodes with memory in the page allocator, nearest to `from` first. Linux:
    /// `build_zonelists()`.
    #[must_use]
    pub fn nodes_near(&self, from: NodeId) -> Vec<NodeId> {
        crate::mover::nodes_near(self.emulator.page_alloc(), from)
    }

    /// Nodes with memory by their speed: those that had some at boot are DRAM with CPUs, others are
    /// what a driver brought. Linux: `set_node_memory_tier()`, `dax_kmem_memory_type`.
    #[must_use]
    pub fn tiers(&self) -> MemoryTiers {
        let mut tiers = MemoryTiers::default();
        for node in self.nodes_near(NodeId::new(0)) {
            let early = |(_, block): (BlockId, &MemoryBlock)| {
                block.node == node && block.early == Early::Yes
            };
            let (distance, cpus) = match self.hot.blocks().any(early) {
                true => (AbstractDistance::DRAM, NodeCpus::Some),
                false => (AbstractDistance::KMEM, NodeCpus::None),
            };
            tiers.add(node, distance, cpus);
        }
        tiers
    }

    /// Whether a page that needs `needs` may lie on `node`.
    ///
    /// # Errors
    ///
    /// What the gate says.
    pub fn may_place(&mut self, node: NodeId, needs: Caps) -> Result<(), Errno> {
        let caps = self.node_caps(node);
        let verdict = self.hot.gate().place(self.hot.view(), caps, needs);
        if verdict == Verdict::Allow {
            return Ok(());
        }
        let zones = self.emulator.page_alloc().zones().iter();
        let spans = zones.filter(|zone| zone.node() == node).map(|zone| zone.span());
        let range = spans.reduce(PfnRange::hull).unwrap_or_default();
        self.hot.enforce(EntryPoint::Place, range, verdict)
    }

    /// Nodes that may have a page that needs `needs`, in the order in which they are tried.
    pub fn nodes_for(&mut self, binding: Binding, needs: Caps) -> Vec<NodeId> {
        let nodes = match binding {
            Binding::Only(node) => vec![node],
            Binding::Near(from) => self.reachable(from),
        };
        nodes.into_iter().filter(|node| self.may_place(*node, needs).is_ok()).collect()
    }

    /// Allocates a folio from the first of `nodes` that has memory. Linux: `__folio_alloc()` with a
    /// node mask.
    ///
    /// # Errors
    ///
    /// [`Errno::NoMem`] when none has.
    pub fn allocate(
        &mut self,
        order: Order,
        gfp: GfpFlags,
        nodes: &[NodeId],
    ) -> Result<FolioId, Errno> {
        let kind =
            if gfp.contains(GfpFlags::MOVABLE) { FolioKind::Anon } else { FolioKind::Kernel };
        let memory = &mut self.emulator.memory;
        let got = nodes.iter().find_map(|&node| {
            let gfp = gfp | GfpFlags::THISNODE;
            let request = AllocRequest { node, ..AllocRequest::new(order, gfp) };
            memory.alloc(CpuId::BOOT, &request, kind).ok()
        });
        // Compaction may have moved what others have.
        self.emulator.settle(CpuId::BOOT);
        got.ok_or(Errno::NoMem)
    }

    /// Tells migration where tagged pages may go, if the gate has a say in that; nodes come and go.
    pub(crate) fn restrict_targets(&mut self) {
        let allows = |host: &Self, caps| {
            host.hot.gate().place(host.hot.view(), caps, Caps::TAG) == Verdict::Allow
        };
        if allows(self, Caps::empty()) {
            return;
        }
        let nodes = self.nodes_near(NodeId::new(0));
        let able = nodes.into_iter().filter(|node| allows(self, self.node_caps(*node)));
        self.emulator.memory.targets.tagged_nodes = Some(able.collect());
    }

    /// Nodes that a request without a binding may use.
    fn reachable(&self, from: NodeId) -> Vec<NodeId> {
        let required = self.hot.view().required();
        let hidden = |node: NodeId| {
            self.hot.gate().reach() == Reach::Bound && !self.node_caps(node).contains(required)
        };
        self.nodes_near(from).into_iter().filter(|node| !hidden(*node)).collect()
    }

    /// Moves folios to one of `nodes`, without reclaim; says how many pages moved.
    /// Linux: `migrate_pages()` for `MR_DEMOTION` and `MR_NUMA_MISPLACED`.
    pub fn move_folios(&mut self, ids: &[FolioId], nodes: &[NodeId]) -> PageCount {
        let mut mover = self.emulator.memory.mover(CpuId::BOOT);
        let list: Vec<_> = ids.iter().copied().filter(|id| mover.isolate(*id)).collect();
        let gfp = GfpFlags::HIGHUSER_MOVABLE.difference(GfpFlags::RECLAIM) | GfpFlags::NOWARN;
        let target = Target::Nodes(AllocRequest::new(Order::ZERO, gfp), nodes);
        let (mode, reason) = (MigrateMode::Async, MigrateReason::Syscall);
        let result = mover.migrate_pages(list, target, mode, reason);
        mover.putback(&result.failed);
        self.emulator.settle(CpuId::BOOT);
        result.succeeded
    }

    /// The node of a folio.
    #[must_use]
    pub fn node_of(&self, id: FolioId) -> Option<NodeId> {
        let folio = self.emulator.folios().get(id)?;
        Some(self.emulator.page_alloc().zone_of(folio.pfn())?.node())
    }
}
