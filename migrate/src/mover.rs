//! The parts of the machine that a migration touches, borrowed together.
//!
//! A claim on a contiguous range holds the page allocator and lends it, so migration cannot ask for
//! a whole `Memory`; it asks for the parts.

use pagelab_allocator::event::Sink;
use pagelab_allocator::frame::Movability;
use pagelab_allocator::gfp::{AllocFlags, GfpFlags};
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::page_alloc::{AllocRequest, PageAllocator, Pages};
use pagelab_allocator::units::{CpuId, NodeId, Order, PageCount, Pfn};

use crate::compact::Compaction;
use crate::folio::{Folio, FolioFlags, FolioId, Mapping};
use crate::folios::Folios;
use crate::migrate::MigrateReason;
use crate::note::Note;
use crate::page_cache::FilePage;
use crate::reclaim::Reclaim;
use crate::reclaim::swap::SwapSlot;
use crate::rmap::Rmap;
use crate::stats::MmStats;

/// A folio changed its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moved {
    /// Which folio; its identity did not change.
    pub folio: FolioId,
    /// First frame before.
    pub from: Pfn,
    /// First frame now.
    pub to: Pfn,
    /// Its order.
    pub order: Order,
    /// On whose behalf.
    pub reason: MigrateReason,
}

/// A large folio became single pages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Split {
    /// The folio; it is its own first page now.
    pub folio: FolioId,
    /// All pages in frame order, the first included.
    pub pages: Vec<FolioId>,
}

/// A page went to swap.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Evicted {
    /// The frame that it had.
    pub pfn: Pfn,
    /// Where it is now.
    pub slot: SwapSlot,
    /// Where it was mapped; those entries have to name the slot now.
    pub mappings: Vec<Mapping>,
    /// Length of [`MoveLog::moves`] then: what moved before that comes first.
    pub after_moves: usize,
}

/// What moved and what was split since the owner last looked, each in order.
#[derive(Clone, Debug, Default)]
pub struct MoveLog {
    /// Moves.
    pub moves: Vec<Moved>,
    /// Splits; page tables that map such a folio have to name its pages now.
    pub splits: Vec<Split>,
    /// Pages that went to swap.
    pub evicted: Vec<Evicted>,
    /// Clean pages of files that left the page cache; a store of clean copies may want them.
    pub dropped: Vec<FilePage>,
}

impl MoveLog {
    /// Whether nothing happened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.moves.is_empty()
            && self.splits.is_empty()
            && self.evicted.is_empty()
            && self.dropped.is_empty()
    }
}

/// What migration targets gain and lose besides what their request says. Nothing in mainline.
///
/// Linux (RFC v1, v2): `arch_alloc_cma()` and its predecessor, applied to the flags of
/// `alloc_migration_target()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TargetRules {
    /// Wishes that targets of tagged folios get: [`GfpFlags::TAGGED`], where they are to be like
    /// requests for tagged pages. Linux (RFC v2): `arch_migration_target_gfp()`.
    pub tagged_added: GfpFlags,
    /// Wishes that targets of tagged folios lose.
    pub tagged_dropped: GfpFlags,
    /// Rights that targets of tagged folios do not get.
    pub tagged_barred: AllocFlags,
    /// Rights that movable targets of tagged folios get.
    pub tagged_granted: AllocFlags,
    /// Rights that movable targets of other folios get.
    pub plain_granted: AllocFlags,
    /// The only nodes that tagged folios may go to; `None` for all. Nothing in mainline, which
    /// copies tags to wherever the page goes.
    pub tagged_nodes: Option<NodeSet>,
}

/// Some of the nodes 0 to 63. Linux: `nodemask_t`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NodeSet(u64);

impl NodeSet {
    /// Whether a node is one of them.
    #[must_use]
    pub const fn contains(self, node: NodeId) -> bool {
        node.get() < 64 && self.0 >> node.get() & 1 == 1
    }
}

impl FromIterator<NodeId> for NodeSet {
    /// The nodes of an iterator.
    ///
    /// # Panics
    ///
    /// Panics at a node beyond 63.
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> Self {
        let bit = |node: NodeId| {
            assert!(node.get() < 64, "node {} in a set of 64", node.get());
            1 << node.get()
        };
        Self(nodes.into_iter().fold(0, |set, node| set | bit(node)))
    }
}

impl TargetRules {
    /// Whether no node is barred to a folio.
    pub(crate) fn goes_anywhere(&self, id: FolioId, folios: &Folios) -> bool {
        self.tagged_nodes.is_none() || !folios[id].is_tagged()
    }

    /// Whether `folio` may go to `node`.
    pub(crate) fn may_go(&self, folio: &Folio, node: NodeId) -> bool {
        !folio.is_tagged() || self.tagged_nodes.is_none_or(|nodes| nodes.contains(node))
    }

    /// The request for a target of `folio`.
    pub(crate) fn apply(&self, folio: &Folio, request: AllocRequest) -> AllocRequest {
        let (added, dropped, barred, granted) = match folio.is_tagged() {
            true => {
                (self.tagged_added, self.tagged_dropped, self.tagged_barred, self.tagged_granted)
            }
            false => {
                (GfpFlags::empty(), GfpFlags::empty(), AllocFlags::empty(), self.plain_granted)
            }
        };
        let gfp = request.gfp.difference(dropped) | added;
        let request = AllocRequest { gfp, ..request.barring(barred) };
        match gfp.migratetype() {
            MigrateType::Movable => request.granting(granted),
            _ => request,
        }
    }
}

