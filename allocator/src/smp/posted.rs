//! What threads read of a zone without its lock.
//!
//! All of it is written while the zone's lock is held, or by whoever has the block, and read with
//! relaxed loads: each reader's turn on its CPU's lists orders what matters (see `cpu.rs`).

use core::sync::atomic::Ordering::Relaxed;

use crossbeam_utils::CachePadded;
use prefetch_index::prefetch_index;

use crate::frame::{Frame, FrameIndex, Head, Movability};
use crate::holders::Holders;
use crate::migratetype::MigrateType;
use crate::page_alloc::Pages;
use crate::pcp_tuning::ZonePressure;
use crate::sync::atomic::{AtomicU8, AtomicU16};
use crate::sync::{Arc, ZeroedBytes, zeroed_bytes};
use crate::units::{Order, PageCount, Pfn, PfnRange};
use crate::zone::Zone;

/// What is posted of a zone.
#[derive(Debug)]
pub(super) struct Posted {
    base: Pfn,
    pageblock: Order,
    mood: AtomicU16,
    /// Type of each pageblock, ISOLATE while it is isolated. Linux: `pageblock_flags`.
    types: Vec<AtomicU8>,
    /// For each frame: the state byte of the block that somebody holds from there on, else zero.
    /// The zone's own map only knows that such a block is not on the buddy lists, and asks here.
    holders: ZeroedBytes,
}

/// Where the table of holders starts in a page, in frames. CPUs that refill their lists one after
/// the other from a block have 63 pages each. Each one's first page is the one that goes to and
/// fro: it has a line of its own then.
const SKEW: usize = 32;

/// How a zone fares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mood {
    /// Requests of orders below this stay above every watermark and reserve, and would find a
    /// block.
    calm: u8,
    /// What the zone adds to the tuning of per-CPU lists.
    pub(super) pressure: ZonePressure,
}

const RECLAIM_ACTIVE: u16 = 1 << 8;
const BELOW_HIGH: u16 = 1 << 9;

impl Mood {
    pub(super) fn of(zone: &Zone) -> Self {
        let spare = zone.spare_pages().get().checked_ilog2().map_or(0, |order| order + 1);
        let blocks = zone.buddy.areas.largest().map_or(0, |order| u32::from(order.get()) + 1);
        let calm = u8::try_from(spare.min(blocks)).expect("few orders");
        Self { calm, pressure: zone.pressure }
    }

    fn encode(self) -> u16 {
        let flag = |flag, bit| if flag { bit } else { 0 };
        u16::from(self.calm)
            | flag(self.pressure.reclaim_active, RECLAIM_ACTIVE)
            | flag(self.pressure.below_high, BELOW_HIGH)
    }

    #[inline(always)]
    fn decode(word: u16) -> Self {
        let [calm, _] = word.to_le_bytes();
        let reclaim_active = word & RECLAIM_ACTIVE != 0;
        let below_high = word & BELOW_HIGH != 0;
        Self { calm, pressure: ZonePressure { reclaim_active, below_high } }
    }

    /// Whether a request of `order` need not look at the watermarks.
    #[inline(always)]
    pub(super) const fn is_calm(self, order: Order) -> bool {
        order.get() < self.calm
    }
}

/// The state byte of one block.
#[derive(Clone, Copy)]
pub(super) struct Holding<'a>(&'a AtomicU8);

impl Holding<'_> {
    /// Whether somebody holds a block of exactly `order` here.
    #[inline(always)]
    pub(super) fn is_of(self, order: Order) -> bool {
        Head::is_allocated(self.0.load(Relaxed), order)
    }

    /// Somebody holds the block from now on.
    #[inline(always)]
    pub(super) fn begin(self, order: Order, movability: Movability) {
        self.0.store(Head::Allocated(order, movability).encode(), Relaxed);
    }

    /// The holder of the block has given it back.
    #[inline(always)]
    pub(super) fn end(self) {
        self.0.store(0, Relaxed);
    }
}

impl Posted {
    pub(super) fn new(zone: &Zone) -> Self {
        let map = &zone.buddy.map;
        let types = (0..zone.buddy.blocks.len()).map(|_| AtomicU8::new(0)).collect();
        let posted = Self {
            base: map.pfn(0),
            pageblock: zone.buddy.geometry.pageblock_order(),
            mood: AtomicU16::new(0),
            types,
            holders: zeroed_bytes(map.len() as usize, SKEW),
        };
        posted.post_types(zone, 0..zone.buddy.blocks.len());
        posted.mood.store(Mood::of(zone).encode(), Relaxed);
        // What is allocated already stays with its holder.
        let mut pfn = zone.span.start();
        while pfn < zone.span.end() {
            let frame = zone.buddy.frame(pfn);
            if let Frame::Allocated { head, order, movability } = frame {
                posted.hold(posted.index(head), order, movability);
            }
            pfn = frame.next(pfn);
        }
        posted
    }

