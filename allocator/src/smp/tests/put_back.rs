//! Blocks that are chosen and put back, against the free lists' slow twin.

use pagelab_percpu::{Asymmetric, Locked};

use super::zone_text::{is_posted, same, state};
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

    /// Whether a split waits.
    fn is_late(&self) -> bool {
        self.shared.zones[0].lock_late().is_late()
    }

    /// No CPU keeps changes of the counters to itself any more.
    fn tell(&mut self) {
        let tell = |zone: &mut Zone| {
            (0..CPUS).map(CpuId::new).for_each(|cpu| zone.collect_counts(cpu));
        };
        tell(&mut self.plain.zones[0]);
        self.shared.zones[0].whole(|core| tell(&mut core.zones[0]));
    }

    /// A page that both forms hold from now on.
    fn hold(&mut self, page: Pfn) {
        let alone = self.plain.take_at(ME, page, Order::ZERO).map(Pages::into_raw);
        let shared = self.cpus[ME.index()].take_at(page, Order::ZERO).map(Pages::into_raw);
        assert_eq!((alone, alone), (shared, Some((page, Order::ZERO))));
    }

    /// A block there and straight back, by this CPU or another, unseen in between.
    fn straight_back(&mut self, (pfn, order): (Pfn, Order), back: CpuId, waits: bool) {
        let profile = self.plain.profile();
        let what = format!("{profile:?} {pfn} {order:?} {back:?}");
        self.tell();
        let mut slow = twin(profile, &self.plain.zones[0]);
        assert_eq!(slow.take_at(pfn.get(), order.get()), Some(pfn.get()), "{what}");
        let alone = self.plain.take_at(ME, pfn, order).expect("all is free");
        let held = self.cpus[ME.index()].take_at(pfn, order).expect("all is free");
        assert_eq!(self.is_late(), waits, "{what}");
        is_posted(&self.plain.zones[0], &self.shared.zones[0].posted, &what);
        self.plain.put_back(back, alone);
        self.cpus[back.index()].put_back(held);
        assert!(!self.is_late(), "{what}");
        is_posted(&self.plain.zones[0], &self.shared.zones[0].posted, &what);
        slow.free(pfn.get(), order.get(), Wish::Any);
        self.are(&slow, &what);
    }
}

#[test]
fn a_block_that_comes_straight_back_leaves_no_other_trace() {
    for profile in [KernelProfile::V6_1, KernelProfile::V6_12] {
        let mut forms = Forms::<Asymmetric>::new(profile);
        let threshold = forms.plain.zones[0].counters.threshold();
        for start in [4096, 5000, 8192, 9217, 13_000] {
            for order in [0, 1, 4, 9, 10].map(Order::of) {
                let block = (Pfn::new(start).align_down(order), order);
                let waits = order.pages().get() <= u64::from(threshold);
                forms.straight_back(block, ME, waits);
                forms.straight_back(block, CpuId::new(2), waits);
            }
        }
    }
}

/// Blocks around the page that are smaller than the largest do not wait, as they may merge with
/// more than they were split from.
#[test]
fn also_out_of_smaller_blocks() {
    for profile in [KernelProfile::V6_1, KernelProfile::V6_12] {
        let mut forms = Forms::<Locked>::new(profile);
        // Of each of two largest blocks a page is held: their halves come in pairs.
        [4096, 6143].map(Pfn::new).into_iter().for_each(|page| forms.hold(page));
        // And of a third one, whose halves are the only ones of their lists.
        forms.hold(Pfn::new(8192));
        for start in [4096, 8192] {
            for offset in [1, 2, 5, 9, 17, 33, 70, 130, 300, 600] {
                let page = (Pfn::new(start + offset), Order::ZERO);
                forms.straight_back(page, ME, false);
            }
        }
    }
}

/// A block of two pageblocks of which one has another type by now does not merge back as it was.
#[test]
fn a_split_between_types_does_not_wait() {
    let profiles = [KernelProfile::V6_1, KernelProfile::V6_12];
    for (profile, page) in profiles.into_iter().flat_map(|p| [(p, 4096), (p, 4608)]) {
        let mut forms = Forms::<Locked>::new(profile);
        let second = Pfn::new(4096 + 512);
        let retype = |zone: &mut Zone| {
            let index = zone.buddy.index(second);
            zone.buddy.blocks.set_migratetype(index, MigrateType::Unmovable);
        };
        retype(&mut forms.plain.zones[0]);
        retype(&mut forms.shared.zones[0].lock().zones[0]);
        forms.straight_back((Pfn::new(page), Order::ZERO), ME, false);
    }
}

/// The split that waits is made as soon as anybody looks, and its block comes back as any other.
#[test]
fn whoever_looks_finds_the_lists_as_they_should_be() {
    let mut forms = Forms::<Locked>::new(KernelProfile::V6_12);
    let page = AllocRequest::new(Order::of(3), GfpFlags::KERNEL);
    let (pfn, order) = (Pfn::new(5000), Order::of(2));
    for look in 0..5 {
        forms.tell();
        let alone = forms.plain.take_at(ME, pfn, order).expect("all is free");
        let held = forms.cpus[ME.index()].take_at(pfn, order).expect("all is free");
        assert!(forms.is_late());
        match look {
            0 => drop(forms.shared.buddyinfo()),
            1 => forms.shared.drain_all(),
            2 => assert!(forms.shared.check().is_ok()),
            3 => {
                let alone = forms.plain.alloc_pages(ME, &page).expect("free memory");
                let shared = forms.cpus[ME.index()].alloc_pages(&page).expect("free memory");
                assert_eq!(alone.pfn(), shared.pfn());
            }
            _ => {
                // Another block out of the same one, while the first split waits.
                let (pfn, order) = (Pfn::new(5010), Order::ZERO);
                let alone = forms.plain.take_at(ME, pfn, order).expect("all is free");
                let shared = forms.cpus[2].take_at(pfn, order).expect("all is free");
                forms.plain.put_back(ME, alone);
                forms.cpus[2].put_back(shared);
            }
        }
        if look == 1 {
            forms.plain.drain_all();
        }
        forms.plain.put_back(ME, alone);
        forms.cpus[ME.index()].put_back(held);
        let [plain, shared] = forms.look(state);
        same(&plain, &shared, &format!("look {look}"));
        assert_eq!((forms.plain.check(), forms.shared.check()), (Ok(()), Ok(())), "look {look}");
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
