//! Driven by one thread, the shared allocator is the allocator.

mod differential;
mod drains;
mod foreign;
mod forged;
mod late_split;
mod panics;
mod put_back;
mod random;
mod take_over;
mod zone_text;

use std::panic::{AssertUnwindSafe, catch_unwind};

use pagelab_percpu::{Exclusive, Locked};
use proptest::prelude::*;

use super::*;
use crate::boot::MachineSpec;
use crate::contig::{ClaimError, ContigClaim, ContigRange};
use crate::event::Silent;
use crate::gfp::{AllocFlags, ZoneType};
use crate::isolate::IsolateMode;
use crate::migratetype::TypeSet;
use crate::page_alloc::AllocError;
use crate::pcp_tuning::ZonePressure;
use crate::profile::KernelProfile;
use crate::units::{NodeId, Order};
use crate::zone::ZoneSpec;

const CPUS: u16 = 3;

/// A step of both machines.
#[derive(Clone, Copy, Debug)]
enum Step {
    Alloc { cpu: u16, order: u8, gfp: GfpFlags },
    Free { cpu: u16, which: usize },
    Drain,
    Claim { cpu: u16, at: u64, pages: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let gfps = [GfpFlags::KERNEL, GfpFlags::HIGHUSER_MOVABLE, GfpFlags::ATOMIC];
    let gfp = prop::sample::select(gfps.to_vec());
    let step = prop_oneof![
        8 => (0..CPUS, prop_oneof![6 => Just(0u8), 3 => 1u8..4, 2 => 4u8..11], gfp)
            .prop_map(|(cpu, order, gfp)| Step::Alloc { cpu, order, gfp }),
        6 => (0..CPUS, any::<usize>()).prop_map(|(cpu, which)| Step::Free { cpu, which }),
        1 => Just(Step::Drain),
        1 => (0..CPUS, 0u64..16384, 1u64..700).prop_map(|(cpu, at, pages)| Step::Claim { cpu, at, pages }),
    ];
    prop::collection::vec(step, 0..900)
}

/// What a machine answered.
#[derive(PartialEq, Debug)]
enum Answer {
    Pages(Option<Pfn>),
    Claimed(Result<PfnRange, ClaimError>),
    Nothing,
}

/// What a panic says.
#[track_caller]
fn panics<R>(work: impl FnOnce() -> R) -> String {
    let Err(said) = catch_unwind(AssertUnwindSafe(work)) else { panic!("it does not panic") };
    match said.downcast::<&str>() {
        Ok(text) => (*text).to_owned(),
        Err(said) => *said.downcast().expect("a text"),
    }
}

fn machine(profile: KernelProfile) -> PageAllocator {
    let memory = PfnRange::new(Pfn::new(0), Pfn::new(16384));
    let mut spec = MachineSpec::single(Geometry::PAGES_4K, profile, ZoneType::Normal, memory);
    spec.cpus = CPUS;
    spec.cma = vec![PfnRange::new(Pfn::new(8192), Pfn::new(10240))];
    PageAllocator::boot(&spec, Silent).expect("a small machine")
}

/// The same memory in two zones: requests that find the upper one low go to the other.
fn two_zones(profile: KernelProfile) -> PageAllocator {
    let memory = PfnRange::new(Pfn::new(0), Pfn::new(16384));
    let mut spec = MachineSpec::single(Geometry::PAGES_4K, profile, ZoneType::Normal, memory);
    let zone = |kind, from, to| {
        let span = PfnRange::new(Pfn::new(from), Pfn::new(to));
        ZoneSpec { kind, node: NodeId::default(), span }
    };
    spec.zones = vec![zone(ZoneType::Dma32, 0, 4608), zone(ZoneType::Normal, 4608, 16384)];
    spec.cpus = CPUS;
    PageAllocator::boot(&spec, Silent).expect("two zones side by side")
}

/// Both machines, and what is held of each.
struct Pair<P: Exclusive> {
    plain: PageAllocator,
    shared: Arc<SharedAllocator<P>>,
    cpus: Vec<Cpu<P>>,
    held: Vec<(Pages, Pages)>,
    claimed: Vec<(ContigRange, ContigRange)>,
}

impl<P: Exclusive + Default> Pair<P> {
    fn new(profile: KernelProfile) -> Self {
        Self::of([machine(profile), machine(profile)])
    }

    fn of([plain, shared]: [PageAllocator; 2]) -> Self {
        let (shared, cpus) = SharedAllocator::share(shared).expect("zones side by side");
        Self { plain, shared, cpus, held: Vec::new(), claimed: Vec::new() }
    }

