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
        let (mut moved, mut copying) = (0, None);
        let mut finish = |cpu: &mut Cpu<P>, batch| moved += self.move_batch(cpu, batch, &mut left);
        let (first, rest) = frames.split_at(frames.len().min(FIRST_LEN));
        for frames in core::iter::once(first).chain(rest.chunks(LEN)) {
            let batch = self.unmap_batch(cpu, frames, to);
            if let Some(before) = copying.take() {
                finish(cpu, before);
            }
            // What need not be waited for moves while all about it is in the caches.
            match batch.copies.are_done() {
                true => finish(cpu, batch),
                false => copying = Some(batch),
            }
        }
        if let Some(last) = copying {
            finish(cpu, last);
        }
        moved
    }

    /// Takes the pages in `frames` out of use, as far as they can move, and starts to copy them.
    /// Linux: `migrate_folio_unmap()` of a batch.
    fn unmap_batch(&self, cpu: &mut Cpu<P>, frames: &[Pfn], to: Placement) -> Batch {
        let mut pages = self.take_frames(frames);
        if pages.is_empty() {
            return Batch { pages, copies: Copies::DONE };
        }
        let targets = cpu.alloc_singles(&to.request(), pages.len());
        self.put_back(pages.drain(targets.len()..).map(Moving::placed));
        pages.iter_mut().zip(targets).for_each(|(page, target)| page.set_target(target));
        let copies = self.unmap_and_copy(&mut pages, Carries::Data);
        Batch { pages, copies }
    }

    /// Waits for the copies and maps the pages again, and back into the map; says how many moved.
    /// `left` frees the frames that nobody has then. Linux: `migrate_folios_move()`.
    fn move_batch(
        &self,
        cpu: &mut Cpu<P>,
        batch: Batch,
        left: &mut impl FnMut(&mut Cpu<P>, &[Moving]),
    ) -> usize {
        let Batch { mut pages, copies } = batch;
        self.wait_and_map(cpu, &mut pages, copies);
        left(cpu, &pages);
        let moved = pages.iter().filter(|page| page.has_moved()).count();
        self.put_back(pages.into_iter().map(Moving::placed));
        moved
    }
}
