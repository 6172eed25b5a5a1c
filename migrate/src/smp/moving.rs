//! Pages on their way, one or many at once. Linux: `migrate_folio_unmap()`, `migrate_folio_move()`.
//!
//! Each step is done for all pages before the next begins, so that pages with one table and pages
//! of one pageblock pay for its lock together. The references of the entries that map a page are
//! taken over by whoever moves it and handed back with its new frame: what nobody takes, because
//! the entry is gone, is given back in the end. A page that no entry maps stays where it is.

use pagelab_allocator::smp::{Cpu, Exclusive, Steps};
use pagelab_allocator::sync::Arc;
use pagelab_allocator::units::Pfn;
use prefetch_index::prefetch_index;

use crate::smp::SharedMemory;
use crate::smp::anon_vma::Tables;
use crate::smp::contents::Copies;
use crate::smp::folio::SharedFolio;
use crate::smp::page_table::{Entry, Mapping, SharedTable, Write};
use crate::smp::slab::FolioRef;
use crate::smp::step::Step;

/// Whether pages that move have tags, and their targets tag storage. Without it no page with tags
/// moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Carries {
    Data,
    Tags,
}

impl Carries {
    /// What a page has now. It may get tags at any time unless it is frozen.
    pub(super) fn of(folio: &SharedFolio) -> Self {
        if folio.is_tagged() { Self::Tags } else { Self::Data }
    }
}

/// A page that was taken out of the map of frames, and the frame it is to have.
#[derive(Debug)]
pub(crate) struct Moving {
    pub(crate) folio: FolioRef,
    source: Pfn,
    target: Pfn,
    /// References of entries, taken over.
    references: u32,
    whereabouts: Whereabouts,
}

/// Which frame it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Whereabouts {
    Source,
    /// The target, and nobody may look.
    Frozen,
    Target,
}

impl Moving {
    /// It was taken out of `source`, and has no target yet.
    pub(crate) const fn new(folio: FolioRef, source: Pfn) -> Self {
        Self { folio, source, target: source, references: 0, whereabouts: Whereabouts::Source }
    }

    /// Where it is to go: a frame that is allocated and nobody's.
    pub(crate) const fn set_target(&mut self, target: Pfn) {
        self.target = target;
    }

    /// Whether it has its target now.
    pub(crate) fn has_moved(&self) -> bool {
        self.whereabouts != Whereabouts::Source
    }

    /// The frame that nobody has any more, or has got.
    pub(crate) fn spare(&self) -> Pfn {
        if self.has_moved() { self.source } else { self.target }
    }

    /// It and the frame that it has.
    pub(crate) fn placed(self) -> (Pfn, FolioRef) {
        (if self.has_moved() { self.target } else { self.source }, self.folio)
    }

    /// Whether it stays because a device writes where `mapping` lets a program write. Its entry
    /// stays too: fork would copy a migration entry, and must not share such a page.
    /// Linux: `folio_try_share_anon_rmap_pte()`.
    fn is_pinned_by(&self, mapping: &Mapping, steps: Steps<Step>) -> bool {
        let spares = steps.has(Step::MigrationSparesPinned);
        spares && mapping.write == Write::Allowed && self.folio.is_maybe_pinned()
    }

    /// Replaces the entry that maps it, if there is one. Linux: `try_to_migrate_one()`.
    fn try_to_migrate(&mut self, entries: &mut [Entry], steps: Steps<Step>) {
        let entry = entries.get_mut(self.folio.index());
        let mapping = entry.and_then(Entry::present_mut).filter(|page| page.maps(&self.folio));
        if let Some(mapping) = mapping.filter(|page| !self.is_pinned_by(page, steps)) {
            mapping.start_migration();
            self.references += 1;
        }
    }

    /// Freezes it if all references were taken over, and gives it its frame.
    /// Linux: `__folio_migrate_mapping()`.
    fn freeze(&mut self, carries: Carries, steps: Steps<Step>) {
        let (folio, alone) = (&self.folio, self.references);
        let freezes = steps.has(Step::Freeze);
        let is_alone = || match freezes {
            true => folio.try_freeze(alone),
            false => folio.references() == alone,
        };
        if alone == 0 || !is_alone() {
            return;
        }
        if folio.is_tagged() != (carries == Carries::Tags) {
            if freezes {
                folio.unfreeze(alone);
            }
            return;
        }
        folio.set_frame(self.target);
        self.whereabouts = if freezes { Whereabouts::Frozen } else { Whereabouts::Target };
    }

