//! Blocks that are chosen and put back, against the free lists' slow twin.

use pagelab_percpu::{Asymmetric, Locked};

use super::zone_text::{same, state};
use super::{CPUS, machine};
use crate::gfp::GfpFlags;
use crate::isolate::IsolateMode;
use crate::profile::KernelProfile;
use crate::smp::*;
use crate::twin::{Fault, Slow, View, Wish};
use crate::twin_tests::view;

const ME: CpuId = CpuId::new(1);

/// The twin of a zone in which one block is held.
fn twin(profile: KernelProfile, zone: &Zone) -> Slow {
    let View { lists, types, .. } = view(zone);
    let geometry = zone.buddy.geometry;
    Slow {
        profile,
        pageblock: geometry.pageblock_order().get(),
        max: geometry.max_order().get(),
        span: (zone.span.start().get(), zone.span.end().get()),
        lists,
        types,
        held: Default::default(),
        log: Vec::new(),
        fault: Fault::None,
    }
}

/// What the CPUs' lists of a zone hold, and how they are tuned.
fn listed(zone: &Zone) -> String {
    state(zone).lines().filter(|line| line.starts_with("pcp")).collect()
}

/// Both forms of a machine whose CPUs have pages on their lists.
struct Forms<P: Exclusive> {
    plain: PageAllocator,
    shared: Arc<SharedAllocator<P>>,
    cpus: Vec<Cpu<P>>,
}

impl<P: Exclusive + Default> Forms<P> {
    fn new(profile: KernelProfile) -> Self {
        let mut plain = machine(profile);
        let (shared, mut cpus) = SharedAllocator::share(machine(profile)).expect("one zone");
        let page = AllocRequest::new(Order::ZERO, GfpFlags::HIGHUSER_MOVABLE);
        for (cpu, id) in cpus.iter_mut().zip((0..CPUS).map(CpuId::new)) {
            let pages = plain.alloc_pages(id, &page).expect("free memory");
            plain.free_pages(id, pages);
            let pages = cpu.alloc_pages(&page).expect("free memory");
            cpu.free_pages(pages);
        }
        Self { plain, shared, cpus }
    }

    fn look<R>(&self, work: impl Fn(&Zone) -> R) -> [R; 2] {
        let shared = self.shared.zones[0].whole(|core| work(&core.zones[0]));
        [work(&self.plain.zones[0]), shared]
    }

    #[track_caller]
    fn are(&self, twin: &Slow, what: &str) {
        assert_eq!(self.look(view), [twin.view(), twin.view()], "{what}");
        let [plain, shared] = self.look(state);
        same(&plain, &shared, what);
        assert_eq!((self.plain.check(), self.shared.check()), (Ok(()), Ok(())), "{what}");
    }

    /// A block there and back; it is isolated in between if a mode says so.
    fn round_trip(
        &mut self,
        profile: KernelProfile,
        (pfn, order): (Pfn, Order),
        isolated: Option<IsolateMode>,
    ) {
        let what = format!("{profile:?} {pfn} {order:?} {isolated:?}");
        let mut slow = twin(profile, &self.plain.zones[0]);
        assert_eq!(slow.take_at(pfn.get(), order.get()), Some(pfn.get()), "{what}");
        let alone = self.plain.take_at(ME, pfn, order).expect("all is free");
        let held = self.cpus[ME.index()].take_at(pfn, order).expect("all is free");
        self.are(&slow, &what);
        let block = PfnRange::block(pfn, order);
        let shared = Arc::clone(&self.shared);
        let claim = isolated.map(|mode| {
            assert_eq!(self.plain.start_isolate(block, mode), Ok(()), "{what}");
            slow = twin(profile, &self.plain.zones[0]);
            SharedClaim::claim(&shared, block, mode).expect("nobody else")
        });
        let before = (self.look(listed), *self.plain.stats(), self.shared.stats());
        self.plain.put_back(ME, alone);
        self.cpus[ME.index()].put_back(held);
        slow.free(pfn.get(), order.get(), Wish::Any);
        self.are(&slow, &what);
        let after = (self.look(listed), *self.plain.stats(), self.shared.stats());
        assert_eq!(after, before, "no list of a CPU has it, and nothing is counted: {what}");
        drop(claim);
        if let Some(mode) = isolated {
            self.plain.undo_isolate(block, mode);
        }
        let [plain, shared] = self.look(state);
        same(&plain, &shared, &what);
    }
}

