//! What starts at a frame: as others see it, and as the byte that the memory map keeps.

use crate::units::{Order, PageCount, Pfn};

/// What starts at a frame, or which block the frame belongs to. Linux: flags of `struct page`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frame {
    /// Part of a block on a buddy list. Linux: `PageBuddy`.
    Free {
        /// First frame of the block.
        head: Pfn,
        /// Order of the block.
        order: Order,
    },
    /// Part of a block that somebody holds.
    Allocated {
        /// First frame of the block.
        head: Pfn,
        /// Order of the block as it was last allocated or split.
        order: Order,
        /// Whether the holder can be migrated.
        movability: Movability,
    },
    /// Part of a block on a per-CPU list.
    PerCpu {
        /// First frame of the block.
        head: Pfn,
        /// Order of the block.
        order: Order,
    },
    /// A hole, memory that was never handed over, or a frame outside the zone.
    /// Linux: `PageReserved`, or no page at all.
    Reserved,
}

impl Frame {
    /// Where a walk over the frames goes on that found this at `pfn`: behind the block, or at the
    /// next frame where there is none.
    #[inline]
    #[must_use]
    pub fn next(self, pfn: Pfn) -> Pfn {
        match self {
            Self::Free { head, order }
            | Self::Allocated { head, order, .. }
            | Self::PerCpu { head, order } => head + order.pages(),
            Self::Reserved => pfn + PageCount::new(1),
        }
    }
}

/// Whether an allocated block can be migrated. Linux: `PageLRU || __PageMovable`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Movability {
    /// Can be migrated.
    Movable,
    /// Stays where it is until it is freed.
    Unmovable,
}

/// What starts at a frame, as stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Head {
    /// A block on a buddy list.
    Free(Order),
    /// An allocated block.
    Allocated(Order, Movability),
    /// A block on a per-CPU list.
    PerCpu(Order),
}

impl Head {
    /// Order of the block.
    pub(crate) const fn order(self) -> Order {
        match self {
            Self::Free(order) | Self::Allocated(order, _) | Self::PerCpu(order) => order,
        }
    }

    /// The state byte of the frame that starts such a block.
    pub(crate) const fn encode(self) -> u8 {
        match self {
            Self::Free(order) => free(order),
            Self::Allocated(order, movability) => allocated(order, movability),
            Self::PerCpu(order) => PER_CPU | order.get(),
        }
    }

    /// Whether a state byte says that an allocated block of exactly `order` starts there.
    #[inline(always)]
    pub(crate) const fn is_allocated(state: u8, order: Order) -> bool {
        state & !MOVABLE == ALLOCATED | order.get()
    }

    /// What a state byte says; `None` where no block starts.
    #[inline(always)]
    pub(crate) const fn decode(state: u8) -> Option<Self> {
        let order = Order::from_bits(state);
        match state & KIND {
            FREE => Some(Self::Free(order)),
            ALLOCATED if state & MOVABLE != 0 => Some(Self::Allocated(order, Movability::Movable)),
            ALLOCATED => Some(Self::Allocated(order, Movability::Unmovable)),
            PER_CPU => Some(Self::PerCpu(order)),
            _ => None,
        }
    }
}

/// Bits 0..4 hold the order ([`Order::from_bits`]), bit 6 the movability; each kind has a bit. That
/// of free blocks is the highest, which is looked at most: a sign.
pub(super) const KIND: u8 = FREE | ALLOCATED | PER_CPU;
pub(super) const FREE: u8 = 0x80;
const ALLOCATED: u8 = 0x10;
const PER_CPU: u8 = 0x20;
const MOVABLE: u8 = 0x40;

/// The state of a frame that starts a free block.
pub(super) const fn free(order: Order) -> u8 {
    FREE | order.get()
}

/// The state of a frame that starts an allocated block.
pub(super) const fn allocated(order: Order, movability: Movability) -> u8 {
    let movable = matches!(movability, Movability::Movable) as u8 * MOVABLE;
    ALLOCATED | movable | order.get()
}

/// Position of a frame in its zone's map: frame number minus the map's base.
pub(crate) type FrameIndex = u32;
