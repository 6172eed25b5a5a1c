//! What the lock of a zone guards: its allocator, and the one split that it is late with.
//!
//! Whoever takes a page out of a block of the largest order and puts it straight back has ten
//! splits and ten merges made that nobody sees: in the end the block lies at the head of its list.
//! So the split waits until somebody takes the lock, and is not made if the page comes back before.
//! Nobody can tell: `Zone::goes_unseen()` says where it may wait.

use pagelab_percpu::Steps;

use crate::exact::Chosen;
use crate::frame::FrameIndex;
use crate::migratetype::MigrateType;
use crate::page_alloc::PageAllocator;
use crate::smp::posted::Posted;
use crate::smp::step::Step;
use crate::units::{CpuId, Order};
use crate::zone::Zone;

/// The allocator of one zone, and what it is late with.
#[derive(Debug)]
pub(super) struct Guarded {
    alloc: PageAllocator,
    late: Option<LateSplit>,
    steps: Steps<Step>,
}

/// A block that a CPU has taken, while the free block around it is whole and on its list. A few
/// numbers, each written alone: to copy parts that were just written would wait for them.
#[derive(Clone, Copy, Debug)]
struct LateSplit {
    index: FrameIndex,
    order: Order,
    from: Order,
    mt: MigrateType,
    cpu: CpuId,
}

impl LateSplit {
    #[inline(always)]
    const fn new(cpu: CpuId, Chosen { index, order, from, mt }: Chosen) -> Self {
        Self { index, order, from, mt, cpu }
    }

    #[inline(always)]
    const fn chosen(self) -> Chosen {
        let Self { index, order, from, mt, .. } = self;
        Chosen { index, order, from, mt }
    }
}

impl Guarded {
    /// It is late with nothing.
    pub(super) const fn new(alloc: PageAllocator, steps: Steps<Step>) -> Self {
        Self { alloc, late: None, steps }
    }

    /// Makes the split that waits, if there is one.
    #[inline(always)]
    pub(super) fn settle(&mut self, posted: &Posted) {
        if let Some(late) = self.late {
            self.make(late, posted);
        }
    }

    #[cold]
    fn make(&mut self, late: LateSplit, posted: &Posted) {
        self.late = None;
        if self.steps.has(Step::LateSplitIsMade) {
            take_now(&mut self.alloc.zones[0], late.cpu, late.chosen(), posted);
        }
    }

    /// The allocator, [settled](Self::settle).
    #[inline(always)]
    pub(super) const fn alloc(&self) -> &PageAllocator {
        &self.alloc
    }

    /// The allocator, [settled](Self::settle), to be changed.
    #[inline(always)]
    pub(super) const fn alloc_mut(&mut self) -> &mut PageAllocator {
        &mut self.alloc
    }

    /// Takes a block out of the free block that has it, and splits that now or late.
    /// Linux: `take_page_off_buddy()`, for any order.
    #[inline(always)]
    pub(super) fn take_at(
        &mut self,
        cpu: CpuId,
        wanted: (FrameIndex, Order),
        posted: &Posted,
    ) -> Option<()> {
        self.settle(posted);
        let zone = &mut self.alloc.zones[0];
        let chosen = zone.buddy.choose(wanted)?;
        // Then it has the type of the block around it.
        if zone.goes_unseen(cpu, chosen) {
            self.late = Some(LateSplit::new(cpu, chosen));
            return Some(());
        }
        zone.buddy.lets_go(chosen).then(|| take_now(zone, cpu, chosen, posted))
    }

    /// Puts a block that nobody holds any more on the buddy lists. Linux: `__free_one_page()`.
    #[inline(always)]
    pub(super) fn put_back(&mut self, cpu: CpuId, block: (FrameIndex, Order), posted: &Posted) {
        match self.late.filter(|late| late.cpu == cpu && (late.index, late.order) == block) {
            Some(late) => {
                self.late = None;
                self.alloc.zones[0].buddy.renew(late.chosen());
            }
            None => self.put_back_now(cpu, block, posted),
        }
    }

    /// [`put_back`](Self::put_back) where no split waits for the block.
    #[inline(never)]
    fn put_back_now(&mut self, cpu: CpuId, (index, order): (FrameIndex, Order), posted: &Posted) {
        self.settle(posted);
        let zone = &mut self.alloc.zones[0];
        zone.free_unlisted(cpu, index, order);
        posted.post(zone);
    }

    /// Whether a split waits.
    #[cfg(test)]
    pub(super) const fn is_late(&self) -> bool {
        self.late.is_some()
    }
}

/// Takes a chosen block at once. Linux: `take_page_off_buddy()`.
#[inline(never)]
fn take_now(zone: &mut Zone, cpu: CpuId, chosen: Chosen, posted: &Posted) {
    zone.take_chosen(cpu, chosen);
    posted.post(zone);
}
