//! Memory for peers that write metadata into what they manage.

use memmap2::{MmapMut, MmapOptions};
use pagelab_allocator::units::Order;

use crate::{FRAMES, Frame, MAX_ORDER, pages};

/// Bytes of a frame.
pub(crate) const FRAME: usize = 4096;
const BLOCK: usize = pages(MAX_ORDER) * FRAME;

/// Address space for [`FRAMES`] frames and some metadata. Nothing is backed by memory until it is
/// written, and nobody writes to frames here.
#[derive(Debug)]
pub(crate) struct Arena {
    map: MmapMut,
    /// Offset of frame zero, which lies on a boundary of the largest block.
    zero: usize,
}

impl Arena {
    /// Bytes of all frames.
    pub(crate) const FRAMES_LEN: usize = FRAME << FRAMES.trailing_zeros();
    /// The most metadata that fits on either side of the frames.
    pub(crate) const SLACK: usize = 8 * BLOCK;

    pub(crate) fn new() -> Self {
        let len = Self::FRAMES_LEN + 2 * Self::SLACK + BLOCK;
        let map = MmapOptions::new().len(len).no_reserve_swap().map_anon();
        let map = map.expect("4 GiB of address space can be had");
        let start = map.as_ptr().addr();
        let zero = (start + Self::SLACK).next_multiple_of(BLOCK) - start;
        Self { map, zero }
    }

    /// The bytes from `before` below frame zero to `after` above it.
    pub(crate) fn around_zero(&mut self, before: usize, after: usize) -> &mut [u8] {
        &mut self.map[self.zero - before..self.zero + after]
    }

    /// The number of the frame at an address.
    pub(crate) fn frame_at(&self, address: usize) -> Frame {
        Frame::at((address - self.map.as_ptr().addr() - self.zero) / FRAME)
    }

    /// The address of a frame.
    pub(crate) fn address_of(&self, frame: Frame) -> usize {
        self.map.as_ptr().addr() + self.zero + frame.index() * FRAME
    }
}

/// Bytes of a block.
pub(crate) const fn bytes(order: Order) -> usize {
    pages(order) * FRAME
}
