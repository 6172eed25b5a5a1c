//! Page faults: first touch, copy on write, and the search for tag storage.

use pagelab_allocator::event::Sink;
use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::units::{CpuId, Order, PageCount, Pfn, PfnRange};

use crate::emulator::Emulator;
use crate::folio::{FolioId, FolioKind, Mapping, SpaceId, VirtPage};
use crate::mapping::{MmError, user_gfp};
use crate::migrate::{MigrateError, MigrateMode, MigrateReason, MigrateResult, Target};
use crate::note::{Note, TagFaultEnd};
use crate::page_table::Pte;
use crate::reclaim::Refault;
use crate::reclaim::lru::{LruKind, Used};
use crate::reclaim::swap::{SavedTags, SwapSlot};
use crate::tag_storage::design::{Attempt, FaultVerdict, Reservation};
use crate::vma::{Backing, Prot, Vma};

/// What a program does to a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Loads.
    Read,
    /// Stores.
    Write,
}

/// Where a virtual page is now, and what may be done there without a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Translation {
    /// The frame.
    pub pfn: Pfn,
    /// The folio that holds the frame; the zero page for pages that were only read.
    pub folio: FolioId,
    /// Rights in force: a page that is copied on write has no [`Prot::WRITE`].
    pub rights: Prot,
}

/// A successful access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accessed {
    /// Where the page is.
    pub translation: Translation,
    /// Faults it took; zero for a page that was there.
    pub faults: u32,
}

/// Why an access failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// No range there. Linux: `SIGSEGV`, `SEGV_MAPERR`.
    #[error("{0} is not mapped")]
    NotMapped(VirtPage),
    /// The range does not allow it. Linux: `SIGSEGV`, `SEGV_ACCERR`.
    #[error("{0} does not allow that access")]
    Forbidden(VirtPage),
    /// The fault could not be served.
    #[error(transparent)]
    Mm(#[from] MmError),
    /// [`MAX_IDLE_FAULTS`] faults in a row moved nothing, or [`MAX_FAULTS`] did not suffice: page
    /// and tag storage are both held. The kernel of the series would go on for ever; that is
    /// neither a lack of memory nor a signal.
    #[error("no progress after {0} faults")]
    NoProgress(u32),
}

/// Faults in a row that may change nothing before an access counts as stuck. One round of retry and
/// migration takes two, and what failed in one round fails in the next, as nobody else runs.
pub const MAX_IDLE_FAULTS: u32 = 8;

/// Faults that one access may take at all. A page may be moved again and again, each time to
/// another page without storage: two faults for each page of a group whose block is held.
pub const MAX_FAULTS: u32 = 2048;

/// How one fault ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultOutcome {
    /// There was nothing to do: the access can be made.
    Done(Translation),
    /// The fault was served; the access goes on.
    Served,
    /// Fault again, marked as tried.
    Retry,
    /// Fault again from the start.
    Replay,
}

impl<S: Sink> Emulator<S> {
    /// Touches a page as a program does, serving faults until the access succeeds.
    /// Linux: `handle_mm_fault()` in the loop that program and hardware make.
    ///
    /// # Errors
    ///
    /// [`AccessError`].
    pub fn access(
        &mut self,
        cpu: CpuId,
        space: SpaceId,
        page: VirtPage,
        access: Access,
    ) -> Result<Accessed, AccessError> {
        let at = Mapping { space, page };
        let vma = self.vma_for(at, access)?;
        let mut attempt = Attempt::First;
        let mut idle = 0;
        for faults in 0..MAX_FAULTS {
            let migrations = self.tags.stats().fault_migrations;
            let outcome = self.fault_in(cpu, at, &vma, access, attempt)?;
            idle += 1;
            if outcome == FaultOutcome::Served || self.tags.stats().fault_migrations > migrations {
                idle = 0;
            }
            attempt = match outcome {
                FaultOutcome::Done(translation) => {
                    if access == Access::Write {
                        self.tags.wrote_data(PfnRange::block(translation.pfn, Order::ZERO));
                    }
                    return Ok(Accessed { translation, faults });
                }
                FaultOutcome::Served | FaultOutcome::Replay => Attempt::First,
                FaultOutcome::Retry => Attempt::Again,
            };
            if idle == MAX_IDLE_FAULTS {
                self.tags.stats_mut().no_progress += 1;
                return Err(AccessError::NoProgress(faults + 1));
            }
        }
        self.tags.stats_mut().no_progress += 1;
        Err(AccessError::NoProgress(MAX_FAULTS))
    }

