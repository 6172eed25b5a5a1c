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
    /// Whether it may land without waiting.
    pub(crate) const fn is_over(&self) -> bool {
        self.copies.are_done()
    }
}

impl<P: Exclusive> SharedMemory<P> {
    /// Takes the pages in `frames` out of use, as far as they can move, and starts to copy them.
    /// Linux: `migrate_folio_unmap()` of a batch.
    pub(crate) fn depart(&self, cpu: &mut Cpu<P>, frames: &[Pfn], to: Placement) -> Flight {
        let mut pages = Vec::with_capacity(frames.len());
        self.take_frames(frames, &mut pages);
        if pages.is_empty() {
            return Flight { pages, copies: Copies::DONE };
        }
        let targets = cpu.alloc_singles(&to.request(), pages.len());
        self.put_back(pages.drain(targets.len()..).map(Moving::placed));
        pages.iter_mut().zip(targets).for_each(|(page, target)| page.set_target(target));
        let copies = self.unmap_and_copy(&mut pages, Carries::Data);
        Flight { pages, copies }
    }

    /// Waits for the copies and maps the pages again, and back into the map; says how many moved.
    /// `left` frees the frames that nobody has then. Linux: `migrate_folio_move()` of a batch.
    pub(crate) fn land(
        &self,
        cpu: &mut Cpu<P>,
        flight: Flight,
        left: &mut impl FnMut(&mut Cpu<P>, &[Moving]),
    ) -> usize {
        let Flight { mut pages, copies } = flight;
        self.wait_and_map(cpu, &mut pages, copies);
        left(cpu, &pages);
        let moved = pages.iter().filter(|page| page.has_moved()).count();
        self.put_back(pages.into_iter().map(Moving::placed));
        moved
    }
}