    fn step(&mut self, step: Step) -> (Answer, Answer) {
        match step {
            Step::Alloc { cpu, order, gfp } => {
                let req = AllocRequest::new(Order::of(order), gfp);
                let plain = self.plain.alloc_pages(CpuId::new(cpu), &req).ok();
                let shared = self.cpus[usize::from(cpu)].alloc_pages(&req).ok();
                let pfn = |pages: &Option<Pages>| Answer::Pages(pages.as_ref().map(Pages::pfn));
                let answers = (pfn(&plain), pfn(&shared));
                self.held.extend(plain.zip(shared));
                answers
            }
            Step::Free { cpu, which } if !self.held.is_empty() => {
                let (plain, shared) = self.held.swap_remove(which % self.held.len());
                self.plain.free_pages(CpuId::new(cpu), plain);
                self.cpus[usize::from(cpu)].free_pages(shared);
                (Answer::Nothing, Answer::Nothing)
            }
            Step::Free { cpu, .. } => {
                for (plain, shared) in self.claimed.drain(..) {
                    self.plain.free_contig_range(CpuId::new(cpu), plain);
                    self.cpus[usize::from(cpu)].free_contig_range(shared);
                }
                (Answer::Nothing, Answer::Nothing)
            }
            Step::Drain => {
                self.plain.drain_all();
                self.shared.drain_all();
                (Answer::Nothing, Answer::Nothing)
            }
            Step::Claim { cpu, at, pages } => self.claim(CpuId::new(cpu), at, pages),
        }
    }

