//! Pages that will carry tags: allocating them, refusing them, and giving them tag storage.

use std::collections::BTreeSet;

use pagelab_allocator::event::{Event, Sink};
use pagelab_allocator::gfp::{AllocFlags, GfpFlags};
use pagelab_allocator::page_alloc::{AllocRequest, Pages};
use pagelab_allocator::units::{CpuId, Order, Pfn, PfnRange};

use crate::emulator::{AllocateError, Emulator};
use crate::folio::{FolioId, FolioKind};
use crate::note::Note;
use crate::tag_storage::design::{Refused, Reservation};
use crate::tag_storage::reserve::ReserveError;

/// Pages that a request refuses before it fails; where it filters, it leaves CMA alone after so
/// many and fails after twice as many. Linux (RFC v1, v2) retries until its lists are exhausted; a
/// bound keeps a machine whose tag storage is pinned, or full of free pages that cannot be tagged,
/// from searching all of memory. Assumed.
const MAX_REFUSALS: usize = 64;

/// How a request goes on after a page was refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// With another page.
    Another,
    /// With another page that is not CMA.
    NotCma,
    /// Not at all.
    Failed,
}

/// What one request refused so far.
#[derive(Default)]
struct Refusals {
    seen: BTreeSet<Pfn>,
    aside: Vec<Pages>,
    /// Whether the request leaves CMA alone on their account.
    without_cma: bool,
}

impl<S: Sink> Emulator<S> {
    /// Allocates a folio and, for tagged requests, its tag storage.
    pub(crate) fn allocate_kind(
        &mut self,
        cpu: CpuId,
        order: Order,
        gfp: GfpFlags,
        kind: FolioKind,
    ) -> Result<FolioId, AllocateError> {
        let tagged = gfp.contains(GfpFlags::TAGGED) && !self.tags.is_empty();
        let mut request = self.tags.request(order, gfp);
        let sink = self.memory.page_alloc.sink_mut();
        sink.note(|| Note::Request { asked: gfp, request });
        if !tagged {
            return self.allocate_untagged(cpu, &request, kind);
        }
        if self.tags.must_sleep() && !gfp.contains(GfpFlags::DIRECT_RECLAIM) {
            self.tags.stats_mut().atomic_requests += 1;
            return Err(ReserveError::Atomic.into());
        }
        let mut refusals = Refusals::default();
        let outcome = loop {
            let id = match self.allocate_taggable(cpu, &mut request, kind, &mut refusals) {
                Ok(id) => id,
                Err(error) => break Err(error),
            };
            self.clear_the_way(id, &mut refusals);
            let Err(error) = self.reserve_folio(cpu, id, gfp) else { break Ok(id) };
            if self.tags.design().reservation() != Reservation::Mandatory {
                break Ok(id);
            }
            let pages = self.memory.disown(id);
            if !self.goes_on(pages, &mut request, &mut refusals) {
                break Err(error.into());
            }
        };
        if refusals.without_cma {
            self.memory.page_alloc.sink_mut().emit(Event::TermsExit);
        }
        for pages in refusals.aside {
            self.memory.page_alloc.free_to_tail(pages);
        }
        outcome
    }

    fn allocate_untagged(
        &mut self,
        cpu: CpuId,
        request: &AllocRequest,
        kind: FolioKind,
    ) -> Result<FolioId, AllocateError> {
        let ready = self.memory.page_alloc.alloc_pages_fast(cpu, request);
        self.folio_of(cpu, request, kind, ready)
    }

    /// A folio for a tagged request. Where tag storage is mandatory, pages that are tag storage
    /// themselves are refused before they become folios: there may be a hundred thousand of them
    /// in front of the one that is wanted.
    fn allocate_taggable(
        &mut self,
        cpu: CpuId,
        request: &mut AllocRequest,
        kind: FolioKind,
        refusals: &mut Refusals,
    ) -> Result<FolioId, AllocateError> {
        let mandatory = self.tags.design().reservation() == Reservation::Mandatory;
        loop {
            let ready = self.memory.page_alloc.alloc_pages_fast(cpu, request);
            match ready {
                Some(pages) if mandatory && self.tags.is_untaggable(pages.pfn()) => {
                    let pfn = pages.pfn();
                    self.memory.page_alloc.set_movability(&pages, kind.movability());
                    self.tags.wrote_data(pages.range());
                    self.tags.note_untaggable();
                    if !self.goes_on(pages, request, refusals) {
                        return Err(ReserveError::Untaggable(pfn).into());
                    }
                }
                ready => return self.folio_of(cpu, request, kind, ready),
            }
        }
    }

