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
        self.buddy.lets_go(chosen).then(|| self.take_chosen(cpu, chosen))
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
    #[inline(always)]
    pub(crate) fn goes_unseen(&self, cpu: CpuId, chosen: Chosen) -> bool {
        let Self { buddy: Buddy { map, blocks, areas, geometry, .. }, counters, .. } = self;
        let Chosen { order, from, mt, .. } = chosen;
        from == geometry.max_order()
            && (mt == MigrateType::Cma || areas.any_ordinary(from))
            && counters.would_keep(cpu, order.pages(), mt)
            && !map.is_alone(chosen.around())
            && blocks.others_are(chosen.around(), mt)
    }

    /// Puts an allocated block on the buddy lists. Linux: `__free_one_page(.., FPI_NONE)`.
    pub(crate) fn put_back(&mut self, cpu: CpuId, pfn: Pfn, order: Order) {
        let index = self.allocated(pfn, order);
        self.free_unlisted(cpu, index, order);
    }
}

/// A block of `order` that is to be taken, the order of the free block that has it, and the type of
/// that one's first pageblock. One word, which stays in a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Chosen {
    pub(crate) index: FrameIndex,
    pub(crate) order: Order,
    pub(crate) from: Order,
    pub(crate) mt: MigrateType,
}

impl Chosen {
    /// The free block that has it.
    #[inline(always)]
    pub(crate) const fn around(self) -> (FrameIndex, Order) {
        (self.index >> self.from.get() << self.from.get(), self.from)
    }
}

/// Whether a pageblock is isolated or set aside.
#[inline(always)]
fn is_barred(mt: MigrateType) -> bool {
    !mt.is_mergeable() && mt != MigrateType::Cma
}

impl Buddy {
    /// A block if all of it is on a list, and the first pageblock of the free block around it is
    /// neither isolated nor set aside; its own may be, which [`lets_go`](Self::lets_go) tells.
    #[inline(always)]
    pub(crate) fn choose(&self, wanted: (FrameIndex, Order)) -> Option<Chosen> {
        let (max, (index, order)) = (self.geometry.max_order(), wanted);
        // The map starts at a largest block.
        if order > max || index & ((1 << order.get()) - 1) != 0 {
            return None;
        }
        let (start, from) = self.map.free_around(wanted, max)?;
        let mt = self.blocks.migratetype(start);
        (!is_barred(mt)).then_some(Chosen { index, order, from, mt })
    }

    /// Whether the pageblock of a chosen block is neither isolated nor set aside. A block that was
    /// put on a list before one of its pageblocks was isolated has both.
    #[inline]
    pub(crate) fn lets_go(&self, chosen: Chosen) -> bool {
        !is_barred(self.blocks.migratetype(chosen.index))
    }

    /// Takes a chosen block out of the free block around it. The halves that nobody wants go to the
    /// heads of the lists, larger ones first.
    /// Linux: `del_page_from_free_list()`, `break_down_buddy_pages()`.
    pub(crate) fn take_within(&mut self, chosen: Chosen) {
        let Chosen { index, order: wanted, from, mt } = chosen;
        let around = chosen.around();
        let (mut row, frames) = (self.areas.row(mt), &mut self.map.frames());
        self.areas.extract(frames, &mut row, around);
        frames.clear_head(around.0);
        let mut order = from.get();
        while order > wanted.get() {
            order -= 1;
            // The half that is wanted may be either one.
            let rest = (index >> order ^ 1) << order;
            self.areas.insert_unmarked(frames, &row, (rest, Order::from_bits(order)), End::Head);
        }
        row.mark(wanted..from);
        self.areas.keep(row);
        frames.set_head(index, Head::Allocated(wanted, Movability::Unmovable));
        self.sub_free(wanted.pages(), mt);
    }

    /// What is left of taking a chosen block that [goes unseen](Zone::goes_unseen) and putting it
    /// back at once: the block around it is at the head of the list of its type.
    /// Linux: the end of `__free_one_page()`.
    #[inline(always)]
    pub(crate) fn renew(&mut self, chosen: Chosen) {
        let mut row = self.areas.row(chosen.mt);
        self.areas.move_to(&mut self.map.frames(), &mut row, chosen.around(), End::Head);
        self.areas.keep(row);
    }
}
