//! S1 to S5: where tags lie, and how many blocks an allocation needs.

use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::units::{Order, PageCount, Pfn, PfnRange};
use pagelab_migrate::tag_storage::formula::Formula;
use pagelab_migrate::tag_storage::map::{NoTagStorage, TagMap};
use pagelab_migrate::tag_storage::placement::RecursivePlacement;
use pagelab_migrate::tag_storage::region::{TagRegion, Use, block_pages};

fn range(start: u64, len: u64) -> PfnRange {
    PfnRange::from_len(Pfn::new(start), PageCount::new(len))
}

/// The layout that RFC v2 and v3 were tested with: two banks, the tags at the top of the second.
fn fvp() -> TagMap {
    let one = PageCount::new(1);
    let low = TagRegion::new(range(0x8_0000, 0x8_0000), range(0x8f_8000, 16384), one).unwrap();
    let high = TagRegion::new(range(0x88_0000, 0x7_8000), range(0x8f_c000, 15360), one).unwrap();
    TagMap::new(vec![low, high], Geometry::PAGES_4K, Formula::Intent).unwrap()
}

#[test]
fn s01_the_test_platform_maps_as_published() {
    let map = fvp();
    let tag_page = |pfn: u64| map.range(map.block_of(Pfn::new(pfn)).unwrap()).start().get();
    assert_eq!(tag_page(0x8_0000), 0x8f_8000);
    assert_eq!(tag_page(0x8_001f), 0x8f_8000);
    assert_eq!(tag_page(0x8_0020), 0x8f_8001);
    assert_eq!(tag_page(0xf_ffff), 0x8f_bfff);
    assert_eq!(tag_page(0x88_0000 + 491_519), 0x8f_fbff);
    let pageblocks = map.regions().map(|region| region.tags().len().get() / 512);
    assert_eq!(pageblocks.collect::<Vec<_>>(), [32, 30]);
    let outside = Pfn::new(0x7_ffff);
    assert_eq!(map.shares(outside, Order::ZERO), Err(NoTagStorage(outside)));
}

#[test]
fn s02_the_first_series_cut_2_gib_into_33_slices() {
    let slice = 62 << 20;
    assert_eq!((2_u64 << 30) - 33 * slice, 2 << 20);
    assert_eq!(slice * 32, 0x7c00_0000);
    let data = range(0x8_0000, 0x7_c000);
    let region = TagRegion::new(data, range(0xf_c000, 15872), PageCount::new(1)).unwrap();
    region.validate(Geometry::PAGES_4K, Use::Lent).unwrap();
    assert_eq!(region.tags().len().get() / 512, 31);
    assert_eq!(region.block(Pfn::new(0xf_bfff)), Some(range(0xf_c000 + 15871, 1)));
}

#[test]
fn s03_recursive_placement_gains_a_few_hundred_kib() {
    let expected = [
        (8, 0x1_f002_0000, 0x1_ff82_1000),
        (12, 0x2_e804_0000, 0x2_ff44_2000),
        (16, 0x3_e006_0000, 0x3_ff06_3000),
        (32, 0x7_c00e_0000, 0x7_fe0e_7000),
        (64, 0xf_801e_0000, 0xf_fc1e_f000),
    ];
    for (gib, tag_offset, fixed) in expected {
        assert_eq!(
            RecursivePlacement::highest(gib << 30),
            RecursivePlacement { tag_offset, fixed },
            "{gib} GiB"
        );
    }
}

#[test]
fn s04_a_block_is_the_least_common_multiple() {
    let expected = [
        (0x1000, [1, 1, 1]),
        (0x2000, [2, 1, 1]),
        (0x3000, [3, 3, 3]),
        (0x4000, [4, 1, 1]),
        (0x8000, [8, 2, 1]),
        (0x1_0000, [16, 4, 1]),
    ];
    let covered_kib = |size: u64, bytes| block_pages(size, bytes).unwrap().get() * 32 * size / 1024;
    assert_eq!([0x1000, 0x3000, 0x1_0000].map(|bytes| covered_kib(4096, bytes)), [128, 384, 2048]);
    assert_eq!([0x1000, 0x3000, 0x8000].map(|bytes| covered_kib(16384, bytes)), [512, 1536, 1024]);
    assert_eq!([0x1000, 0x3000].map(|bytes| covered_kib(65536, bytes)), [2048, 6144]);
    for (bytes, pages) in expected {
        let got = [4096, 16384, 65536].map(|size| block_pages(size, bytes).unwrap().get());
        assert_eq!(got, pages, "block size {bytes:#x}");
    }
    let odd = TagRegion::new(range(0, 32 * 300), range(0x1_0000, 300), PageCount::new(3)).unwrap();
    assert_eq!(odd.block(Pfn::new(100 * 32)), Some(range(0x1_0000 + 99, 3)));
}

/// Pages of tag storage that the blocks of an aligned allocation hold.
fn pages_reserved(formula: Formula, order: u8, block: u64) -> u64 {
    let region = TagRegion::new(range(0, 0x1_0000), range(0x1_0000, 2048), PageCount::new(block));
    let map = TagMap::new(vec![region.unwrap()], Geometry::PAGES_4K, formula).unwrap();
    let shares = map.shares(Pfn::new(0), Order::of(order)).unwrap();
    u64::try_from(shares.len()).unwrap() * block
}

#[test]
fn s05_blocks_of_an_allocation_as_intended_and_as_coded() {
    for block in [1, 2, 4, 8] {
        for order in 0..=10_u8 {
            let tag_pages = ((1_u64 << order) / 32).max(1);
            let expected = tag_pages.div_ceil(block) * block;
            assert_eq!(pages_reserved(Formula::Intent, order, block), expected);
            assert_eq!(pages_reserved(Formula::AsCodedV2, order, block), tag_pages * block);
            let visited = tag_pages.div_ceil(block).div_ceil(block) * block;
            assert_eq!(pages_reserved(Formula::AsCodedV3, order, block), visited);
        }
    }
    let all = |order, block| {
        [Formula::Intent, Formula::AsCodedV2, Formula::AsCodedV3]
            .map(|formula| pages_reserved(formula, order, block))
    };
    assert_eq!(all(6, 2), [2, 4, 2]);
    assert_eq!(all(9, 2), [16, 32, 8]);
    assert_eq!(all(9, 1), [16, 16, 16]);
    assert_eq!(all(9, 16), [16, 256, 16]);
}

#[test]
fn s14_16_gib_have_512_mib_of_tags() {
    let pages = (16 << 30) / 4096;
    let region = TagRegion::new(range(0, pages), range(pages, pages / 32), PageCount::new(1));
    let tags = region.unwrap().tags().len().get();
    assert_eq!(tags * 4096, 512 << 20);
    // 3.125 % of the data, or 3.03 % of both; with 1 % in use, two thirds of it lie idle.
    assert_eq!((tags * 100_000 / pages, tags * 10_000 / (pages + tags)), (3125, 303));
    assert_eq!((tags - pages / 100) * 100 / tags, 68);
}
