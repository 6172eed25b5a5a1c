//! Pages that come back: were they dropped too early?

use super::Reclaim;
use super::lru::{LruKind, LruList};
use crate::folio::FolioId;
use crate::page_cache::Age;

use pagelab_allocator::units::{Order, PageCount};

/// What a page was that is read again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refault {
    /// It was gone for long: it would not have fitted.
    Cold,
    /// It would have stayed, had the active list been shorter.
    WorkingSet,
}

impl Reclaim {
    /// The age of the lists, and one more page evicted. Linux: `workingset_eviction()`.
    pub(super) fn evict_at(&mut self) -> Age {
        let age = Age::new(self.age);
        self.age += 1;
        age
    }

    /// A page comes back that was evicted at `age`. Linux: `workingset_refault()`.
    pub(crate) fn refault(&mut self, kind: LruKind, age: Age) -> Refault {
        let distance = age.distance_to(Age::new(self.age));
        let pages = |list| self.lru.pages(list).get();
        let swaps = self.swap.free_slots() > PageCount::ZERO;
        let mut room = pages(LruList::ActiveFile);
        if kind == LruKind::Anon {
            room += pages(LruList::InactiveFile);
        }
        if swaps {
            room += pages(LruList::ActiveAnon);
            if kind == LruKind::File {
                room += pages(LruList::InactiveAnon);
            }
        }
        let again = if distance > room { Refault::Cold } else { Refault::WorkingSet };
        let active = u64::from(again == Refault::WorkingSet);
        match kind {
            LruKind::Anon => {
                self.stats.workingset_refault_anon += 1;
                self.stats.workingset_activate_anon += active;
            }
            LruKind::File => {
                self.stats.workingset_refault_file += 1;
                self.stats.workingset_activate_file += active;
            }
        }
        if again == Refault::WorkingSet {
            self.age += 1;
            self.note_cost(kind, 1);
        }
        again
    }

    /// Lists a folio that was just filled. Linux: `folio_add_lru()`.
    pub(crate) fn list(&mut self, id: FolioId, kind: LruKind, order: Order, refault: Refault) {
        let list = match refault {
            Refault::Cold => kind.inactive(),
            Refault::WorkingSet => kind.active(),
        };
        self.lru.add(id, list, order);
    }

    /// Makes a folio active. Linux: `folio_activate()`, `workingset_activation()`.
    pub(super) fn activate(&mut self, id: FolioId, kind: LruKind, pages: u64) {
        self.lru.promote(id, kind.active());
        self.lru.clear(id, super::lru::Used::REFERENCED);
        self.stats.pgactivate += pages;
        self.age += pages;
    }

    /// A page of the cache was read or written. Linux: `folio_mark_accessed()`.
    pub(crate) fn mark_accessed(&mut self, id: FolioId) {
        use super::lru::Used;
        let Some(list) = self.lru.list_of(id) else { return };
        if self.lru.used(id).contains(Used::REFERENCED) && list == LruList::InactiveFile {
            self.activate(id, LruKind::File, 1);
        } else {
            self.lru.mark(id, Used::REFERENCED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_would_have_fitted_is_active_at_once() {
        let mut reclaim = Reclaim::default();
        for raw in 0..4 {
            reclaim.lru.add(FolioId::new(raw), LruList::ActiveFile, Order::ZERO);
        }
        let first = reclaim.evict_at();
        let early: Vec<_> = (0..4).map(|_| reclaim.evict_at()).collect();
        assert_eq!(reclaim.refault(LruKind::File, first), Refault::Cold);
        assert_eq!(reclaim.refault(LruKind::File, early[0]), Refault::WorkingSet);
        // That activation aged the lists.
        assert_eq!(reclaim.refault(LruKind::File, early[0]), Refault::Cold);
        let stats = reclaim.stats;
        assert_eq!((stats.workingset_refault_file, stats.workingset_activate_file), (3, 1));
    }

    #[test]
    fn the_second_use_of_a_cached_page_makes_it_active() {
        let mut reclaim = Reclaim::default();
        let id = FolioId::new(0);
        reclaim.list(id, LruKind::File, Order::ZERO, Refault::Cold);
        reclaim.mark_accessed(id);
        assert_eq!(reclaim.lru.list_of(id), Some(LruList::InactiveFile));
        reclaim.mark_accessed(id);
        assert_eq!(reclaim.lru.list_of(id), Some(LruList::ActiveFile));
        assert_eq!(reclaim.stats.pgactivate, 1);
    }
}
