//! Moving a page while others use it. Linux: mm/migrate.c.
//!
//! The page is isolated, with a reference; the entries that map it become migration entries, at
//! which accesses wait and which have no reference; it is frozen, if the one reference left is that
//! of the isolation; its frame changes; it is mapped again. Any surplus reference undoes all of it.

use pagelab_allocator::smp::{Cpu, Exclusive};
use pagelab_allocator::sync::Arc;
use pagelab_allocator::units::Pfn;

use crate::smp::folio::SharedFolio;
use crate::smp::moving::{Carries, Moving};
use crate::smp::step::Step;
use crate::smp::{Placement, SharedMemory};

/// Why a page did not move.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MoveError {
    /// It was freed.
    #[error("the page is gone")]
    Gone,
    /// Somebody else moves it. Linux: `-EBUSY`.
    #[error("the page is isolated")]
    Isolated,
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

/// Pages that move together. Linux: `NR_MAX_BATCHED_MIGRATION`.
const BATCH: usize = 512;

/// What came of taking a page for moving.
enum Isolation {
    Done,
    /// It cannot be taken, and no reference was.
    Refused(MoveError),
    /// It cannot be taken, but a reference was, which is to be put without a lock.
    Surplus(MoveError),
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
        let folio = self.isolate_frame(cpu, frame)?;
        let carries = if folio.is_tagged() { Carries::Tags } else { Carries::Data };
        let target = match self.target(cpu, carries, to) {
            Ok(target) => target,
            Err(refused) => {
                self.putback(cpu, &folio);
                return Err(refused);
            }
        };
        let mut page = Moving::new(folio, frame, target);
        self.move_isolated(cpu, core::slice::from_mut(&mut page), carries);
        self.free_frame(cpu, page.spare(), carries == Carries::Tags);
        if page.has_moved() { Ok(target) } else { Err(MoveError::InUse) }
    }

    /// Moves the pages in `frames` that have no tags elsewhere, as many as can move; says how many
    /// did. Frames next to each other of one pageblock, and of pages of one table, cost less.
    /// Linux: `isolate_migratepages_range()`, `migrate_pages()`.
    pub fn migrate_frames(&self, cpu: &mut Cpu<P>, frames: &[Pfn], to: Placement) -> usize {
        frames.chunks(BATCH).map(|frames| self.migrate_batch(cpu, frames, to)).sum()
    }

    fn migrate_batch(&self, cpu: &mut Cpu<P>, frames: &[Pfn], to: Placement) -> usize {
        let mut isolated = self.isolate_frames(cpu, frames).into_iter();
        let mut pages = Vec::with_capacity(isolated.len());
        for (folio, source) in isolated.by_ref() {
            let Ok(target) = self.target(cpu, Carries::Data, to) else {
                self.putback(cpu, &folio);
                break;
            };
            pages.push(Moving::new(folio, source, target));
        }
        isolated.for_each(|(folio, _)| self.putback(cpu, &folio));
        self.move_isolated(cpu, &mut pages, Carries::Data);
        for page in &pages {
            self.free_frame(cpu, page.spare(), false);
        }
        pages.iter().filter(|page| page.has_moved()).count()
    }

    /// A frame to move to, with tag storage if the page has tags. Linux:
    /// `alloc_migration_target()`.
    fn target(&self, cpu: &mut Cpu<P>, carries: Carries, to: Placement) -> Result<Pfn, MoveError> {
        let to = if carries == Carries::Tags { Placement::Taggable } else { to };
        let target = cpu.alloc_pages(&to.request()).map_err(|_| MoveError::NoMemory)?;
        let (target, _) = target.into_raw();
        if carries == Carries::Tags && self.reserve_tags(cpu, target).is_err() {
            self.free_frame(cpu, target, false);
            return Err(MoveError::NoTagStorage);
        }
        Ok(target)
    }

    /// The page in `frame`, with a reference and the right to move it.
    fn isolate_frame(&self, cpu: &mut Cpu<P>, frame: Pfn) -> Result<Arc<SharedFolio>, MoveError> {
        let folio = self.folios.get(frame).ok_or(MoveError::Gone)?;
        match self.isolate(&folio, frame) {
            Isolation::Done => Ok(folio),
            Isolation::Refused(refused) => Err(refused),
            Isolation::Surplus(refused) => {
                self.put(cpu, &folio);
                Err(refused)
            }
        }
    }

    /// As many of the pages in `frames` as can be taken.
    fn isolate_frames(&self, cpu: &mut Cpu<P>, frames: &[Pfn]) -> Vec<(Arc<SharedFolio>, Pfn)> {
        let (mut isolated, mut surplus) = (Vec::new(), Vec::new());
        for group in frames.chunk_by(|a, b| self.folios.together(*a, *b)) {
            self.folios.with(group[0], |places| {
                for &frame in group {
                    let Some(folio) = places.get(frame) else { continue };
                    match self.isolate(folio, frame) {
                        Isolation::Done => isolated.push((Arc::clone(folio), frame)),
                        Isolation::Refused(_) => {}
                        Isolation::Surplus(_) => surplus.push(Arc::clone(folio)),
                    }
                }
            });
        }
        surplus.into_iter().for_each(|folio| self.put(cpu, &folio));
        isolated
    }

    /// Takes what the map says lies in `frame`.
    /// Linux: `isolate_migratepages_block()`: `folio_try_get()`, `folio_test_clear_lru()`.
    fn isolate(&self, folio: &SharedFolio, frame: Pfn) -> Isolation {
        if !self.steps.has(Step::IsolationSpares) {
            folio.get();
        } else if !folio.try_get() {
            return Isolation::Refused(MoveError::Gone);
        }
        match folio.try_isolate() {
            true if folio.frame() == frame => Isolation::Done,
            // It moved before the reference was taken.
            true => {
                folio.putback();
                Isolation::Surplus(MoveError::Gone)
            }
            false => Isolation::Surplus(MoveError::Isolated),
        }
    }

    /// Ends that. Linux: `putback_movable_pages()`.
    fn putback(&self, cpu: &mut Cpu<P>, folio: &SharedFolio) {
        folio.putback();
        self.put(cpu, folio);
    }
}
