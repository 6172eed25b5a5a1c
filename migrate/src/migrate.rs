//! Moving folios: targets, passes, and what is left over. Linux: mm/migrate.c.
//!
//! Everything here is a matter of state: a folio that somebody pins cannot move, however often one
//! tries, and the tries still cost targets that are allocated and freed again.

use pagelab_allocator::event::{Event, Migration, Sink};
use pagelab_allocator::gfp::{GfpFlags, ZoneType};
use pagelab_allocator::page_alloc::{AllocRequest, Pages};
use pagelab_allocator::profile::MigrationBatch;
use pagelab_allocator::units::{NodeId, Order, PageCount};

use crate::compact::CompactControl;
use crate::folio::{FolioFlags, FolioId};
use crate::mover::Mover;

/// How long a migration may wait. Linux: `enum migrate_mode`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum MigrateMode {
    /// Never.
    Async,
    /// For locks, not for I/O.
    SyncLight,
    /// For everything.
    Sync,
}

/// On whose behalf. Linux: `enum migrate_reason`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MigrateReason {
    /// To make a large free block.
    Compaction,
    /// A range is being emptied for `alloc_contig_range()`.
    ContigRange,
    /// Memory is going offline.
    MemoryHotplug,
    /// The memory may not be pinned for good where it lies.
    LongtermPin,
    /// A system call asked for another place.
    Syscall,
    /// The folio lies in tag storage, where it cannot carry tags.
    TagStorage,
}

impl MigrateMode {
    /// The kernel's word in `mm_migrate_pages`.
    const fn word(self) -> &'static str {
        match self {
            Self::Async => "MIGRATE_ASYNC",
            Self::SyncLight => "MIGRATE_SYNC_LIGHT",
            Self::Sync => "MIGRATE_SYNC",
        }
    }
}

impl MigrateReason {
    /// The kernel's word in `mm_migrate_pages`; `tag_storage` is ours.
    const fn word(self) -> &'static str {
        match self {
            Self::Compaction => "compaction",
            Self::ContigRange => "contig_range",
            Self::MemoryHotplug => "memory_hotplug",
            Self::LongtermPin => "longterm_pin",
            Self::Syscall => "syscall_or_cpuset",
            Self::TagStorage => "tag_storage",
        }
    }
}

