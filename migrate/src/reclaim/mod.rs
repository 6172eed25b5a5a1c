//! Reclaim: taking memory back from those who use it least. Linux: mm/vmscan.c, mm/workingset.c.
//!
//! Page cache is dropped when clean and written first when dirty; anonymous memory that is mapped
//! goes to swap. Shared memory, mapped files and movable memory that no page table maps stay.
//! Nothing here knows time: kswapd runs when it is given a turn, and writes end when somebody says
//! so. Lists are those of the whole machine; a request for a low zone passes folios of higher ones
//! by.

mod balance;
mod direct;
mod evict;
mod kswapd;
pub mod lru;
mod shrink;
pub mod stats;
pub mod swap;
mod workingset;
mod writeback;

pub use kswapd::{Balanced, KswapdRun, Wake};
pub use workingset::Refault;

use crate::folio::{Folio, FolioFlags, FolioId};
use crate::page_cache::PageCache;

use balance::Balance;
use kswapd::Kswapd;
use lru::Lru;
use stats::ReclaimStats;
use swap::Swap;
pub(crate) use writeback::AfterWrite;
use writeback::Writeback;

/// Everything that reclaim remembers.
#[derive(Clone, Debug, Default)]
pub struct Reclaim {
    /// Who was used when.
    pub lru: Lru,
    /// Pages of files.
    pub cache: PageCache,
    /// Where anonymous memory goes.
    pub swap: Swap,
    /// Counters.
    pub stats: ReclaimStats,
    pub(crate) writeback: Writeback,
    pub(crate) balance: Balance,
    pub(crate) kswapd: Kswapd,
    /// Evictions and activations so far. Linux: `nonresident_age`.
    age: u64,
}

impl Reclaim {
    /// Linux's `vm.swappiness`: from 0, swap last, to 200, swap first.
    ///
    /// # Panics
    ///
    /// Panics above 200.
    pub fn set_swappiness(&mut self, swappiness: u32) {
        self.balance.set_swappiness(swappiness);
    }

    /// Pages that have to be written before they can be dropped. Linux: `NR_FILE_DIRTY`.
    #[must_use]
    pub const fn dirty_pages(&self) -> u64 {
        self.writeback.dirty_pages()
    }

    /// Pages that are being written. Linux: `NR_WRITEBACK`.
    #[must_use]
    pub const fn writeback_pages(&self) -> u64 {
        self.writeback.in_flight_pages()
    }

    /// A folio is about to be freed.
    #[inline]
    pub(crate) fn forget(&mut self, id: FolioId, folio: &Folio) {
        self.lru.remove(id);
        if folio.flags.intersects(FolioFlags::DIRTY.union(FolioFlags::WRITEBACK)) {
            self.writeback.forget(folio);
        }
    }

    /// A large folio became single pages, which take its place.
    pub(crate) fn split(&mut self, whole: FolioId, pages: &[FolioId]) {
        let used = self.lru.used(whole);
        let Some(list) = self.lru.remove(whole) else { return };
        for &page in pages {
            self.lru.add(page, list, pagelab_allocator::units::Order::ZERO);
            self.lru.mark(page, used);
        }
    }
}
