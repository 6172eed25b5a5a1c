//! Counts the instructions of the hottest paths, which a noisy machine does not change: 1000
//! operations a case, under callgrind.
//!
//! * `shared_pair`: an order-0 page off a CPU's list and back, allocator for threads.
//! * `plain_pair`: the same, allocator driven by one thread.
//! * `huge_pair`: an order-9 block, allocator driven by one thread.
//! * `refill`: 1000 single pages at once and back, with refills and drains; counted as one.
//! * `buddy_pair`: an order-5 block, which no CPU keeps: the zone's lock, a split, a merge.
//!
//! It needs valgrind and the gungraun-runner of the same version (`cargo install gungraun-runner
//! --version 0.20.0`); where one is missing it says so and passes.

use std::process::{Command, Stdio};

use pagelab_benches::{PagelabCpu, PagelabShared, Peer, workload::pair};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // The runner calls this program again, under valgrind.
    let is_counted = arguments.iter().any(|argument| argument == "--gungraun-run");
    if is_counted || is_possible(&arguments) {
        counted::run();
    }
}

/// Whether instructions can be counted here; says why not.
fn is_possible(arguments: &[String]) -> bool {
    let missing = ["valgrind", "gungraun-runner"].into_iter().find(|program| !is_there(program));
    if arguments.iter().any(|argument| argument == "--test") {
        eprintln!("instructions: nothing is counted under --test");
        return false;
    }
    if let Some(program) = missing {
        eprintln!("instructions: {program} is not there, nothing is counted");
    }
    missing.is_none()
}

fn is_there(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    // The runner complains about its arguments: that it starts is enough.
    command.status().is_ok()
}

/// A peer whose lists are warm.
fn warm<P: Peer, const ORDER: u8>() -> P {
    let mut peer = P::new();
    (0..1000).for_each(|_| pair(&mut peer, order(ORDER)));
    peer
}

const fn order(order: u8) -> pagelab_allocator::units::Order {
    pagelab_allocator::units::Order::of(order)
}

fn pairs<P: Peer, const ORDER: u8>(mut peer: P) -> P {
    (0..1000).for_each(|_| pair(&mut peer, order(ORDER)));
    peer
}

mod counted {
    use gungraun::{library_benchmark, library_benchmark_group, main};
    use pagelab_allocator::units::PageCount;
    use pagelab_benches::workload::{drain, fill};

    use super::{PagelabCpu, PagelabShared, pairs, warm};

    type Shared = PagelabShared;

    #[library_benchmark]
    #[bench::warm(setup = warm::<Shared, 0>)]
    fn shared_pair(peer: Shared) -> Shared {
        pairs::<Shared, 0>(peer)
    }

    #[library_benchmark]
    #[bench::warm(setup = warm::<PagelabCpu, 0>)]
    fn plain_pair(peer: PagelabCpu) -> PagelabCpu {
        pairs::<PagelabCpu, 0>(peer)
    }

    #[library_benchmark]
    #[bench::warm(setup = warm::<PagelabCpu, 9>)]
    fn huge_pair(peer: PagelabCpu) -> PagelabCpu {
        pairs::<PagelabCpu, 9>(peer)
    }

    #[library_benchmark]
    #[bench::warm(setup = warm::<Shared, 0>)]
    fn refill(mut peer: Shared) -> Shared {
        let mut blocks = Vec::with_capacity(1000);
        fill(&mut peer, PageCount::new(1000), &mut blocks);
        drain(&mut peer, &mut blocks);
        peer
    }

    #[library_benchmark]
    #[bench::warm(setup = warm::<Shared, 5>)]
    fn buddy_pair(peer: Shared) -> Shared {
        pairs::<Shared, 5>(peer)
    }

    library_benchmark_group!(
        name = hot,
        benchmarks = [shared_pair, plain_pair, huge_pair, refill, buddy_pair]
    );

    main!(library_benchmark_groups = hot);

    /// What the macro made.
    pub(super) fn run() {
        main();
    }
}