/// Where the new frames come from. Linux: `new_folio_t` and `free_folio_t`.
#[derive(Debug)]
pub enum Target<'t> {
    /// From the page allocator; the order is the folio's. Linux: `alloc_migration_target()`.
    Allocate(AllocRequest),
    /// From these nodes only, the first that has memory. Linux: `alloc_migration_target()` with a
    /// node mask.
    Nodes(AllocRequest, &'t [NodeId]),
    /// From the free scanner of a compaction run. Linux: `compaction_alloc()`.
    Compaction(&'t mut CompactControl),
    /// This block, if it is of the folio's order; what is not used stays here.
    Given(&'t mut Option<Pages>),
}

/// Why a migration stopped before trying everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MigrateError {
    /// No target for some folio. Linux: `-ENOMEM`.
    #[error("no memory for a migration target")]
    NoMemory,
}

/// Outcome of [`Mover::migrate_pages`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[must_use]
pub struct MigrateResult {
    /// Pages moved.
    pub succeeded: PageCount,
    /// Folios that did not move; they are still isolated, and the caller puts them back.
    pub failed: Vec<FolioId>,
    /// Set when the targets ran out; otherwise every folio had its passes.
    pub error: Option<MigrateError>,
}

/// Most passes over folios that may yet move. Linux: `NR_MAX_MIGRATE_PAGES_RETRY`.
const PASSES: u32 = 10;
/// Of those, passes of a synchronous migration over the whole batch.
/// Linux: `NR_MAX_MIGRATE_ASYNC_RETRY`.
const BATCH_PASSES: u32 = 3;
/// Of those, passes of a synchronous migration over each folio that is left.
/// Linux: `NR_MAX_MIGRATE_SYNC_RETRY`.
const SINGLE_PASSES: u32 = PASSES - BATCH_PASSES;
/// Passes over the pages of a large folio that had to be split.
const SPLIT_PASSES: u32 = 1;

impl<S: Sink> Mover<'_, S> {
    /// Moves isolated folios. Linux: `migrate_pages()`.
    ///
    /// Folios that moved, and the pages of those that were split and moved, are back on the LRU
    /// lists; the ones in [`MigrateResult::failed`] are not.
    ///
    /// # Panics
    ///
    /// Panics when a folio of `list` is not isolated.
    pub fn migrate_pages(
        &mut self,
        list: Vec<FolioId>,
        target: Target<'_>,
        mode: MigrateMode,
        reason: MigrateReason,
    ) -> MigrateResult {
        let before = *self.stats;
        let batching = self.page_alloc.profile().rules().migration_batch;
        let result = MigrateResult::default();
        let mut run = Run { mover: self, target, mode, reason, result, split: Vec::new() };
        let mut left = list;
        while !left.is_empty() && run.result.error.is_none() {
            let rest = left.split_off(run.batch_len(&left));
            run.batch(left, batching);
            left = rest;
        }
        let Run { mut result, split, .. } = run;
        result.failed.extend(split);
        result.failed.extend(left);
        self.stats.pgmigrate_success += result.succeeded.get();
        let failed = self.pages_of(&result.failed);
        self.stats.pgmigrate_fail += failed.get();
        let large = |id: &&FolioId| self.folios[**id].order() > Order::ZERO;
        self.stats.thp_migration_fail += result.failed.iter().filter(large).map(|_| 1).sum::<u64>();
        self.page_alloc.sink_mut().emit(Event::MigratePages(Migration {
            succeeded: result.succeeded,
            failed,
            thp_succeeded: self.stats.thp_migration_success - before.thp_migration_success,
            thp_failed: self.stats.thp_migration_fail - before.thp_migration_fail,
            thp_split: self.stats.thp_migration_split - before.thp_migration_split,
            mode: mode.word(),
            reason: reason.word(),
        }));
        result
    }

    /// A target for one folio on the first of `nodes` where it may lie and that has memory.
    fn target_on(
        &mut self,
        id: FolioId,
        wanted: &AllocRequest,
        nodes: &[NodeId],
        reason: MigrateReason,
    ) -> Option<Pages> {
        let may_go = |mover: &Self, node| mover.targets.may_go(&mover.folios[id], node);
        nodes.iter().find_map(|&node| {
            let gfp = wanted.gfp | GfpFlags::THISNODE;
            let request = AllocRequest { gfp, node, ..*wanted };
            may_go(self, node).then(|| self.migration_target(id, &request, reason)).flatten()
        })
    }

    /// A target for one folio. Linux: `alloc_migration_target()`.
    fn migration_target(
        &mut self,
        id: FolioId,
        wanted: &AllocRequest,
        reason: MigrateReason,
    ) -> Option<Pages> {
        let folio = &self.folios[id];
        let mut request = AllocRequest { order: folio.order(), ..*wanted };
        if folio.order() > Order::ZERO {
            request.gfp = request.gfp.difference(GfpFlags::RECLAIM) | GfpFlags::TRANSHUGE;
        }
        // Whoever looks for tag storage says exactly what will do.
        if reason != MigrateReason::TagStorage {
            let zone = self.page_alloc.zone_of(folio.pfn()).expect("a folio lies in a zone");
            if zone.kind() == ZoneType::Movable {
                request.gfp |= GfpFlags::HIGHMEM;
            }
            request = self.targets.apply(folio, request);
        }
        self.alloc_pages(&request).ok()
    }
}

/// One call of [`Mover::migrate_pages`].
struct Run<'m, 'a, 't, S: Sink> {
    mover: &'m mut Mover<'a, S>,
    target: Target<'t>,
    mode: MigrateMode,
    reason: MigrateReason,
    result: MigrateResult,
    /// Pages of large folios that had to be split, not yet tried.
    split: Vec<FolioId>,
}

