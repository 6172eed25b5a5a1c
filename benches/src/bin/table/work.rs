//! The workloads, as one thread's share of each.

use std::time::Duration;

use pagelab_allocator::units::{Order, PageCount, Pfn};
use pagelab_benches::{
    FRAMES, Shared,
    workload::{Churn, below, drain, fill, pair, rng_of, shuffle},
};
use rand_pcg::Pcg32;

use crate::clock::Stopwatch;

/// A thread among those that share the pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    pub(crate) thread: usize,
    pub(crate) threads: usize,
}

impl Share {
    /// Frames for this thread.
    fn pages(self) -> PageCount {
        PageCount::new(FRAMES / u64::try_from(self.threads).expect("few threads"))
    }

    fn half(self) -> PageCount {
        PageCount::new(self.pages().get() / 2)
    }

    fn rng(self) -> Pcg32 {
        rng_of(self.thread)
    }
}

/// What one thread does, again and again.
pub(crate) trait Work<P: Shared>: Send + Sized {
    /// Brings the thread's share of a fresh pool into the state where the workload starts.
    fn new(peer: P, share: Share) -> Self;

    fn peer(&mut self) -> &mut P;

    /// What comes before each round, untimed.
    fn before(&mut self) {}

    /// A round of about `slice`, or of as long as it takes; says how many operations it had. None
    /// when the peer cannot do this.
    fn timed(&mut self, slice: Duration) -> u32;

    /// Requests so far that found nothing.
    fn failures(&self) -> u64 {
        0
    }
}

/// Pairs asked for between two looks at the clock.
const BATCH: u32 = 256;
/// Steps that are not timed at the start of a round: others have emptied the caches, and a table as
/// large as the pool's is back in them after about so many draws.
const WARM_STEPS: u32 = 200_000;

/// a, o9: a block and back, on a fresh pool. The order is a constant, as where pages are asked for.
pub(crate) struct Pairs<P, const ORDER: u8>(P);

impl<P: Shared, const ORDER: u8> Work<P> for Pairs<P, ORDER> {
    fn new(peer: P, _share: Share) -> Self {
        Self(peer)
    }

    fn peer(&mut self) -> &mut P {
        &mut self.0
    }

    #[inline(never)]
    fn timed(&mut self, slice: Duration) -> u32 {
        Stopwatch::start().repeat(slice, || {
            (0..BATCH).for_each(|_| pair(&mut self.0, Order::of(ORDER)));
            BATCH
        })
    }
}

/// A handle and its single pages.
pub(crate) struct Held<P: Shared> {
    peer: P,
    blocks: Vec<P::Block>,
    share: Share,
    rng: Pcg32,
}

impl<P: Shared> Held<P> {
    fn new(peer: P, share: Share) -> Self {
        Self { peer, blocks: Vec::new(), share, rng: share.rng() }
    }

    fn fill_to(&mut self, pages: PageCount) {
        let held = u64::try_from(self.blocks.len()).expect("pages of a pool");
        fill(&mut self.peer, PageCount::new(pages.get().saturating_sub(held)), &mut self.blocks);
    }

    fn drain(&mut self) {
        drain(&mut self.peer, &mut self.blocks);
    }

    fn count(&self) -> u32 {
        u32::try_from(self.blocks.len()).expect("pages of a pool")
    }
}

/// a': pairs where every page was allocated and a random half of them freed.
pub(crate) struct PairsInHalf<P: Shared>(Held<P>);

impl<P: Shared> Work<P> for PairsInHalf<P> {
    fn new(peer: P, share: Share) -> Self {
        let mut held = Held::new(peer, share);
        held.fill_to(share.pages());
        shuffle(&mut held.blocks);
        for block in held.blocks.split_off(held.blocks.len() / 2) {
            held.peer.free(block, Order::ZERO);
        }
        Self(held)
    }

    fn peer(&mut self) -> &mut P {
        &mut self.0.peer
    }

    #[inline(never)]
    fn timed(&mut self, slice: Duration) -> u32 {
        Stopwatch::start().repeat(slice, || {
            (0..BATCH).for_each(|_| pair(&mut self.0.peer, Order::ZERO));
            BATCH
        })
    }
}

/// b: half of the pool allocated page by page.
pub(crate) struct BulkAlloc<P: Shared>(Held<P>);

impl<P: Shared> Work<P> for BulkAlloc<P> {
    fn new(peer: P, share: Share) -> Self {
        Self(Held::new(peer, share))
    }

    fn peer(&mut self) -> &mut P {
        &mut self.0.peer
    }

    fn before(&mut self) {
        self.0.drain();
    }

    #[inline(never)]
    fn timed(&mut self, _slice: Duration) -> u32 {
        self.0.fill_to(self.0.share.half());
        self.0.count()
    }
}

/// b: and freed in the order of allocation.
pub(crate) struct BulkFree<P: Shared>(Held<P>);

impl<P: Shared> Work<P> for BulkFree<P> {
    fn new(peer: P, share: Share) -> Self {
        Self(Held::new(peer, share))
    }

