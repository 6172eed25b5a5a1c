//! Pages on their way, one or many at once. Linux: `migrate_pages_batch()`.
//!
//! Each step is done for all pages before the next begins, so that pages with one table and pages
//! of one pageblock pay for its lock together. The references of the entries that map a page are
//! taken over by whoever moves it and handed back with its new frame: what nobody takes, because
//! the entry is gone, is given back in the end.

use pagelab_allocator::smp::{Cpu, Exclusive, Steps};
use pagelab_allocator::sync::Arc;
use pagelab_allocator::units::Pfn;

use crate::smp::SharedMemory;
use crate::smp::folio::SharedFolio;
use crate::smp::page_table::{Entry, Mapping, SharedTable, Write};
use crate::smp::step::Step;

/// Whether pages that move have tags, and their targets tag storage. Without it no page with tags
/// moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Carries {
    Data,
    Tags,
}

/// An isolated page and the frame it is to have.
#[derive(Debug)]
pub(crate) struct Moving {
    folio: Arc<SharedFolio>,
    source: Pfn,
    target: Pfn,
    /// References of whoever moves it: that of the isolation, and those of entries.
    references: u32,
    whereabouts: Whereabouts,
    /// The map's own way to the folio, between two frames.
    mapped: Option<Arc<SharedFolio>>,
}

/// Which frame it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Whereabouts {
    Source,
    Target,
}

impl Moving {
    /// Its target is allocated and nobody's.
    pub(crate) const fn new(folio: Arc<SharedFolio>, source: Pfn, target: Pfn) -> Self {
        let whereabouts = Whereabouts::Source;
        Self { folio, source, target, references: 1, whereabouts, mapped: None }
    }

    /// Whether it has its target now.
    pub(crate) fn has_moved(&self) -> bool {
        self.whereabouts == Whereabouts::Target
    }

    /// The frame that nobody has any more, or has got.
    pub(crate) fn spare(&self) -> Pfn {
        if self.has_moved() { self.source } else { self.target }
    }

    fn is_at(&self, mapping: &Arc<SharedFolio>) -> bool {
        Arc::ptr_eq(mapping, &self.folio)
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
        let Some(entry) = entries.get_mut(self.folio.index()) else { return };
        match core::mem::take(entry) {
            Entry::Present(mapping)
                if self.is_at(&mapping.folio) && !self.is_pinned_by(&mapping, steps) =>
            {
                *entry = Entry::Migration(mapping);
                self.references += 1;
            }
            other => *entry = other,
        }
    }

    /// Maps it again; an entry that fork copied meanwhile needs a reference of its own.
    /// Linux: `remove_migration_pte()`.
    fn remove_migration_pte(&mut self, entries: &mut [Entry]) {
        let Some(entry) = entries.get_mut(self.folio.index()) else { return };
        match core::mem::take(entry) {
            Entry::Migration(mapping) if self.is_at(&mapping.folio) => {
                match self.references > 1 {
                    true => self.references -= 1,
                    false => self.folio.get(),
                }
                *entry = Entry::Present(mapping);
            }
            other => *entry = other,
        }
    }
}

impl<P: Exclusive> SharedMemory<P> {
    /// Moves isolated pages to their targets, as far as they can move, and ends their isolation.
    /// The frames that nobody has then are the caller's to free.
    pub(crate) fn move_isolated(&self, cpu: &mut Cpu<P>, pages: &mut [Moving], carries: Carries) {
        walk(pages, |page, entries| page.try_to_migrate(entries, self.steps));
        for page in &mut *pages {
            self.freeze(page, carries);
        }
        self.copy_moved(pages, carries);
        self.change_places(pages);
        for page in &mut *pages {
            if page.has_moved() && self.steps.has(Step::Freeze) {
                page.folio.unfreeze(page.references);
            }
        }
        match self.steps.has(Step::Undo) {
            true => walk(pages, Moving::remove_migration_pte),
            false => walk(pages, |page, entries| {
                if page.has_moved() {
                    page.remove_migration_pte(entries);
                }
            }),
        }
        for page in pages {
            page.folio.putback();
            let put = page.folio.put_many(page.references);
            self.end(cpu, &page.folio, put);
        }
    }

    /// Freezes a page if all references are the caller's, and gives it its frame.
    /// Linux: `__folio_migrate_mapping()`.
    fn freeze(&self, page: &mut Moving, carries: Carries) {
        let (folio, alone) = (&page.folio, page.references);
        let freezes = self.steps.has(Step::Freeze);
        if !(if freezes { folio.try_freeze(alone) } else { folio.references() == alone }) {
            return;
        }
        let tagged = folio.is_tagged();
        if tagged != (carries == Carries::Tags) {
            if freezes {
                folio.unfreeze(alone);
            }
            return;
        }
        folio.set_frame(page.target);
        page.whereabouts = Whereabouts::Target;
    }

    /// Linux: `migrate_folio_extra()`, `copy_highpage()`.
    fn copy_moved(&self, pages: &[Moving], carries: Carries) {
        let moved = || pages.iter().filter(|page| page.has_moved());
        self.contents.copy_all(&mut moved().map(|page| (page.source, page.target)));
        if carries == Carries::Tags {
            moved().for_each(|page| self.contents.copy_tags(page.source, page.target));
        }
    }

    /// Puts frozen pages where the map looks for their frames.
    fn change_places(&self, pages: &mut [Moving]) {
        for group in pages.chunk_by_mut(|a, b| self.folios.together(a.source, b.source)) {
            self.folios.with(group[0].source, |places| {
                for page in group.iter_mut().filter(|page| page.has_moved()) {
                    page.mapped = places.take(page.source);
                }
            });
        }
        for group in pages.chunk_by_mut(|a, b| self.folios.together(a.target, b.target)) {
            let arrive = |page: &mut Moving| Some((page.target, page.mapped.take()?));
            self.folios.insert(group.iter_mut().filter_map(arrive));
        }
    }
}

/// Visits the entry of each page in each of its tables, parents before children. Pages that descend
/// from one address space are walked together. Linux: `rmap_walk_anon()`.
fn walk(pages: &mut [Moving], mut visit: impl FnMut(&mut Moving, &mut [Entry])) {
    for group in pages.chunk_by_mut(|a, b| Arc::ptr_eq(a.folio.anon(), b.folio.anon())) {
        let anon = Arc::clone(group[0].folio.anon());
        anon.rmap_walk(|table: &SharedTable| {
            let mut entries = table.lock();
            group.iter_mut().for_each(|page| visit(page, &mut entries));
        });
    }
}