    /// One fault, or the finding that none is needed. Linux: `handle_pte_fault()`.
    ///
    /// # Errors
    ///
    /// [`AccessError`], but never [`AccessError::NoProgress`].
    pub fn fault(
        &mut self,
        cpu: CpuId,
        at: Mapping,
        access: Access,
        attempt: Attempt,
    ) -> Result<FaultOutcome, AccessError> {
        let vma = self.vma_for(at, access)?;
        self.fault_in(cpu, at, &vma, access, attempt)
    }

    /// The range that is accessed. Linux: `lock_vma_under_rcu()`, `access_error()`.
    fn vma_for(&mut self, at: Mapping, access: Access) -> Result<Vma, AccessError> {
        let space = self.space_mut(at.space)?;
        let vma = *space.vma_at(at.page).ok_or(AccessError::NotMapped(at.page))?;
        let needed = match access {
            Access::Read => Prot::READ,
            Access::Write => Prot::WRITE,
        };
        if !vma.prot().contains(needed) {
            return Err(AccessError::Forbidden(at.page));
        }
        Ok(vma)
    }

    /// [`fault`](Self::fault) in a range that was looked up.
    fn fault_in(
        &mut self,
        cpu: CpuId,
        at: Mapping,
        vma: &Vma,
        access: Access,
        attempt: Attempt,
    ) -> Result<FaultOutcome, AccessError> {
        let pte = self.space_mut(at.space)?.table().get(at.page);
        let Some(id) = pte.folio() else {
            return match pte.swap_slot() {
                Some(slot) => self.swap_in(cpu, at, vma, slot),
                None => self.populate(cpu, at, vma, access),
            };
        };
        if pte.faults_on_access() {
            return Ok(self.tag_fault(cpu, at, vma, id, attempt));
        }
        if access == Access::Write && pte.is_write_protected() {
            self.copy_on_write(cpu, at, vma, id)?;
            return Ok(FaultOutcome::Served);
        }
        self.memory.reclaim.lru.mark(id, Used::YOUNG);
        Ok(FaultOutcome::Done(self.translation(id, at.page, vma.prot(), pte)))
    }

    /// Where a page is now, without touching it; `None` when an access would fault.
    /// Linux: a hardware walk of the page table.
    #[must_use]
    pub fn translate(&self, space: SpaceId, page: VirtPage) -> Option<Translation> {
        let mm = self.spaces.get(&space)?;
        let pte = mm.table().get(page);
        let id = pte.folio().filter(|_| !pte.faults_on_access())?;
        Some(self.translation(id, page, mm.vma_at(page)?.prot(), pte))
    }

    fn translation(&self, id: FolioId, page: VirtPage, prot: Prot, pte: Pte) -> Translation {
        let folio = &self.memory.folios[id];
        let place = page.get() % folio.order().pages().get();
        let rights = if pte.is_write_protected() { prot - Prot::WRITE } else { prot };
        Translation { pfn: folio.pfn() + PageCount::new(place), folio: id, rights }
    }

    /// First touch. Linux: `do_anonymous_page()`, `do_shared_fault()`, `do_read_fault()`.
    fn populate(
        &mut self,
        cpu: CpuId,
        at: Mapping,
        vma: &Vma,
        access: Access,
    ) -> Result<FaultOutcome, AccessError> {
        let failed = |e| AccessError::Mm(MmError::Allocate(e));
        let id = match (vma.shmem_page(at.page), access) {
            (Some((object, offset)), _) => {
                let present = self.shmem.get(&object).and_then(|pages| pages.get(&offset));
                match present.copied() {
                    Some(id) => id,
                    None => {
                        let gfp = user_gfp(vma);
                        let id = self.allocate_kind(cpu, Order::ZERO, gfp, FolioKind::Shmem);
                        let id = id.map_err(failed)?;
                        self.shmem.entry(object).or_default().insert(offset, id);
                        id
                    }
                }
            }
            (None, Access::Read) if vma.backing() == Backing::Anon => {
                // Nothing is entered: the next store is a first touch still.
                let id = self.zero_page(cpu).map_err(failed)?;
                let pfn = self.memory.folios[id].pfn();
                let rights = vma.prot() - Prot::WRITE;
                return Ok(FaultOutcome::Done(Translation { pfn, folio: id, rights }));
            }
            (None, _) => {
                let kind = match vma.backing() {
                    Backing::File => FolioKind::File,
                    _ => FolioKind::Anon,
                };
                self.allocate_kind(cpu, Order::ZERO, user_gfp(vma), kind).map_err(failed)?
            }
        };
        let ready = !vma.is_tagged() || self.is_taggable_now(id);
        let restrict = |pte: Pte| if ready { pte } else { pte.faulting() };
        self.map_folio(id, at, restrict, Refault::Cold);
        Ok(FaultOutcome::Served)
    }

