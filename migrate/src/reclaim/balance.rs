//! How much to look for in anonymous memory, and how much in page cache.

use pagelab_allocator::event::Sink;
use pagelab_allocator::units::PageCount;

use super::Reclaim;
use super::lru::{LruKind, LruList};
use super::shrink::{Scan, SwapUse};
use crate::mover::Mover;

/// Linux: `vm_swappiness`.
const SWAPPINESS: u32 = 60;
/// Largest swappiness. Linux: `MAX_SWAPPINESS`.
const MAX_SWAPPINESS: u32 = 200;
/// Pages in a GiB, as a power of two; the ratio of the lists grows with the memory on them.
const GIB_SHIFT: u32 = 18;

/// What reclaim cost so far, by kind. Linux: `anon_cost`, `file_cost` and `refaults[]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Balance {
    swappiness: u32,
    anon_cost: u64,
    file_cost: u64,
    /// Activations by refaults when reclaim last looked: anonymous, file.
    activations: [u64; 2],
}

impl Default for Balance {
    fn default() -> Self {
        Self { swappiness: SWAPPINESS, anon_cost: 0, file_cost: 0, activations: [0; 2] }
    }
}

impl Balance {
    pub(super) fn set_swappiness(&mut self, swappiness: u32) {
        assert!(swappiness <= MAX_SWAPPINESS, "swappiness {swappiness} is above {MAX_SWAPPINESS}");
        self.swappiness = swappiness;
    }

    /// Shares of anonymous memory and page cache, and their sum.
    fn fractions(&self) -> (u64, u64, u64) {
        let (anon, file, swappiness) = (self.anon_cost, self.file_cost, u64::from(self.swappiness));
        let total = anon + file;
        // Between one part in three and two: see `get_scan_count()`.
        let (anon, file, total) = (total + anon, total + file, 3 * total + 1);
        let for_anon = swappiness * total / (anon + 1);
        let for_file = (u64::from(MAX_SWAPPINESS) - swappiness) * total / (file + 1);
        (for_anon, for_file, for_anon + for_file)
    }
}

impl Reclaim {
    /// Remembers that a kind of memory was expensive to reclaim. Linux: `lru_note_cost()`.
    pub(super) fn note_cost(&mut self, kind: LruKind, cost: u64) {
        let size = self.lru.total().get();
        let balance = &mut self.balance;
        match kind {
            LruKind::Anon => balance.anon_cost += cost,
            LruKind::File => balance.file_cost += cost,
        }
        if balance.anon_cost + balance.file_cost > size / 4 {
            balance.anon_cost /= 2;
            balance.file_cost /= 2;
        }
    }

    /// Whether the active list is too long for its inactive one. Linux: `inactive_is_low()`.
    pub(super) fn inactive_is_low(&self, kind: LruKind) -> bool {
        let inactive = self.lru.pages(kind.inactive()).get();
        let active = self.lru.pages(kind.active()).get();
        let gib = (inactive + active) >> GIB_SHIFT;
        let ratio = if gib > 0 { (10 * gib).isqrt() } else { 1 };
        inactive * ratio < active
    }

    fn activations(&self) -> [u64; 2] {
        [self.stats.workingset_activate_anon, self.stats.workingset_activate_file]
    }

    /// Linux: `snapshot_refaults()`.
    pub(super) fn remember_activations(&mut self) {
        self.balance.activations = self.activations();
    }

    /// Whether active memory of the kind may be looked at. Linux: `DEACTIVATE_ANON`,
    /// `DEACTIVATE_FILE`.
    pub(super) fn may_deactivate(&self, kind: LruKind) -> bool {
        let at = match kind {
            LruKind::Anon => 0,
            LruKind::File => 1,
        };
        self.activations()[at] != self.balance.activations[at] || self.inactive_is_low(kind)
    }
}

