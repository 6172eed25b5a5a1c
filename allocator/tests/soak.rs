//! Threads that allocate, free, drain, claim and count at random, for as long as asked.
//!
//! Every frame has a mark of who holds it, so a page with two owners is noticed at once. Between
//! rounds all threads stop, and the machine is checked as a whole; at the end every page has to be
//! free again. A seed gives each thread the same operations again, though not the same schedule.
//!
//! `SOAK_OPS` (operations in all), `SOAK_SEED` and `SOAK_THREADS` (2 to 8) are read from the
//! environment.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::contig::{ClaimError, ContigRange};
use pagelab_allocator::event::Silent;
use pagelab_allocator::frame::Movability;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::{GfpFlags, ZoneType};
use pagelab_allocator::highatomic::Unreserve;
use pagelab_allocator::isolate::IsolateMode;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::page_alloc::{AllocRequest, PageAllocator, Pages};
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::smp::{Cpu, SharedAllocator, SharedClaim};
use pagelab_allocator::units::{Order, PageCount, Pfn, PfnRange};
use pagelab_percpu::{Asymmetric, Exclusive, Locked};
use rand_pcg::Pcg32;
use rand_pcg::rand_core::{Rng, SeedableRng};

/// 256 MiB, an eighth of it lent out.
const PAGES: u64 = 1 << 16;
const LENT: PfnRange = PfnRange::new(Pfn::new(PAGES / 2), Pfn::new(PAGES / 8 * 5));
const ROUNDS: u64 = 8;
/// What a thread holds at most, in blocks: together less than there is.
const HOLDS: usize = 4000;

#[expect(clippy::disallowed_methods, reason = "a test is told how long to run")]
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

/// Who holds each frame: zero for nobody, else the thread plus one.
struct Owners(Vec<AtomicU8>);

impl Owners {
    fn new() -> Self {
        Self((0..PAGES).map(|_| AtomicU8::new(0)).collect())
    }

    fn change(&self, range: PfnRange, from: u8, to: u8) {
        for pfn in range.iter() {
            let mark = &self.0[usize::try_from(pfn.get()).expect("a small machine")];
            let before = mark.swap(to, Ordering::AcqRel);
            assert_eq!(before, from, "frame {pfn} is handed from {from} to {to}");
        }
    }
}

/// A thread's operations.
struct Worker<'a, P> {
    cpu: Cpu<P>,
    owners: &'a Owners,
    rng: Pcg32,
    held: Vec<Pages>,
    claimed: Vec<ContigRange>,
}