fn round_trips<P: Exclusive + Default>() {
    for profile in [KernelProfile::V6_1, KernelProfile::V6_12] {
        let mut forms = Forms::<P>::new(profile);
        let lent = IsolateMode::CmaAlloc(MigrateType::Cma);
        // Movable pageblocks, then those of an area; each the lower and the upper one of a block.
        for (start, mode) in [(4096, IsolateMode::Other), (8192, lent)] {
            for (page, isolated) in [None, Some(mode)]
                .into_iter()
                .flat_map(|isolated| [0, 512, 1024, 1536].map(|block| (start + block, isolated)))
            {
                forms.round_trip(profile, (Pfn::new(page), Order::of(9)), isolated);
                for offset in [0, 1, 300, 511] {
                    let page = Pfn::new(page + offset);
                    forms.round_trip(profile, (page, Order::ZERO), isolated);
                }
            }
        }
    }
}

#[test]
fn a_chosen_block_goes_back_as_the_twin_says() {
    round_trips::<Asymmetric>();
    round_trips::<Locked>();
}

/// A block larger than a pageblock goes back by the types of its pageblocks as they are then.
#[test]
fn a_block_of_several_pageblocks_goes_back_to_their_lists() {
    for profile in [KernelProfile::V6_1, KernelProfile::V6_12] {
        let mut forms = Forms::<Locked>::new(profile);
        let (pfn, order) = (Pfn::new(4096), Order::of(10));
        let (alone, held) =
            (forms.plain.take_at(ME, pfn, order), forms.cpus[1].take_at(pfn, order));
        let second = PfnRange::block(pfn + PageCount::new(512), Order::of(9));
        assert_eq!(forms.plain.start_isolate(second, IsolateMode::MemOffline), Ok(()));
        let shared = Arc::clone(&forms.shared);
        let claim = SharedClaim::claim(&shared, second, IsolateMode::MemOffline);
        let claim = claim.expect("nobody else");
        forms.plain.put_back(ME, alone.expect("all is free"));
        forms.cpus[1].put_back(held.expect("all is free"));
        let heads = [MigrateType::Movable, MigrateType::Isolate]
            .map(|mt| forms.look(|zone| zone.buddy.free_list(Order::of(9), mt).next()));
        assert_eq!(heads, [[Some(pfn); 2], [Some(second.start()); 2]], "{profile:?}");
        let [plain, shared] = forms.look(state);
        same(&plain, &shared, "isolated in part");
        drop(claim);
        forms.plain.undo_isolate(second, IsolateMode::MemOffline);
        let [plain, shared] = forms.look(state);
        same(&plain, &shared, "whole again");
        assert_eq!((forms.plain.check(), forms.shared.check()), (Ok(()), Ok(())), "{profile:?}");
    }
}

/// Under 6.1 two isolated pageblocks can be one free block, of which only one is isolated later.
#[test]
fn no_page_of_an_isolated_pageblock_is_taken() {
    for profile in [KernelProfile::V6_1, KernelProfile::V6_12] {
        let mut alloc = machine(profile);
        let halves = [4096, 4608].map(|start| PfnRange::block(Pfn::new(start), Order::of(9)));
        let held = halves.map(|half| {
            let page = alloc.take_at(ME, half.start() + PageCount::new(100), Order::ZERO);
            page.expect("all is free")
        });
        for half in halves {
            assert_eq!(alloc.start_isolate(half, IsolateMode::MemOffline), Ok(()));
        }
        held.into_iter().for_each(|page| alloc.put_back(ME, page));
        alloc.undo_isolate(halves[0], IsolateMode::MemOffline);
        let inside = halves[1].start() + PageCount::new(40);
        assert_eq!(alloc.take_at(ME, inside, Order::ZERO), None, "{profile:?}");
        alloc.undo_isolate(halves[1], IsolateMode::MemOffline);
        assert!(alloc.take_at(ME, inside, Order::ZERO).is_some(), "{profile:?}");
        assert_eq!(alloc.check(), Ok(()), "{profile:?}");
    }
}

#[test]
fn a_cpu_that_is_not_there_puts_nothing_back() {
    let mut alloc = machine(KernelProfile::V6_12);
    let page = alloc.take_at(ME, Pfn::new(4100), Order::ZERO).expect("all is free");
    let before = state(&alloc.zones[0]);
    let back = std::panic::AssertUnwindSafe(|| alloc.put_back(CpuId::new(CPUS), page));
    assert!(std::panic::catch_unwind(back).is_err());
    same(&state(&alloc.zones[0]), &before, "nothing has changed");
}
