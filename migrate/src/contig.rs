//! Taking an exact range of frames: isolate it, move what lives there, claim it.

use pagelab_allocator::contig::{ClaimError, ContigClaim, ContigRange};
use pagelab_allocator::event::{Event, Sink};
use pagelab_allocator::frame::Frame;
use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::isolate::{IsolateError, IsolateMode};
use pagelab_allocator::page_alloc::AllocRequest;
use pagelab_allocator::profile::ContigGfp;
use pagelab_allocator::units::{CpuId, Order, PageCount, Pfn, PfnRange};

use crate::compact::CompactControl;
use crate::folio::FolioId;
use crate::memory::Memory;
use crate::migrate::{MigrateError, MigrateMode, MigrateReason, Target};
use crate::mover::Mover;
use crate::note::Note;

/// A range that was taken, and what that cost.
#[derive(Debug)]
pub struct ContigTaken {
    /// The frames, as single allocated pages.
    pub range: ContigRange,
    /// Pages that had to move out of the way.
    pub migrated: PageCount,
}

/// Why a range could not be taken. Linux: the negative results of `alloc_contig_range()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContigError {
    /// The range is empty or does not lie, with its pageblocks, in one zone. Linux: `-EINVAL`.
    #[error("range {0} is empty or does not lie in one zone")]
    BadRange(PfnRange),
    /// The caller's flags make no sense for a range. Linux 6.12: `-EINVAL`.
    #[error("flags {0:?} are not for contiguous ranges")]
    BadFlags(GfpFlags),
    /// A frame stays in use. Linux: `-EBUSY`, the only result worth another try.
    #[error("frame {pfn} is busy: {cause}")]
    Busy {
        /// The frame in the way.
        pfn: Pfn,
        /// Why it is.
        cause: BusyCause,
    },
    /// No memory for something that would have to move. Linux: `-ENOMEM`.
    #[error("no memory to move the range's pages to")]
    NoMemory,
}

impl ContigError {
    /// What `alloc_contig_range()` returns for it: a negative error number.
    #[must_use]
    pub const fn errno(&self) -> i32 {
        match self {
            Self::BadRange(_) | Self::BadFlags(_) => -22,
            Self::Busy { .. } => -16,
            Self::NoMemory => -12,
        }
    }
}

/// Why a frame stays in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BusyCause {
    /// Somebody else has its pageblock isolated.
    #[error("its pageblock is isolated already")]
    Isolated,
    /// It can never move.
    #[error("it is unmovable")]
    Unmovable,
    /// A pin keeps it.
    #[error("its folio is pinned")]
    Pinned,
    /// Its folio could move, but did not: it reaches into the range from outside.
    #[error("its folio was not moved")]
    NotMoved,
}

/// Rounds over folios that do not move before the rest of the range is left alone.
const MAX_TRIES: u32 = 5;

impl<S: Sink> Memory<S> {
    /// Takes exactly the frames of `range`. Linux: `alloc_contig_range()`.
    ///
    /// # Errors
    ///
    /// [`ContigError`]; what had already moved stays where it went.
    pub fn alloc_contig_range(
        &mut self,
        cpu: CpuId,
        range: PfnRange,
        mode: IsolateMode,
        gfp: GfpFlags,
    ) -> Result<ContigTaken, ContigError> {
        let migratetype = mode.restored();
        self.page_alloc.sink_mut().emit(Event::ContigEnter { range, migratetype });
        let outcome = contig_target(self.page_alloc.profile().rules().contig_gfp, gfp)
            .and_then(|target| self.take_contig_range(cpu, range, mode, &target));
        let ret = outcome.as_ref().map_or_else(ContigError::errno, |_| 0);
        self.page_alloc.sink_mut().emit(Event::ContigExit { ret });
        if let Err(error) = outcome {
            self.page_alloc.sink_mut().note(|| Note::Busy { range, error });
        }
        outcome
    }

