//! Counters with the names of /proc/vmstat, and those of tag storage.

use pagelab_allocator::event::Sink;
use pagelab_migrate::reclaim::stats::ReclaimStats;
use pagelab_migrate::stats::MmStats;
use pagelab_migrate::tag_storage::clean_store::CleanStats;
use pagelab_migrate::tag_storage::stats::TagStats;

use crate::drive::Driver;

/// All counters of a machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    mm: MmStats,
    tags: TagStats,
    clean: CleanStats,
    reclaim: ReclaimStats,
    data_invalidations: u64,
    tag_invalidations: u64,
    corruptions: u64,
}

impl Counters {
    /// Those of the machine as it is now.
    #[must_use]
    pub fn of<S: Sink>(driver: &Driver<S>) -> Self {
        let (emulator, tags) = (driver.emulator(), driver.emulator().tags());
        let caches = tags.caches();
        Self {
            mm: *emulator.mm_stats(),
            tags: *tags.stats(),
            clean: *tags.clean().stats(),
            reclaim: emulator.reclaim().stats,
            data_invalidations: caches.data_invalidations(),
            tag_invalidations: caches.tag_invalidations(),
            corruptions: caches.corruptions(),
        }
    }

    /// Each with its name.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let maintenance = [
            ("tag_data_cache_invalidations", self.data_invalidations),
            ("tag_cache_invalidations", self.tag_invalidations),
            ("tag_cache_corruptions", self.corruptions),
        ];
        let of_tags = self.tags.iter().chain(self.clean.iter()).chain(maintenance);
        self.mm.iter().chain(of_tags).chain(self.reclaim.iter())
    }

    /// Whether a report has a counter of that name.
    #[must_use]
    pub fn has(name: &str) -> bool {
        Self::default().named().any(|(known, _)| known == name)
    }
}