impl<S: Sink> Mover<'_, S> {
    /// Pages to look at on each list. Linux: `get_scan_count()`.
    pub(super) fn scan_targets(&self, scan: &Scan) -> [u64; 4] {
        let reclaim = &*self.reclaim;
        let share = |list: LruList| {
            let size = reclaim.lru.pages(list).get() >> scan.priority;
            let (anon, file, sum) = self.shares(scan);
            match list.kind() {
                LruKind::Anon => size * anon / sum,
                LruKind::File => size * file / sum,
            }
        };
        LruList::ALL.map(share)
    }

    /// The shares of both kinds, and what they are shares of.
    fn shares(&self, scan: &Scan) -> (u64, u64, u64) {
        let reclaim = &*self.reclaim;
        let swaps = scan.swap == SwapUse::Allowed && reclaim.swap.free_slots() > PageCount::ZERO;
        if !swaps {
            return (0, 1, 1);
        }
        if scan.priority == 0 && reclaim.balance.swappiness > 0 {
            return (1, 1, 1);
        }
        let pages = |list| reclaim.lru.pages(list).get();
        if self.file_is_tiny() && pages(LruList::InactiveAnon) >> scan.priority > 0 {
            return (1, 0, 1);
        }
        let plenty = pages(LruList::InactiveFile) >> scan.priority > 0;
        if plenty && !reclaim.may_deactivate(LruKind::File) {
            return (0, 1, 1);
        }
        reclaim.balance.fractions()
    }

    /// Page cache and free memory together are not worth keeping. Linux: `file_is_tiny`.
    fn file_is_tiny(&self) -> bool {
        let lru = &self.reclaim.lru;
        let file = lru.pages(LruList::InactiveFile) + lru.pages(LruList::ActiveFile);
        let zones = self.page_alloc.zones();
        let free: PageCount = zones.iter().map(|zone| zone.free_pages().all).sum();
        let high: PageCount = zones.iter().map(|zone| zone.watermarks().high).sum();
        file + free <= high && !self.reclaim.may_deactivate(LruKind::Anon)
    }
}

#[cfg(test)]
mod tests {
    use pagelab_allocator::units::Order;

    use super::*;
    use crate::folio::FolioId;

    #[track_caller]
    fn check(swappiness: u32, anon_cost: u64, file_cost: u64, expected: (u64, u64)) {
        let balance = Balance { swappiness, anon_cost, file_cost, ..Balance::default() };
        let (anon, file, sum) = balance.fractions();
        assert_eq!((anon, file, sum), (expected.0, expected.1, expected.0 + expected.1));
    }

    #[test]
    fn shares_follow_swappiness_and_cost() {
        check(60, 0, 0, (60, 140));
        check(100, 0, 0, (100, 100));
        check(0, 0, 0, (0, 200));
        // Anonymous memory was all the cost: it gets half of what page cache gets.
        check(100, 1000, 0, (149, 299));
        check(100, 0, 1000, (299, 149));
    }

    #[test]
    fn the_active_list_may_be_longer_on_larger_machines() {
        let low = |inactive: u64, active: u64| {
            let mut reclaim = Reclaim::default();
            // One large folio stands for many.
            for (raw, (list, count)) in
                (0..).zip([(LruList::InactiveFile, inactive), (LruList::ActiveFile, active)])
            {
                for n in 0..count {
                    let id = u32::try_from(n).unwrap() * 2 + raw;
                    reclaim.lru.add(FolioId::new(id), list, Order::of(13));
                }
            }
            reclaim.inactive_is_low(LruKind::File)
        };
        // Below one GiB (32 folios here) the lists are to be equal; with 4 GiB, 1 to 6.
        assert!(low(10, 11) && !low(11, 11));
        assert!(low(18, 110) && !low(19, 110));
    }

    #[test]
    fn costs_fade() {
        let mut reclaim = Reclaim::default();
        reclaim.lru.add(FolioId::new(0), LruList::InactiveAnon, Order::of(6));
        reclaim.note_cost(LruKind::Anon, 16);
        assert_eq!((reclaim.balance.anon_cost, reclaim.balance.file_cost), (16, 0));
        reclaim.note_cost(LruKind::File, 4);
        assert_eq!((reclaim.balance.anon_cost, reclaim.balance.file_cost), (8, 2));
    }
}