    fn take_contig_range(
        &mut self,
        cpu: CpuId,
        range: PfnRange,
        mode: IsolateMode,
        target: &AllocRequest,
    ) -> Result<ContigTaken, ContigError> {
        self.try_contig_range(cpu, range, mode, target).map_err(|failure| match failure {
            Failure::NoTarget => ContigError::NoMemory,
            Failure::Claim(ClaimError::BadRange(range)) => ContigError::BadRange(range),
            Failure::Claim(ClaimError::Isolate(IsolateError::AlreadyIsolated(pfn))) => {
                ContigError::Busy { pfn, cause: BusyCause::Isolated }
            }
            Failure::Claim(ClaimError::Isolate(IsolateError::Unmovable(pfn))) => {
                ContigError::Busy { pfn, cause: BusyCause::Unmovable }
            }
            Failure::Claim(ClaimError::Busy(pfn)) => {
                ContigError::Busy { pfn, cause: self.busy_cause(pfn) }
            }
            Failure::Claim(_) => ContigError::BadRange(range),
        })
    }

    /// Isolates, evacuates, claims; isolation is undone in any case.
    fn try_contig_range(
        &mut self,
        cpu: CpuId,
        range: PfnRange,
        mode: IsolateMode,
        target: &AllocRequest,
    ) -> Result<ContigTaken, Failure> {
        let mut claim = ContigClaim::claim(&mut self.page_alloc, range, mode)?;
        let mut mover = Mover {
            page_alloc: claim.page_alloc(),
            folios: &mut self.folios,
            rmap: &mut self.rmap,
            compaction: &mut self.compaction,
            stats: &mut self.stats,
            reclaim: &mut self.reclaim,
            log: &mut self.log,
            targets: self.targets,
            cpu,
        };
        let migrated = mover.evacuate(range, target).map_err(|_| Failure::NoTarget)?;
        let range = claim.commit(cpu)?;
        Ok(ContigTaken { range, migrated })
    }

    fn busy_cause(&self, pfn: Pfn) -> BusyCause {
        match self.rmap.folio_at(pfn).map(|id| &self.folios[id]) {
            Some(folio) if folio.is_pinned() => BusyCause::Pinned,
            Some(folio) if folio.is_movable() => BusyCause::NotMoved,
            None if matches!(self.page_alloc.frame(pfn), Frame::Free { .. }) => BusyCause::Isolated,
            _ => BusyCause::Unmovable,
        }
    }
}

/// Where an attempt ended.
enum Failure {
    Claim(ClaimError),
    NoTarget,
}

impl From<ClaimError> for Failure {
    fn from(error: ClaimError) -> Self {
        Self::Claim(error)
    }
}

/// The request for targets of a caller that passed `gfp`.
fn contig_target(rule: ContigGfp, gfp: GfpFlags) -> Result<AllocRequest, ContigError> {
    let movable = GfpFlags::MOVABLE | GfpFlags::RETRY_MAYFAIL;
    let refused = gfp & (GfpFlags::NORETRY | GfpFlags::NOFAIL);
    let target = match rule {
        ContigGfp::Fixed => GfpFlags::USER,
        ContigGfp::Callers if !refused.is_empty() => return Err(ContigError::BadFlags(refused)),
        ContigGfp::Callers => {
            let kept = GfpFlags::RECLAIM | GfpFlags::IO | GfpFlags::FS | GfpFlags::NOWARN;
            gfp & kept | GfpFlags::HARDWALL
        }
    };
    Ok(AllocRequest::new(Order::ZERO, target | movable))
}

