//! A yardstick, not an allocator to use: the bare data structure of `pagelab-buddy`.
//!
//! One state byte a frame and two 32-bit links for each pair of them, list heads first in the
//! table of links, a mask of the orders that have blocks; split, merge, and nothing else. It has
//! no types, no counters, no choice of list ends, no check of what is freed, and no rule of Linux.
//! What it costs is what safe lists over such tables cost on the machine at hand; what
//! `pagelab-buddy` costs on top is the price of being Linux's.

use pagelab_allocator::units::{Order, Pfn};

use crate::{FRAMES, Frame, MAX_ORDER, Peer, pages};

const NEXT: usize = 0;
const PREV: usize = 1;
/// List heads, by order; a power of two above the largest order.
const HEADS: u32 = 16;
/// Added to the order of a free block in its state byte, so that zero means no block.
const FREE: u8 = 0x10;
const MAX: u32 = MAX_ORDER.get() as u32;

/// Five bytes a frame: buddies are never both free.
#[derive(Debug)]
pub struct BareList {
    state: Vec<u8>,
    links: Vec<[u32; 2]>,
    orders: u32,
}

/// The node of a free block.
const fn node(frame: u32) -> u32 {
    frame / 2 + HEADS
}

impl BareList {
    #[inline(always)]
    fn push(&mut self, frame: u32, order: u32) {
        let (node, head) = (node(frame), order);
        let next = self.links[head as usize][NEXT];
        self.links[node as usize] = [next, head];
        self.links[next as usize][PREV] = node;
        self.links[head as usize][NEXT] = node;
        self.state[frame as usize] = FREE | order.to_le_bytes()[0];
        self.orders |= 1 << order;
    }

    /// Takes the first block of a list that has one.
    #[inline(always)]
    fn pop(&mut self, order: u32) -> u32 {
        let (head, node) = (order, self.links[order as usize][NEXT]);
        let next = self.links[node as usize][NEXT];
        self.links[head as usize][NEXT] = next;
        self.links[next as usize][PREV] = head;
        if next == head {
            self.orders &= !(1 << order);
        }
        let even = (node - HEADS) * 2;
        let frame = even | u32::from(self.state[even as usize] < FREE);
        self.state[frame as usize] = 0;
        frame
    }

    #[inline(always)]
    fn pull(&mut self, frame: u32, order: u32) {
        let [next, prev] = self.links[node(frame) as usize];
        self.links[prev as usize][NEXT] = next;
        self.links[next as usize][PREV] = prev;
        self.state[frame as usize] = 0;
        if next == prev {
            self.orders &= !(1 << order);
        }
    }
}

impl Peer for BareList {
    const NAME: &'static str = "bare-list";

    type Block = Frame;

    fn new() -> Self {
        let frames = u32::try_from(FRAMES).expect("2^20 frames");
        let mut links = vec![[0; 2]; node(frames) as usize];
        (0..HEADS).for_each(|head| links[head as usize] = [head; 2]);
        let mut lists = Self { state: vec![0; frames as usize], links, orders: 0 };
        (0..frames).step_by(pages(MAX_ORDER)).rev().for_each(|frame| lists.push(frame, MAX));
        lists
    }

    #[inline(always)]
    fn alloc(&mut self, order: Order) -> Option<Frame> {
        let order = u32::from(order.get());
        let up = self.orders >> order;
        if up == 0 {
            return None;
        }
        let mut at = order + up.trailing_zeros();
        let frame = self.pop(at);
        while at > order {
            at -= 1;
            self.push(frame + (1 << at), at);
        }
        Some(Frame(frame))
    }

    #[inline(always)]
    fn free(&mut self, block: Frame, order: Order) {
        let mut frame = block.0;
        let mut order = u32::from(order.get());
        while order < MAX {
            let buddy = frame ^ (1 << order);
            if self.state[buddy as usize] != FREE | order.to_le_bytes()[0] {
                break;
            }
            self.pull(buddy, order);
            frame &= buddy;
            order += 1;
        }
        self.push(frame, order);
    }

    #[inline(always)]
    fn alloc_at(&mut self, start: Pfn, order: Order) -> Option<Frame> {
        let (wanted, order) = (Frame::from(start).0, u32::from(order.get()));
        let around = |from: u32| (wanted >> from << from, from);
        let is_free =
            |&(at, from): &(u32, u32)| self.state[at as usize] == FREE | from.to_le_bytes()[0];
        let (mut at, mut from) = (order..=MAX).map(around).find(is_free)?;
        self.pull(at, from);
        while from > order {
            from -= 1;
            let half = 1 << from;
            self.push((at ^ half) ^ (wanted & half), from);
            at |= wanted & half;
        }
        Some(Frame(wanted))
    }

    fn start(block: &Frame) -> Pfn {
        block.pfn()
    }
}
