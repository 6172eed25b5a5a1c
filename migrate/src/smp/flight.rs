//! Pages between two frames. Linux: `migrate_pages_batch()`.

use pagelab_allocator::smp::{Cpu, Exclusive};
use pagelab_allocator::units::Pfn;

use crate::smp::contents::Copies;
use crate::smp::moving::{Carries, Moving};
use crate::smp::{Placement, SharedMemory};

/// Pages without tags that were taken out of use together, and their copies, which may still run.
#[derive(Debug)]
pub(crate) struct Flight {
    pages: Vec<Moving>,
    copies: Copies,
}

impl Flight {
    /// Without pages yet, but with room for some.
    pub(crate) fn with_room_for(pages: usize) -> Self {
        Self { pages: Vec::with_capacity(pages), copies: Copies::DONE }
    }

    /// Whether it may land without waiting.
    pub(crate) const fn is_over(&self) -> bool {
        self.copies.are_done()
    }
}

impl<P: Exclusive> SharedMemory<P> {
    /// Takes the pages in `frames` out of use, as far as they can move, and starts to copy them in
    /// `flight`, which has none. Linux: `migrate_folio_unmap()` of a batch.
    pub(crate) fn depart(
        &self,
        cpu: &mut Cpu<P>,
        flight: &mut Flight,
        frames: &[Pfn],
        to: Placement,
    ) {
        let pages = &mut flight.pages;
        self.take_frames(frames, pages);
        if pages.is_empty() {
            return;
        }
        let targets = cpu.alloc_singles(&to.request(), pages.len());
        self.put_back(pages.drain(targets.len()..).map(Moving::placed));
        pages.iter_mut().zip(targets).for_each(|(page, target)| page.set_target(target));
        flight.copies = self.unmap_and_copy(pages, Carries::Data);
    }

    /// Waits for the copies and maps the pages again, and back into the map; says how many moved.
    /// `left` frees the frames that nobody has then. Linux: `migrate_folio_move()` of a batch.
    pub(crate) fn land(
        &self,
        cpu: &mut Cpu<P>,
        flight: &mut Flight,
        left: &mut impl FnMut(&mut Cpu<P>, &[Moving]),
    ) -> usize {
        let Flight { pages, copies } = flight;
        if pages.is_empty() {
            return 0;
        }
        self.finish_and_map(cpu, pages, core::mem::replace(copies, Copies::DONE));
        left(cpu, pages);
        let moved = pages.iter().filter(|page| page.has_moved()).count();
        self.put_back(pages.drain(..).map(Moving::placed));
        moved
    }
}