    /// Reads a page back from swap. Every entry that names the slot gets a page of its own: the
    /// swap cache, by which they would share one, is left out. Linux: `do_swap_page()`.
    fn swap_in(
        &mut self,
        cpu: CpuId,
        at: Mapping,
        vma: &Vma,
        slot: SwapSlot,
    ) -> Result<FaultOutcome, AccessError> {
        let failed = |e| AccessError::Mm(MmError::Allocate(e));
        self.memory.page_alloc.sink_mut().note(|| Note::SwapIn);
        let id = self.allocate_kind(cpu, Order::ZERO, user_gfp(vma), FolioKind::Anon);
        let id = id.map_err(failed)?;
        let content = self.memory.reclaim.swap.get(slot);
        if content.tags == SavedTags::Kept {
            self.tags.copied_tags(self.memory.folios[id].range());
            self.memory.folios.set_tagged(id);
        }
        let refault = self.memory.reclaim.refault(LruKind::Anon, content.age);
        self.memory.reclaim.stats.pswpin += 1;
        self.memory.mover(cpu).put_swap(slot);
        let ready = !vma.is_tagged() || self.is_taggable_now(id);
        let restrict = |pte: Pte| if ready { pte } else { pte.faulting() };
        self.map_folio(id, at, restrict, refault);
        Ok(FaultOutcome::Served)
    }

    /// A store to a page that others may see. Linux: `do_wp_page()`, `wp_page_copy()`.
    fn copy_on_write(
        &mut self,
        cpu: CpuId,
        at: Mapping,
        vma: &Vma,
        id: FolioId,
    ) -> Result<(), MmError> {
        if self.memory.folios[id].order() > Order::ZERO {
            return self.split(cpu, id);
        }
        let table = self.space_mut(at.space)?.table_mut();
        let pte = table.get(at.page);
        if self.memory.folios.map_count(id) == 1 {
            self.space_mut(at.space)?.table_mut().set(at.page, pte.writable());
            return Ok(());
        }
        let pfn = self.memory.folios[id].pfn();
        self.memory.page_alloc.sink_mut().note(|| Note::CopyOnWrite(pfn));
        // The page that is copied must not go meanwhile.
        let copy = self.hold(cpu, id, |emulator| {
            emulator.allocate_kind(cpu, Order::ZERO, user_gfp(vma), FolioKind::Anon)
        })?;
        if self.memory.folios[id].is_tagged() {
            self.tags.copied_tags(self.memory.folios[copy].range());
            self.memory.folios.set_tagged(copy);
        }
        self.space_mut(at.space)?.table_mut().set(at.page, Pte::EMPTY);
        self.unmap_folio(cpu, id, at);
        let ready = !vma.is_tagged() || self.is_taggable_now(copy);
        let restrict = |pte: Pte| if ready { pte } else { pte.faulting() };
        self.map_folio(copy, at, restrict, Refault::Cold);
        Ok(())
    }

