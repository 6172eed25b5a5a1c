//! Times the slot of one CPU: what its owner pays for a turn, and what a remote pays.
//!
//! Dimensions, as `group/case`:
//!
//! * `pair`: the owner pushes a page number to a small stack and pops it, in two turns. Cases:
//!   `plain` (the stack without a slot), `swaps` (a yardstick: the same and two atomic swaps),
//!   `asymmetric`, `portable` (asymmetric with a full fence on both sides), `locked`.
//! * `drain`: a remote empties the stack, and nobody is in the way. Cases: `asymmetric` (a system
//!   call, which has little to do in a process of one thread), `portable`, `locked`.
//! * `drain_beside_owner`: the same while the owner pushes without a pause on another thread.

use std::{
    hint::black_box,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use criterion::{Bencher, Criterion};
use pagelab_percpu::{Asymmetric, Exclusive, Fence, Locked, Slot};

/// Pages that a stack can hold.
const ROOM: usize = 64;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    pair(&mut criterion);
    drain(&mut criterion);
    drain_beside_owner(&mut criterion);
    criterion.final_summary();
}

/// A stack of page numbers.
#[derive(Debug)]
struct Stack {
    pages: [u32; ROOM],
    len: usize,
}

impl Stack {
    fn new() -> Self {
        Self { pages: [0; ROOM], len: 0 }
    }

    #[inline(always)]
    fn push(&mut self, page: u32) {
        if let Some(place) = self.pages.get_mut(self.len) {
            *place = page;
            self.len += 1;
        }
    }

    #[inline(always)]
    fn pop(&mut self) -> Option<u32> {
        self.len = self.len.checked_sub(1)?;
        self.pages.get(self.len).copied()
    }

    fn drain(&mut self) -> usize {
        std::mem::take(&mut self.len)
    }
}

fn pair(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pair");
    group.bench_function("plain", |bencher| {
        let mut stack = Stack::new();
        bencher.iter(|| {
            black_box(&mut stack).push(black_box(7));
            black_box(&mut stack).pop()
        });
    });
    group.bench_function("swaps", |bencher| {
        let (mut stack, flag) = (Stack::new(), AtomicBool::new(false));
        bencher.iter(|| {
            flag.swap(true, Ordering::Acquire);
            black_box(&mut stack).push(black_box(7));
            flag.swap(false, Ordering::Acquire);
            black_box(&mut stack).pop()
        });
    });
    group.bench_function("asymmetric", |bencher| turns(bencher, Asymmetric::new()));
    group.bench_function("portable", |bencher| {
        turns(bencher, Asymmetric::with_fence(Fence::PORTABLE));
    });
    group.bench_function("locked", |bencher| turns(bencher, Locked::new()));
    group.finish();
}

/// Two turns of an owner.
fn turns<P: Exclusive>(bencher: &mut Bencher<'_>, protocol: P) {
    let (mut owner, _remote) = Slot::new(Stack::new(), protocol).split();
    bencher.iter(|| {
        owner.with(|stack| black_box(stack).push(black_box(7)));
        owner.with(|stack| black_box(stack).pop())
    });
}

fn drain(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("drain");
    group.bench_function("asymmetric", |bencher| drains(bencher, Asymmetric::new()));
    group.bench_function("portable", |bencher| {
        drains(bencher, Asymmetric::with_fence(Fence::PORTABLE));
    });
    group.bench_function("locked", |bencher| drains(bencher, Locked::new()));
    group.finish();
}

/// One turn of a remote.
fn drains<P: Exclusive>(bencher: &mut Bencher<'_>, protocol: P) {
    let (_owner, remote) = Slot::new(Stack::new(), protocol).split();
    bencher.iter(|| remote.with(Stack::drain));
}

fn drain_beside_owner(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("drain_beside_owner");
    group.bench_function("asymmetric", |bencher| drains_beside(bencher, Asymmetric::new()));
    group.bench_function("portable", |bencher| {
        drains_beside(bencher, Asymmetric::with_fence(Fence::PORTABLE));
    });
    group.bench_function("locked", |bencher| drains_beside(bencher, Locked::new()));
    group.finish();
}

/// One turn of a remote beside an owner at work.
fn drains_beside<P: Exclusive + Send + Sync>(bencher: &mut Bencher<'_>, protocol: P) {
    let (mut owner, remote) = Slot::new(Stack::new(), protocol).split();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                owner.with(|stack| black_box(stack).push(black_box(7)));
            }
        });
        bencher.iter(|| remote.with(Stack::drain));
        done.store(true, Ordering::Relaxed);
    });
}
