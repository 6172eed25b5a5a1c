//! Filling a per-CPU list from the buddy lists.
//!
//! Blocks that are cut from one larger block come one after the other, from its start: what is left
//! of it is on lists that were empty, or the larger block would not have been cut. So they are
//! taken together, and only what nobody wanted is put back; lists and blocks are the same as if
//! each had been taken alone.

use crate::event::{Event, Sink};
use crate::frame::{FrameIndex, Head};
use crate::gfp::AllocFlags;
use crate::note::{Note, PerCpu};
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
        cpu: CpuId,
        list: usize,
        request: ZoneRequest,
        sink: &mut impl Sink,
    ) {
        let blocks = self.pcp[cpu.index()].refill_blocks(list, request.order, self.pressure);
        let mut mode = Mode::Normal;
        let mut refilled = 0;
        sink.note(|| Note::PerCpu(PerCpu::Refill(blocks)));
        while refilled < blocks {
            if let Some(run) = self.take_run(request, mode, blocks - refilled) {
                self.cache_run(cpu, list, request, run, sink);
                refilled += run.count;
            } else if let Some(got) = self.take_one(request, &mut mode, sink) {
                self.cache(cpu, list, request.order, got);
                refilled += 1;
            } else {
                break;
            }
        }
        sink.note(|| Note::PerCpu(PerCpu::Refilled(refilled)));
        self.count_all(cpu);
    }

    /// How many blocks a request that may lie in CMA areas takes of its own type before it prefers
    /// those, at least.
    #[inline]
    fn unlent(&self, order: Order) -> u32 {
        let (free, lag) = (self.counted(), self.counting_lag());
        if free.cma == PageCount::ZERO {
            return u32::MAX;
        }
        let pages = free.all.saturating_sub(free.cma + free.cma + lag).get();
        u32::try_from(pages >> order.get()).unwrap_or(u32::MAX)
    }

    /// Blocks of the request's own type, where these are what it gets.
    #[inline]
    fn take_run(&mut self, request: ZoneRequest, mode: Mode, most: u32) -> Option<Run> {
        if mode != Mode::Normal {
            return None;
        }
        let most = match request.flags.contains(AllocFlags::CMA) {
            true => most.min(self.unlent(request.order)),
            false => most,
        };
        if most == 0 {
            return None;
        }
        self.buddy.take_run(request.order, request.migratetype, most)
    }

    /// Up to `most` single pages that lie side by side, past the per-CPU lists, each as if it had
    /// been asked for alone.
    #[inline]
    pub(crate) fn alloc_run(
        &mut self,
        cpu: CpuId,
        request: ZoneRequest,
        most: u32,
    ) -> Option<core::ops::Range<FrameIndex>> {
        let run = self.take_run(request, Mode::Normal, most)?;
        let pages = run.index..run.index + run.count;
        let before = self.buddy.free;
        self.buddy.sub_free(PageCount::new(u64::from(run.count)), request.migratetype);
        self.counters.note_each(cpu, &before, &self.buddy.free, run.count);
        for index in pages.clone() {
            self.buddy.map.set_allocated(index, Order::ZERO, request.movability());
        }
        Some(pages)
    }

    /// Puts blocks that were taken together on a CPU's list, each as if it had been taken alone.
    #[inline]
    fn cache_run(
        &mut self,
        cpu: CpuId,
        list: usize,
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
            self.cache(cpu, list, order, Got { index, mt });
        }
    }

    /// Puts a block on a CPU's list, to be used last.
    #[inline(always)]
    fn cache(&mut self, cpu: CpuId, list: usize, order: Order, got: Got) {
        self.buddy.map.set_head(got.index, Head::PerCpu(order));
        self.pcp[cpu.index()].push_refilled(list, order, Cached::new(got.index, got.mt));
        self.count_lent(cpu);
        if self.buddy.rules.refill_accounting == RefillAccounting::EachBlock {
            self.count_all(cpu);
        }
    }
}
