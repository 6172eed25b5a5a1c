//! The scanners: from the old ends of the lists, some at a time.

use pagelab_allocator::event::Sink;
use pagelab_allocator::gfp::{GfpFlags, ZoneType};
use pagelab_allocator::units::Order;

use super::lru::{LruKind, LruList, Used};
use super::writeback::AfterWrite;
use crate::folio::{FolioFlags, FolioId};
use crate::mover::Mover;

/// Pages looked at before anything is decided anew. Linux: `SWAP_CLUSTER_MAX`.
pub(super) const CLUSTER: u64 = 32;
/// One part in two to this of each list is looked at first. Linux: `DEF_PRIORITY`.
pub(super) const FIRST_PRIORITY: u32 = 12;

/// Who reclaims.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Who {
    Kswapd,
    Direct,
}

/// Whether anonymous memory may go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SwapUse {
    Allowed,
    Barred,
}

/// One attempt. Linux: `struct scan_control`.
#[derive(Clone, Debug)]
pub(crate) struct Scan {
    pub(super) who: Who,
    pub(super) swap: SwapUse,
    /// Folios of higher zones are passed by.
    pub(super) highest: ZoneType,
    /// Pages wanted.
    pub(super) goal: u64,
    pub(super) priority: u32,
    pub(super) scanned: u64,
    pub(super) reclaimed: u64,
}

impl Scan {
    pub(super) const fn new(who: Who, highest: ZoneType, goal: u64) -> Self {
        let (swap, priority) = (SwapUse::Allowed, FIRST_PRIORITY);
        Self { who, swap, highest, goal, priority, scanned: 0, reclaimed: 0 }
    }

    /// Without I/O nothing goes to swap.
    pub(super) fn with_gfp(mut self, gfp: GfpFlags) -> Self {
        if !gfp.contains(GfpFlags::IO) {
            self.swap = SwapUse::Barred;
        }
        self
    }
}

/// What becomes of a folio that a scanner looked at. Linux: `enum folio_references`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Reclaim,
    Keep,
    Activate,
}

impl<S: Sink> Mover<'_, S> {
    /// Looks at every list once, in turns. Linux: `shrink_lruvec()`.
    pub(super) fn shrink(&mut self, scan: &mut Scan) {
        let mut targets = self.scan_targets(scan);
        let left = |targets: &[u64; 4]| {
            let decisive = [LruList::InactiveAnon, LruList::ActiveFile, LruList::InactiveFile];
            decisive.iter().any(|list| targets[*list as usize] > 0)
        };
        while left(&targets) && scan.reclaimed < scan.goal {
            for list in LruList::ALL {
                let target = &mut targets[list as usize];
                let pages = CLUSTER.min(*target);
                *target -= pages;
                self.shrink_list(scan, list, pages);
            }
        }
        let swaps = scan.swap == SwapUse::Allowed && self.reclaim.swap.free_slots().get() > 0;
        if swaps && self.reclaim.inactive_is_low(LruKind::Anon) {
            self.shrink_active(scan, LruKind::Anon, CLUSTER);
        }
    }

    /// Linux: `shrink_list()`.
    fn shrink_list(&mut self, scan: &mut Scan, list: LruList, pages: u64) {
        let kind = list.kind();
        if list == kind.inactive() {
            self.shrink_inactive(scan, kind, pages);
        } else if self.reclaim.may_deactivate(kind) {
            self.shrink_active(scan, kind, pages);
        }
    }

    /// Moves old active folios to the inactive list. Linux: `shrink_active_list()`.
    fn shrink_active(&mut self, scan: &mut Scan, kind: LruKind, pages: u64) {
        let mut looked = 0;
        while looked < pages {
            let Some(id) = self.reclaim.lru.oldest(kind.active()) else { break };
            let size = self.folios[id].order().pages().get();
            looked += size;
            if self.is_out_of_reach(scan, id) {
                self.reclaim.lru.promote(id, kind.active());
                continue;
            }
            self.reclaim.lru.clear(id, Used::YOUNG);
            self.reclaim.lru.promote(id, kind.inactive());
            self.reclaim.stats.pgdeactivate += size;
        }
        scan.scanned += looked;
    }

    /// Frees old inactive folios, or finds out why not. Linux: `shrink_inactive_list()`.
    fn shrink_inactive(&mut self, scan: &mut Scan, kind: LruKind, pages: u64) {
        let (mut looked, mut kept, mut reclaimed) = (0, 0, 0);
        while looked < pages {
            let Some(id) = self.reclaim.lru.oldest(kind.inactive()) else { break };
            let size = self.folios[id].order().pages().get();
            looked += size;
            let verdict = match self.is_out_of_reach(scan, id) {
                true => Verdict::Keep,
                false => self.judge(id, kind),
            };
            let gone = verdict == Verdict::Reclaim && self.evict(scan, id, kind);
            match verdict {
                Verdict::Reclaim if gone => reclaimed += size,
                Verdict::Activate => self.reclaim.activate(id, kind, size),
                Verdict::Reclaim | Verdict::Keep => {
                    self.reclaim.lru.promote(id, kind.inactive());
                    kept += size;
                }
            }
        }
        scan.scanned += looked;
        scan.reclaimed += reclaimed;
        let stats = &mut self.reclaim.stats;
        match scan.who {
            Who::Kswapd => {
                stats.pgscan_kswapd += looked;
                stats.pgsteal_kswapd += reclaimed;
            }
            Who::Direct => {
                stats.pgscan_direct += looked;
                stats.pgsteal_direct += reclaimed;
            }
        }
        stats.scanned(kind, looked);
        stats.stole(kind, reclaimed);
        self.reclaim.note_cost(kind, kept);
    }

    /// Held by somebody, or in a zone that does not help.
    fn is_out_of_reach(&self, scan: &Scan, id: FolioId) -> bool {
        let folio = &self.folios[id];
        let held = folio.is_isolated() || folio.is_pinned();
        let zone = self.page_alloc.zone_of(folio.pfn());
        held || zone.is_some_and(|zone| zone.kind() > scan.highest)
    }

    /// Linux: `folio_check_references()`.
    fn judge(&mut self, id: FolioId, kind: LruKind) -> Verdict {
        if kind == LruKind::File || !self.reclaim.lru.clear(id, Used::YOUNG) {
            return Verdict::Reclaim;
        }
        let before = self.reclaim.lru.used(id).contains(Used::REFERENCED);
        self.reclaim.lru.mark(id, Used::REFERENCED);
        if before { Verdict::Activate } else { Verdict::Keep }
    }

    /// Linux: one turn of `shrink_folio_list()`.
    fn evict(&mut self, scan: &Scan, id: FolioId, kind: LruKind) -> bool {
        if kind == LruKind::Anon {
            if self.folios[id].order() > Order::ZERO {
                // Its pages take its place on the list, and have their turn.
                let _ = self.split(id);
                return false;
            }
            return scan.swap == SwapUse::Allowed && self.swap_out(id);
        }
        if self.folios[id].flags.contains(FolioFlags::DIRTY) {
            // Linux wakes the flusher threads and activates the folio meanwhile.
            self.start_writeback(id, AfterWrite::Rotate);
        }
        let clean = self.is_clean_cache(id);
        if clean {
            self.drop_cached(id);
        }
        clean
    }
}
