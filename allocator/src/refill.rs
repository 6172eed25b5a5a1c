//! Filling a per-CPU list from the buddy lists.
//!
//! Blocks that are cut from one larger block come one after the other, from its start: what is left
//! of it is on lists that were empty, or the larger block would not have been cut. So they are
//! taken together, and only what nobody wanted is put back; lists and blocks are the same as if
//! each had been taken alone.

use core::ops::Range;

use crate::event::{Event, Sink};
use crate::frame::{FrameIndex, Head};
use crate::gfp::AllocFlags;
use crate::note::{Note, PerCpu};
use crate::pcp::CpuList;
use crate::pcp_list::Cached;
use crate::profile::RefillAccounting;
use crate::rmqueue::{Got, Mode, ZoneRequest};
use crate::run::Run;
use crate::units::{CpuId, Order, PageCount};
use crate::zone::Zone;

impl Zone {
    /// Fills an empty per-CPU list from the buddy lists. Linux: `rmqueue_bulk()`.
    #[inline(never)]
    pub(crate) fn refill(
        &mut self,
        to: &mut CpuList<'_>,
        request: ZoneRequest,
        sink: &mut impl Sink,
    ) {
        let blocks = to.pcp.refill_blocks(to.list, request.order, self.pressure);
        let mut mode = Mode::Normal;
        let mut refilled = 0;
        sink.note(|| Note::PerCpu(PerCpu::Refill(blocks)));
        while refilled < blocks {
            let own = match mode {
                Mode::Normal => self.take_own(to, request, blocks - refilled, sink),
                _ => 0,
            };
            refilled += own;
            if own == 0 {
                let Some(got) = self.take_one(request, &mut mode, sink) else { break };
                self.cache(to, request.order, got);
                refilled += 1;
            }
        }
        sink.note(|| Note::PerCpu(PerCpu::Refilled(refilled)));
        self.count_all(to.cpu);
    }

    /// Up to `most` blocks of the request's own type, where these are what it gets; says how many.
    #[inline]
    fn take_own<S: Sink>(
        &mut self,
        to: &mut CpuList<'_>,
        request: ZoneRequest,
        most: u32,
        sink: &mut S,
    ) -> u32 {
        let most = match request.flags.contains(AllocFlags::CMA) {
            true => most.min(self.unlent(request.order)),
            false => most,
        };
        if most == 0 {
            return 0;
        }
        if !S::ENABLED {
            return self.take_quietly(to, request, most);
        }
        let mut taking = self.buddy.taking(request.migratetype);
        let run = taking.run(request.order, most);
        taking.end();
        let Some(run) = run else { return 0 };
        self.cache_run(to, request, run, sink);
        run.count
    }

    /// How many blocks a request that may lie in CMA areas takes of its own type before it prefers
    /// those, at least: the counters that tell may fall by more than a block at a time.
    #[inline]
    fn unlent(&self, order: Order) -> u32 {
        let free = self.counted();
        if free.cma == PageCount::ZERO {
            return u32::MAX;
        }
        let pages = free.all.saturating_sub(free.cma + free.cma + self.counting_lag());
        u32::try_from(pages.get() >> order.get()).unwrap_or(u32::MAX)
    }

    /// [`take_own`](Self::take_own) where nobody asks what the zone looked like between two of the
    /// blocks.
    #[inline]
    fn take_quietly(&mut self, to: &mut CpuList<'_>, request: ZoneRequest, most: u32) -> u32 {
        let ZoneRequest { order, migratetype: mt, .. } = request;
        let now = Head::PerCpu(order);
        let mut taking = self.buddy.taking(mt);
        let mut taken = to.pcp.push_refilled_each(to.list, order, |list| {
            taking.listed(now, most, |index| list.push_oldest(Cached::new(index, mt)))
        });
        while let Some(run) = (taken < most).then(|| taking.run(order, most - taken)).flatten() {
            taking.set_heads(run, now);
            to.pcp.push_refilled_run(to.list, order, Cached::new(run.index, mt), run.count);
            taken += run.count;
        }
        taking.end();
        let before = self.buddy.free;
        self.buddy.sub_free(PageCount::new(u64::from(taken) << order.get()), mt);
        if self.buddy.rules.refill_accounting == RefillAccounting::EachBlock {
            self.counters.note_each(to.cpu, (&before, &self.buddy.free), (taken, order));
        }
        taken
    }

    /// Up to `most` single pages that lie side by side, past the per-CPU lists, for a request that
    /// bars CMA areas; each as if it had been asked for alone.
    #[inline]
    pub(crate) fn alloc_run(
        &mut self,
        cpu: CpuId,
        request: ZoneRequest,
        most: u32,
    ) -> Option<Range<FrameIndex>> {
        let mt = request.migratetype;
        let mut taking = self.buddy.taking(mt);
        let run = taking.run(Order::ZERO, most);
        if let Some(run) = run {
            taking.set_heads(run, Head::Allocated(Order::ZERO, request.movability()));
        }
        taking.end();
        let Run { index, count, .. } = run?;
        let before = self.buddy.free;
        self.buddy.sub_free(PageCount::new(u64::from(count)), mt);
        self.counters.note_each(cpu, (&before, &self.buddy.free), (count, Order::ZERO));
        Some(index..index + count)
    }

    /// Puts blocks that were taken together on a CPU's list, each as if it had been taken alone.
    fn cache_run(
        &mut self,
        to: &mut CpuList<'_>,
        request: ZoneRequest,
        run: Run,
        sink: &mut impl Sink,
    ) {
        let ZoneRequest { order, migratetype: mt, .. } = request;
        for nth in 0..run.count {
            let index = run.index + (nth << order.get());
            let pfn = self.buddy.map.pfn(index);
            self.note_cma_first(request, sink);
            sink.note(|| {
                let found = Some((pfn, run.cut_from(nth, order)));
                Note::List { order, migratetype: mt, found }
            });
            self.buddy.sub_free(order.pages(), mt);
            sink.emit(Event::ZoneLocked { pfn, order, migratetype: mt });
            self.cache(to, order, Got { index, mt });
        }
    }

    /// Puts a block on a CPU's list, to be used last.
    #[inline(always)]
    fn cache(&mut self, to: &mut CpuList<'_>, order: Order, got: Got) {
        self.buddy.map.set_head(got.index, Head::PerCpu(order));
        to.pcp.push_refilled(to.list, order, Cached::new(got.index, got.mt));
        self.count_lent(to.cpu);
        if self.buddy.rules.refill_accounting == RefillAccounting::EachBlock {
            self.count_all(to.cpu);
        }
    }
}
