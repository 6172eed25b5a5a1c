//! One CPU's page lists moved by hand, and what a recording says about their surroundings.

use crate::by_hand::{ByHand, HandError};
use crate::event::Sink;
use crate::frame::{Head, Movability};
use crate::migratetype::MigrateType;
use crate::page_alloc::PageAllocator;
use crate::pcp::{PcpCounters, PcpSizes};
use crate::pcp_list::Cached;
use crate::units::{CpuId, Order, PageCount, Pfn};
use crate::zone::Zone;

/// Whether kswapd runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reclaim {
    /// It does.
    Active,
    /// It does not.
    Idle,
}

/// Whether a zone is below its high mark (6.12).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BelowHighMark {
    /// It is.
    Yes,
    /// It is not.
    No,
}

/// Which end of a per-CPU list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The head: handed out next.
    Freed,
    /// The tail: handed out last.
    Refilled,
}

impl<S: Sink> PageAllocator<S> {
    /// Frees a block as its holder does, whatever shape it was allocated in: to the per-CPU lists
    /// of `cpu` if its order has one. Linux: `__free_pages()`.
    ///
    /// # Errors
    ///
    /// [`HandError`] when a frame is on a buddy list; nothing has changed then.
    ///
    /// # Panics
    ///
    /// Panics when there is no such zone or CPU.
    #[inline]
    pub fn free_by_hand(
        &mut self,
        zone: usize,
        cpu: CpuId,
        pfn: Pfn,
        order: Order,
    ) -> Result<(), HandError> {
        let (inner, sink) = self.zone_mut(zone);
        ByHand { zone: &mut *inner, cpu }.shape(pfn, order)?;
        inner.free(cpu, pfn, order, sink);
        Ok(())
    }

    /// One tick of the statistics timer for one zone. Linux: `refresh_cpu_vm_stats()`.
    ///
    /// # Panics
    ///
    /// Panics when there is no such zone.
    pub fn tick_zone(&mut self, zone: usize) {
        let (zone, sink) = self.zone_mut(zone);
        zone.tick(sink);
    }
}

impl ByHand<'_> {
    /// How the traffic so far has tuned the CPU's lists.
    #[must_use]
    pub fn pcp_counters(&self) -> PcpCounters {
        self.zone.pcp[self.cpu.index()].counters()
    }

    /// Says how the traffic so far has tuned the CPU's lists.
    pub fn set_pcp_counters(&mut self, counters: PcpCounters) {
        self.zone.pcp[self.cpu.index()].set_counters(counters);
    }

    /// Pages on the CPU's lists. Linux: `pcp->count`.
    #[must_use]
    pub fn pcp_count(&self) -> PageCount {
        self.zone.pcp[self.cpu.index()].count()
    }

    /// Puts an allocated block on a per-CPU list: where frees go (the head) or where refills go
    /// (the tail). Does nothing for orders without a list. Linux: `list_add()`, `list_add_tail()`.
    pub fn cache(&mut self, pfn: Pfn, order: Order, mt: MigrateType, side: Side) {
        let Some(list) = self.zone.pcp[self.cpu.index()].list_of(order, mt) else { return };
        let Ok(index) = self.shape(pfn, order) else { return };
        self.zone.buddy.map.set_head(index, Head::PerCpu(order));
        let pcp = &mut self.zone.pcp[self.cpu.index()];
        let cached = Cached::new(index, mt);
        match side {
            Side::Freed => pcp.push_freed(list, order, cached),
            Side::Refilled => pcp.push_refilled(list, order, cached),
        }
    }

    /// Takes the block at `pfn` off the per-CPU list it is on; it is allocated then. Says whether
    /// it was on one. Linux: `list_del()`.
    pub fn uncache(&mut self, pfn: Pfn) -> bool {
        let Some(index) = self.zone.buddy.map.index(pfn) else { return false };
        let Some(Head::PerCpu(order)) = self.zone.buddy.map.head(index) else { return false };
        let found = self.zone.pcp.iter_mut().any(|pcp| pcp.withdraw(index, order));
        if found {
            let head = Head::Allocated(order, Movability::Unmovable);
            self.zone.buddy.map.set_head(index, head);
        }
        found
    }

    /// Takes over the lists of the same zone of another machine: span, buddy lists, pageblocks and
    /// what is on the per-CPU lists. How these are tuned stays, as do watermarks and what is not
    /// counted yet.
    pub fn adopt(&mut self, other: &Zone) {
        self.zone.buddy.clone_from(&other.buddy);
        (self.zone.span, self.zone.sharing) = (other.span, other.sharing);
        for (own, theirs) in self.zone.pcp.iter_mut().zip(&other.pcp) {
            own.adopt(theirs);
        }
        self.zone.count_free(self.cpu);
    }

    /// Says whether the reclaimer of the zone's node runs. Linux: `ZONE_RECLAIM_ACTIVE`.
    pub const fn set_reclaim(&mut self, reclaim: Reclaim) {
        self.zone.pressure.reclaim_active = matches!(reclaim, Reclaim::Active);
    }

    /// Says whether free pages fell below the high mark. Linux: `ZONE_BELOW_HIGH`.
    pub const fn set_below_high(&mut self, below: BelowHighMark) {
        self.zone.pressure.below_high = matches!(below, BelowHighMark::Yes);
    }

    /// The zone's counters catch up with what the CPU has kept to itself.
    /// Linux: what `refresh_cpu_vm_stats()` does first.
    pub fn collect_counts(&mut self) {
        self.zone.collect_counts(self.cpu);
    }

    /// Sizes of the CPU's lists. Linux: `pcp->high`, `->batch`.
    #[must_use]
    pub fn pcp_sizes(&self) -> PcpSizes {
        self.zone.pcp[self.cpu.index()].sizes()
    }

    /// Gives the per-CPU lists a size. [`PcpSizes::BOOT`] turns them off.
    /// Linux: `zone_pcp_disable()`, `zone_pcp_enable()`.
    pub fn set_pcp_sizes(&mut self, sizes: PcpSizes) {
        self.zone.set_pcp_sizes(sizes);
    }
}