/// What became of the attempt to find a target.
enum Found {
    Target(Pages),
    Split,
    Nothing,
}

impl<S: Sink> Run<'_, '_, '_, S> {
    /// How many folios of `list` make a batch: as many as a huge page has pages, or just beyond.
    fn batch_len(&self, list: &[FolioId]) -> usize {
        let full = self.mover.page_alloc.geometry().pageblock_pages();
        let mut pages = PageCount::ZERO;
        let reaches = |&id: &FolioId| {
            pages += self.mover.folios[id].order().pages();
            pages >= full
        };
        list.iter().position(reaches).map_or(list.len(), |last| last + 1)
    }

    fn batch(&mut self, list: Vec<FolioId>, batching: MigrationBatch) {
        let left = match batching {
            MigrationBatch::Interleaved => self.interleaved(list, PASSES),
            MigrationBatch::TargetsFirst if self.mode == MigrateMode::Async => {
                self.targets_first(list, PASSES)
            }
            MigrationBatch::TargetsFirst => self.one_by_one_after(list),
        };
        self.result.failed.extend(left);
        if self.result.error.is_some() {
            return;
        }
        let split = core::mem::take(&mut self.split);
        let left = match batching {
            MigrationBatch::Interleaved => self.interleaved(split, PASSES),
            MigrationBatch::TargetsFirst => self.targets_first(split, SPLIT_PASSES),
        };
        self.result.failed.extend(left);
    }

    /// The whole batch first, then what is left one by one. Linux: `migrate_pages_sync()`.
    fn one_by_one_after(&mut self, list: Vec<FolioId>) -> Vec<FolioId> {
        let left = self.targets_first(list, BATCH_PASSES);
        let mut failed = Vec::new();
        for id in left {
            if self.result.error.is_some() {
                failed.push(id);
            } else {
                failed.extend(self.targets_first(vec![id], SINGLE_PASSES));
            }
        }
        failed
    }

    /// Finds a target, moves, frees the source; then the next folio. Returns what is left.
    /// Linux 6.1: `migrate_pages()` with `unmap_and_move()`.
    fn interleaved(&mut self, list: Vec<FolioId>, passes: u32) -> Vec<FolioId> {
        let mut pending = list;
        for _ in 0..passes {
            let mut again = Vec::new();
            let mut this_pass = pending.into_iter();
            while let Some(id) = this_pass.next() {
                match self.find_target(id) {
                    Found::Target(target) if self.is_held(id) => {
                        self.put_target(target);
                        again.push(id);
                    }
                    Found::Target(target) => self.relocate(id, target),
                    Found::Split => {}
                    Found::Nothing => {
                        self.result.error = Some(MigrateError::NoMemory);
                        again.push(id);
                        again.extend(this_pass);
                        return again;
                    }
                }
            }
            pending = again;
            if pending.is_empty() {
                break;
            }
        }
        pending
    }

    /// Finds all targets, then moves all. Returns what is left.
    /// Linux 6.12: `migrate_pages_batch()`.
    fn targets_first(&mut self, list: Vec<FolioId>, passes: u32) -> Vec<FolioId> {
        let mut left = Vec::new();
        let mut unmapped = Vec::new();
        let mut rest = list.into_iter();
        while let Some(id) = rest.next() {
            match self.find_target(id) {
                Found::Target(target) => unmapped.push((id, target)),
                Found::Split => {}
                Found::Nothing => {
                    self.result.error = Some(MigrateError::NoMemory);
                    left.push(id);
                    left.extend(rest);
                    break;
                }
            }
        }
        for _ in 0..passes {
            let (pinned, free): (Vec<_>, Vec<_>) =
                unmapped.into_iter().partition(|(id, _)| self.is_held(*id));
            for (id, target) in free {
                self.relocate(id, target);
            }
            unmapped = pinned;
            if unmapped.is_empty() {
                break;
            }
        }
        for (id, target) in unmapped {
            left.push(id);
            self.put_target(target);
        }
        left
    }

    /// Whether a folio cannot move now: somebody holds a reference, or it is being written and the
    /// migration does not wait for that. Linux: `migrate_folio_unmap()`.
    fn is_held(&mut self, id: FolioId) -> bool {
        if self.mode == MigrateMode::Sync {
            self.mover.wait_on_writeback(id);
        }
        self.mover.folios[id].flags.intersects(FolioFlags::PINNED.union(FolioFlags::WRITEBACK))
    }

    fn find_target(&mut self, id: FolioId) -> Found {
        assert!(self.mover.folios[id].is_isolated(), "{id} migrated without being isolated");
        let order = self.mover.folios[id].order();
        let found = match &mut self.target {
            Target::Allocate(request)
                if self.mover.targets.goes_anywhere(id, self.mover.folios) =>
            {
                self.mover.migration_target(id, request, self.reason)
            }
            Target::Allocate(request) => {
                let nodes = self.mover.nodes_near(request.node);
                self.mover.target_on(id, request, &nodes, self.reason)
            }
            Target::Nodes(request, nodes) => self.mover.target_on(id, request, nodes, self.reason),
            Target::Compaction(cc) => self.mover.compaction_alloc(cc, order),
            Target::Given(given) => given.take_if(|pages| pages.order() == order),
        };
        if let Some(target) = found {
            return Found::Target(target);
        }
        if order == Order::ZERO {
            return Found::Nothing;
        }
        match self.mover.split(id) {
            Ok(pages) => {
                self.mover.stats.thp_migration_split += 1;
                self.split.extend(pages);
                Found::Split
            }
            Err(_) => Found::Nothing,
        }
    }

    fn put_target(&mut self, target: Pages) {
        match &mut self.target {
            Target::Allocate(_) | Target::Nodes(..) => {
                self.mover.page_alloc.free_pages(self.mover.cpu, target);
            }
            Target::Compaction(cc) => cc.give_back(target),
            Target::Given(given) => **given = Some(target),
        }
    }

    fn relocate(&mut self, id: FolioId, target: Pages) {
        let order = target.order();
        self.mover.relocate(id, target, self.reason);
        self.result.succeeded += order.pages();
        if order > Order::ZERO {
            self.mover.stats.thp_migration_success += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use pagelab_allocator::event::Event;
    use pagelab_allocator::profile::KernelProfile;

    use super::*;
    use crate::folio::{FolioKind, PinTerm};
    use crate::memory::Memory;
    use crate::testing::{
        CPU, PROFILES, anon, boot, check_all_returns, check_sound, fill, pages, spec, thin_out,
    };

    fn migrate(memory: &mut Memory<Vec<Event>>, ids: &[FolioId]) -> MigrateResult {
        let mut mover = memory.mover(CPU);
        assert!(ids.iter().all(|id| mover.isolate(*id)));
        let target = Target::Allocate(anon(0));
        let list = ids.to_vec();
        let result = mover.migrate_pages(list, target, MigrateMode::Sync, MigrateReason::Syscall);
        mover.putback(&result.failed);
        result
    }

    fn traffic(memory: &Memory<Vec<Event>>) -> String {
        let letter = |event: &Event| match event {
            Event::PageAlloc { pfn: Some(_), .. } => Some('a'),
            Event::PageFree { .. } => Some('f'),
            _ => None,
        };
        memory.page_alloc.sink().iter().filter_map(letter).collect()
    }

    /// Three folios, those of `pinned` pinned, moved once; what the tracepoints saw.
    fn scenario(profile: KernelProfile, pinned: &[usize]) -> (String, MigrateResult) {
        let mut memory = boot(&spec(profile, 512, None), Vec::new());
        let ids: Vec<_> =
            (0..3).map(|_| memory.alloc(CPU, &anon(0), FolioKind::Shmem).unwrap()).collect();
        for &at in pinned {
            memory.pin(CPU, ids[at], PinTerm::Short).unwrap();
        }
        memory.page_alloc.sink_mut().clear();
        let result = migrate(&mut memory, &ids);
        let traffic = traffic(&memory);
        check_sound(&memory);
        let moved: Vec<_> = memory.log.moves.iter().map(|m| (m.folio, m.to)).collect();
        assert!(moved.iter().all(|(id, to)| memory.folios[*id].pfn() == *to));
        for &at in pinned {
            memory.unpin(ids[at], PinTerm::Short);
        }
        check_all_returns(memory);
        (traffic, result)
    }

    #[test]
    fn profiles_differ_in_when_targets_are_allocated() {
        let (traffic, result) = scenario(KernelProfile::V6_1, &[]);
        assert_eq!((traffic.as_str(), result.succeeded), ("afafaf", pages(3)));
        let (traffic, result) = scenario(KernelProfile::V6_12, &[]);
        assert_eq!((traffic.as_str(), result.succeeded), ("aaafff", pages(3)));
    }

    #[test]
    fn a_pinned_folio_stays_after_all_passes() {
        let (traffic, result) = scenario(KernelProfile::V6_1, &[1]);
        assert_eq!((result.failed.len(), result.error), (1, None));
        assert_eq!(traffic, "afafaf".to_owned() + &"af".repeat(9));
        let (traffic, result) = scenario(KernelProfile::V6_12, &[1]);
        assert_eq!((result.failed.len(), result.error), (1, None));
        assert_eq!(traffic, "aaafffaf", "the batch gives its target back, then one try alone");
    }

    #[test]
    fn without_a_target_the_rest_is_not_tried() {
        for profile in PROFILES {
            let mut memory = boot(&spec(profile, 512, None), Vec::new());
            let all = fill(&mut memory);
            let result = migrate(&mut memory, &all[..3]);
            assert_eq!((result.failed.len(), result.succeeded), (3, pages(0)));
            assert_eq!(result.error, Some(MigrateError::NoMemory));
            assert_eq!(memory.stats.pgmigrate_fail, 3);
            check_sound(&memory);
            check_all_returns(memory);
        }
    }

    /// A large folio in a machine of which every other page is free.
    fn large_among_singles(profile: KernelProfile) -> (Memory<Vec<Event>>, FolioId, Vec<FolioId>) {
        let mut memory = boot(&spec(profile, 512, None), Vec::new());
        let large = memory.alloc(CPU, &anon(4), FolioKind::Anon).unwrap();
        let all = fill(&mut memory);
        let kept = thin_out(&mut memory, all, |pfn| pfn.get() % 2 == 0);
        memory.page_alloc.drain_all();
        (memory, large, kept)
    }

    #[test]
    fn a_large_target_is_made_by_compaction() {
        for profile in PROFILES {
            let (mut memory, large, _) = large_among_singles(profile);
            let result = migrate(&mut memory, &[large]);
            assert_eq!((result.succeeded, memory.log.splits.len()), (pages(16), 0));
            assert_eq!(memory.stats.compact_success, 1);
            assert_eq!(memory.log.moves.last().map(|m| m.folio), Some(large));
            check_sound(&memory);
            check_all_returns(memory);
        }
    }

    #[test]
    fn a_large_folio_is_split_when_no_large_target_can_be_made() {
        for profile in PROFILES {
            let (mut memory, large, kept) = large_among_singles(profile);
            for &id in &kept {
                memory.pin(CPU, id, PinTerm::Short).unwrap();
            }
            let result = migrate(&mut memory, &[large]);
            assert_eq!((result.succeeded, memory.log.splits.len()), (pages(16), 1));
            assert_eq!(memory.stats.thp_migration_split, 1);
            check_sound(&memory);
            for &id in &kept {
                memory.unpin(id, PinTerm::Short);
            }
            check_all_returns(memory);
        }
    }
}
