//! What a zone remembers of each pageblock: its type, isolation included, and two marks.

use crate::frame::FrameIndex;
use crate::migratetype::MigrateType;
use crate::units::Order;

const SKIP: u8 = 0x01;
const OFFLINE: u8 = 0x02;

/// Types and marks of a zone's pageblocks. Linux: `pageblock_flags`.
///
/// Isolation is a type, as in the kernels of both profiles.
#[derive(Clone, Debug)]
pub(crate) struct Pageblocks {
    order: Order,
    types: Vec<MigrateType>,
    marks: Vec<u8>,
    isolated: u64,
    changed: Changed,
}

/// Blocks whose type may have changed since somebody last asked, as positions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changed {
    start: usize,
    end: usize,
}

impl Changed {
    fn note(&mut self, slot: usize) {
        match self.start == self.end {
            true => (self.start, self.end) = (slot, slot + 1),
            false => (self.start, self.end) = (self.start.min(slot), self.end.max(slot + 1)),
        }
    }

    /// Positions, half-open.
    pub(crate) fn slots(&self) -> core::ops::Range<usize> {
        self.start..self.end
    }
}

impl Pageblocks {
    /// Blocks of `order` for `frames` frames, all UNMOVABLE (type 0), as memory starts out.
    pub(crate) fn new(order: Order, frames: FrameIndex) -> Self {
        let blocks = (frames >> order.get()) as usize;
        Self {
            order,
            types: vec![MigrateType::Unmovable; blocks],
            marks: vec![0; blocks],
            isolated: 0,
            changed: Changed::default(),
        }
    }

    const fn slot(&self, index: FrameIndex) -> usize {
        (index >> self.order.get()) as usize
    }

    /// The type of the block that holds `index`; ISOLATE while it is isolated.
    /// Linux: `get_pageblock_migratetype()`.
    #[inline]
    pub(crate) fn migratetype(&self, index: FrameIndex) -> MigrateType {
        self.types[self.slot(index)]
    }

    /// Gives the block a type and ends its isolation. Linux: `set_pageblock_migratetype()`.
    pub(crate) fn set_migratetype(&mut self, index: FrameIndex, mt: MigrateType) {
        assert!(mt != MigrateType::Isolate, "isolation is not set, but entered");
        let slot = self.slot(index);
        if self.types[slot] == MigrateType::Isolate {
            self.isolated -= 1;
        }
        self.types[slot] = mt;
        self.marks[slot] &= SKIP;
        self.changed.note(slot);
    }

    /// Whether every pageblock that a block of `order` touches has a type, but for the first one.
    #[inline]
    pub(crate) fn others_are(&self, (index, order): (FrameIndex, Order), mt: MigrateType) -> bool {
        let count = 1 << order.get().saturating_sub(self.order.get());
        let first = self.slot(index);
        self.types[first + 1..first + count].iter().all(|&other| other == mt)
    }

    /// Gives every pageblock that a block of `order` touches a type.
    /// Linux: `change_pageblock_range()`.
    pub(crate) fn set_migratetypes(&mut self, block: (FrameIndex, Order), mt: MigrateType) {
        let (index, order) = block;
        for start in (index..index + (1 << order.get())).step_by(1 << self.order.get()) {
            self.set_migratetype(start, mt);
        }
    }

    /// Isolates the block. Its type is forgotten: who ends that says which one it gets.
    ///
    /// # Panics
    ///
    /// Panics when the block is isolated already.
    pub(crate) fn isolate(&mut self, index: FrameIndex) {
        let slot = self.slot(index);
        assert!(self.types[slot] != MigrateType::Isolate, "pageblock is isolated already");
        self.types[slot] = MigrateType::Isolate;
        self.isolated += 1;
        self.changed.note(slot);
    }

    /// Marks the memory of the block as gone; the next type that is set brings it back. It is no
    /// longer isolated. Linux: a section without `SECTION_IS_ONLINE`.
    pub(crate) fn set_offline(&mut self, index: FrameIndex) {
        self.set_migratetype(index, MigrateType::Movable);
        let slot = self.slot(index);
        self.marks[slot] |= OFFLINE;
    }

    /// Brings the memory of a block that was gone back; it is MOVABLE.
    /// Linux: `online_mem_sections()`.
    pub(crate) fn set_online(&mut self, index: FrameIndex) {
        if self.is_offline(index) {
            self.set_migratetype(index, MigrateType::Movable);
        }
    }

    /// Whether the memory of the block is gone. Linux: `!pfn_to_online_page()`.
    pub(crate) fn is_offline(&self, index: FrameIndex) -> bool {
        self.marks[self.slot(index)] & OFFLINE != 0
    }

    /// Isolates the block when `mt` is ISOLATE, else gives it that type and ends its isolation.
    pub(crate) fn set_isolation(&mut self, index: FrameIndex, mt: MigrateType) {
        match mt {
            MigrateType::Isolate => self.isolate(index),
            _ => self.set_migratetype(index, mt),
        }
    }

    /// Whether a scanner found nothing here lately. Linux: `get_pageblock_skip()`.
    pub(crate) fn is_skipped(&self, index: FrameIndex) -> bool {
        self.marks[self.slot(index)] & SKIP != 0
    }

    /// Tells the scanners to pass this block by. Linux: `set_pageblock_skip()`.
    pub(crate) fn set_skip(&mut self, index: FrameIndex) {
        let slot = self.slot(index);
        self.marks[slot] |= SKIP;
    }

    /// Forgets all skip hints. Linux: `__reset_isolation_suitable()`.
    pub(crate) fn clear_skips(&mut self) {
        self.marks.iter_mut().for_each(|marks| *marks &= !SKIP);
    }

    /// Number of isolated blocks. Linux: `nr_isolate_pageblock`.
    pub(crate) const fn isolated(&self) -> u64 {
        self.isolated
    }

    /// Number of blocks.
    pub(crate) fn len(&self) -> usize {
        self.types.len()
    }

    /// The type of a block by its position; [`migratetype`](Self::migratetype) by a frame.
    pub(crate) fn type_at(&self, slot: usize) -> MigrateType {
        self.types[slot]
    }

    /// What may have changed since the last call.
    #[inline]
    pub(crate) fn take_changed(&mut self) -> Changed {
        core::mem::take(&mut self.changed)
    }

    /// Recounts the isolated blocks, for `check()`.
    pub(crate) fn count_isolated(&self) -> u64 {
        self.types.iter().filter(|&&mt| mt == MigrateType::Isolate).map(|_| 1).sum()
    }
}
