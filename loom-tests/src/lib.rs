//! Proofs about concurrency: small programs, run under every schedule.
//!
//! A file in `tests/` holds one race: the protocol that must hold, and a canary that breaks it and
//! must be found. With `--cfg loom` a model is explored exhaustively, up to the number of
//! preemptions in `LOOM_MAX_PREEMPTIONS`; without it the same body runs once on real threads, so
//! that the models always compile and their assertions hold at least in one schedule.

pub mod hotplug;
pub mod mm;

use pagelab_allocator::{
    boot::MachineSpec,
    event::Silent,
    geometry::Geometry,
    gfp::{GfpFlags, ZoneType},
    page_alloc::{AllocRequest, PageAllocator},
    profile::KernelProfile,
    smp::{Cpu, SharedAllocator, Step},
    sync::Arc,
    units::{Order, PageCount, Pfn, PfnRange},
};
use pagelab_percpu::Exclusive;

#[cfg(loom)]
#[doc(no_inline)]
pub use loom::thread;
#[cfg(shuttle)]
#[doc(no_inline)]
pub use shuttle::thread;
#[cfg(not(any(loom, shuttle)))]
#[doc(no_inline)]
pub use std::thread;

/// Runs `body` under every schedule.
#[cfg(loom)]
pub fn model<F>(body: F)
where
    F: Fn() + Sync + Send + 'static,
{
    let mut builder = loom::model::Builder::new();
    // Setting up a machine takes more steps than loom expects of a whole model.
    builder.max_branches = 20_000;
    builder.check(body);
}

/// Runs `body` under random schedules, and under those that PCT picks. A failure prints the
/// schedule, the seed gives all of them again.
#[cfg(shuttle)]
pub fn model<F>(body: F)
where
    F: Fn() + Sync + Send + 'static,
{
    use shuttle::scheduler::{PctScheduler, RandomScheduler};
    const SEED: u64 = 1;
    const SCHEDULES: usize = 500;
    eprintln!("shuttle: seed {SEED}, {SCHEDULES} random schedules and as many by PCT of depth 3");
    let body = Arc::new(body);
    let again = Arc::clone(&body);
    let random = RandomScheduler::new_from_seed(SEED, SCHEDULES);
    shuttle::Runner::new(random, shuttle::Config::default()).run(move || again());
    let pct = PctScheduler::new_from_seed(SEED, 3, SCHEDULES);
    shuttle::Runner::new(pct, shuttle::Config::default()).run(move || body());
}

/// Runs `body` once: there is only the schedule that happens.
#[cfg(not(any(loom, shuttle)))]
pub fn model<F>(body: F)
where
    F: Fn() + Sync + Send + 'static,
{
    body();
}

/// Whether some schedule of `body` panics. It must not do so while it holds a lock: loom's guards
/// cannot be dropped then, and the process aborts.
#[must_use]
pub fn refutes<F>(body: F) -> bool
where
    F: Fn() + Sync + Send + 'static,
{
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| model(body))).is_err()
}

/// Geometry of the models: pageblocks of two pages, blocks of at most four.
pub const PAGEBLOCK: Order = Order::of(1);

/// A machine of one zone, all free.
///
/// # Panics
///
/// Panics where `pages` are no machine.
#[must_use]
pub fn tiny(profile: KernelProfile, pages: u64, cpus: u16) -> PageAllocator {
    let geometry = Geometry::new(12, PAGEBLOCK, Order::of(2)).expect("a tiny geometry");
    let memory = PfnRange::from_len(Pfn::new(0), PageCount::new(pages));
    let mut spec = MachineSpec::single(geometry, profile, ZoneType::Normal, memory);
    spec.cpus = cpus;
    PageAllocator::boot(&spec, Silent).expect("a small machine")
}

/// A machine for threads and its CPUs, without one step of its protocols if that is said.
///
/// # Panics
///
/// Panics where a machine has other than so many CPUs, and outside of models where a step is left
/// out.
#[must_use]
pub fn share<P: Exclusive + Default, const CPUS: usize>(
    alloc: PageAllocator,
    without: Option<Step>,
) -> (Arc<SharedAllocator<P>>, [Cpu<P>; CPUS]) {
    let shared = match without {
        None => SharedAllocator::share(alloc),
        #[cfg(any(loom, shuttle))]
        Some(step) => SharedAllocator::share_without(alloc, step),
        #[cfg(not(any(loom, shuttle)))]
        Some(step) => panic!("only models leave out {step:?}"),
    };
    let (shared, cpus) = shared.expect("one zone");
    (shared, cpus.try_into().unwrap_or_else(|_| panic!("as many CPUs")))
}

/// A request for a user's single page.
pub const PAGE: AllocRequest = AllocRequest::new(Order::ZERO, GfpFlags::HIGHUSER_MOVABLE);
