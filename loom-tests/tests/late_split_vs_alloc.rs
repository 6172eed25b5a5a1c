//! A chosen page is taken out of a free block, and maybe put back, while that block is allocated.
//!
//! Linux: `take_page_off_buddy()` and `put_page_back_buddy()` against `rmqueue()`. Linux splits the
//! block at once. Here the split waits until somebody takes the zone's lock, and is not made if the
//! page comes back before: whoever allocates must find the block split while the page is away, and
//! whole afterwards.

use pagelab_allocator::{
    gfp::GfpFlags,
    page_alloc::AllocRequest,
    profile::KernelProfile,
    smp::Step,
    units::{Order, PageCount, PfnRange},
};
use pagelab_loom_tests::{model, share, thread, tiny};
use pagelab_percpu::Locked;

const PAGES: u64 = 64;
/// The largest block of the models.
const LARGEST: Order = Order::of(2);
const BLOCK: AllocRequest = AllocRequest::new(LARGEST, GfpFlags::HIGHUSER_MOVABLE);

/// What becomes of the chosen page.
#[derive(Clone, Copy, PartialEq)]
enum Page {
    Stays,
    GoesBack,
}

/// Takes a page out of the very block that the other thread would get.
fn race(without: Option<Step>, page: Page) {
    let (shared, [mut cpu, mut other]) =
        share::<Locked, 2>(tiny(KernelProfile::V6_12, PAGES, 2), without);
    let first = other.alloc_pages(&BLOCK).expect("all is free");
    let wanted = first.pfn() + PageCount::new(1);
    other.free_pages(first);
    shared.drain_all();
    let taking = thread::spawn(move || {
        let taken = cpu.take_at(wanted, Order::ZERO)?;
        match page {
            Page::Stays => Some(taken.into_raw().0),
            Page::GoesBack => {
                cpu.put_back(taken);
                None
            }
        }
    });
    let (start, order) = other.alloc_pages(&BLOCK).expect("many are free").into_raw();
    let block = PfnRange::block(start, order);
    let taken = taking.join().expect("the thread ends");
    assert!(!taken.is_some_and(|page| block.contains(page)), "page {taken:?} has two owners");
    let held = PageCount::new(taken.map_or(0, |_| 1));
    assert_eq!(shared.whereabouts().held, block.len() + held);
    shared.check().expect("lists, links and counters agree");
}

#[test]
fn a_block_whose_split_waits_is_not_allocated() {
    model(|| race(None, Page::Stays));
}

#[test]
fn nothing_is_lost_where_the_page_goes_back() {
    model(|| race(None, Page::GoesBack));
}

/// The protocol with one step left out, which loom must reject.
#[cfg(loom)]
mod canaries {
    use pagelab_allocator::smp::Step;
    use pagelab_loom_tests::refutes;

    use super::{Page, race};

    #[test]
    fn canary_the_split_that_waits_is_not_made() {
        assert!(refutes(|| race(Some(Step::LateSplitIsMade), Page::Stays)));
    }
}