impl<S: Sink> Mover<'_, S> {
    /// Moves what can be moved out of a range; what cannot is left, and the caller finds out.
    /// Returns the pages moved. Linux: `__alloc_contig_migrate_range()`.
    ///
    /// # Errors
    ///
    /// [`MigrateError::NoMemory`] when targets ran out.
    pub fn evacuate(
        &mut self,
        range: PfnRange,
        target: &AllocRequest,
    ) -> Result<PageCount, MigrateError> {
        let Some(at) = self.page_alloc.zone_index(range.start()) else {
            return Ok(PageCount::ZERO);
        };
        let zone = &self.page_alloc.zones()[at];
        let target = AllocRequest { node: zone.node(), ..*target };
        let mut cc = CompactControl::contig(at, zone.span(), target.gfp);
        let (mut pfn, mut tries, mut migrated) = (range.start(), 0, PageCount::ZERO);
        let mut list: Vec<FolioId> = Vec::new();
        while pfn < range.end() || !list.is_empty() {
            if list.is_empty() {
                cc.nr_migratepages = PageCount::ZERO;
                self.isolate_migratepages_range(&mut cc, PfnRange::new(pfn, range.end()));
                pfn = cc.migrate_pfn;
                list = cc.take_migratepages();
                list = self.drop_clean(list);
                tries = 0;
            } else {
                tries += 1;
                if tries == MAX_TRIES {
                    break;
                }
            }
            let batch = core::mem::take(&mut list);
            let result = self.migrate_pages(
                batch,
                Target::Allocate(target),
                MigrateMode::Sync,
                MigrateReason::ContigRange,
            );
            migrated += result.succeeded;
            list = result.failed;
            if let Some(error) = result.error {
                self.putback(&list);
                return Err(error);
            }
        }
        self.putback(&list);
        Ok(migrated)
    }
}

#[cfg(test)]
mod tests {
    use pagelab_allocator::gfp::AllocFlags;

    use super::*;
    use crate::folio::{FolioKind, PinTerm};
    use crate::mover::TargetRules;
    use crate::testing::{
        CPU, PROFILES, anon, check_all_returns, check_sound, fill, kernel, machine, pages, range,
        thin_out,
    };

    fn take<S: Sink>(memory: &mut Memory<S>, range: PfnRange) -> Result<ContigTaken, ContigError> {
        memory.alloc_contig_range(CPU, range, IsolateMode::Other, GfpFlags::KERNEL)
    }

    #[test]
    fn movable_pages_make_way() {
        for profile in PROFILES {
            let mut memory = machine(profile, 512, None);
            let all = fill(&mut memory);
            let wanted = range(0x1040, 0x1060);
            thin_out(&mut memory, all, |pfn| pfn.get() % 2 == 0);
            let taken = take(&mut memory, wanted).unwrap();
            assert_eq!((taken.range.range(), taken.migrated), (wanted, pages(16)));
            assert_eq!(memory.stats.pgmigrate_success, 16);
            assert!(memory.log.moves.iter().all(|m| wanted.contains(m.from)));
            assert!(memory.log.moves.iter().all(|m| !wanted.contains(m.to)));
            check_sound(&memory);
            memory.page_alloc.free_contig_range(CPU, taken.range);
            check_all_returns(memory);
        }
    }

    #[test]
    fn a_pin_keeps_the_range_busy_and_the_rest_moves() {
        for (kind, fails) in [(FolioKind::Anon, 0), (FolioKind::Shmem, 5)] {
            for profile in PROFILES {
                let mut memory = machine(profile, 512, None);
                let id = memory.alloc(CPU, &anon(0), kind).unwrap();
                let pfn = memory.folios[id].pfn();
                let wanted = PfnRange::block(pfn.align_down(Order::of(4)), Order::of(4));
                memory.pin(CPU, id, PinTerm::Short).unwrap();
                let all = fill(&mut memory);
                thin_out(&mut memory, all, |pfn| pfn.get() % 2 == 0);
                let error = take(&mut memory, wanted).unwrap_err();
                assert_eq!(error, ContigError::Busy { pfn, cause: BusyCause::Pinned });
                assert_eq!(memory.stats.pgmigrate_fail, fails, "{kind:?}");
                assert!(memory.stats.pgmigrate_success >= 7);
                check_sound(&memory);
                memory.unpin(id, PinTerm::Short);
                let taken = take(&mut memory, wanted).unwrap();
                assert_eq!(taken.migrated, pages(1));
                memory.page_alloc.free_contig_range(CPU, taken.range);
                check_all_returns(memory);
            }
        }
    }