    fn claim(&mut self, cpu: CpuId, at: u64, pages: u64) -> (Answer, Answer) {
        // A claim for CMA ends with the area, and any other before it: its mode says what type the
        // pageblocks get back.
        let border = [8192, 10240, 16384].into_iter().find(|&border| at < border);
        let end = (at + pages).min(border.expect("a frame of the machine"));
        let range = PfnRange::new(Pfn::new(at), Pfn::new(end));
        let mode = match (8192..10240).contains(&at) {
            true => IsolateMode::CmaAlloc(MigrateType::Cma),
            false => IsolateMode::Other,
        };
        let plain = ContigClaim::claim(&mut self.plain, range, mode);
        let busy = plain.as_ref().ok().and_then(|claim| claim.next_busy(range.start()));
        let plain = plain.and_then(|claim| claim.commit(cpu));
        let shared = SharedClaim::claim(&self.shared, range, mode);
        let found = shared.as_ref().ok().and_then(|claim| claim.next_busy(range.start()));
        assert_eq!(busy, found, "the first block in the way of {range}");
        let shared = shared.and_then(|claim| claim.commit(&mut self.cpus[cpu.index()]));
        let said = |claimed: &Result<ContigRange, ClaimError>| {
            Answer::Claimed(claimed.as_ref().map(ContigRange::range).map_err(|&error| error))
        };
        let answers = (said(&plain), said(&shared));
        self.claimed.extend(plain.ok().zip(shared.ok()));
        answers
    }
}

/// Requests until there is no memory left: pages of all kinds, mixed by `seed`.
fn fill(seed: u64) -> Vec<Step> {
    let mixed = |at: u64| (seed ^ at).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let alloc = |at: u64| {
        let gfp = match mixed(at) % 4 {
            0 => GfpFlags::KERNEL,
            _ => GfpFlags::HIGHUSER_MOVABLE,
        };
        let order = match mixed(at) / 4 % 4 {
            0 | 1 => 0,
            2 => 1,
            _ => 3,
        };
        let cpu = (0..CPUS).cycle().nth(usize::try_from(at % 7).expect("few")).expect("endless");
        Step::Alloc { cpu, order, gfp }
    };
    (0..8192).map(alloc).collect()
}

fn the_same<P: Exclusive + Default>(steps: &[Step]) -> Result<(), TestCaseError> {
    for profile in [KernelProfile::V6_1, KernelProfile::V6_12] {
        let mut pair = Pair::<P>::new(profile);
        for (at, &step) in steps.iter().enumerate() {
            let (plain, shared) = pair.step(step);
            prop_assert_eq!(plain, shared, "{:?} step {} {:?}", profile, at, step);
        }
        prop_assert_eq!(pair.shared.check(), Ok(()));
        let text = pair.plain.snapshot().buddyinfo().to_string();
        prop_assert_eq!(pair.shared.buddyinfo(), text);
        let stats = pair.shared.stats();
        let before = machine(profile);
        prop_assert_eq!(stats.pgfree, pair.plain.stats().pgfree - before.stats().pgfree);
        prop_assert_eq!(stats.pgalloc, pair.plain.stats().pgalloc);
    }
    Ok(())
}

proptest! {
    #[test]
    fn one_thread_gets_the_same_pages(steps in steps()) {
        the_same::<Asymmetric>(&steps)?;
    }

    #[test]
    fn under_locks_too(steps in steps()) {
        the_same::<Locked>(&steps)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn when_memory_is_used_up_too(seed in any::<u64>(), steps in steps()) {
        let steps: Vec<_> = fill(seed).into_iter().chain(steps).collect();
        the_same::<Locked>(&steps)?;
    }
}

/// Below the low mark a high-order atomic request refills its CPU's list, and a pageblock is kept
/// back on top of that: which one, both see alike.
#[test]
fn atomic_requests_of_a_machine_that_is_low_get_the_same_pages() {
    for profile in [KernelProfile::V6_1, KernelProfile::V6_12] {
        let mut pair = Pair::<Locked>::new(profile);
        let alloc = |order, gfp| Step::Alloc { cpu: 0, order, gfp };
        let low = |zone: &Zone| zone.free_pages().all < zone.watermarks().low;
        while !low(&pair.plain.zones()[0]) {
            let (plain, shared) = pair.step(alloc(0, GfpFlags::HIGHUSER_MOVABLE));
            assert_eq!(plain, shared);
        }
        // Room for blocks of two pages, still below the mark with its boost.
        for which in (0..40).rev() {
            pair.step(Step::Free { cpu: 1, which });
        }
        pair.step(Step::Drain);
        let (plain, shared) = pair.step(alloc(1, GfpFlags::ATOMIC));
        assert!(matches!(shared, Answer::Pages(Some(_))), "there is a reserve");
        assert_eq!(plain, shared, "{profile:?}");
        assert_eq!(pair.shared.check(), Ok(()), "{profile:?}");
    }
}

/// Which zone serves a request is decided anew each time: one that was low may fare well again, and
/// then the one that stood in has pages on its lists and is not asked.
#[test]
fn a_zone_that_stood_in_is_left_alone_later() {
    for profile in [KernelProfile::V6_1, KernelProfile::V6_12] {
        let mut pair = Pair::<Asymmetric>::of([two_zones(profile), two_zones(profile)]);
        let mut state = 1u64;
        let mut drawn = |bound: usize| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            usize::try_from(state >> 33).expect("31 bits") % bound
        };
        for at in 0..10_000 {
            let cpu = u16::try_from(drawn(2)).expect("few");
            // The upper zone has 11776 pages.
            let level = 10_000 + 2_500 * (at / 1_000 % 2);
            let used: PageCount = pair.held.iter().map(|(pages, _)| pages.order().pages()).sum();
            let grows = used.get() < level;
            let step = match grows {
                true => {
                    let gfp = [GfpFlags::HIGHUSER_MOVABLE, GfpFlags::KERNEL][drawn(8) / 7];
                    Step::Alloc { cpu, order: [0, 0, 0, 0, 1, 2, 3, 5][drawn(8)], gfp }
                }
                false => Step::Free { cpu, which: drawn(1 << 30) },
            };
            let (plain, shared) = pair.step(step);
            assert_eq!(plain, shared, "{profile:?} step {at} {step:?}");
        }
        assert_eq!(pair.shared.check(), Ok(()), "{profile:?}");
    }
}

/// An order that no list can hold is refused before any zone's marks are looked at: a zone that
/// would be noted as low would drain its CPUs' lists sooner.
#[test]
fn a_request_that_is_too_large_leaves_no_trace() {
    for profile in [KernelProfile::V6_1, KernelProfile::V6_12] {
        let (shared, mut cpus) =
            SharedAllocator::<Locked>::share(machine(profile)).expect("one zone");
        let req = AllocRequest::new(Order::of(11), GfpFlags::KERNEL);
        let refused = Err(AllocError::OrderTooLarge(Order::of(11), Order::of(10)));
        assert_eq!(cpus[0].alloc_pages(&req), refused);
        let pressure = shared.zones[0].lock().zones[0].pressure;
        assert_eq!(pressure, ZonePressure::default(), "{profile:?}");
    }
}

/// Where most of what is free is lent, a request that may lie there does, whether it comes alone or
/// with others. With the type of RFC v1 no list of a CPU serves it.
#[test]
fn many_prefer_lent_memory_as_one_does() {
    for profile in [KernelProfile::V6_1, KernelProfile::V6_12] {
        let memory = PfnRange::new(Pfn::new(0), Pfn::new(16384));
        let mut spec = MachineSpec::single(Geometry::PAGES_4K, profile, ZoneType::Normal, memory);
        spec.types = TypeSet::WITH_METADATA;
        spec.cma = vec![PfnRange::new(Pfn::new(4096), Pfn::new(16384))];
        let machine = PageAllocator::boot(&spec, Silent).expect("a small machine");
        let mut alone = machine.clone();
        let (_shared, mut cpus) = SharedAllocator::<Locked>::share(machine).expect("one zone");
        let req = AllocRequest::new(Order::ZERO, GfpFlags::HIGHUSER_MOVABLE);
        let singles = (0..500).map_while(|_| alone.alloc_pages(CpuId::BOOT, &req).ok());
        let singles: Vec<Pfn> = singles.map(|pages| pages.into_raw().0).collect();
        assert_eq!(cpus[0].alloc_singles(&req, 500), singles, "{profile:?}");
    }
}

/// Many at once notice that the zone falls below its high mark where one by one does: the counters
/// that tell lag, and may fall by more than what was taken.
#[test]
fn many_notice_the_high_mark_as_one_does() {
    for (many, kib) in [3, 7, 20].into_iter().flat_map(|many| (64..112).map(move |kib| (many, kib)))
    {
        let memory = PfnRange::new(Pfn::new(0), Pfn::new(4096));
        let profile = KernelProfile::V6_12;
        let mut spec = MachineSpec::single(Geometry::PAGES_4K, profile, ZoneType::Normal, memory);
        spec.movable_pcp = Some(MovablePcp::OnlyWithCma);
        spec.tunables.min_free_kbytes = Some(kib);
        spec.cpus = 8;
        let machine = PageAllocator::boot(&spec, Silent).expect("a small machine");
        let mut alone = machine.clone();
        let (shared, mut cpus) = SharedAllocator::<Locked>::share(machine).expect("one zone");
        let req = AllocRequest::new(Order::ZERO, GfpFlags::HIGHUSER_MOVABLE);
        let req = req.barring(AllocFlags::CMA);
        while !alone.zones[0].pressure.below_high {
            let one = (0..many).map_while(|_| alone.alloc_pages(CpuId::BOOT, &req).ok());
            let one: Vec<Pfn> = one.map(|pages| pages.into_raw().0).collect();
            assert_eq!(cpus[0].alloc_singles(&req, many), one, "{many} {kib}");
            let noted = shared.zones[0].lock().zones[0].pressure;
            assert_eq!(noted, alone.zones[0].pressure, "{many} {kib}");
        }
    }
}

/// Several claims at a time empty the lists of all CPUs as each alone would, and those that cannot
/// be had are left out.
#[test]
fn claims_side_by_side_find_what_was_on_lists() {
    for profile in [KernelProfile::V6_1, KernelProfile::V6_12] {
        let (shared, mut cpus) =
            SharedAllocator::<Asymmetric>::share(machine(profile)).expect("one zone");
        let area = |block: u64| PfnRange::block(Pfn::new(block * 512), Order::of(9));
        let areas = [16, 17, 17, 19].map(area);
        // Each page of the areas was on a list of some CPU.
        for (at, pfn) in areas.iter().flat_map(|area| area.iter().take(9)).enumerate() {
            if let Some(pages) = cpus[at % 3].take_at(pfn, Order::ZERO) {
                cpus[(at + 1) % 3].free_pages(pages);
            }
        }
        assert!(shared.whereabouts().cached >= PageCount::new(27));
        let mode = IsolateMode::CmaAlloc(MigrateType::Cma);
        let claims = SharedClaim::claim_each(&shared, &mut cpus[1], &areas, mode);
        let ranges: Vec<PfnRange> = claims.iter().map(SharedClaim::range).collect();
        assert_eq!(ranges, [16, 17, 19].map(area), "a pageblock is claimed once");
        for claim in &claims {
            let whole = [(claim.range(), ())];
            claim.take(&mut cpus[0], whole, |(), taken| assert_eq!(taken.err(), None));
        }
        drop(claims);
        assert_eq!((shared.pageblocks(MigrateType::Isolate), shared.check()), (0, Ok(())));
    }
}

/// A machine with so few pageblocks that all are UNMOVABLE still knows which pages can move.
#[test]
fn without_grouping_movable_pages_are_no_obstacle() {
    let memory = PfnRange::new(Pfn::new(0), Pfn::new(1024));
    let profile = KernelProfile::V6_12;
    let spec = MachineSpec::single(Geometry::PAGES_4K, profile, ZoneType::Normal, memory);
    let alloc = PageAllocator::boot(&spec, Silent).expect("a tiny machine");
    assert_eq!(alloc.grouping, Grouping::Disabled);
    let (shared, mut cpus) = SharedAllocator::<Locked>::share(alloc).expect("one zone");
    let isolates = |pages: &Pages| {
        let at = PfnRange::block(pages.pfn(), Order::ZERO);
        SharedClaim::claim(&shared, at, IsolateMode::Other).is_ok()
    };
    for order in [Order::ZERO, Order::of(4)] {
        for (gfp, moves) in [(GfpFlags::HIGHUSER_MOVABLE, true), (GfpFlags::KERNEL, false)] {
            // The first refills the list, the second is on it.
            for _ in 0..2 {
                let pages = cpus[0].alloc_pages(&AllocRequest::new(order, gfp)).expect("free");
                assert_eq!(isolates(&pages), moves, "{gfp:?} {order:?}");
                cpus[0].free_pages(pages);
            }
        }
    }
}

/// A machine, one of its CPUs, and the pages that it holds.
type Machine = (Arc<SharedAllocator<Locked>>, Cpu<Locked>, Vec<Pfn>);

/// Two machines near the end of their memory; what is held of each is the same.
fn twins(seed: u64) -> [Machine; 2] {
    [(); 2].map(|()| {
        let (shared, mut cpus) =
            SharedAllocator::share(machine(KernelProfile::V6_12)).expect("one zone");
        let mut cpu = cpus.remove(0);
        let req = AllocRequest::new(Order::ZERO, GfpFlags::HIGHUSER_MOVABLE);
        let mut held: Vec<Pfn> = core::iter::from_fn(|| cpu.alloc_pages(&req).ok())
            .map(|pages| pages.into_raw().0)
            .collect();
        held.sort_by_key(|pfn| (seed ^ pfn.get()).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        (shared, cpu, held)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Single pages that come and go together are those that would have come and gone alone, and
    /// leave the same lists.
    #[test]
    fn many_are_as_one_after_the_other(
        seed in any::<u64>(),
        freed in prop::collection::vec((1usize..3000, any::<bool>()), 1..6),
        isolated in any::<bool>(),
        tagged in any::<bool>(),
    ) {
        let [mut together, mut single] = twins(seed);
        let req = AllocRequest::new(Order::ZERO, GfpFlags::HIGHUSER_MOVABLE);
        let req = if tagged { req.barring(AllocFlags::CMA) } else { req };
        for (count, in_order) in freed {
            let area = PfnRange::new(Pfn::new(8192), Pfn::new(9216));
            let claims = [&together.0, &single.0].map(|shared| {
                let mode = IsolateMode::CmaAlloc(MigrateType::Cma);
                isolated.then(|| SharedClaim::claim(shared, area, mode).expect("one at a time"))
            });
            let pages = [&mut together.2, &mut single.2].map(|held| {
                let mut pages = held.split_off(held.len().saturating_sub(count));
                if in_order {
                    pages.sort();
                }
                pages
            });
            together.1.free_singles(&pages[0]);
            for &pfn in &pages[1] {
                single.1.free_pages(Pages::new(pfn, Order::ZERO));
            }
            drop(claims);
            let got = together.1.alloc_singles(&req, count / 2);
            let alone = (0..count / 2).map_while(|_| single.1.alloc_pages(&req).ok());
            let alone: Vec<Pfn> = alone.map(|pages| pages.into_raw().0).collect();
            prop_assert_eq!(&got, &alone);
            together.2.splice(0..0, got);
            single.2.splice(0..0, alone);
        }
        prop_assert_eq!(together.0.stats(), single.0.stats());
        prop_assert_eq!(together.0.check(), Ok(()));
        together.0.drain_all();
        single.0.drain_all();
        let lists = |shared: &SharedAllocator<Locked>| shared.zones[0].whole(|core| {
            let buddy = &core.zones[0].buddy;
            let all = buddy.geometry.max_order();
            Order::ZERO.to(all).flat_map(|order| MigrateType::ALL.map(|mt| (order, mt)))
                .map(|(order, mt)| buddy.free_list(order, mt).collect::<Vec<_>>())
                .collect::<Vec<_>>()
        });
        prop_assert_eq!(lists(&together.0), lists(&single.0));
    }
}
