//! Threads that do one workload at the same time.

use std::{sync::Barrier, thread, time::Duration};

use pagelab_benches::Shared;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::{
    clock::Stopwatch,
    work::{Share, Work},
};

/// What a round was like.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Round {
    /// Nanoseconds of one operation, the mean over the threads; none where the peer cannot do it.
    pub(crate) time: Option<f64>,
    /// Failed requests of a million, so far.
    pub(crate) failures: u64,
}

/// What runs rounds of one workload on one peer.
pub(crate) type Rounds = Box<dyn FnMut(Duration) -> Round>;

/// A crew of `threads` over a pool of its own.
pub(crate) fn crew<P: Shared + 'static, W: Work<P> + 'static>(threads: usize) -> Rounds {
    let shares = (0..threads).map(|thread| Share { thread, threads });
    let mut works: Vec<W> = P::handles(threads)
        .into_iter()
        .zip(shares)
        .map(|(mut peer, share)| {
            peer.bind(share.thread);
            W::new(peer, share)
        })
        .collect();
    Box::new(move |slice| round(&mut works, slice))
}

fn round<P: Shared, W: Work<P>>(works: &mut [W], slice: Duration) -> Round {
    let barrier = Barrier::new(works.len());
    let run = |(thread, work): (usize, &mut W)| {
        keep_to(thread);
        work.peer().bind(thread);
        work.before();
        barrier.wait();
        let watch = Stopwatch::start();
        let operations = work.timed(slice);
        let time = (operations > 0).then(|| watch.per(operations));
        // Nobody's untimed part runs beside another's timed one.
        barrier.wait();
        time
    };
    let times: Vec<Option<f64>> = thread::scope(|scope| {
        let works = works.iter_mut().enumerate();
        let running: Vec<_> = works.map(|work| scope.spawn(|| run(work))).collect();
        running.into_iter().map(|thread| thread.join().expect("a round ends")).collect()
    });
    let threads = times.len();
    let sum: Option<f64> = times.into_iter().sum();
    let time = sum.map(|sum| sum / f64::from(u32::try_from(threads).expect("few threads")));
    let failures = works.iter().map(Work::failures).max().unwrap_or(0);
    Round { time, failures }
}

/// Keeps a thread on a processor of its own, where the system allows it: else two may start on one.
fn keep_to(thread: usize) {
    let mut cpus = CpuSet::new();
    cpus.set(thread);
    // Where it is not allowed, the scheduler spreads the threads.
    let _moved = sched_setaffinity(None, &cpus);
}