    /// Posts what changed, at the end of a locked section.
    pub(super) fn post(&self, zone: &mut Zone) {
        let changed = zone.buddy.blocks.take_changed().slots();
        self.post_types(zone, changed);
        let mood = Mood::of(zone).encode();
        if self.mood.load(Relaxed) != mood {
            self.mood.store(mood, Relaxed);
        }
    }

    fn post_types(&self, zone: &Zone, slots: core::ops::Range<usize>) {
        for slot in slots {
            self.types[slot].store(zone.buddy.blocks.type_at(slot) as u8, Relaxed);
        }
    }

    #[inline(always)]
    pub(super) fn mood(&self) -> Mood {
        Mood::decode(self.mood.load(Relaxed))
    }

    /// Where `pfn` is in the zone's map.
    #[inline(always)]
    pub(super) fn index(&self, pfn: Pfn) -> FrameIndex {
        FrameIndex::try_from(pfn.get() - self.base.get()).expect("a frame of the zone")
    }

    /// Where `pfn` is in the zone's map, and what is posted there, if the map has it. It may have
    /// frames of other zones, which nobody holds here.
    #[inline(always)]
    pub(super) fn find(&self, pfn: Pfn) -> Option<(FrameIndex, Holding<'_>)> {
        let index = pfn.get().wrapping_sub(self.base.get());
        let holding = self.holders.get(usize::try_from(index).ok()?)?;
        // A map has fewer than 2^32 frames.
        let [a, b, c, d, ..] = index.to_le_bytes();
        Some((FrameIndex::from_le_bytes([a, b, c, d]), Holding(holding)))
    }

    /// The frame at `index`.
    #[inline(always)]
    pub(super) fn pfn(&self, index: FrameIndex) -> Pfn {
        self.base + PageCount::new(u64::from(index))
    }

    #[inline(always)]
    fn raw_type(&self, index: FrameIndex) -> u8 {
        self.types[self.block(index)].load(Relaxed)
    }

    /// Which of the zone's pageblocks has the frame at `index`.
    #[inline(always)]
    const fn block(&self, index: FrameIndex) -> usize {
        index as usize >> self.pageblock.get()
    }

    /// The type of the pageblock of `index`, ISOLATE while it is isolated.
    #[inline(always)]
    pub(super) fn migratetype(&self, index: FrameIndex) -> MigrateType {
        MigrateType::from_index(usize::from(self.raw_type(index)))
    }

    /// Number of pageblocks of a type.
    pub(super) fn pageblocks(&self, mt: MigrateType) -> usize {
        self.types.iter().filter(|raw| raw.load(Relaxed) == mt as u8).count()
    }

    /// Whether the pageblock of `index` is an ordinary one of movable memory.
    #[inline(always)]
    pub(super) fn is_movable(&self, index: FrameIndex) -> bool {
        let raw = self.types.get(self.block(index));
        raw.is_some_and(|raw| raw.load(Relaxed) == MigrateType::Movable as u8)
    }

    /// Asks for the line that says who holds the block at `index`, if the map has it.
    #[inline(always)]
    pub(super) fn prefetch(&self, index: FrameIndex) {
        prefetch_index(&*self.holders, index as usize);
    }

    /// Somebody holds the block at `index` from now on.
    #[inline(always)]
    pub(super) fn hold(&self, index: FrameIndex, order: Order, movability: Movability) {
        self.holding(index).begin(order, movability);
    }

    /// Somebody holds the pages of a claimed range from now on, each alone.
    pub(super) fn hold_singles(&self, range: PfnRange) {
        let pages = range.iter().map(|pfn| self.index(pfn));
        pages.for_each(|index| self.hold(index, Order::ZERO, Movability::Unmovable));
    }

    /// What is posted of the block at `index`, for several looks in a row.
    #[inline(always)]
    pub(super) fn holding(&self, index: FrameIndex) -> Holding<'_> {
        Holding(&self.holders[index as usize])
    }

    /// The holder of a block gives it back; says what it was. A forged handle panics.
    pub(super) fn release(&self, index: FrameIndex, order: Order) -> Movability {
        let movability = match Head::decode(self.holders[index as usize].load(Relaxed)) {
            Some(Head::Allocated(held, movability)) if held == order => movability,
            _ => panic!("block is not allocated with this order"),
        };
        self.holding(index).end();
        movability
    }

    pub(super) fn set_movability(&self, pages: &Pages, movability: Movability) {
        let index = self.index(pages.pfn());
        self.release(index, pages.order());
        self.hold(index, pages.order(), movability);
    }
}

impl Holders for Arc<CachePadded<Posted>> {
    fn holder(&self, index: FrameIndex) -> Option<Head> {
        Head::decode(self.holders[index as usize].load(Relaxed))
    }

    fn again(&self) -> Box<dyn Holders> {
        Box::new(Self::clone(self))
    }
}
