//! A free block of the caller's choice, and its way back.

use crate::buddy::Buddy;
use crate::event::Sink;
use crate::frame::{FrameIndex, Head, Movability};
use crate::frames::End;
use crate::migratetype::MigrateType;
use crate::page_alloc::{PageAllocator, Pages};
use crate::units::{CpuId, Order, Pfn};
use crate::zone::Zone;

impl<S: Sink> PageAllocator<S> {
    /// Takes the block at `pfn` out of the free block that has it, for a holder that can be
    /// migrated. No watermark is asked, and nothing is counted as allocated. `None` when some of it
    /// is not on the buddy lists, or its pageblock is isolated or set aside.
    /// Linux: `take_page_off_buddy()`, for any order.
    pub fn take_at(&mut self, cpu: CpuId, pfn: Pfn, order: Order) -> Option<Pages> {
        let at = self.zone_index(pfn)?;
        self.zones[at].take_at(cpu, pfn, order)?;
        self.zones[at].set_movability(pfn, order, Movability::Movable);
        Some(Pages::new(pfn, order))
    }

    /// Puts a block back on the buddy lists as [`take_at`](Self::take_at) took it off them: past
    /// the per-CPU lists, by the types of its pageblocks as they are now, isolated ones among them.
    /// Nothing is counted as freed. Linux: `put_page_back_buddy()`, for any order.
    ///
    /// # Panics
    ///
    /// Panics when the block is not allocated as this handle says (a forged handle), or the machine
    /// has no such CPU.
    pub fn put_back(&mut self, cpu: CpuId, pages: Pages) {
        let (pfn, order) = pages.into_raw();
        assert!(cpu.index() < usize::from(self.cpus), "a CPU of the machine");
        let at = self.zone_index(pfn).expect("the block of a handle lies in a zone");
        self.zones[at].put_back(cpu, pfn, order);
    }
}

impl Zone {
    /// Takes the block at `pfn` out of the free block that has it.
    pub(crate) fn take_at(&mut self, cpu: CpuId, pfn: Pfn, order: Order) -> Option<()> {
        let index = self.buddy.map.index(pfn)?;
        let chosen = self.buddy.choose((index, order))?;
        self.take_chosen(cpu, chosen);
        Some(())
    }

    /// Takes a chosen block. Linux: `take_page_off_buddy()`.
    pub(crate) fn take_chosen(&mut self, cpu: CpuId, chosen: Chosen) {
        self.buddy.take_within(chosen);
        self.count_free(cpu);
    }

    /// Whether only the lists would tell that a CPU takes a chosen block, and once it is back only
    /// the place of the free block around it. So it is where that is one of the largest, which
    /// merge no further, and of one type; where the CPU keeps the change of the counters to itself;
    /// and where no list becomes empty meanwhile, nor gets larger blocks than all have: under 6.1
    /// the block may be on a list that its pageblock has left.
    #[inline]
    pub(crate) fn goes_unseen(&self, cpu: CpuId, chosen: &Chosen) -> bool {
        let Self { buddy: Buddy { map, blocks, areas, geometry, .. }, counters, .. } = self;
        let Chosen { wanted, around, mt } = *chosen;
        around.1 == geometry.max_order()
            && (mt == MigrateType::Cma || areas.largest() == Some(around.1))
            && counters.would_keep(cpu, wanted.1.pages(), mt)
            && !map.is_alone(around)
            && blocks.are_all(around, mt)
    }

    /// Puts an allocated block on the buddy lists. Linux: `__free_one_page(.., FPI_NONE)`.
    pub(crate) fn put_back(&mut self, cpu: CpuId, pfn: Pfn, order: Order) {
        let index = self.allocated(pfn, order);
        self.free_unlisted(cpu, index, order);
    }
}

/// A block that can be taken, the free block that has it, and the type of that one's first
/// pageblock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Chosen {
    pub(crate) wanted: (FrameIndex, Order),
    pub(crate) around: (FrameIndex, Order),
    pub(crate) mt: MigrateType,
}

impl Buddy {
    /// A block if it can be taken: all of it is on a list, and its pageblock neither isolated nor
    /// set aside.
    #[inline]
    pub(crate) fn choose(&self, wanted: (FrameIndex, Order)) -> Option<Chosen> {
        let (max, (index, order)) = (self.geometry.max_order(), wanted);
        // The map starts at a largest block.
        if order > max || index & ((1 << order.get()) - 1) != 0 {
            return None;
        }
        let around = self.map.free_around(wanted, max)?;
        let mt = self.blocks.migratetype(around.0);
        // A block that was put on a list before one of its pageblocks was isolated has both.
        let is_barred = |mt: MigrateType| !mt.is_mergeable() && mt != MigrateType::Cma;
        if is_barred(mt) || is_barred(self.blocks.migratetype(wanted.0)) {
            return None;
        }
        Some(Chosen { wanted, around, mt })
    }

    /// Takes a chosen block out of the free block around it. The halves that nobody wants go to the
    /// heads of the lists, larger ones first.
    /// Linux: `del_page_from_free_list()`, `break_down_buddy_pages()`.
    pub(crate) fn take_within(&mut self, Chosen { wanted, around, mt }: Chosen) {
        let (mut row, frames) = (self.areas.row(mt), &mut self.map.frames());
        self.areas.extract(frames, &mut row, around);
        frames.clear_head(around.0);
        let mut order = around.1.get();
        while order > wanted.1.get() {
            order -= 1;
            // The half that is wanted may be either one.
            let rest = (wanted.0 >> order ^ 1) << order;
            self.areas.insert_unmarked(frames, &row, (rest, Order::from_bits(order)), End::Head);
        }
        row.mark(wanted.1..around.1);
        self.areas.keep(row);
        frames.set_head(wanted.0, Head::Allocated(wanted.1, Movability::Unmovable));
        self.sub_free(wanted.1.pages(), mt);
    }

    /// What is left of taking a chosen block that [goes unseen](Zone::goes_unseen) and putting it
    /// back at once: the block around it is at the head of the list of its type.
    /// Linux: the end of `__free_one_page()`.
    #[inline]
    pub(crate) fn renew(&mut self, Chosen { around, mt, .. }: Chosen) {
        let mut row = self.areas.row(mt);
        self.areas.move_to(&mut self.map.frames(), &mut row, around, End::Head);
        self.areas.keep(row);
    }
}
