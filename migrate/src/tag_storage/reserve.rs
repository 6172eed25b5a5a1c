//! Reserving and giving back tag storage: the part that moves memory.

use pagelab_allocator::contig::ContigRange;
use pagelab_allocator::event::Sink;
use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::units::{CpuId, Order, PageCount, Pfn, PfnRange};

use super::TagStorage;
use super::design::{FirstUse, Reservation, Residence};
use super::map::{Share, TagBlockId};
use crate::contig::ContigError;
use crate::memory::Memory;
use crate::mover::Moved;
use crate::note::{BlockCount, ClaimCost, Note};

/// Why pages got no tag storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReserveError {
    /// Reserving may sleep, and the request may not. Linux (RFC): `VM_WARN_ON(!preemptible())`.
    #[error("tag storage cannot be reserved in atomic context")]
    Atomic,
    /// The page lies outside every data range.
    #[error("{0} has no tag storage")]
    NoTagStorage(Pfn),
    /// The page is tag storage itself.
    #[error("{0} is tag storage and cannot be tagged")]
    Untaggable(Pfn),
    /// A block is in use and could not be emptied, however often it was tried. Linux: `-EBUSY`.
    #[error("tag block {} is busy", .0.get())]
    Busy(TagBlockId),
    /// There was nowhere to move a block's data. Linux: `-ENOMEM`; never tried again.
    #[error("no memory to empty tag block {}", .0.get())]
    NoMemory(TagBlockId),
}

impl TagStorage {
    /// Makes the pages taggable: references on every block, claims on those that are lent out.
    /// Does nothing when they are taggable already. Linux (RFC): `reserve_tag_storage()`.
    ///
    /// # Errors
    ///
    /// [`ReserveError`]; no reference is left behind then.
    pub fn reserve<S: Sink>(
        &mut self,
        memory: &mut Memory<S>,
        cpu: CpuId,
        (pfn, order): (Pfn, Order),
        gfp: GfpFlags,
    ) -> Result<(), ReserveError> {
        if self.is_reserved(pfn) {
            return Ok(());
        }
        self.stats.reserve_calls += 1;
        let outcome = self.try_reserve(memory, cpu, (pfn, order), gfp);
        self.stats.reserve_failures += u64::from(outcome.is_err());
        if let Err(error) = outcome {
            memory.page_alloc.sink_mut().note(|| Note::NotReserved { pfn, error });
        }
        outcome
    }

    /// A page that is tag storage was about to be reserved for: all that
    /// [`reserve`](Self::reserve) does before it refuses that.
    pub(crate) fn note_untaggable(&mut self) {
        self.stats.reserve_calls += 1;
        self.stats.reserve_failures += 1;
    }

    fn try_reserve<S: Sink>(
        &mut self,
        memory: &mut Memory<S>,
        cpu: CpuId,
        (pfn, order): (Pfn, Order),
        gfp: GfpFlags,
    ) -> Result<(), ReserveError> {
        if self.must_sleep() && !gfp.contains(GfpFlags::DIRECT_RECLAIM) {
            self.stats.atomic_requests += 1;
            return Err(ReserveError::Atomic);
        }
        if self.is_untaggable(pfn) {
            return Err(ReserveError::Untaggable(pfn));
        }
        if self.first_use == FirstUse::GrabAll {
            self.first_use = FirstUse::OnDemand;
            self.grab_all(memory, cpu, gfp);
        }
        let begun = self.ledger.begin(pfn, order);
        let Some(mut pending) = begun.map_err(|e| ReserveError::NoTagStorage(e.0))? else {
            return Ok(());
        };
        let sink = memory.page_alloc.sink_mut();
        sink.note(|| self.references(pending.held(), |share, after| after - share.pages));
        while let Some(block) = pending.next_block() {
            if let Err(error) = self.claim_block(memory, cpu, block, gfp) {
                let unneeded = self.ledger.rollback(pending);
                self.give_back(memory, cpu, &unneeded);
                return Err(error);
            }
            self.ledger.claimed(&mut pending);
            let sink = memory.page_alloc.sink_mut();
            sink.note(|| self.references(pending.held().last(), |_, _| 0));
        }
        self.ledger.finish(pending);
        Ok(())
    }

