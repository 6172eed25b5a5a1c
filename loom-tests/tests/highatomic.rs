//! A pageblock is kept back for high-order atomic requests while another is given back.
//!
//! Linux: `reserve_highatomic_pageblock()` against `unreserve_highatomic_pageblock()`, both under
//! `zone->lock`: what is reserved is read and written in one section, or a change is lost.

use pagelab_allocator::{
    gfp::GfpFlags,
    highatomic::Unreserve,
    migratetype::MigrateType,
    page_alloc::{AllocRequest, PageAllocator, Pages},
    profile::KernelProfile,
    smp::Step,
    units::{CpuId, Order, PageCount},
};
use pagelab_loom_tests::{PAGE, PAGEBLOCK, model, share, thread, tiny};
use pagelab_percpu::Locked;

const PAGES: u64 = 128;
const ATOMIC: AllocRequest = AllocRequest::new(Order::of(1), GfpFlags::ATOMIC);

/// A machine below its low mark, with one pageblock kept back.
fn machine() -> PageAllocator {
    let mut alloc = tiny(KernelProfile::V6_1, PAGES, 2);
    while alloc.alloc_pages_fast(CpuId::BOOT, &PAGE).map(Pages::into_raw).is_some() {}
    alloc.drain_all();
    let first = alloc.alloc_pages(CpuId::BOOT, &ATOMIC).expect("there is a reserve");
    alloc.free_pages(CpuId::BOOT, first);
    alloc.drain_all();
    alloc
}

/// Runs a reserve against an unreserve, then compares the counter with the pageblocks.
fn race(without: Option<Step>) {
    let (shared, [mut cpu, mut other]) = share::<Locked, 2>(machine(), without);
    assert_eq!(shared.pageblocks(MigrateType::HighAtomic), 1, "one is kept back");
    let reserving = thread::spawn(move || cpu.alloc_pages(&ATOMIC).is_ok());
    other.unreserve_highatomic(&PAGE, Unreserve::All);
    assert!(reserving.join().expect("the request ends"), "there is a reserve");
    let blocks = u64::try_from(shared.pageblocks(MigrateType::HighAtomic)).expect("few");
    let pages = PageCount::new(blocks * PAGEBLOCK.pages().get());
    assert_eq!(shared.reserved_highatomic(), pages, "pages of {blocks} pageblocks");
    shared.check().expect("lists, links and counters agree");
}

#[test]
fn no_change_of_the_reserve_is_lost() {
    model(|| race(None));
}

/// The protocol with one step left out, which loom must reject.
#[cfg(loom)]
mod canaries {
    use pagelab_allocator::smp::Step;
    use pagelab_loom_tests::refutes;

    use super::race;

    #[test]
    fn canary_read_and_written_in_two_sections() {
        assert!(refutes(|| race(Some(Step::UnreserveIsWhole))));
    }
}