/// Everything that migration and compaction work on.
#[derive(Debug)]
pub struct Mover<'a, S: Sink> {
    /// Frames.
    pub page_alloc: &'a mut PageAllocator<S>,
    /// Who lives in them.
    pub folios: &'a mut Folios,
    /// From frames to folios.
    pub rmap: &'a mut Rmap,
    /// Where the scanners stopped, and how much they back off.
    pub compaction: &'a mut Compaction,
    /// Counters.
    pub stats: &'a mut MmStats,
    /// Who was used when, and what of it can go.
    pub reclaim: &'a mut Reclaim,
    /// What moved.
    pub log: &'a mut MoveLog,
    /// What migration targets gain and lose.
    pub targets: TargetRules,
    /// The CPU that works.
    pub cpu: CpuId,
}

impl<S: Sink> Mover<'_, S> {
    /// Takes a folio off the LRU lists, so that nobody else tries to move it; `false` when it is
    /// not on them. Linux: `folio_isolate_lru()`.
    ///
    /// # Panics
    ///
    /// Panics when the folio is not live.
    pub fn isolate(&mut self, id: FolioId) -> bool {
        let free_to_take = self.folios[id].is_movable() && !self.folios[id].is_isolated();
        if free_to_take {
            self.folios.set_flag(id, FolioFlags::ISOLATED);
        }
        free_to_take
    }

    /// Puts folios back on the LRU lists. Linux: `putback_movable_pages()`.
    ///
    /// # Panics
    ///
    /// Panics when one is not isolated.
    pub fn putback(&mut self, ids: &[FolioId]) {
        for &id in ids {
            assert!(self.folios[id].is_isolated(), "{id} put back without being isolated");
            self.folios.clear_flag(id, FolioFlags::ISOLATED);
        }
    }

    /// Nodes with memory, nearest to `from` first. Linux: `build_zonelists()`.
    pub(crate) fn nodes_near(&self, from: NodeId) -> Vec<NodeId> {
        nodes_near(self.page_alloc, from)
    }

    /// Pages of a list of folios.
    pub(crate) fn pages_of(&self, ids: &[FolioId]) -> PageCount {
        ids.iter().map(|&id| self.folios[id].order().pages()).sum()
    }

    /// Moves an isolated folio into `target` and frees its old frames.
    /// Linux: `migrate_folio_move()`, `folio_put()` of the source.
    pub(crate) fn relocate(&mut self, id: FolioId, target: Pages, reason: MigrateReason) {
        let (from, order) = (self.folios[id].pfn(), self.folios[id].order());
        self.page_alloc.set_movability(&target, Movability::Movable);
        let (to, target_order) = target.into_raw();
        assert_eq!(order, target_order, "{id} moves into a block of another order");
        self.rmap.clear(self.folios[id].range(), id);
        self.folios.relocate(id, to);
        self.rmap.set(self.folios[id].range(), id);
        let source = self.page_alloc.reclaim(from, order).expect("a folio's frames are allocated");
        self.page_alloc.free_pages(self.cpu, source);
        let moved = Moved { folio: id, from, to, order, reason };
        self.page_alloc.sink_mut().note(|| Note::Moved(moved));
        self.log.moves.push(moved);
        self.putback(&[id]);
    }

    /// Turns a large folio into single pages; they stay isolated if it was.
    /// Linux: `split_folio()`.
    ///
    /// # Errors
    ///
    /// [`Pinned`] when somebody holds a reference: it stays whole.
    ///
    /// # Panics
    ///
    /// Panics when the folio is not live.
    pub fn split(&mut self, id: FolioId) -> Result<Vec<FolioId>, Pinned> {
        let (pfn, order) = (self.folios[id].pfn(), self.folios[id].order());
        if self.folios[id].is_pinned() {
            return Err(Pinned(id));
        }
        let range = self.folios[id].range();
        let movability = self.folios[id].movability();
        self.rmap.clear(range, id);
        let pages = self.folios.split(id);
        let whole = self.page_alloc.reclaim(pfn, order).expect("a folio's frames are allocated");
        for single in self.page_alloc.split(whole, Order::ZERO) {
            self.page_alloc.set_movability(&single, movability);
        }
        for &page in &pages {
            self.rmap.set(self.folios[page].range(), page);
        }
        self.reclaim.split(id, &pages);
        self.log.splits.push(Split { folio: id, pages: pages.clone() });
        Ok(pages)
    }
}

/// Nodes with memory, nearest to `from` first: distance is the difference of their numbers.
/// Linux: `build_zonelists()`.
pub(crate) fn nodes_near<S: Sink>(alloc: &PageAllocator<S>, from: NodeId) -> Vec<NodeId> {
    let populated = alloc.zones().iter().filter(|zone| zone.present() > PageCount::ZERO);
    let mut nodes: Vec<_> = populated.map(|zone| zone.node()).collect();
    nodes.sort_by_key(|node| (node.get().abs_diff(from.get()), *node));
    nodes.dedup();
    nodes
}

/// A pin keeps the folio as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0} is pinned")]
pub struct Pinned(pub FolioId);
