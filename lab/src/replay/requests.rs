//! Requests as predicted: which page each gets, or that there is none.

use pagelab_allocator::frame::Movability;
use pagelab_allocator::gfp::{AllocFlags, GfpFlags};
use pagelab_allocator::page_alloc::{AllocRequest, Pages};
use pagelab_allocator::units::{CpuId, Order, Pfn};

use super::cause::Cause;
use super::ledger::Ledger;
use super::predicted::Predicted;
use super::said::Expected;
use super::tally::Kind;
use crate::trace::Record;

impl Predicted {
    /// Linux handed a page out: so should the emulator, and the same one.
    pub(super) fn page_alloc(
        &mut self,
        record: &Record,
        pfn: Pfn,
        order: Order,
        gfp: GfpFlags,
        ledger: &mut Ledger,
    ) {
        if let Some(bulk) = self.bulk.as_mut().filter(|bulk| bulk.pid == record.pid) {
            bulk.single += 1;
        }
        self.expected.take_if(|expected| !expected.is_awaited());
        let pages = self.request(order, gfp);
        self.compare(ledger);
        let got = pages.map(|pages| pages.into_raw().0);
        if gfp.contains(GfpFlags::TAGGED) {
            self.note_movable(got, order);
        }
        self.settle(record.line, ledger);
        if got == Some(pfn) {
            // Even from wrong lists: what is around it was counted.
            return ledger.tally.hit(Kind::Allocated);
        }
        let cause = self.astray.unwrap_or_else(|| self.cause_of_page(pfn, got));
        self.astray = Some(cause);
        let said = (got.map_or("nothing".to_owned(), |pfn| pfn.to_string()), pfn.to_string());
        let zone = self.alloc.zone_index(pfn).unwrap_or(0);
        let place = (&self.alloc, zone, order, gfp.migratetype());
        ledger.miss(Kind::Allocated, cause, record, said, place);
        if let Some(before) = self.expected.take().filter(|before| before.page == pfn) {
            for cause in [before.cause, cause] {
                if cause == Cause::Unexplained {
                    ledger.tally.reconsider(Cause::Unexplained, Cause::EventOrder);
                }
            }
        } else {
            self.expected = got.map(|page| Expected::new(page, cause));
        }
    }

    /// A page for tags is a user's, whatever type its request has.
    fn note_movable(&mut self, page: Option<Pfn>, order: Order) {
        if let Some(pfn) = page
            && let Some(zone) = self.alloc.zone_index(pfn)
        {
            let mut hand = self.alloc.by_hand(zone, CpuId::BOOT);
            hand.set_movability(pfn, order, Movability::Movable);
        }
    }

    /// Why another page came out than predicted.
    fn cause_of_page(&self, pfn: Pfn, got: Option<Pfn>) -> Cause {
        let zone = |pfn| self.alloc.zone_index(pfn);
        match got {
            None => Cause::TaskState,
            Some(got) if self.freed == Some(got) => Cause::EventOrder,
            Some(got) if zone(got) != zone(pfn) => Cause::CounterDrift,
            Some(_) => Cause::Unexplained,
        }
    }

    /// Linux had no page for a request: nor should the emulator.
    pub(super) fn page_refused(
        &mut self,
        record: &Record,
        order: Order,
        gfp: GfpFlags,
        ledger: &mut Ledger,
    ) {
        if self.attempts.end_slow(order, gfp) {
            // Each attempt was made when it failed.
            return ledger.tally.hit(Kind::Allocated);
        }
        let request = &self.wanted(order, gfp);
        let easy = self.alloc.alloc_pages_fast(CpuId::BOOT, request);
        let short = easy.is_none();
        let pages = easy.or_else(|| self.alloc.alloc_pages_slow(CpuId::BOOT, request));
        self.compare(ledger);
        self.settle(record.line, ledger);
        let Some(pages) = pages else { return ledger.tally.hit(Kind::Allocated) };
        // Below the low mark, how far a request may go depends on who makes it.
        let cause = if short || self.reclaiming { Cause::TaskState } else { Cause::Unexplained };
        self.not_refused(record, pages, cause, ledger);
    }

    /// One attempt came to nothing: nor should it here.
    pub(super) fn no_page(
        &mut self,
        record: &Record,
        (order, gfp): (Order, GfpFlags),
        flags: AllocFlags,
        ledger: &mut Ledger,
    ) {
        let request = self.wanted(order, gfp);
        let pages = if flags.contains(AllocFlags::WMARK_LOW) {
            self.attempts.begin_slow(order, gfp);
            self.alloc.alloc_pages_fast(CpuId::BOOT, &request)
        } else {
            let request = request.granting(flags.intersection(AllocFlags::NO_WATERMARKS));
            self.alloc.alloc_pages_slow(CpuId::BOOT, &request)
        };
        self.compare(ledger);
        self.settle(record.line, ledger);
        let Some(pages) = pages else { return ledger.tally.hit(Kind::Allocated) };
        self.not_refused(record, pages, Cause::Unexplained, ledger);
    }

    /// The emulator has a page where Linux had none.
    fn not_refused(&mut self, record: &Record, pages: Pages, cause: Cause, ledger: &mut Ledger) {
        let cause = *self.astray.get_or_insert(cause);
        let said = (pages.into_raw().0.to_string(), "nothing".to_owned());
        self.differ(Kind::Allocated, cause, record.line, said, ledger);
    }

    /// Makes a request as far as a page; an attempt that failed is not made again.
    fn request(&mut self, order: Order, gfp: GfpFlags) -> Option<Pages> {
        let request = self.wanted(order, gfp);
        if !self.attempts.end_slow(order, gfp) {
            let pages = self.alloc.alloc_pages_fast(CpuId::BOOT, &request);
            return pages.or_else(|| self.alloc.alloc_pages_slow(CpuId::BOOT, &request));
        }
        self.alloc.alloc_pages_slow(CpuId::BOOT, &request)
    }

    /// A request with these flags, as the design and the attempts at hand have it.
    fn wanted(&self, order: Order, gfp: GfpFlags) -> AllocRequest {
        self.attempts.changed(self.origin.request(order, gfp), order, gfp)
    }
}
