//! The workloads of `buddy.rs` as one table of ratios, for machines that are not quiet.
//!
//! Rows are peers, columns workloads. The peers take turns in short slices, so that a slow moment
//! of the machine slows all of them. A cell is the median of a peer's slices in nanoseconds for one
//! operation, and in brackets the median of the quotients with the yardstick's slice of the same
//! turn. From `mixed_75` the floor's slice is taken off first.
//!
//! `cargo bench -p pagelab-benches --bench ratios`; with `-- --test` every slice runs once.

use std::time::Duration;

use criterion::measurement::{Measurement, WallTime};
use pagelab_allocator::units::{Order, PageCount};
use pagelab_benches::{
    BareList, BitmapAllocator, BuddySlab, BuddySystem, FRAMES, Floor, FrameAlloc, PagelabBuddy,
    PagelabCpu, PagelabPcp, Peer,
    workload::{Churn, drain, fill, pair, shuffle},
};

const ALL: PageCount = PageCount::new(FRAMES);
const HALF: PageCount = PageCount::new(FRAMES / 2);
/// Pairs of a slice.
const PAIRS: u32 = 20_000;
const PAIR_TURNS: usize = 100;
/// Steps of a slice of the churn that are not timed: the other peers have emptied the caches.
const WARM_STEPS: u32 = 1_000_000;
/// And steps that are.
const STEPS: u32 = 1_000_000;
const STEP_TURNS: usize = 5;
const LONG_TURNS: usize = 10;
/// Rows of the harness alone and of the yardstick.
const FLOOR: usize = 0;
const YARDSTICK: usize = 1;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Workload {
    Order0Pair,
    Order9Pair,
    Mixed75,
    BulkAlloc,
    BulkFree,
    FreeRandom,
}

impl Workload {
    const ALL: [Self; 6] = [
        Self::Order0Pair,
        Self::Order9Pair,
        Self::Mixed75,
        Self::BulkAlloc,
        Self::BulkFree,
        Self::FreeRandom,
    ];

    fn turns(self) -> usize {
        match self {
            _ if std::env::args().any(|argument| argument == "--test") => 1,
            Self::Order0Pair | Self::Order9Pair => PAIR_TURNS,
            Self::Mixed75 => STEP_TURNS,
            Self::BulkAlloc | Self::BulkFree | Self::FreeRandom => LONG_TURNS,
        }
    }

    /// All slices of every peer: nanoseconds of one operation, by peer, then by turn.
    fn run(self) -> Vec<Vec<f64>> {
        let mut slices = [
            self.slice::<Floor>(),
            self.slice::<BareList>(),
            self.slice::<PagelabBuddy>(),
            self.slice::<PagelabPcp>(),
            self.slice::<PagelabCpu>(),
            self.slice::<BuddySlab>(),
            self.slice::<BuddySystem>(),
            self.slice::<BitmapAllocator>(),
            self.slice::<FrameAlloc>(),
        ];
        let mut times = vec![Vec::new(); slices.len()];
        for _ in 0..self.turns() {
            times.iter_mut().zip(&mut slices).for_each(|(times, slice)| times.push(slice()));
        }
        if self == Self::Mixed75 {
            let floor = times[FLOOR].clone();
            for times in &mut times[YARDSTICK..] {
                times.iter_mut().zip(&floor).for_each(|(time, floor)| *time -= floor);
            }
        }
        times
    }

    /// What runs one slice on a peer of its own.
    fn slice<P: Peer + 'static>(self) -> Box<dyn FnMut() -> f64> {
        match self {
            Self::Order0Pair => pairs::<P, 0>(),
            Self::Order9Pair => pairs::<P, 9>(),
            // Built anew for every slice: nobody else's tables take room in the caches.
            Self::Mixed75 => Box::new(|| {
                let mut churn = Churn::new(P::new());
                (0..WARM_STEPS).for_each(|_| churn.step());
                repeat(STEPS, || churn.step())
            }),
            Self::BulkAlloc => phases::<P>(drain, |peer, blocks| fill(peer, HALF, blocks)),
            Self::BulkFree => phases::<P>(|peer, blocks| fill(peer, HALF, blocks), drain),
            Self::FreeRandom => phases::<P>(fill_shuffled, drain),
        }
    }
}

/// The order is a constant, as it is where pages are asked for.
fn pairs<P: Peer + 'static, const ORDER: u8>() -> Box<dyn FnMut() -> f64> {
    let mut peer = P::new();
    Box::new(move || repeat(PAIRS, || pair(&mut peer, Order::of(ORDER))))
}

fn fill_shuffled<P: Peer>(peer: &mut P, blocks: &mut Vec<P::Block>) {
    fill(peer, ALL, blocks);
    shuffle(blocks);
}

/// Times the second of two phases that undo each other, for one page of those it is about.
fn phases<P: Peer + 'static>(
    before: fn(&mut P, &mut Vec<P::Block>),
    timed: fn(&mut P, &mut Vec<P::Block>),
) -> Box<dyn FnMut() -> f64> {
    let (mut peer, mut blocks) = (P::new(), Vec::new());
    Box::new(move || {
        before(&mut peer, &mut blocks);
        let held = blocks.len();
        let time = time(|| timed(&mut peer, &mut blocks));
        let pages = u32::try_from(held.max(blocks.len())).expect("at most 2^21 pages");
        nanoseconds(time) / f64::from(pages)
    })
}

fn repeat(times: u32, mut operation: impl FnMut()) -> f64 {
    nanoseconds(time(|| (0..times).for_each(|_| operation()))) / f64::from(times)
}

fn time(run: impl FnOnce()) -> Duration {
    let start = WallTime.start();
    run();
    WallTime.end(start)
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[expect(clippy::print_stdout, reason = "the table is the result")]
fn main() {
    let names = [
        Floor::NAME,
        BareList::NAME,
        PagelabBuddy::NAME,
        PagelabPcp::NAME,
        PagelabCpu::NAME,
        BuddySlab::NAME,
        BuddySystem::NAME,
        BitmapAllocator::NAME,
        FrameAlloc::NAME,
    ];
    let mut rows = names.map(|name| format!("| {name} |"));
    for workload in Workload::ALL {
        let times = workload.run();
        for (row, own) in rows.iter_mut().zip(&times) {
            let quotients = own.iter().zip(&times[YARDSTICK]).map(|(a, b)| a / b).collect();
            row.push_str(&format!(" {:.1} ({:.2}) |", median(own.clone()), median(quotients)));
        }
    }
    let names = Workload::ALL.map(|workload| format!(" {workload:?} |"));
    println!("| peer |{}\n|---|{}", names.concat(), "---|".repeat(names.len()));
    println!("{}", rows.join("\n"));
}
