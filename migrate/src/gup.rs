//! Pins on user pages: short ones for I/O, long ones for RDMA and its like.

use pagelab_allocator::event::Sink;
use pagelab_allocator::units::CpuId;

use crate::emulator::Emulator;
use crate::folio::{FolioId, PinTerm};
use crate::pin::PinError;

impl<S: Sink> Emulator<S> {
    /// Pins a folio. A long pin first moves it out of memory that is only lent: CMA and tag
    /// storage. Linux: `pin_user_pages()`, `check_and_migrate_movable_pages()`.
    ///
    /// # Errors
    ///
    /// [`PinError`] when a long pin cannot move the folio.
    pub fn pin(&mut self, cpu: CpuId, id: FolioId, term: PinTerm) -> Result<(), PinError> {
        let outcome = self.memory.pin(cpu, id, term);
        self.settle(cpu);
        outcome
    }

    /// Drops a pin; frees the folio with the last one when nobody maps it any more.
    /// Linux: `unpin_user_page()`.
    ///
    /// # Panics
    ///
    /// Panics when no such pin is held.
    pub fn unpin(&mut self, cpu: CpuId, id: FolioId, term: PinTerm) {
        self.memory.unpin(id, term);
        if !self.memory.folios[id].is_pinned() && self.lingering.remove(&id) {
            self.free_folio(cpu, id);
        }
    }
}