    /// References that were taken just now; `before` tells a count before from that afterwards.
    fn references<'s>(
        &self,
        taken: impl IntoIterator<Item = &'s Share>,
        before: impl Fn(&Share, u32) -> u32,
    ) -> Note {
        let counts = taken.into_iter().map(|share| {
            let (block, after) = (share.block, self.ledger.blocks().count(share.block));
            let frames = self.ledger.map().range(block);
            BlockCount { block, frames, before: before(share, after), after }
        });
        Note::References(counts.collect())
    }

    /// Claims every block that can be claimed, for good.
    fn grab_all<S: Sink>(&mut self, memory: &mut Memory<S>, cpu: CpuId, gfp: GfpFlags) {
        for block in self.ledger.map().ids() {
            let reserved = self.ledger.blocks().is_reserved(block);
            if reserved || self.claim_block(memory, cpu, block, gfp).is_ok() {
                self.ledger.keep(block);
            }
        }
    }

    /// Takes the frames of a block away from whoever uses them as data.
    /// Linux (RFC v3): `cma_alloc_range()`.
    ///
    /// Data that is in the way goes wherever an untagged movable page may go, tag storage
    /// included. As it is not tagged there, nothing is reserved for it, and so nothing recurs.
    /// Where tag storage may be tagged, its pages lose their tag storage with their place, and find
    /// another at their next access.
    fn claim_block<S: Sink>(
        &mut self,
        memory: &mut Memory<S>,
        cpu: CpuId,
        block: TagBlockId,
        gfp: GfpFlags,
    ) -> Result<(), ReserveError> {
        let range = self.ledger.map().range(block);
        if self.design.reservation() == Reservation::NotNeeded {
            // Taken at its word; `Emulator::check` asks whose the frames are.
            return Ok(());
        }
        let cost = if self.design.residence() == Residence::CleanStore {
            ClaimCost { copies: self.clean.take(range).get(), ..ClaimCost::default() }
        } else {
            self.empty_block(memory, cpu, block, gfp)?
        };
        self.stats.claimed_pages += range.len().get();
        let path = match cost {
            _ if cost.copies > 0 => &mut self.stats.claims_dropped,
            _ if cost.displaced + cost.dropped > 0 => &mut self.stats.claims_moved,
            _ => &mut self.stats.claims_free,
        };
        *path += 1;
        self.caches.reserved(range);
        memory.page_alloc.sink_mut().note(|| Note::Claimed { block, frames: range, cost });
        Ok(())
    }

    /// Moves data out of a block and allocates its frames.
    fn empty_block<S: Sink>(
        &mut self,
        memory: &mut Memory<S>,
        cpu: CpuId,
        block: TagBlockId,
        gfp: GfpFlags,
    ) -> Result<ClaimCost, ReserveError> {
        let range = self.ledger.map().range(block);
        let logged = memory.log.moves.len();
        let before = memory.reclaim.stats.contig_dropped;
        let outcome = self.contig_with_retries(memory, cpu, range, gfp);
        let displaced = self.displaced(&memory.log.moves[logged..], range);
        self.stats.displaced_pages += displaced;
        match outcome {
            Ok(contig) => {
                let _frames = contig.into_raw();
                let dropped = memory.reclaim.stats.contig_dropped - before;
                Ok(ClaimCost { displaced, dropped, copies: 0 })
            }
            Err(error) => {
                self.stats.claim_failed(&error);
                Err(match error {
                    ContigError::NoMemory => ReserveError::NoMemory(block),
                    _ => ReserveError::Busy(block),
                })
            }
        }
    }

    /// Pages that moved out of `range`.
    fn displaced(&self, moves: &[Moved], range: PfnRange) -> u64 {
        let out = |moved: &&Moved| range.overlaps(PfnRange::block(moved.from, moved.order));
        let pages = moves.iter().filter(out).map(|moved| {
            assert!(
                !self.is_untaggable(moved.from) || !self.is_reserved(moved.from),
                "{} was tagged although it is tag storage",
                moved.from
            );
            moved.order.pages()
        });
        pages.sum::<PageCount>().get()
    }

    /// Claims frames; a busy range is tried as often as the design says, other errors are final.
    fn contig_with_retries<S: Sink>(
        &mut self,
        memory: &mut Memory<S>,
        cpu: CpuId,
        range: PfnRange,
        gfp: GfpFlags,
    ) -> Result<ContigRange, ContigError> {
        // The series drops NORETRY: the contiguous allocator refuses it.
        let dropped = GfpFlags::NORETRY | GfpFlags::TAGGED;
        let gfp = gfp.difference(dropped) | GfpFlags::RETRY_MAYFAIL;
        let mode = self.isolate_mode();
        let mut tries = 1;
        loop {
            match memory.alloc_contig_range(cpu, range, mode, gfp) {
                Err(ContigError::Busy { .. }) if tries < self.design.contig_tries() => {
                    self.stats.claim_retries += 1;
                    tries += 1;
                }
                outcome => return outcome.map(|taken| taken.range),
            }
        }
    }

    /// The pages are about to be freed: references and tags kept aside are dropped, and blocks
    /// that nobody needs become data again, at once. Linux (RFC): `free_tag_storage()`.
    pub fn free<S: Sink>(
        &mut self,
        memory: &mut Memory<S>,
        cpu: CpuId,
        (pfn, order): (Pfn, Order),
    ) {
        let pages = PfnRange::block(pfn, order);
        let kept = self.stash.range(pages.start()..pages.end()).copied().collect::<Vec<_>>();
        for pfn in kept {
            self.stash.remove(&pfn);
        }
        if self.is_reserved(pfn) {
            self.caches.freed(pages);
            let unneeded = self.ledger.free(pfn, order);
            self.give_back(memory, cpu, &unneeded);
        }
    }

    /// A tagged folio moved: its tags go along, into storage if the new place has it, else aside;
    /// the old place's storage is given back. Linux (RFC): `copy_highpage()` and the free hook.
    pub(crate) fn moved<S: Sink>(&mut self, memory: &mut Memory<S>, cpu: CpuId, moved: &Moved) {
        let old = PfnRange::block(moved.from, moved.order);
        let had_tags = self.is_reserved(moved.from) || self.stash.contains(&moved.from);
        if had_tags && memory.folios[moved.folio].is_tagged() {
            self.copied_tags(PfnRange::block(moved.to, moved.order));
        }
        self.free(memory, cpu, (old.start(), moved.order));
    }

    fn give_back<S: Sink>(&mut self, memory: &mut Memory<S>, cpu: CpuId, blocks: &[TagBlockId]) {
        if self.design.reservation() == Reservation::NotNeeded {
            // No frames were taken, and none can be given.
            return;
        }
        for &block in blocks {
            let range = self.ledger.map().range(block);
            self.caches.released(self.ledger.map(), block);
            self.stats.released_pages += range.len().get();
            memory.page_alloc.sink_mut().note(|| Note::GivenBack { block, frames: range });
            if self.design.residence() == Residence::CleanStore {
                self.clean.give(range);
                continue;
            }
            let frames = ContigRange::reclaim(&memory.page_alloc, range);
            let frames = frames.expect("a reserved block's frames are allocated");
            memory.page_alloc.free_contig_range(cpu, frames);
        }
    }
}
