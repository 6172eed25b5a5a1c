//! Claims on exact ranges and allocations from CMA areas, by others than tag storage.

use pagelab_allocator::contig::{ClaimError, ContigRange};
use pagelab_allocator::event::Sink;
use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::isolate::IsolateMode;
use pagelab_allocator::units::{CpuId, Order, PageCount, PfnRange};

use crate::cma::{CmaArea, CmaError};
use crate::contig::{ContigError, ContigTaken};
use crate::emulator::Emulator;

impl<S: Sink> Emulator<S> {
    /// Takes exactly the frames of `range`, moving what lives there. Linux:
    /// `alloc_contig_range()`.
    ///
    /// # Errors
    ///
    /// [`ContigError`]; what had already moved stays where it went.
    pub fn claim_range(
        &mut self,
        cpu: CpuId,
        range: PfnRange,
        mode: IsolateMode,
        gfp: GfpFlags,
    ) -> Result<ContigTaken, ContigError> {
        let outcome = self.memory.alloc_contig_range(cpu, range, mode, gfp);
        self.settle(cpu);
        outcome
    }

    /// Gives a claimed range back. Linux: `free_contig_range()`.
    ///
    /// # Panics
    ///
    /// Panics when a frame of the range is not an allocated single page.
    pub fn release_range(&mut self, cpu: CpuId, range: ContigRange) {
        self.memory.page_alloc.free_contig_range(cpu, range);
    }

    /// Isolates the pageblocks of a range, as somebody does who claims or removes memory and is
    /// not done yet. Linux: `start_isolate_page_range()`.
    ///
    /// # Errors
    ///
    /// [`ClaimError`] when a pageblock is isolated already or holds what cannot move.
    pub fn isolate(&mut self, range: PfnRange, mode: IsolateMode) -> Result<(), ClaimError> {
        self.memory.page_alloc.start_isolate(range, mode)
    }

    /// Ends what [`Emulator::isolate`] began. Linux: `undo_isolate_page_range()`.
    ///
    /// # Panics
    ///
    /// Panics when no zone has the range.
    pub fn undo_isolate(&mut self, range: PfnRange, mode: IsolateMode) {
        self.memory.page_alloc.undo_isolate(range, mode);
    }

    /// The machine's CMA areas in the order of its spec; tag storage is none of them.
    #[must_use]
    pub fn cma_areas(&self) -> &[CmaArea] {
        &self.cma
    }

    /// Takes `count` frames, aligned to `align`, from area number `area`. Linux: `cma_alloc()`.
    ///
    /// # Errors
    ///
    /// [`CmaError`].
    ///
    /// # Panics
    ///
    /// Panics when there is no such area.
    pub fn cma_alloc(
        &mut self,
        cpu: CpuId,
        area: usize,
        count: PageCount,
        align: Order,
    ) -> Result<ContigTaken, CmaError> {
        let outcome = self.memory.cma_alloc(cpu, &mut self.cma[area], count, align);
        self.settle(cpu);
        outcome
    }

    /// Gives frames of area number `area` back. Linux: `cma_release()`.
    ///
    /// # Panics
    ///
    /// Panics when there is no such area, or the frames are not its own.
    pub fn cma_release(&mut self, cpu: CpuId, area: usize, range: ContigRange) {
        self.memory.cma_release(cpu, &mut self.cma[area], range);
    }
}
