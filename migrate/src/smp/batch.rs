//! Pages that move together, while those before are still being copied.
//! Linux: `migrate_pages_batch()`.

use pagelab_allocator::smp::{Cpu, Exclusive};
use pagelab_allocator::units::Pfn;

use crate::smp::contents::Copies;
use crate::smp::moving::{Carries, Moving};
use crate::smp::{Placement, SharedMemory};

/// Pages of a batch: so few that what is known of them stays in the caches while they are copied.
/// Linux: at most `NR_MAX_BATCHED_MIGRATION`.
const LEN: usize = 128;

/// Pages of the first one: still fewer, so that copies which run by themselves begin soon.
const FIRST_LEN: usize = 32;

/// Pages without tags that were taken out of use together, and their copies, which may still run.
#[derive(Debug)]
struct Batch {
    pages: Vec<Moving>,
    copies: Copies,
}

impl Batch {
    /// Without pages yet, with room for so many.
    fn with_capacity(pages: usize) -> Self {
        Self { pages: Vec::with_capacity(pages), copies: Copies::DONE }
    }
}

impl<P: Exclusive> SharedMemory<P> {
    /// [`migrate_frames`](Self::migrate_frames), some pages at a time, while those before are still
    /// being copied; `left` hears of each of these, to free the frames that nobody has then.
    /// Linux: `migrate_pages_batch()`.
    pub(crate) fn migrate_batches(
        &self,
        cpu: &mut Cpu<P>,
        frames: &[Pfn],
        to: Placement,
        mut left: impl FnMut(&mut Cpu<P>, &[Moving]),
    ) -> usize {
        let (first, rest) = frames.split_at(frames.len().min(FIRST_LEN));
        // Both are filled again and again, and stay in the caches.
        let [mut copying, mut next] = [frames.len().min(LEN); 2].map(Batch::with_capacity);
        let mut moved = 0;
        for frames in core::iter::once(first).chain(rest.chunks(LEN)) {
            self.unmap_batch(cpu, &mut next, frames, to);
            moved += self.move_batch(cpu, &mut copying, &mut left);
            // What need not be waited for moves while all about it is in the caches.
            match next.copies.are_done() {
                true => moved += self.move_batch(cpu, &mut next, &mut left),
                false => core::mem::swap(&mut copying, &mut next),
            }
        }
        moved + self.move_batch(cpu, &mut copying, &mut left)
    }

    /// Takes the pages in `frames` out of use, as far as they can move, and starts to copy them in
    /// `batch`, which has none. Linux: `migrate_folio_unmap()` of a batch.
    fn unmap_batch(&self, cpu: &mut Cpu<P>, batch: &mut Batch, frames: &[Pfn], to: Placement) {
        let pages = &mut batch.pages;
        self.take_frames(frames, pages);
        if pages.is_empty() {
            return;
        }
        let targets = cpu.alloc_singles(&to.request(), pages.len());
        self.put_back(pages.drain(targets.len()..).map(Moving::placed));
        pages.iter_mut().zip(targets).for_each(|(page, target)| page.set_target(target));
        batch.copies = self.unmap_and_copy(pages, Carries::Data);
    }

    /// Waits for the copies and maps the pages again, and back into the map; says how many moved.
    /// `left` frees the frames that nobody has then. Linux: `migrate_folios_move()`.
    fn move_batch(
        &self,
        cpu: &mut Cpu<P>,
        Batch { pages, copies }: &mut Batch,
        left: &mut impl FnMut(&mut Cpu<P>, &[Moving]),
    ) -> usize {
        if pages.is_empty() {
            return 0;
        }
        self.wait_and_map(cpu, pages, core::mem::replace(copies, Copies::DONE));
        left(cpu, pages);
        let moved = pages.iter().filter(|page| page.has_moved()).count();
        self.put_back(pages.drain(..).map(Moving::placed));
        moved
    }
}
