//! A page and its tag block, both pinned: no progress, which is not a lack of memory.

use pagelab_allocator::units::{PageCount, PfnRange};
use pagelab_migrate::fault::{Access, AccessError};
use pagelab_migrate::folio::PinTerm;
use pagelab_migrate::tag_storage::catalogue::Design;
use pagelab_migrate::vma::Prot;

use crate::machine::{CPU, DATA, MOVABLE, boot, fill, leave, program};

#[test]
fn both_pinned_is_no_progress_until_one_is_let_go() {
    for design in Design::ALL {
        if matches!(design, Design::Carveout | Design::Cleancache) {
            continue;
        }
        let mut emulator = boot(design);
        let mut others = fill(&mut emulator, MOVABLE);
        let room = PfnRange::from_len(DATA.start() + PageCount::new(0x2000), PageCount::new(0x800));
        leave(&mut emulator, &mut others, |pfn| room.contains(pfn));
        let (space, range) = program(&mut emulator, 1, Prot::READ_WRITE);
        let page = range.start();
        let place = emulator.access(CPU, space, page, Access::Write).unwrap().translation;
        let map = emulator.tags().ledger().map();
        let tag_page = map.range(map.block_of(place.pfn).unwrap()).start();
        let in_the_way = others[&tag_page];
        emulator.pin(CPU, place.folio, PinTerm::Short).unwrap();
        emulator.pin(CPU, in_the_way, PinTerm::Short).unwrap();
        emulator.mprotect(CPU, space, range, Prot::TAGGED).unwrap();
        let stuck = emulator.access(CPU, space, page, Access::Write);
        assert!(matches!(stuck, Err(AccessError::NoProgress(_))), "{design}: {stuck:?}");
        assert_eq!(emulator.tags().stats().no_progress, 1, "{design}");
        assert!(emulator.tags().stats().claims_pinned > 0, "{design}");
        emulator.check().unwrap();
        emulator.unpin(CPU, in_the_way, PinTerm::Short);
        let done = emulator.access(CPU, space, page, Access::Write).unwrap();
        assert_eq!(done.translation.pfn, place.pfn, "{design}");
        emulator.check().unwrap();
    }
}
