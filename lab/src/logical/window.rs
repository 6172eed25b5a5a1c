//! What a task is in the middle of: a contiguous allocation, a compaction run, a bulk allocation.

use std::collections::{BTreeMap, VecDeque};

use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::units::{Order, Pfn, PfnRange};

use super::live::Piece;

/// A call of `alloc_contig_range()` under way.
#[derive(Debug)]
pub(super) struct ContigWindow {
    pub(super) range: PfnRange,
    /// Migration targets that wait for their source to be freed, oldest first.
    pub(super) targets: VecDeque<Target>,
    /// What is given back because isolation took whole blocks.
    pub(super) trimmed: Vec<PfnRange>,
}

/// A block allocated to move another one into.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) pfn: Pfn,
    pub(super) order: Order,
    pub(super) gfp: GfpFlags,
}

impl ContigWindow {
    pub(super) const fn new(range: PfnRange) -> Self {
        Self { range, targets: VecDeque::new(), trimmed: Vec::new() }
    }

    /// Whether a request with `gfp` inside this window is one for a migration target.
    /// Linux: the flags of `__alloc_contig_migrate_range()`.
    pub(super) fn is_target(gfp: GfpFlags) -> bool {
        gfp.contains(GfpFlags::USER | GfpFlags::MOVABLE | GfpFlags::RETRY_MAYFAIL)
    }

    /// Forgets the target at `pfn`: its migration failed. Whether it was one.
    pub(super) fn drop_target(&mut self, pfn: Pfn) -> bool {
        let found = self.targets.iter().position(|t| t.pfn == pfn);
        found.and_then(|at| self.targets.remove(at)).is_some()
    }
}

/// A compaction run under way. Linux: `struct compact_control`.
#[derive(Debug, Default)]
pub(super) struct CompactWindow {
    /// Single free frames taken as targets, by frame; the number is the order of isolation.
    pub(super) isolated: BTreeMap<Pfn, u64>,
    /// Pages that were moved away, oldest first.
    pub(super) sources: VecDeque<Piece>,
    taken: u64,
    asked: Option<(Pfn, Order)>,
}

impl CompactWindow {
    /// A block is about to be isolated.
    pub(super) fn ask(&mut self, pfn: Option<Pfn>, order: Order) {
        self.asked = pfn.map(|pfn| (pfn, order));
    }

    /// It was, unless no page was taken.
    pub(super) fn take(&mut self, pages: u64) {
        let Some((pfn, order)) = self.asked.take() else { return };
        if pages > 0 {
            for frame in PfnRange::block(pfn, order).iter() {
                self.isolated.insert(frame, self.taken);
                self.taken += 1;
            }
        }
    }

    /// The frames that were used as targets, in order of isolation.
    pub(super) fn used(&self) -> Vec<Pfn> {
        let mut used: Vec<_> = self.isolated.iter().map(|(pfn, at)| (*at, *pfn)).collect();
        used.sort_unstable();
        used.into_iter().map(|(_, pfn)| pfn).collect()
    }
}

/// Pages taken in bulk that no event has located yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bulk {
    pub(super) gfp: GfpFlags,
    pub(super) got: u64,
}