impl<P: Exclusive> Worker<'_, P> {
    fn mark(&self) -> u8 {
        u8::try_from(self.cpu.id().index() + 1).expect("few threads")
    }

    fn below(&mut self, bound: usize) -> usize {
        self.rng.next_u32() as usize % bound
    }

    fn step(&mut self) {
        match self.rng.next_u32() % 1024 {
            0 => self.cpu.shared().drain_all(),
            1 => drop(self.cpu.shared().whereabouts()),
            2..10 => self.claim(),
            10..14 => self.give_claimed_back(),
            14 => {
                let request = AllocRequest::new(Order::ZERO, GfpFlags::KERNEL);
                self.cpu.unreserve_highatomic(&request, Unreserve::All);
            }
            15 => self.change_movability(),
            16..48 => self.choose(),
            odd if odd % 2 == 1 && self.held.len() < HOLDS => self.alloc(),
            _ => self.free(),
        }
    }

    fn alloc(&mut self) {
        let order = (self.rng.next_u32() | 1 << 10).trailing_zeros().min(10);
        let order = Order::of(u8::try_from(order).expect("at most 10"));
        let gfps = [GfpFlags::HIGHUSER_MOVABLE, GfpFlags::KERNEL, GfpFlags::ATOMIC];
        let gfp = gfps[[0, 0, 0, 1, 2][self.below(5)]];
        if let Ok(pages) = self.cpu.alloc_pages(&AllocRequest::new(order, gfp)) {
            self.owners.change(pages.range(), 0, self.mark());
            self.held.push(pages);
        }
    }

    /// Takes a page or a small block of the thread's choice, and at times puts it straight back.
    fn choose(&mut self) {
        let order = Order::of([0, 0, 0, 3][self.below(4)]);
        let start = u64::from(self.rng.next_u32()) % PAGES;
        let Some(pages) = self.cpu.take_at(Pfn::new(start).align_down(order), order) else {
            return;
        };
        self.owners.change(pages.range(), 0, self.mark());
        if self.below(2) > 0 || self.held.len() == HOLDS {
            self.owners.change(pages.range(), self.mark(), 0);
            self.cpu.put_back(pages);
        } else {
            self.held.push(pages);
        }
    }

    fn free(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let which = self.below(self.held.len());
        let pages = self.held.swap_remove(which);
        self.owners.change(pages.range(), self.mark(), 0);
        self.cpu.free_pages(pages);
    }

    fn change_movability(&mut self) {
        if let Some(pages) = self.held.last() {
            let movability = match self.rng.next_u32() % 2 {
                0 => Movability::Movable,
                _ => Movability::Unmovable,
            };
            self.cpu.shared().set_movability(pages, movability);
        }
    }

    /// Claims a range as tag storage or a contiguous allocation would, without moving anybody.
    fn claim(&mut self) {
        let lent = self.below(4) > 0;
        let (within, mode) = match lent {
            true => (LENT, IsolateMode::CmaAlloc(MigrateType::Cma)),
            false => (PfnRange::new(Pfn::new(0), LENT.start()), IsolateMode::Other),
        };
        let len = [1, 1, 32, 700][self.below(4)];
        let pages = usize::try_from(within.len().get() - len).expect("a small machine");
        let start = u64::try_from(self.below(pages)).expect("a small machine");
        let range = PfnRange::from_len(within.start() + PageCount::new(start), PageCount::new(len));
        let shared = std::sync::Arc::clone(self.cpu.shared());
        let claimed = SharedClaim::claim(&shared, range, mode).and_then(|claim| {
            match claim.next_busy(range.start()) {
                Some(busy) => Err(ClaimError::Busy(busy.pfn)),
                None => claim.commit(&mut self.cpu),
            }
        });
        if let Ok(claimed) = claimed {
            self.owners.change(range, 0, self.mark());
            self.claimed.push(claimed);
        }
    }

    fn give_claimed_back(&mut self) {
        if let Some(claimed) = self.claimed.pop() {
            self.owners.change(claimed.range(), self.mark(), 0);
            self.cpu.free_contig_range(claimed);
        }
    }

    fn give_all_back(&mut self) {
        while !self.held.is_empty() {
            self.free();
        }
        while !self.claimed.is_empty() {
            self.give_claimed_back();
        }
    }
}

fn machine(profile: KernelProfile, threads: u16) -> PageAllocator {
    let memory = PfnRange::new(Pfn::new(0), Pfn::new(PAGES));
    let mut spec = MachineSpec::single(Geometry::PAGES_4K, profile, ZoneType::Normal, memory);
    spec.cpus = threads;
    spec.cma = vec![LENT];
    PageAllocator::boot(&spec, Silent).expect("a small machine")
}

fn soak<P>(profile: KernelProfile)
where
    P: Exclusive + Default + Send + Sync,
{
    let (ops, seed) = (setting("SOAK_OPS", 2_000_000), setting("SOAK_SEED", 1));
    let threads = setting("SOAK_THREADS", 4);
    eprintln!("SOAK_OPS={ops} SOAK_SEED={seed} SOAK_THREADS={threads} {profile:?}");
    let cpus = u16::try_from(threads).expect("few threads");
    let (shared, cpus) = SharedAllocator::<P>::share(machine(profile, cpus)).expect("one zone");
    let (owners, barrier) = (Owners::new(), Barrier::new(cpus.len()));
    let before = shared.whereabouts();
    thread::scope(|scope| {
        for (cpu, stream) in cpus.into_iter().zip(1..) {
            let (owners, barrier, shared) = (&owners, &barrier, &shared);
            scope.spawn(move || {
                let rng = Pcg32::seed_from_u64(seed << 8 | stream);
                let (held, claimed) = (Vec::new(), Vec::new());
                let mut worker = Worker { cpu, owners, rng, held, claimed };
                for _ in 0..ROUNDS {
                    (0..ops / threads / ROUNDS).for_each(|_| worker.step());
                    // While all wait, the machine is quiet.
                    if barrier.wait().is_leader() {
                        shared.check().expect("lists, links and counters agree");
                    }
                    barrier.wait();
                }
                worker.give_all_back();
            });
        }
    });
    let after = shared.whereabouts();
    assert_eq!(after.held, before.held, "pages are lost: {after:?}");
    shared.check().expect("lists, links and counters agree");
}

#[test]
fn no_page_is_lost_or_owned_twice() {
    soak::<Asymmetric>(KernelProfile::V6_12);
    soak::<Asymmetric>(KernelProfile::V6_1);
}

#[test]
fn nor_with_locked_lists() {
    soak::<Locked>(KernelProfile::V6_12);
}
