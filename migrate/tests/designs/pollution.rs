//! S15: what dropping `__GFP_MOVABLE` does to pageblocks, and stripping `ALLOC_CMA` does not.

use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::units::{Order, PfnRange};
use pagelab_migrate::tag_storage::catalogue::Design;

use crate::machine::{CPU, DATA, MOVABLE, TAGGED, TAGS, boot};

/// Pageblocks of a range, by type.
fn census(emulator: &pagelab_migrate::emulator::Emulator, range: PfnRange) -> Vec<MigrateType> {
    let blocks = range.blocks(Order::of(9));
    blocks.map(|block| emulator.page_alloc().pageblock_type(block).unwrap()).collect()
}

/// Untagged and tagged pages in turn; returns unmovable pageblocks, and those of tag storage.
fn mixed_load(design: Design) -> (usize, Vec<MigrateType>) {
    let mut emulator = boot(design);
    for n in 0..12_000 {
        let gfp = if n % 3 == 0 { TAGGED } else { MOVABLE };
        let id = emulator.allocate(CPU, Order::ZERO, gfp).unwrap();
        let folio = &emulator.folios()[id];
        assert!(!folio.is_tagged() || DATA.contains(folio.pfn()), "{design}");
    }
    emulator.check().unwrap();
    let types = census(&emulator, DATA);
    let unmovable = types.iter().filter(|mt| **mt == MigrateType::Unmovable).count();
    (unmovable, census(&emulator, TAGS))
}

#[test]
fn s15_dropping_movable_pollutes_pageblocks_and_stripping_cma_does_not() {
    let (dropped, dropped_tags) = mixed_load(Design::DropMovable);
    let (stripped, stripped_tags) = mixed_load(Design::CmaV3);
    // Boot leaves one block of two pageblocks unmovable; 4000 pages need eight pageblocks.
    assert_eq!((dropped, stripped), (8, 2));
    // Tag storage is CMA before and after, under both.
    assert_eq!(dropped_tags, [MigrateType::Cma]);
    assert_eq!(stripped_tags, dropped_tags);
}
