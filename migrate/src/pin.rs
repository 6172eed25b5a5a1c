//! Pins: references that migration cannot move. Linux: mm/gup.c.

use pagelab_allocator::event::Sink;
use pagelab_allocator::gfp::{GfpFlags, ZoneType};
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::page_alloc::AllocRequest;
use pagelab_allocator::units::{CpuId, Order};

use crate::folio::{FolioId, PinTerm};
use crate::memory::Memory;
use crate::migrate::{MigrateError, MigrateMode, MigrateReason, Target};

/// Why a long-term pin was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PinError {
    /// The folio must not stay where it is, and something keeps it there. Linux: `-EAGAIN`.
    #[error("{0} lies in movable memory and cannot leave it")]
    Stuck(FolioId),
    /// The folio must not stay where it is, and there is no other place. Linux: `-ENOMEM`.
    #[error("no memory to move {0} out of movable memory")]
    NoMemory(FolioId),
}

impl<S: Sink> Memory<S> {
    /// Pins a folio. A long-term pin moves it first if its memory must stay movable.
    /// Linux: `pin_user_pages()`, `check_and_migrate_movable_pages()`.
    ///
    /// # Errors
    ///
    /// [`PinError`], for long-term pins only.
    ///
    /// # Panics
    ///
    /// Panics when the folio is not live.
    pub fn pin(&mut self, cpu: CpuId, id: FolioId, term: PinTerm) -> Result<(), PinError> {
        if term == PinTerm::Long && !self.is_longterm_pinnable(id) {
            self.leave_movable_memory(cpu, id)?;
        }
        self.folios.pin(id, term);
        Ok(())
    }

    /// Drops a pin. Linux: `unpin_user_page()`.
    ///
    /// # Panics
    ///
    /// Panics when no such pin is held.
    pub fn unpin(&mut self, id: FolioId, term: PinTerm) {
        self.folios.unpin(id, term);
    }

    /// Whether the folio may be pinned for good where it lies. Linux:
    /// `folio_is_longterm_pinnable()`.
    ///
    /// # Panics
    ///
    /// Panics when the folio is not live.
    #[must_use]
    pub fn is_longterm_pinnable(&self, id: FolioId) -> bool {
        let pfn = self.folios[id].pfn();
        let lent = matches!(
            self.page_alloc.pageblock_type(pfn),
            Some(MigrateType::Cma | MigrateType::Metadata | MigrateType::Isolate)
        );
        let movable_zone =
            self.page_alloc.zone_of(pfn).is_some_and(|zone| zone.kind() == ZoneType::Movable);
        !lent && !movable_zone
    }

    fn leave_movable_memory(&mut self, cpu: CpuId, id: FolioId) -> Result<(), PinError> {
        let mut mover = self.mover(cpu);
        if !mover.isolate(id) {
            return Err(PinError::Stuck(id));
        }
        let target = AllocRequest::new(Order::ZERO, GfpFlags::USER | GfpFlags::NOWARN);
        let result = mover.migrate_pages(
            vec![id],
            Target::Allocate(target),
            MigrateMode::Sync,
            MigrateReason::LongtermPin,
        );
        mover.putback(&result.failed);
        match result.error {
            Some(MigrateError::NoMemory) => Err(PinError::NoMemory(id)),
            None if result.failed.is_empty() => Ok(()),
            None => Err(PinError::Stuck(id)),
        }
    }
}
