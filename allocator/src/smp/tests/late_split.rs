//! Where a split may not wait: what is posted, or what a CPU keeps, would be another.

use pagelab_percpu::Locked;

use super::zone_text::{is_posted, same, state};
use crate::boot::MachineSpec;
use crate::buddy::Placement;
use crate::counters::Uncounted;
use crate::event::Silent;
use crate::gfp::{AllocFlags, GfpFlags, ZoneType};
use crate::highatomic::Unreserve;
use crate::profile::KernelProfile;
use crate::smp::*;

const ME: CpuId = CpuId::BOOT;
const PAGE: AllocRequest = AllocRequest::new(Order::ZERO, GfpFlags::HIGHUSER_MOVABLE);
const LARGEST: AllocRequest = AllocRequest::new(Order::of(10), GfpFlags::HIGHUSER_MOVABLE);
const HIGH: AllocRequest =
    AllocRequest::new(Order::of(3), GfpFlags::ATOMIC).granting(AllocFlags::HIGHATOMIC);

fn machine(profile: KernelProfile) -> PageAllocator {
    let memory = PfnRange::new(Pfn::new(0), Pfn::new(1 << 16));
    let spec = MachineSpec::single(Geometry::PAGES_4K, profile, ZoneType::Normal, memory);
    PageAllocator::boot(&spec, Silent).expect("a small machine")
}

/// The one-thread form and the shared one.
struct Forms {
    plain: PageAllocator,
    shared: Arc<SharedAllocator<Locked>>,
    cpu: Cpu<Locked>,
}

impl Forms {
    fn new(machine: impl Fn() -> PageAllocator) -> Self {
        let (shared, mut cpus) = SharedAllocator::share(machine()).expect("one zone");
        Self { plain: machine(), shared, cpu: cpus.remove(0) }
    }

    #[track_caller]
    fn alloc(&mut self, req: &AllocRequest) -> Option<Pfn> {
        let raw = |pages: Result<Pages, _>| pages.ok().map(|pages| pages.into_raw().0);
        let (alone, shared) = (self.plain.alloc_pages(ME, req), self.cpu.alloc_pages(req));
        let (alone, shared) = (raw(alone), raw(shared));
        assert_eq!(alone, shared);
        alone
    }

    fn free(&mut self, pfn: Pfn, order: Order) {
        self.plain.free_pages(ME, Pages::new(pfn, order));
        self.cpu.free_raw(pfn, order);
    }

    fn take(&mut self, pfn: Pfn, order: Order) {
        let alone = self.plain.take_at(ME, pfn, order).map(Pages::into_raw);
        let shared = self.cpu.take_at(pfn, order).map(Pages::into_raw);
        assert_eq!((alone, alone), (shared, Some((pfn, order))));
        self.are_posted();
    }

    fn take_at(&mut self, pfn: Pfn) {
        self.take(pfn, Order::ZERO);
    }

    fn put_back(&mut self, pfn: Pfn) {
        self.plain.put_back(ME, Pages::new(pfn, Order::ZERO));
        self.cpu.put_back_raw(pfn, Order::ZERO);
        self.are_posted();
    }

    #[track_caller]
    fn are_posted(&self) {
        is_posted(&self.plain.zones[0], &self.shared.zones[0].posted, "alone, shared");
    }

    #[track_caller]
    fn are_same(&self) {
        let plain = state(&self.plain.zones[0]);
        let shared = self.shared.zones[0].whole(|core| state(&core.zones[0]));
        same(&plain, &shared, "alone, shared");
    }

    /// A block of the largest order goes to the list of a type, whatever its pageblocks are.
    fn put_as(&mut self, pfn: Pfn, mt: MigrateType) {
        let put = |zone: &mut Zone| {
            let index = zone.buddy.index(pfn);
            zone.buddy.put_index(index, LARGEST.order, mt, Placement::Tail);
            zone.count_free(ME);
        };
        put(&mut self.plain.zones[0]);
        let shared = &self.shared.zones[0];
        shared.posted.release(shared.posted.index(pfn), LARGEST.order);
        put(&mut shared.lock().zones[0]);
    }

    fn drain_and_tick(&mut self) {
        self.plain.drain_all();
        self.shared.drain_all();
        self.plain.tick();
        self.shared.zones[0].whole(PageAllocator::tick);
    }

    /// A highatomic pageblock that was given back beside a free one of another type, which it did
    /// not merge with.
    fn free_buddies(&mut self) -> [Pfn; 2] {
        // One more free pageblock of the same type, that neither is the only one of its list.
        self.take_at(Pfn::new(4096));
        let high = self.alloc(&HIGH).expect("free memory");
        self.free(high, HIGH.order);
        self.drain_and_tick();
        let alone = self.plain.unreserve_highatomic(&PAGE, Unreserve::All);
        let shared = self.cpu.unreserve_highatomic(&PAGE, Unreserve::All);
        assert_eq!((alone, shared), (true, true));
        self.drain_and_tick();
        let block = high.align_down(Order::of(9));
        [block, Pfn::new(block.get() ^ 512)]
    }
}

/// Under 6.12 the buddy gets the type of the block that it merges with.
#[test]
fn types_are_posted_where_a_block_finds_a_free_buddy() {
    for profile in [KernelProfile::V6_1, KernelProfile::V6_12] {
        let mut forms = Forms::new(|| machine(profile));
        let [block, buddy] = forms.free_buddies();
        forms.take_at(block + PageCount::new(17));
        forms.put_back(block + PageCount::new(17));
        let page = buddy + PageCount::new(33);
        forms.take_at(page);
        forms.free(page, Order::ZERO);
        forms.alloc(&PAGE);
        forms.are_same();
    }
}

/// The block that comes of it is the only one of the largest order.
#[test]
fn the_mood_is_posted_where_a_block_finds_a_free_buddy() {
    for profile in [KernelProfile::V6_1, KernelProfile::V6_12] {
        let mut forms = Forms::new(|| machine(profile));
        let [block, _] = forms.free_buddies();
        while forms.alloc(&LARGEST).is_some() {}
        forms.drain_and_tick();
        forms.take_at(block + PageCount::new(17));
        forms.put_back(block + PageCount::new(17));
        forms.are_same();
    }
}

/// Under 6.1 pages go back to the lists of the type that they were allocated as. A block there that
/// is split goes to those of its pageblock's type, which have had no blocks so large.
#[test]
fn the_mood_is_posted_where_a_block_is_on_the_list_of_another_type() {
    let mut forms = Forms::new(|| machine(KernelProfile::V6_1));
    let span = forms.plain.zones[0].span();
    let blocks: Vec<Pfn> = span.blocks(LARGEST.order).collect();
    blocks.iter().for_each(|&pfn| forms.take(pfn, LARGEST.order));
    blocks[..16].iter().for_each(|&pfn| forms.put_as(pfn, MigrateType::HighAtomic));
    forms.take_at(blocks[0] + PageCount::new(17));
    forms.put_back(blocks[0] + PageCount::new(17));
    forms.are_same();
}

#[test]
fn what_is_kept_beyond_a_lowered_threshold_is_told() {
    let mut forms = Forms::new(|| {
        let mut alloc = machine(KernelProfile::V6_12);
        let zone = &mut alloc.zones[0];
        let kept = vec![Uncounted { all: 20, ..Uncounted::default() }; zone.pcp.len()];
        zone.counters.restore(4, zone.buddy.free, &kept);
        alloc
    });
    forms.take_at(Pfn::new(4101));
    forms.put_back(Pfn::new(4101));
    forms.are_same();
}
