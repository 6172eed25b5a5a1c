//! Moving a page while others use it. Linux: mm/migrate.c.
//!
//! The page is isolated, with a reference; the entries that map it become migration entries, at
//! which accesses wait and which have no reference; it is frozen, if the one reference left is that
//! of the isolation; its frame changes; it is mapped again. Any surplus reference undoes all of it.

use pagelab_allocator::smp::{Cpu, Exclusive};
use pagelab_allocator::sync::Arc;
use pagelab_allocator::units::Pfn;

use crate::smp::folio::SharedFolio;
use crate::smp::page_table::{Entry, SharedTable};
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
        let moved = match folio.is_tagged() {
            false => self.migrate_untagged(cpu, &folio, to),
            true => self.migrate_tagged(cpu, &folio),
        };
        self.putback(cpu, &folio);
        moved
    }

    /// Empties a frame that a claim wants. The page has no tags, as it lies in tag storage, and if
    /// it gets some on the way it stays: nobody who reserves tag storage waits for more of it.
    pub(crate) fn evacuate(&self, cpu: &mut Cpu<P>, frame: Pfn) -> Result<Pfn, MoveError> {
        let folio = self.isolate_frame(cpu, frame)?;
        let moved = self.migrate_untagged(cpu, &folio, Placement::Anywhere);
        self.putback(cpu, &folio);
        moved
    }

    /// The page in `frame`, with a reference and the right to move it.
    /// Linux: `isolate_migratepages_block()`: `folio_try_get()`, `folio_test_clear_lru()`.
    fn isolate_frame(&self, cpu: &mut Cpu<P>, frame: Pfn) -> Result<Arc<SharedFolio>, MoveError> {
        let folio = self.folios.get(frame).ok_or(MoveError::Gone)?;
        if !self.steps.has(Step::IsolationSpares) {
            folio.get();
        } else if !folio.try_get() {
            return Err(MoveError::Gone);
        }
        // It may have moved before the reference was taken.
        let refused = match folio.try_isolate() {
            true if folio.frame() == frame => return Ok(folio),
            true => {
                folio.putback();
                MoveError::Gone
            }
            false => MoveError::Isolated,
        };
        self.put(cpu, &folio);
        Err(refused)
    }

    /// Ends that. Linux: `putback_movable_pages()`.
    fn putback(&self, cpu: &mut Cpu<P>, folio: &SharedFolio) {
        folio.putback();
        self.put(cpu, folio);
    }

    fn migrate_untagged(
        &self,
        cpu: &mut Cpu<P>,
        folio: &Arc<SharedFolio>,
        to: Placement,
    ) -> Result<Pfn, MoveError> {
        let target = cpu.alloc_pages(&to.request()).map_err(|_| MoveError::NoMemory)?;
        let (target, _) = target.into_raw();
        let moved = self.move_to(folio, target, false);
        self.free_frame(cpu, moved.unwrap_or(target), false);
        moved.map(|_| target)
    }

    /// A page with tags needs their storage before it is mapped again.
    fn migrate_tagged(&self, cpu: &mut Cpu<P>, folio: &Arc<SharedFolio>) -> Result<Pfn, MoveError> {
        let target = cpu.alloc_pages(&Placement::Taggable.request());
        let (target, _) = target.map_err(|_| MoveError::NoMemory)?.into_raw();
        if self.reserve_tags(cpu, target).is_err() {
            self.free_frame(cpu, target, false);
            return Err(MoveError::NoTagStorage);
        }
        let moved = self.move_to(folio, target, true);
        self.free_frame(cpu, moved.unwrap_or(target), true);
        moved.map(|_| target)
    }

    /// Moves an isolated page to `target`; says which frame it left. `tagged` is whether the target
    /// has tag storage, without which no tagged page moves.
    fn move_to(
        &self,
        folio: &Arc<SharedFolio>,
        target: Pfn,
        tagged: bool,
    ) -> Result<Pfn, MoveError> {
        folio.anon().rmap_walk(|table| try_to_migrate(table, folio));
        let moved = self.move_frozen(folio, target, tagged);
        if moved.is_ok() || self.steps.has(Step::Undo) {
            folio.anon().rmap_walk(|table| remove_migration_pte(table, folio));
        }
        moved
    }

    /// Linux: `__folio_migrate_mapping()` between freezing and unfreezing.
    fn move_frozen(
        &self,
        folio: &Arc<SharedFolio>,
        target: Pfn,
        tagged: bool,
    ) -> Result<Pfn, MoveError> {
        let freezes = self.steps.has(Step::Freeze);
        if !(if freezes { folio.try_freeze(1) } else { folio.references() == 1 }) {
            return Err(MoveError::InUse);
        }
        let source = folio.frame();
        let fits = folio.is_tagged() == tagged;
        if fits {
            self.contents.copy(source, target);
            self.folios.insert(target, Arc::clone(folio));
            folio.set_frame(target);
            self.folios.remove(source);
        }
        if freezes {
            folio.unfreeze(1);
        }
        if fits { Ok(source) } else { Err(MoveError::InUse) }
    }
}

/// Replaces the entry that maps `folio`, if there is one. Linux: `try_to_migrate_one()`.
fn try_to_migrate(table: &SharedTable, folio: &Arc<SharedFolio>) {
    let mut entries = table.lock();
    let Some(entry) = entries.get_mut(folio.index()) else { return };
    match core::mem::take(entry) {
        Entry::Present(mapping) if Arc::ptr_eq(&mapping.folio, folio) => {
            *entry = Entry::Migration(mapping);
            // Never the last: the isolation has one.
            let _shared = folio.put();
        }
        other => *entry = other,
    }
}

/// Maps `folio` again. Linux: `remove_migration_pte()`.
fn remove_migration_pte(table: &SharedTable, folio: &Arc<SharedFolio>) {
    let mut entries = table.lock();
    let Some(entry) = entries.get_mut(folio.index()) else { return };
    match core::mem::take(entry) {
        Entry::Migration(mapping) if Arc::ptr_eq(&mapping.folio, folio) => {
            folio.get();
            *entry = Entry::Present(mapping);
        }
        other => *entry = other,
    }
}
