//! Pageblock flags: type, isolation and the scanners' skip hint, one byte a block.

use crate::frame::FrameIndex;
use crate::migratetype::MigrateType;
use crate::units::Order;

const TYPE: u8 = 0x07;
const ISOLATED: u8 = 0x08;
const SKIP: u8 = 0x10;
const OFFLINE: u8 = 0x20;

/// The type that a block with these flags presents.
const BY_FLAGS: [MigrateType; 16] = {
    let mut table = [MigrateType::Isolate; 16];
    let mut mt = 0;
    while mt < MigrateType::COUNT {
        table[mt] = MigrateType::from_index(mt);
        mt += 1;
    }
    table
};

/// Types and flags of a zone's pageblocks. Linux: `pageblock_flags`.
///
/// Isolation is a bit beside the type; [`Pageblocks::migratetype`] presents it as a type, as the
/// kernels of both profiles do.
#[derive(Clone, Debug)]
pub(crate) struct Pageblocks {
    order: Order,
    flags: Vec<u8>,
    isolated: u64,
    changed: Changed,
}

/// Blocks whose type or isolation may have changed since somebody last asked, as positions.
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
        Self {
            order,
            flags: vec![0; (frames >> order.get()) as usize],
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
        BY_FLAGS[(self.flags[self.slot(index)] & (TYPE | ISOLATED)) as usize]
    }

    /// Whether the block that holds `index` has exactly this type and is not isolated.
    #[inline]
    pub(crate) fn is_plain(&self, index: FrameIndex, mt: MigrateType) -> bool {
        self.flags[self.slot(index)] & (TYPE | ISOLATED) == mt as u8
    }

    /// Gives the block a type and ends its isolation. Linux: `set_pageblock_migratetype()`.
    pub(crate) fn set_migratetype(&mut self, index: FrameIndex, mt: MigrateType) {
        assert!(mt != MigrateType::Isolate, "isolation is a mark, not a type");
        let slot = self.slot(index);
        if self.flags[slot] & ISOLATED != 0 {
            self.isolated -= 1;
        }
        self.flags[slot] = self.flags[slot] & SKIP | mt as u8;
        self.changed.note(slot);
    }

    /// Gives every pageblock that a block of `order` touches a type.
    /// Linux: `change_pageblock_range()`.
    pub(crate) fn set_migratetypes(&mut self, block: (FrameIndex, Order), mt: MigrateType) {
        let (index, order) = block;
        for start in (index..index + (1 << order.get())).step_by(1 << self.order.get()) {
            self.set_migratetype(start, mt);
        }
    }

    /// Marks the block as isolated; its type stays beside the mark.
    ///
    /// # Panics
    ///
    /// Panics when the block is isolated already.
    pub(crate) fn isolate(&mut self, index: FrameIndex) {
        let slot = self.slot(index);
        assert!(self.flags[slot] & ISOLATED == 0, "pageblock is isolated already");
        self.flags[slot] |= ISOLATED;
        self.isolated += 1;
        self.changed.note(slot);
    }

    /// Marks the memory of the block as gone; the next type it gets brings it back. It is no longer
    /// isolated. Linux: a section without `SECTION_IS_ONLINE`.
    pub(crate) fn set_offline(&mut self, index: FrameIndex) {
        self.set_migratetype(index, MigrateType::Movable);
        let slot = self.slot(index);
        self.flags[slot] |= OFFLINE;
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
        self.flags[self.slot(index)] & OFFLINE != 0
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
        self.flags[self.slot(index)] & SKIP != 0
    }

    /// Tells the scanners to pass this block by. Linux: `set_pageblock_skip()`.
    pub(crate) fn set_skip(&mut self, index: FrameIndex) {
        let slot = self.slot(index);
        self.flags[slot] |= SKIP;
    }

    /// Forgets all skip hints. Linux: `__reset_isolation_suitable()`.
    pub(crate) fn clear_skips(&mut self) {
        self.flags.iter_mut().for_each(|flags| *flags &= !SKIP);
    }

    /// Number of isolated blocks. Linux: `nr_isolate_pageblock`.
    pub(crate) const fn isolated(&self) -> u64 {
        self.isolated
    }

    /// Number of blocks.
    pub(crate) fn len(&self) -> usize {
        self.flags.len()
    }

    /// The type of a block by its position; [`migratetype`](Self::migratetype) by a frame.
    pub(crate) fn type_at(&self, slot: usize) -> MigrateType {
        BY_FLAGS[(self.flags[slot] & (TYPE | ISOLATED)) as usize]
    }

    /// What may have changed since the last call.
    #[inline]
    pub(crate) fn take_changed(&mut self) -> Changed {
        core::mem::take(&mut self.changed)
    }

    /// Recounts the isolated blocks, for `check()`.
    pub(crate) fn count_isolated(&self) -> u64 {
        self.flags.iter().filter(|&&flags| flags & ISOLATED != 0).map(|_| 1).sum()
    }
}