    /// An access to a page whose tag storage was missing. Linux (RFC v3):
    /// `handle_pte_protnone()` and the architecture's handler behind it.
    fn tag_fault(
        &mut self,
        cpu: CpuId,
        at: Mapping,
        vma: &Vma,
        id: FolioId,
        attempt: Attempt,
    ) -> FaultOutcome {
        self.tags.stats_mut().faults += 1;
        if !vma.is_tagged() {
            self.make_accessible(at, id);
            return FaultOutcome::Served;
        }
        let pfn = self.memory.folios[id].pfn();
        if self.memory.page_alloc.pageblock_type(pfn) == Some(MigrateType::Isolate) {
            // It is being moved.
            self.note_tag_fault(pfn, TagFaultEnd::Isolated);
            self.tags.stats_mut().fault_retries += 1;
            return FaultOutcome::Retry;
        }
        let verdict = if self.tags.is_untaggable(pfn) {
            FaultVerdict::Migrate
        } else if self.reserve_folio(cpu, id, GfpFlags::HIGHUSER_MOVABLE).is_ok() {
            self.note_tag_fault(pfn, TagFaultEnd::Repaired);
            self.make_accessible(at, id);
            return FaultOutcome::Served;
        } else {
            self.tags.design().on_reserve_failure(attempt)
        };
        self.note_tag_fault(pfn, TagFaultEnd::Verdict(verdict));
        match verdict {
            FaultVerdict::Retry => {
                self.tags.stats_mut().fault_retries += 1;
                FaultOutcome::Retry
            }
            FaultVerdict::Migrate => {
                self.replace_with_tagged(cpu, id);
                FaultOutcome::Replay
            }
            FaultVerdict::Replay => {
                self.tags.stats_mut().fault_replays += 1;
                FaultOutcome::Replay
            }
        }
    }

    fn note_tag_fault(&mut self, pfn: Pfn, end: TagFaultEnd) {
        self.memory.page_alloc.sink_mut().note(|| Note::TagFault { pfn, end });
    }

    /// Lifts the marker from every entry of the mapping that covers `at`.
    fn make_accessible(&mut self, at: Mapping, id: FolioId) {
        let pages = self.memory.folios[id].order().pages().get();
        let first = at.page.get() - at.page.get() % pages;
        let space = self.spaces.get_mut(&at.space).expect("the fault looked the space up");
        for page in (first..first + pages).map(VirtPage::new) {
            let pte = space.table().get(page).accessible();
            space.table_mut().set(page, pte);
        }
    }

    /// Moves a folio to frames that can carry tags. Whatever comes of it, the access faults again.
    /// Linux (RFC v3): `replace_folio_with_tagged()`.
    fn replace_with_tagged(&mut self, cpu: CpuId, id: FolioId) {
        let gfp = GfpFlags::HIGHUSER_MOVABLE | GfpFlags::TAGGED;
        for _ in 0..self.tags.design().migrate_tries() {
            if !self.memory.mover(cpu).isolate(id) {
                break;
            }
            let result = self.migrate_to_tagged(cpu, id, gfp);
            match result.error {
                None if result.failed.is_empty() => {
                    self.tags.stats_mut().fault_migrations += 1;
                    self.note_tag_fault(self.memory.folios[id].pfn(), TagFaultEnd::Migrated);
                    // The new frames were allocated for tags: their storage is reserved with them,
                    // as far as that succeeds.
                    if self.tags.design().reservation() != Reservation::NotNeeded {
                        let _ = self.reserve_folio(cpu, id, gfp);
                    }
                    return;
                }
                None => {}
                Some(MigrateError::NoMemory) => break,
            }
        }
        self.note_tag_fault(self.memory.folios[id].pfn(), TagFaultEnd::NotMigrated);
        self.tags.stats_mut().fault_migration_failures += 1;
    }

    /// Moves an isolated folio to frames that were allocated for tags. Where reservation is
    /// mandatory, only frames that have tag storage count as allocated.
    fn migrate_to_tagged(&mut self, cpu: CpuId, id: FolioId, gfp: GfpFlags) -> MigrateResult {
        let (order, kind) = (self.memory.folios[id].order(), self.memory.folios[id].kind());
        let mandatory = self.tags.design().reservation() == Reservation::Mandatory;
        let reserved = match mandatory {
            true => self.allocate_kind(cpu, order, gfp, kind).ok(),
            false => None,
        };
        let mut given = reserved.map(|target| self.memory.disown(target));
        let target = match mandatory {
            true => Target::Given(&mut given),
            false => Target::Allocate(self.tags.request(order, gfp)),
        };
        let mut mover = self.memory.mover(cpu);
        let reason = MigrateReason::TagStorage;
        let result = mover.migrate_pages(vec![id], target, MigrateMode::Sync, reason);
        mover.putback(&result.failed);
        self.settle(cpu);
        if let Some(unused) = given {
            self.tags.free(&mut self.memory, cpu, (unused.pfn(), unused.order()));
            self.memory.page_alloc.free_pages(cpu, unused);
        }
        result
    }
}