    /// Ends that. Linux: `folio_ref_unfreeze()`.
    fn unfreeze(&mut self) {
        if self.whereabouts == Whereabouts::Frozen {
            self.folio.unfreeze(self.references);
            self.whereabouts = Whereabouts::Target;
        }
    }

    /// Maps it again. An entry that fork copied meanwhile needs a reference of its own, and while
    /// there are tables to come one reference is kept for them. Linux: `remove_migration_pte()`.
    fn remove_migration_pte(&mut self, entries: &mut [Entry], tables: Tables) {
        if tables == Tables::Several {
            self.unfreeze();
        }
        let entry = entries.get_mut(self.folio.index());
        let mapping = entry.and_then(Entry::migration_mut).filter(|page| page.maps(&self.folio));
        if let Some(mapping) = mapping {
            self.unfreeze();
            match self.references > 1 || (self.references == 1 && tables == Tables::One) {
                true => self.references -= 1,
                false => self.folio.get(),
            }
            mapping.end_migration();
        }
    }
}

impl<P: Exclusive> SharedMemory<P> {
    /// Moves pages to their targets, as far as they can move. The frames that nobody has then are
    /// the caller's to free, and the pages to be put back into the map.
    pub(crate) fn move_taken(&self, cpu: &mut Cpu<P>, pages: &mut [Moving], carries: Carries) {
        let copies = self.unmap_and_copy(pages, carries);
        self.wait_and_map(cpu, pages, copies);
    }

    /// The first half: none of those that move can be accessed any more, and their copies run.
    /// Linux: `migrate_folio_unmap()`.
    pub(crate) fn unmap_and_copy(&self, pages: &mut [Moving], carries: Carries) -> Copies {
        walk(pages, |group, entries, _| {
            // The lines of all entries are asked for before one is waited for.
            group.iter().for_each(|page| prefetch_index(&*entries, page.folio.index()));
            group.iter_mut().for_each(|page| page.try_to_migrate(entries, self.steps));
        });
        for page in &mut *pages {
            page.freeze(carries, self.steps);
        }
        self.copy_moved(pages, carries)
    }

    /// The second: what was copied is mapped again, and what did not move as well.
    /// Linux: `migrate_folio_move()`, `migrate_folio_undo_src()`.
    pub(crate) fn wait_and_map(&self, cpu: &mut Cpu<P>, pages: &mut [Moving], copies: Copies) {
        if self.steps.has(Step::CopiesEnd) {
            copies.wait();
        }
        let undoes = self.steps.has(Step::Undo);
        walk(pages, |group, entries, tables| {
            for page in group.iter_mut().filter(|page| undoes || page.has_moved()) {
                page.remove_migration_pte(entries, tables);
            }
        });
        for page in pages.iter_mut().filter(|page| page.references > 0) {
            page.unfreeze();
            let put = page.folio.put_many(page.references);
            self.end(cpu, &page.folio, put);
        }
    }

    /// Linux: `migrate_folio_extra()`, `copy_highpage()`.
    fn copy_moved(&self, pages: &[Moving], carries: Carries) -> Copies {
        let moved = || pages.iter().filter(|page| page.has_moved());
        let frames = &mut moved().map(|page| (page.source, page.target));
        let copies = self.contents.start_copies(frames);
        if carries == Carries::Tags {
            moved().for_each(|page| self.contents.copy_tags(page.source, page.target));
        }
        copies
    }
}

/// Visits the tables of pages that descend from one address space, parents before children, then
/// those of the next. Linux: `rmap_walk_anon()`.
fn walk(pages: &mut [Moving], mut visit: impl FnMut(&mut [Moving], &mut [Entry], Tables)) {
    for group in pages.chunk_by_mut(|a, b| Arc::ptr_eq(a.folio.anon(), b.folio.anon())) {
        let anon = Arc::clone(group[0].folio.anon());
        anon.rmap_walk(|table: &SharedTable, tables| visit(group, &mut table.lock(), tables));
    }
}
