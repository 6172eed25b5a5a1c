//! Moving a page while others use it. Linux: mm/migrate.c.
//!
//! The page is taken out of the map of frames, so that nobody else moves it; the entries that map
//! it become migration entries, at which accesses wait, and their references are taken over; it is
//! frozen, if there are no others; its frame changes; it is mapped again, and put into the map. Any
//! surplus reference undoes all of it.

use pagelab_allocator::smp::{Cpu, Exclusive};
use pagelab_allocator::units::Pfn;

use crate::smp::moving::{Carries, Moving};
use crate::smp::slab::FolioRef;
use crate::smp::step::Step;
use crate::smp::{Placement, SharedMemory};

/// Why a page did not move.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MoveError {
    /// It was freed, or somebody else moves it. Linux: `folio_isolate_lru()` fails.
    #[error("the page is gone, or on its way")]
    Gone,
    /// Somebody holds or pins it besides those who map it. Linux: `-EAGAIN`.
    #[error("the page is in use")]
    InUse,
    /// No frame for it. Linux: `-ENOMEM`.
    #[error("no frame to move to")]
    NoMemory,
    /// No tag storage for that frame. Linux: `-ENOMEM`.
    #[error("no tag storage to move to")]
    NoTagStorage,
}

impl<P: Exclusive> SharedMemory<P> {
    /// Moves the page in `frame` elsewhere; says where. Linux: `isolate_migratepages_range()`,
    /// `migrate_pages()`.
    ///
    /// # Errors
    ///
    /// [`MoveError`]; the page is where it was then.
    pub fn migrate_frame(
        &self,
        cpu: &mut Cpu<P>,
        frame: Pfn,
        to: Placement,
    ) -> Result<Pfn, MoveError> {
        self.admit(cpu);
        let folio = self.folios.take(frame).ok_or(MoveError::Gone)?;
        let carries = Carries::of(&folio);
        let target = match self.target(cpu, carries, to) {
            Ok(target) => target,
            Err(refused) => {
                self.put_back(core::iter::once((frame, folio)));
                return Err(refused);
            }
        };
        let mut page = Moving::new(folio, frame);
        page.set_target(target);
        self.move_taken(cpu, core::slice::from_mut(&mut page), carries);
        self.free_frame(cpu, page.spare(), carries);
        let moved = page.has_moved();
        self.put_back(core::iter::once(page.placed()));
        if moved { Ok(target) } else { Err(MoveError::InUse) }
    }

    /// Moves the pages in `frames` that have no tags elsewhere, as many as can move; says how many
    /// did. Frames next to each other of one pageblock, and of pages of one table, cost less.
    /// Linux: `isolate_migratepages_range()`, `migrate_pages()`.
    pub fn migrate_frames(&self, cpu: &mut Cpu<P>, frames: &[Pfn], to: Placement) -> usize {
        self.admit(cpu);
        self.migrate_batches(cpu, frames, to, |cpu, pages| {
            cpu.free_singles(&pages.iter().map(Moving::spare).collect::<Vec<_>>());
        })
    }

    /// A frame to move to, with tag storage if the page has tags. Linux:
    /// `alloc_migration_target()`.
    fn target(&self, cpu: &mut Cpu<P>, carries: Carries, to: Placement) -> Result<Pfn, MoveError> {
        let to = if carries == Carries::Tags { Placement::Taggable } else { to };
        let target = cpu.alloc_pages(&to.request()).map_err(|_| MoveError::NoMemory)?;
        let (target, _) = target.into_raw();
        if carries == Carries::Tags && self.reserve_tags(cpu, target).is_err() {
            self.free_frame(cpu, target, Carries::Data);
            return Err(MoveError::NoTagStorage);
        }
        Ok(target)
    }

    /// Takes as many of the pages in `frames` as are there, to be moved by nobody else meanwhile.
    /// Linux: `isolate_migratepages_block()`.
    pub(crate) fn take_frames(&self, frames: &[Pfn], taken: &mut Vec<Moving>) {
        for group in frames.chunk_by(|a, b| self.folios.together(*a, *b)) {
            self.folios.with(group[0], |places| {
                // The lines of all places are asked for before one is waited for.
                group.iter().for_each(|frame| places.prefetch(*frame));
                for &frame in group {
                    if let Some(folio) = places.take(frame) {
                        folio.prefetch();
                        taken.push(Moving::new(folio, frame));
                    }
                }
            });
        }
    }

    /// Puts pages back that were taken. One that nobody has any more was freed meanwhile.
    /// Linux: `putback_movable_pages()`.
    pub(crate) fn put_back(&self, pages: impl Iterator<Item = (Pfn, FolioRef)>) {
        let looks = self.steps.has(Step::PutbackLooks);
        self.folios.put_back(pages, |folio| looks && folio.references() == 0);
    }
}