    #[test]
    fn unmovable_memory_is_found_before_anything_moves() {
        for profile in PROFILES {
            let mut memory = machine(profile, 512, None);
            let id = memory.alloc(CPU, &kernel(0), FolioKind::Kernel).unwrap();
            let pfn = memory.folios[id].pfn();
            let error = take(&mut memory, PfnRange::block(pfn, Order::ZERO)).unwrap_err();
            assert_eq!(error, ContigError::Busy { pfn, cause: BusyCause::Unmovable });
            assert!(memory.log.moves.is_empty());
            check_sound(&memory);
            check_all_returns(memory);
        }
    }

    #[test]
    fn no_memory_is_not_busy() {
        for profile in PROFILES {
            let mut memory = machine(profile, 512, None);
            fill(&mut memory);
            let error = take(&mut memory, range(0x1040, 0x1060)).unwrap_err();
            assert_eq!(error, ContigError::NoMemory);
            check_sound(&memory);
            check_all_returns(memory);
        }
    }

    #[test]
    fn a_large_folio_moves_whole_and_keeps_its_tags() {
        for profile in PROFILES {
            let mut memory = machine(profile, 512, None);
            let id = memory.alloc(CPU, &anon(4), FolioKind::Anon).unwrap();
            memory.folios.set_tagged(id);
            let old = memory.folios[id].range();
            let taken = take(&mut memory, old).unwrap();
            assert_eq!((taken.migrated, memory.log.moves.len()), (pages(16), 1));
            assert!(memory.folios[id].is_tagged() && !memory.folios[id].range().overlaps(old));
            memory.page_alloc.free_contig_range(CPU, taken.range);
            check_all_returns(memory);
        }
    }

    #[test]
    fn a_folio_that_reaches_into_the_range_does_not_move() {
        let mut memory = machine(PROFILES[1], 512, None);
        let id = memory.alloc(CPU, &anon(3), FolioKind::Anon).unwrap();
        let pfn = memory.folios[id].pfn() + pages(4);
        let error = take(&mut memory, PfnRange::block(pfn, Order::ZERO)).unwrap_err();
        assert_eq!(error, ContigError::Busy { pfn, cause: BusyCause::NotMoved });
        check_sound(&memory);
    }

    #[test]
    fn targets_of_tagged_folios_can_be_barred_from_lent_memory() {
        let lent = range(0x1100, 0x1200);
        let mut memory = machine(PROFILES[1], 512, Some(lent));
        memory.targets.tagged_barred = AllocFlags::CMA;
        let all = fill(&mut memory);
        let (inside, outside): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|id| lent.contains(memory.folios[*id].pfn()));
        thin_out(&mut memory, inside, |_| false);
        memory.folios.set_tagged(outside[0]);
        let pfn = memory.folios[outside[0]].pfn();
        let error = take(&mut memory, PfnRange::block(pfn, Order::ZERO)).unwrap_err();
        assert_eq!(error, ContigError::NoMemory);
        memory.targets = TargetRules::default();
        take(&mut memory, PfnRange::block(pfn, Order::ZERO)).map(|_| ()).unwrap();
        assert!(lent.contains(memory.folios[outside[0]].pfn()));
        check_sound(&memory);
    }

    #[test]
    fn newer_kernels_check_the_callers_flags() {
        let hasty = GfpFlags::KERNEL | GfpFlags::NORETRY;
        assert!(contig_target(ContigGfp::Fixed, hasty).is_ok());
        let refused = Err(ContigError::BadFlags(GfpFlags::NORETRY));
        assert_eq!(contig_target(ContigGfp::Callers, hasty), refused);
    }
}
