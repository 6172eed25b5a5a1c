//! Every peer against a bitmap: a wrong allocator may be as fast as it likes.

use pagelab_allocator::units::{Order, PageCount, Pfn, PfnRange};
use pagelab_benches::{
    BareList, BitmapAllocator, BuddySlab, BuddySystem, FRAMES, Floor, FrameAlloc, FrameAllocDepot,
    MAX_ORDER, PagelabBuddy, PagelabCpu, PagelabPcp, PagelabShared, Peer, SPARE,
    workload::{Churn, drain, fill, shuffle},
};
use pagelab_percpu::{Asymmetric, Locked};

/// A peer whose every answer is checked against one bit a frame.
struct Checked<P> {
    peer: P,
    taken: Vec<bool>,
}

impl<P> Checked<P> {
    fn turn(&mut self, pfn: Pfn, order: Order, from: bool) {
        for frame in PfnRange::block(pfn, order).iter() {
            let taken = &mut self.taken[usize::try_from(frame.get()).expect("a machine word")];
            assert_eq!(*taken, from, "frame {frame} of order {order}");
            *taken = !from;
        }
    }
}

impl<P: Peer> Peer for Checked<P> {
    const NAME: &'static str = P::NAME;

    type Block = P::Block;

    fn new() -> Self {
        let span = usize::try_from(FRAMES + SPARE.get()).expect("a machine word");
        Self { peer: P::new(), taken: vec![false; span] }
    }

    fn alloc(&mut self, order: Order) -> Option<P::Block> {
        let block = self.peer.alloc(order)?;
        let pfn = P::start(&block);
        assert!(pfn.is_aligned(order), "{pfn} is not aligned to order {order}");
        self.turn(pfn, order, false);
        Some(block)
    }

    fn alloc_at(&mut self, start: Pfn, order: Order) -> Option<P::Block> {
        let block = self.peer.alloc_at(start, order)?;
        assert_eq!(P::start(&block), start);
        self.turn(start, order, false);
        Some(block)
    }

    fn free(&mut self, block: P::Block, order: Order) {
        self.turn(P::start(&block), order, true);
        self.peer.free(block, order);
    }

    fn start(block: &P::Block) -> Pfn {
        P::start(block)
    }
}

/// Mixed orders, then everything as single pages in random order, then everything as the largest
/// blocks: these exist again only when all frees have merged.
fn check<P: Peer>() {
    let mut churn = Churn::new(Checked::<P>::new());
    for _ in 0..20_000 {
        churn.step();
    }
    assert_eq!(churn.failures(), 0);
    let mut peer = churn.finish();

    let mut blocks = Vec::new();
    fill(&mut peer, PageCount::new(FRAMES), &mut blocks);
    assert_eq!(blocks.len(), usize::try_from(FRAMES).expect("a machine word"));
    shuffle(&mut blocks);
    drain(&mut peer, &mut blocks);

    for block in 0..FRAMES >> MAX_ORDER.get() {
        assert!(peer.alloc(MAX_ORDER).is_some(), "only {block} of the largest blocks");
    }
}

#[test]
fn bare_list_is_right() {
    check::<BareList>();
}

#[test]
fn bitmap_allocator_is_right() {
    check::<BitmapAllocator>();
}

#[test]
fn buddy_slab_is_right() {
    check::<BuddySlab>();
}

#[test]
fn buddy_system_is_right() {
    check::<BuddySystem>();
}

#[test]
fn frame_alloc_is_right() {
    check::<FrameAlloc>();
}

#[test]
fn pagelab_buddy_is_right() {
    check::<PagelabBuddy>();
}

#[test]
fn pagelab_cpu_is_right() {
    check::<PagelabCpu>();
}

#[test]
fn pagelab_pcp_is_right() {
    check::<PagelabPcp>();
}

#[test]
fn frame_alloc_with_its_depot_is_right() {
    check::<FrameAllocDepot>();
}

#[test]
fn pagelab_shared_is_right() {
    check::<PagelabShared<Asymmetric>>();
}

#[test]
fn pagelab_shared_behind_locks_is_right() {
    check::<PagelabShared<Locked>>();
}

/// Blocks of the caller's choice: each once, and it can be freed.
fn check_chosen<P: Peer>() {
    let mut peer = Checked::<P>::new();
    // Apart, for what is freed may stay on the list of its CPU.
    for (order, start) in [(0, 0x5_0000), (3, 0x6_0008), (9, 0x7_0200)] {
        let (order, start) = (Order::of(order), Pfn::new(start));
        let block = peer.alloc_at(start, order).expect("a free block");
        assert!(peer.alloc_at(start, order).is_none(), "order {order} was given twice");
        peer.free(block, order);
    }
}

#[test]
fn a_chosen_block_is_taken_once() {
    check_chosen::<PagelabShared>();
    check_chosen::<BareList>();
}

#[test]
#[should_panic(expected = "frame 0x0")]
fn canary_the_floor_gives_one_frame_twice() {
    check::<Floor>();
}
