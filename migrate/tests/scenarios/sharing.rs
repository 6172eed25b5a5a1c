//! S6 and S13: how data pages share tag blocks.

use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::units::{Order, PageCount, Pfn, PfnRange};
use pagelab_migrate::tag_storage::formula::Formula;
use pagelab_migrate::tag_storage::ledger::Ledger;
use pagelab_migrate::tag_storage::map::TagMap;
use pagelab_migrate::tag_storage::region::TagRegion;

/// 2 GiB of data and its 64 MiB of tags, behind each other.
fn ledger() -> Ledger {
    let data = PfnRange::from_len(Pfn::new(0), PageCount::new(524_288));
    let tags = PfnRange::from_len(data.end(), PageCount::new(16384));
    let region = TagRegion::new(data, tags, PageCount::new(1)).unwrap();
    let map = TagMap::new(vec![region], Geometry::PAGES_4K, Formula::Intent).unwrap();
    Ledger::new(map, PfnRange::new(data.start(), tags.end()))
}

fn reserve(ledger: &mut Ledger, pfn: u64, order: u8) {
    let begun = ledger.begin(Pfn::new(pfn), Order::of(order)).unwrap();
    let Some(mut pending) = begun else { return };
    while pending.next_block().is_some() {
        ledger.claimed(&mut pending);
    }
    ledger.finish(pending);
}

fn count(ledger: &Ledger, pfn: u64) -> u32 {
    ledger.blocks().count(ledger.map().block_of(Pfn::new(pfn)).unwrap())
}

#[test]
fn s06_a_block_is_shared_and_survives_a_split() {
    let mut ledger = ledger();
    let counts = [64, 70, 95].map(|pfn| {
        reserve(&mut ledger, pfn, 0);
        count(&ledger, 64)
    });
    assert_eq!(counts, [2, 3, 4]);
    assert!(ledger.free(Pfn::new(64), Order::ZERO).is_empty());
    assert!(ledger.free(Pfn::new(70), Order::ZERO).is_empty());
    assert_eq!(count(&ledger, 64), 2);
    assert_eq!(ledger.free(Pfn::new(95), Order::ZERO).len(), 1);
    reserve(&mut ledger, 64, 5);
    assert_eq!(count(&ledger, 64), 33);
    reserve(&mut ledger, 512, 9);
    for block in 0..16 {
        assert_eq!(count(&ledger, 512 + 32 * block), 33);
    }
    for page in 0..512 {
        let released = ledger.free(Pfn::new(512 + page), Order::ZERO).len();
        assert_eq!(released, usize::from(page % 32 == 31), "page {page}");
    }
    ledger.check().unwrap();
}

/// Tag pages that 16384 tagged pages at these places keep reserved.
fn tag_pages(places: impl Iterator<Item = u64>) -> usize {
    let mut ledger = ledger();
    for pfn in places {
        reserve(&mut ledger, pfn, 0);
    }
    assert_eq!(ledger.reserved_pages().get(), 16384);
    ledger.check().unwrap();
    ledger.blocks().reserved()
}

#[test]
fn s13_scattered_pages_keep_much_more_tag_storage() {
    assert_eq!(tag_pages(0..16384), 512);
    assert_eq!(tag_pages((0..16384).map(|n| 32 * n)), 16384);
    // A bijection of 19 bits stands in for a draw without replacement.
    let scattered = tag_pages((0..16384_u64).map(|n| mix(n * 32 + n % 32)));
    let permille = scattered * 1000 / 16384;
    assert!((628..=648).contains(&permille), "{permille} permille of the tag pages");
}

/// Scrambles 19 bits, one to one: odd multipliers and shifts to the right.
fn mix(n: u64) -> u64 {
    let mask = (1 << 19) - 1;
    let n = (n * 0x2_c1b3 + 0x1_3579) & mask;
    let n = ((n ^ (n >> 9)) * 0x5_34d5) & mask;
    let n = ((n ^ (n >> 11)) * 0x3_9e37) & mask;
    n ^ (n >> 10)
}
