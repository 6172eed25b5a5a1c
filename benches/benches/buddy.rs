//! Times allocators of blocks of frames. Pool: 1,048,576 frames (4 GiB), metadata only, one thread.
//!
//! Dimensions, as `group/peer`:
//!
//! * `order0_pair_fresh`, `order9_pair_fresh`: allocate and free at once, everything else free, so
//!   that a buddy allocator splits and merges all the way.
//! * `order0_pair_half`: the same with half of the pool allocated and a single page at hand.
//! * `bulk_alloc`, `bulk_free`: half of the pool as single pages, freed in order of allocation; per
//!   page.
//! * `free_random`: the whole pool of single pages, freed in random order; per page.
//! * `mixed_75`: orders 0 to 10, each half as likely as the one below, around 75 % occupancy; per
//!   operation. A request that fails ends the run.
//!
//! `floor` is the harness without an allocator, `bare-list` the data structure without Linux's
//! rules. `pagelab-buddy` is our buddy lists alone, `pagelab-pcp` one zone with the per-CPU lists
//! of one CPU, `pagelab-cpu` our whole page allocator with watermarks and the per-CPU lists of one
//! CPU, so that its `order0_pair_*` are hits on those lists. No lock is around anything;
//! `frame-alloc` is the only one that may be shared between threads, and pays for it with atomic
//! operations.

use std::time::Duration;

use criterion::{
    Bencher, Criterion, Throughput,
    measurement::{Measurement, WallTime},
};
use pagelab_allocator::units::{Order, PageCount};
use pagelab_benches::{
    BareList, BitmapAllocator, BuddySlab, BuddySystem, FRAMES, Floor, FrameAlloc, PagelabBuddy,
    PagelabCpu, PagelabPcp, Peer,
    workload::{Churn, drain, fill, pair, shuffle},
};

const ALL: PageCount = PageCount::new(FRAMES);
const HALF: PageCount = PageCount::new(FRAMES / 2);
/// One page more, so that the next single page is there without a split.
const OVER_HALF: PageCount = PageCount::new(FRAMES / 2 + 1);

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .configure_from_args();
    all_of::<Floor>(&mut criterion);
    all_of::<BareList>(&mut criterion);
    all_of::<PagelabBuddy>(&mut criterion);
    all_of::<PagelabPcp>(&mut criterion);
    all_of::<PagelabCpu>(&mut criterion);
    all_of::<BuddySlab>(&mut criterion);
    all_of::<BuddySystem>(&mut criterion);
    all_of::<BitmapAllocator>(&mut criterion);
    all_of::<FrameAlloc>(&mut criterion);
    criterion.final_summary();
}

fn all_of<P: Peer>(criterion: &mut Criterion) {
    pairs::<P, 0>(criterion, "order0_pair_fresh", PageCount::ZERO);
    pairs::<P, 0>(criterion, "order0_pair_half", OVER_HALF);
    pairs::<P, 9>(criterion, "order9_pair_fresh", PageCount::ZERO);
    bulk::<P>(criterion);
    free_random::<P>(criterion);
    mixed::<P>(criterion);
}

/// The order is a constant, as it is where pages are asked for.
fn pairs<P: Peer, const ORDER: u8>(criterion: &mut Criterion, group: &str, used: PageCount) {
    criterion.benchmark_group(group).bench_function(P::NAME, |bencher| {
        let mut peer = P::new();
        fill(&mut peer, used, &mut Vec::new());
        bencher.iter(|| pair(&mut peer, Order::of(ORDER)));
    });
}

fn bulk<P: Peer>(criterion: &mut Criterion) {
    bulk_one::<P>(criterion, "bulk_alloc", drain, |peer, blocks| fill(peer, HALF, blocks));
    bulk_one::<P>(criterion, "bulk_free", |peer, blocks| fill(peer, HALF, blocks), drain);
}

fn bulk_one<P: Peer>(
    criterion: &mut Criterion,
    group: &str,
    before: fn(&mut P, &mut Vec<P::Block>),
    timed: fn(&mut P, &mut Vec<P::Block>),
) {
    let mut group = criterion.benchmark_group(group);
    group.throughput(Throughput::Elements(HALF.get()));
    group.bench_function(P::NAME, |bencher| phases(bencher, before, timed));
}

fn free_random<P: Peer>(criterion: &mut Criterion) {
    let before = |peer: &mut P, blocks: &mut Vec<P::Block>| {
        fill(peer, ALL, blocks);
        shuffle(blocks);
    };
    let mut group = criterion.benchmark_group("free_random");
    group.throughput(Throughput::Elements(ALL.get()));
    group.bench_function(P::NAME, |bencher| phases(bencher, before, drain));
}

fn mixed<P: Peer>(criterion: &mut Criterion) {
    criterion.benchmark_group("mixed_75").bench_function(P::NAME, |bencher| {
        let mut churn = Churn::new(P::new());
        bencher.iter(|| churn.step());
        assert_eq!(churn.failures(), 0, "{} failed requests", P::NAME);
    });
}

/// Times the second of two phases that undo each other.
fn phases<P: Peer>(
    bencher: &mut Bencher<'_>,
    before: impl Fn(&mut P, &mut Vec<P::Block>),
    timed: impl Fn(&mut P, &mut Vec<P::Block>),
) {
    let (mut peer, mut blocks) = (P::new(), Vec::new());
    bencher.iter_custom(|iterations| {
        let once = |_| {
            before(&mut peer, &mut blocks);
            let start = WallTime.start();
            timed(&mut peer, &mut blocks);
            WallTime.end(start)
        };
        (0..iterations).map(once).sum()
    });
}
