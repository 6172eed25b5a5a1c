//! A page is freed while its pageblock changes its type.
//!
//! Linux: `free_one_page()` against `move_freepages_block()`, both under `zone->lock`. Whoever
//! frees must read the type of the pageblock under the lock that is held when the page goes to a
//! list; otherwise it lands on the list of a type that the block no longer has.

use pagelab_allocator::{
    buddy::{Buddy, Placement},
    geometry::Geometry,
    migratetype::MigrateType,
    profile::KernelProfile,
    sync::{Arc, Mutex},
    units::{Order, PageCount, Pfn, PfnRange},
};
use pagelab_loom_tests::{model, refutes, thread};

const PAGEBLOCK: Order = Order::of(1);
const MAX: Order = Order::of(2);

/// Two pageblocks: the first has one free page and one allocated page, which is returned; all of
/// the second is allocated, so that no merge crosses.
fn machine() -> (Buddy, Pfn) {
    let geometry = Geometry::new(12, PAGEBLOCK, MAX).expect("a tiny geometry");
    let span = PfnRange::from_len(Pfn::new(0), MAX.pages());
    let mut buddy = Buddy::new(geometry, KernelProfile::V6_12, span);
    buddy.put(span.start(), MAX, MigrateType::Movable, Placement::Likely);
    let page = buddy.take_smallest(Order::ZERO, MigrateType::Movable).expect("all is free");
    buddy.take_smallest(PAGEBLOCK, MigrateType::Movable).expect("a block is free");
    (buddy, page.pfn)
}

/// Runs `free` against the change of the page's block, then looks at every list.
fn race(free: fn(&Mutex<Buddy>, Pfn)) {
    let (buddy, page) = machine();
    let zone = Arc::new(Mutex::new(buddy));
    let freeing = thread::spawn({
        let zone = Arc::clone(&zone);
        move || free(&zone, page)
    });
    zone.lock().retype(page, MigrateType::Unmovable);
    freeing.join().expect("the freeing thread ends");

    let buddy = zone.lock().clone();
    let mut free = PageCount::ZERO;
    for order in Order::ZERO.to(MAX) {
        for mt in MigrateType::ALL {
            for pfn in buddy.free_list(order, mt) {
                assert_eq!(mt, buddy.migratetype(pfn), "page {pfn} is on a list of another type");
                free += order.pages();
            }
        }
    }
    assert_eq!(free, PAGEBLOCK.pages(), "pages on the lists");
    assert_eq!(buddy.free_pages().all, free, "pages counted as free");
    buddy.check().expect("lists, links and counters agree");
}

#[test]
fn a_freed_page_lands_on_the_list_of_its_block() {
    model(|| {
        race(|zone, page| {
            let mut buddy = zone.lock();
            let mt = buddy.migratetype(page);
            buddy.put(page, Order::ZERO, mt, Placement::Likely);
        });
    });
}

#[test]
#[cfg_attr(not(loom), ignore = "only loom explores the schedule that fails")]
fn canary_the_type_is_read_under_another_lock() {
    assert!(refutes(|| {
        race(|zone, page| {
            let mt = zone.lock().migratetype(page);
            zone.lock().put(page, Order::ZERO, mt, Placement::Likely);
        });
    }));
}
