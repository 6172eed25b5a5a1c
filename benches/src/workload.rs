//! Seeded workloads over a [`Peer`].

use pagelab_allocator::units::{Order, PageCount, Pfn};
use rand_pcg::{
    Pcg32,
    rand_core::{Rng, SeedableRng},
};

use crate::{FRAMES, MAX_ORDER, Peer};

/// The seed of every draw, so that two runs do the same.
pub const SEED: u64 = 0x70a6_e1ab;

/// The generator of the draws.
#[must_use]
pub fn rng() -> Pcg32 {
    Pcg32::seed_from_u64(SEED)
}

/// The generator of one of several threads.
#[must_use]
pub fn rng_of(thread: usize) -> Pcg32 {
    Pcg32::seed_from_u64(SEED ^ u64::try_from(thread).expect("few threads"))
}

/// A draw from `0..bound`, with a bias below 2^-11 for the bounds used here: an index needs no
/// more.
#[inline(always)]
pub fn below(rng: &mut Pcg32, bound: usize) -> usize {
    let bound = u64::try_from(bound).expect("a machine word has at most 64 bits");
    let scaled = (u64::from(rng.next_u32()) * bound) >> 32;
    usize::try_from(scaled).expect("below a machine word")
}

/// Puts `items` into a random order.
pub fn shuffle<T>(items: &mut [T]) {
    let mut rng = rng();
    for end in (1..items.len()).rev() {
        items.swap(end, below(&mut rng, end + 1));
    }
}

/// An order from 0 to [`MAX_ORDER`], each half as likely as the one below it.
fn geometric(rng: &mut Pcg32) -> Order {
    let limited = u64::from(rng.next_u32()) | MAX_ORDER.pages().get();
    Pfn::new(limited).natural_order(MAX_ORDER)
}

/// Allocates a block and frees it at once.
#[inline(always)]
pub fn pair<P: Peer>(peer: &mut P, order: Order) {
    let block = peer.alloc(order).expect("a pair is asked of memory that is mostly free");
    peer.free(std::hint::black_box(block), order);
}

/// Allocates `pages` single pages into `blocks`.
pub fn fill<P: Peer>(peer: &mut P, pages: PageCount, blocks: &mut Vec<P::Block>) {
    blocks.extend((0..pages.get()).map_while(|_| peer.alloc(Order::ZERO)));
}

/// Frees the single pages `blocks` in their order.
pub fn drain<P: Peer>(peer: &mut P, blocks: &mut Vec<P::Block>) {
    for block in blocks.drain(..) {
        peer.free(block, Order::ZERO);
    }
}

/// Blocks of mixed orders coming and going around one level of use.
#[derive(Debug)]
pub struct Churn<P: Peer> {
    peer: P,
    level: PageCount,
    rng: Pcg32,
    live: Vec<(P::Block, Order)>,
    used: PageCount,
    failures: u64,
}

impl<P: Peer> Churn<P> {
    /// A churn over `peer` at three quarters of the pool, which has been reached.
    #[must_use]
    pub fn new(peer: P) -> Self {
        Self::at_level(peer, PageCount::new(FRAMES / 4 * 3), rng())
    }

    /// A churn around `level` allocated pages, with draws of its own; the level has been reached.
    #[must_use]
    pub fn at_level(peer: P, level: PageCount, rng: Pcg32) -> Self {
        let (live, used) = (vec![], PageCount::ZERO);
        let mut churn = Self { peer, level, rng, live, used, failures: 0 };
        while churn.used < level && churn.failures == 0 {
            churn.step();
        }
        churn
    }

    /// The peer.
    pub fn peer_mut(&mut self) -> &mut P {
        &mut self.peer
    }

    /// Allocates a block of a random order, or frees a random one when above the level.
    pub fn step(&mut self) {
        if self.used >= self.level {
            let victim = below(&mut self.rng, self.live.len());
            let (block, order) = self.live.swap_remove(victim);
            self.peer.free(block, order);
            self.used -= order.pages();
            return;
        }
        let order = geometric(&mut self.rng);
        match self.peer.alloc(order) {
            Some(block) => {
                self.live.push((block, order));
                self.used += order.pages();
            }
            None => self.failures += 1,
        }
    }

    /// Requests that found no block.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// The peer, after every block is freed.
    pub fn finish(mut self) -> P {
        for (block, order) in self.live.drain(..) {
            self.peer.free(block, order);
        }
        self.peer
    }
}
