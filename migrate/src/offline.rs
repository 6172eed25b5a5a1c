//! Emptying memory that goes away. Linux: `offline_pages()`, `do_migrate_range()`.

use pagelab_allocator::event::Sink;
use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::hotplug::memory_block::BlockId;
use pagelab_allocator::hotplug::memory_hotplug::MemoryHotplug;
use pagelab_allocator::hotplug::offline_block::{GoingOffline, OfflineFailure};
use pagelab_allocator::isolate::IsolateMode;
use pagelab_allocator::page_alloc::AllocRequest;
use pagelab_allocator::pcp::PcpSizes;
use pagelab_allocator::units::{CpuId, NodeId, Order, PageCount, PfnRange};
use pagelab_allocator::zone::Zone;

use crate::emulator::Emulator;
use crate::folio::FolioId;
use crate::memory::Memory;
use crate::migrate::{MigrateMode, MigrateReason, Target};
use crate::mover::nodes_near;

/// Rounds in which nothing moves before whoever asked is taken to give up. Linux goes on until a
/// signal comes.
const PATIENCE: u32 = 5;

impl<S: Sink> Emulator<S> {
    /// Takes a memory block out of the page allocator, moving what lives there to other nodes; says
    /// how many pages moved.
    ///
    /// Linux goes on trying for as long as a folio does not move; this gives up with
    /// [`OfflineFailure::Signal`], as if somebody had sent one, when several rounds moved nothing.
    /// Linux: `memory_block_offline()`, `offline_pages()`.
    ///
    /// # Errors
    ///
    /// The error number of the check that failed; the block is online then, its pageblocks are
    /// MOVABLE whatever they were, and what has moved stays where it went.
    pub fn offline_block(
        &mut self,
        cpu: CpuId,
        hot: &mut MemoryHotplug,
        id: BlockId,
    ) -> Result<PageCount, Errno> {
        let going = hot.start_offline(&self.memory.page_alloc, id)?;
        let emptied = self.memory.offline(cpu, hot, id, going);
        self.settle(cpu);
        emptied.map_err(|failure| hot.cancel_offline(id, failure))
    }
}

impl<S: Sink> Memory<S> {
    fn offline(
        &mut self,
        cpu: CpuId,
        hot: &mut MemoryHotplug,
        id: BlockId,
        going: GoingOffline,
    ) -> Result<PageCount, OfflineFailure> {
        let zone = self.page_alloc.zone_index(going.range.start());
        let zone = zone.ok_or(OfflineFailure::MultizoneRange)?;
        let mut hand = self.page_alloc.by_hand(zone, cpu);
        let sizes = hand.pcp_sizes();
        hand.set_pcp_sizes(PcpSizes::BOOT);
        let mode = IsolateMode::MemOffline;
        let gone = match self.page_alloc.start_isolate(going.given(), mode) {
            Ok(()) => self.empty_isolated(cpu, hot, id, going),
            Err(_) => Err(OfflineFailure::Isolate),
        };
        if gone.is_err() {
            self.page_alloc.by_hand(zone, cpu).set_pcp_sizes(sizes);
        }
        gone
    }

    fn empty_isolated(
        &mut self,
        cpu: CpuId,
        hot: &mut MemoryHotplug,
        id: BlockId,
        going: GoingOffline,
    ) -> Result<PageCount, OfflineFailure> {
        let emptied = hot.going_offline(id).and_then(|()| self.evacuate_block(cpu, going.given()));
        let finished = emptied.and_then(|moved| {
            let GoingOffline { range, memmap } = going;
            let left = self.page_alloc.finish_offline(range, memmap, hot.tunables());
            left.map(|()| moved).map_err(|_| OfflineFailure::Signal)
        });
        match &finished {
            Ok(_) => hot.finish_offline(id),
            Err(_) => self.page_alloc.undo_isolate(going.given(), IsolateMode::MemOffline),
        }
        finished
    }

    /// Moves everything out that can move, to other nodes as long as there are some.
    fn evacuate_block(&mut self, cpu: CpuId, range: PfnRange) -> Result<PageCount, OfflineFailure> {
        let nodes = self.other_nodes(range);
        let gfp = GfpFlags::USER | GfpFlags::MOVABLE | GfpFlags::RETRY_MAYFAIL;
        let request = AllocRequest::new(Order::ZERO, gfp);
        let (mut moved, mut idle) = (PageCount::ZERO, 0);
        loop {
            let list = self.isolate_movable(cpu, range);
            if list.is_empty() {
                return self.nothing_left(range).map(|()| moved);
            }
            let mut mover = self.mover(cpu);
            let target = Target::Nodes(request, &nodes);
            let (mode, reason) = (MigrateMode::Sync, MigrateReason::MemoryHotplug);
            let result = mover.migrate_pages(list, target, mode, reason);
            mover.putback(&result.failed);
            moved += result.succeeded;
            idle = if result.succeeded > PageCount::ZERO { 0 } else { idle + 1 };
            match (idle >= PATIENCE, result.error) {
                (true, Some(_)) => return Err(OfflineFailure::NoTarget),
                (true, None) => return Err(OfflineFailure::Signal),
                (false, _) => {}
            }
        }
    }

    /// Nodes with memory but that of `range`, nearest first; that one if it is the only one.
    fn other_nodes(&self, range: PfnRange) -> Vec<NodeId> {
        let own = self.page_alloc.zone_of(range.start()).map_or(NodeId::new(0), Zone::node);
        let mut nodes = nodes_near(&self.page_alloc, own);
        nodes.retain(|node| *node != own);
        if nodes.is_empty() { vec![own] } else { nodes }
    }

    /// Takes every movable folio of a range off its LRU list. Linux: `do_migrate_range()`.
    fn isolate_movable(&mut self, cpu: CpuId, range: PfnRange) -> Vec<FolioId> {
        let mut list = Vec::new();
        let mut pfn = range.start();
        while pfn < range.end() {
            let frame = self.page_alloc.frame(pfn);
            if let Some(id) = self.rmap.folio_at(pfn)
                && self.folios[id].is_movable()
                && self.mover(cpu).isolate(id)
            {
                list.push(id);
            }
            pfn = frame.next(pfn);
        }
        list
    }

    /// Whether only free memory is left. What is in use and cannot move is there for good.
    fn nothing_left(&self, range: PfnRange) -> Result<(), OfflineFailure> {
        use pagelab_allocator::frame::Frame;
        let mut pfn = range.start();
        while pfn < range.end() {
            let frame = self.page_alloc.frame(pfn);
            if !matches!(frame, Frame::Free { .. }) {
                return Err(OfflineFailure::UnmovablePage);
            }
            pfn = frame.next(pfn);
        }
        Ok(())
    }
}