    /// A folio of pages that the fast path found, or of those that the slow path finds.
    fn folio_of(
        &mut self,
        cpu: CpuId,
        request: &AllocRequest,
        kind: FolioKind,
        ready: Option<Pages>,
    ) -> Result<FolioId, AllocateError> {
        let allocated = match ready {
            Some(pages) => Ok(self.memory.adopt(pages, kind)),
            None => self.memory.alloc_slow(cpu, request, kind),
        };
        // Compaction may have moved memory, also in vain.
        match allocated {
            _ if self.memory.log.is_empty() => {}
            Ok(id) => self.hold(cpu, id, |emulator| emulator.settle(cpu)),
            Err(_) => self.settle(cpu),
        }
        let id = allocated?;
        self.tags.wrote_data(self.memory.folios[id].range());
        Ok(id)
    }

    /// Refuses pages, and changes the request for the next ones; says whether there are to be any.
    fn goes_on(
        &mut self,
        pages: Pages,
        request: &mut AllocRequest,
        refusals: &mut Refusals,
    ) -> bool {
        let next = self.refuse(pages, refusals);
        let barred = AllocFlags::CMA;
        if next == Next::NotCma && !request.barred.contains(barred) {
            let (order, gfp, granted) = (request.order, request.gfp, AllocFlags::empty());
            let changed = Event::TermsEnter { order, gfp, granted, barred };
            self.memory.page_alloc.sink_mut().emit(changed);
            *request = request.barring(barred);
            refusals.without_cma = true;
        }
        next != Next::Failed
    }

    /// Takes back pages whose tag storage is missing; says how the request goes on.
    /// Linux (RFC v1, v2): the failure of `prep_new_page()`.
    fn refuse(&mut self, pages: Pages, refusals: &mut Refusals) -> Next {
        self.tags.stats_mut().refused_pages += pages.order().pages().get();
        let (range, to) = (pages.range(), self.tags.design().refused());
        self.memory.page_alloc.sink_mut().note(|| Note::Refused { pages: range, to });
        match to {
            Refused::ToTail => {
                let is_new = refusals.seen.insert(pages.pfn());
                self.memory.page_alloc.free_to_tail(pages);
                let more = is_new && refusals.seen.len() < MAX_REFUSALS;
                if more { Next::Another } else { Next::Failed }
            }
            Refused::SetAside => {
                refusals.aside.push(pages);
                match refusals.aside.len() {
                    few if few < MAX_REFUSALS => Next::Another,
                    more if more < 2 * MAX_REFUSALS => Next::NotCma,
                    _ => Next::Failed,
                }
            }
        }
    }

    /// Gives back those of the refused pages that are the tag storage of `id`: nobody else holds
    /// them, and they are wanted now.
    fn clear_the_way(&mut self, id: FolioId, refusals: &mut Refusals) {
        if refusals.aside.is_empty() {
            return;
        }
        let (folio, map) = (&self.memory.folios[id], self.tags.ledger().map());
        let shares = map.shares(folio.pfn(), folio.order()).unwrap_or_default();
        let blocks: Vec<_> = shares.iter().map(|share| map.range(share.block)).collect();
        let wanted = |pages: &mut Pages| blocks.iter().any(|block| block.overlaps(pages.range()));
        let given_back: Vec<_> = refusals.aside.extract_if(.., wanted).collect();
        for pages in given_back {
            self.memory.page_alloc.free_to_tail(pages);
        }
    }

    /// Reserves tag storage for a folio and gives it tags.
    pub(crate) fn reserve_folio(
        &mut self,
        cpu: CpuId,
        id: FolioId,
        gfp: GfpFlags,
    ) -> Result<(), ReserveError> {
        let folio = &self.memory.folios[id];
        let (pfn, order) = (folio.pfn(), folio.order());
        self.hold(cpu, id, |emulator| {
            let tags = &mut emulator.tags;
            let outcome = tags.reserve(&mut emulator.memory, cpu, (pfn, order), gfp);
            emulator.settle(cpu);
            outcome
        })?;
        self.tags.set_tags(PfnRange::block(pfn, order));
        self.memory.folios.set_tagged(id);
        Ok(())
    }

    /// Keeps a folio off the LRU lists while other memory moves: whoever allocated it, or handles
    /// a fault on it, holds a reference to it that compaction cannot explain.
    pub(crate) fn hold<T>(
        &mut self,
        cpu: CpuId,
        id: FolioId,
        work: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let held = self.memory.mover(cpu).isolate(id);
        let result = work(self);
        if held {
            self.memory.mover(cpu).putback(&[id]);
        }
        result
    }
}
