//! S12: reserving one tag page isolates a whole pageblock of them.

use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::isolate::IsolateMode;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::units::{Order, PageCount, PfnRange};
use pagelab_migrate::tag_storage::cma::CmaV3;

use crate::crowd::Crowd;
use crate::machine::{CPU, DATA, boot, count};

#[test]
fn s12_an_isolated_pageblock_blocks_64_mib_of_data() {
    // Two units: 64 MiB of data to each pageblock of tag storage.
    let mut emulator = boot(CmaV3, 2);
    let mut crowd = Crowd::fill(&mut emulator);
    let far = DATA.end();
    let map = emulator.tags().ledger().map();
    let pageblock = |pfn| map.range(map.block_of(pfn).unwrap()).start().align_down(Order::of(9));
    let same = pageblock(DATA.start());
    assert_eq!(pageblock(DATA.start() + PageCount::new(16383)), same);
    assert_ne!(pageblock(DATA.start() + PageCount::new(16384)), same);
    let wanted = [DATA.start() + PageCount::new(0x2000), far - PageCount::new(1), far];
    let map = emulator.tags().ledger().map();
    let storage = wanted.map(|pfn| map.range(map.block_of(pfn).unwrap()).start());
    let isolated = PfnRange::block(storage[0].align_down(Order::of(9)), Order::of(9));
    assert!(isolated.contains(storage[1]) && !isolated.contains(storage[2]));
    // Room for what will be displaced, above the watermarks.
    let spare = PfnRange::from_len(DATA.start() + PageCount::new(0x3000), PageCount::new(0x800));
    crowd.leave(&mut emulator, spare, PfnRange::default());

    let mode = IsolateMode::CmaAlloc(MigrateType::Cma);
    emulator.isolate(isolated, mode).unwrap();
    for (pfn, reserved) in wanted.into_iter().zip([false, false, true]) {
        let retries = emulator.tags().stats().claim_retries;
        crowd.leave(&mut emulator, PfnRange::block(pfn, Order::ZERO), PfnRange::default());
        let id = tagged_at(&mut emulator, pfn);
        let retries = emulator.tags().stats().claim_retries - retries;
        assert_eq!(emulator.tags().is_reserved(pfn), reserved, "{pfn}");
        assert_eq!(retries, if reserved { 0 } else { 2 });
        assert_eq!(count(&emulator, pfn), if reserved { 2 } else { 0 });
        assert_eq!(emulator.folios()[id].is_tagged(), reserved);
        emulator.check().unwrap();
    }
    emulator.undo_isolate(isolated, mode);
    emulator.check().unwrap();
}

/// A tagged page at the only frame that is alone in its buddy list, hence first.
fn tagged_at(
    emulator: &mut pagelab_migrate::emulator::Emulator,
    pfn: pagelab_allocator::units::Pfn,
) -> pagelab_migrate::folio::FolioId {
    let gfp = GfpFlags::HIGHUSER_MOVABLE | GfpFlags::TAGGED | GfpFlags::MEMALLOC;
    let id = emulator.allocate(CPU, Order::ZERO, gfp).unwrap();
    assert_eq!(emulator.folios()[id].pfn(), pfn);
    id
}