    fn peer(&mut self) -> &mut P {
        &mut self.0.peer
    }

    fn before(&mut self) {
        self.0.fill_to(self.0.share.half());
    }

    #[inline(never)]
    fn timed(&mut self, _slice: Duration) -> u32 {
        let count = self.0.count();
        self.0.drain();
        count
    }
}

/// c, c2: with half of the pool allocated, `PAGES` random pages are freed and as many allocated.
pub(crate) struct Turnover<P: Shared, const PAGES: u32>(Held<P>);

impl<P: Shared, const PAGES: u32> Turnover<P, PAGES> {
    /// Frees pages, and allocates as many.
    #[inline(always)]
    fn turn(&mut self) {
        let held = &mut self.0;
        for _ in 0..PAGES {
            let victim = below(&mut held.rng, held.blocks.len());
            let block = held.blocks.swap_remove(victim);
            held.peer.free(block, Order::ZERO);
        }
        let more = (0..PAGES).map_while(|_| held.peer.alloc(Order::ZERO));
        held.blocks.extend(more);
    }
}

impl<P: Shared, const PAGES: u32> Work<P> for Turnover<P, PAGES> {
    fn new(peer: P, share: Share) -> Self {
        let mut held = Held::new(peer, share);
        held.fill_to(share.half());
        Self(held)
    }

    fn peer(&mut self) -> &mut P {
        &mut self.0.peer
    }

    fn before(&mut self) {
        (0..WARM_STEPS / 2 / PAGES).for_each(|_| self.turn());
    }

    #[inline(never)]
    fn timed(&mut self, slice: Duration) -> u32 {
        Stopwatch::start().repeat(slice, || {
            (0..1024 / PAGES).for_each(|_| self.turn());
            2048
        })
    }
}

/// c3: everything allocated, then freed in random order.
pub(crate) struct FreeRandom<P: Shared>(Held<P>);

impl<P: Shared> Work<P> for FreeRandom<P> {
    fn new(peer: P, share: Share) -> Self {
        Self(Held::new(peer, share))
    }

    fn peer(&mut self) -> &mut P {
        &mut self.0.peer
    }

    fn before(&mut self) {
        self.0.fill_to(self.0.share.pages());
        shuffle(&mut self.0.blocks);
    }

    #[inline(never)]
    fn timed(&mut self, _slice: Duration) -> u32 {
        let count = self.0.count();
        self.0.drain();
        count
    }
}

/// d2: blocks of all orders come and go at 75 %.
pub(crate) struct Mixed<P: Shared> {
    churn: Churn<P>,
    steps: u64,
}

impl<P: Shared> Work<P> for Mixed<P> {
    fn new(peer: P, share: Share) -> Self {
        let level = PageCount::new(share.pages().get() / 4 * 3);
        Self { churn: Churn::at_level(peer, level, share.rng()), steps: 0 }
    }

    fn peer(&mut self) -> &mut P {
        self.churn.peer_mut()
    }

    fn before(&mut self) {
        (0..WARM_STEPS).for_each(|_| self.churn.step());
    }

    #[inline(never)]
    fn timed(&mut self, slice: Duration) -> u32 {
        let steps = Stopwatch::start().repeat(8 * slice, || {
            (0..BATCH).for_each(|_| self.churn.step());
            BATCH
        });
        self.steps += u64::from(WARM_STEPS) + u64::from(steps);
        steps
    }

    fn failures(&self) -> u64 {
        self.churn.failures() * 1_000_000 / self.steps.max(1)
    }
}

/// f: a random free block is chosen, taken and given back.
pub(crate) struct Claims<P, const ORDER: u8> {
    peer: P,
    blocks: usize,
    first: u64,
    rng: Pcg32,
}

impl<P: Shared, const ORDER: u8> Claims<P, ORDER> {
    /// Whether the block that was drawn could be had.
    #[inline(always)]
    fn claim(&mut self) -> bool {
        let block = u64::try_from(below(&mut self.rng, self.blocks)).expect("a number");
        let start = Pfn::new(self.first + (block << ORDER));
        let order = Order::of(ORDER);
        let Some(block) = self.peer.alloc_at(start, order) else { return false };
        self.peer.put_back(std::hint::black_box(block), order);
        true
    }
}

impl<P: Shared, const ORDER: u8> Work<P> for Claims<P, ORDER> {
    fn new(peer: P, share: Share) -> Self {
        let frames = share.pages().get();
        let first = frames * u64::try_from(share.thread).expect("few threads");
        let blocks = usize::try_from(frames >> ORDER).expect("a pool's blocks");
        Self { peer, blocks, first, rng: share.rng() }
    }

    fn peer(&mut self) -> &mut P {
        &mut self.peer
    }

    fn before(&mut self) {
        (0..WARM_STEPS).for_each(|_| {
            self.claim();
        });
    }

    #[inline(never)]
    fn timed(&mut self, slice: Duration) -> u32 {
        Stopwatch::start().repeat(slice, || (0..BATCH).map(|_| u32::from(self.claim())).sum())
    }
}
