//! Tagged pages that others move: for a block that never comes into being, into tag storage, and
//! while they wait for their own tags.

use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::isolate::IsolateMode;
use pagelab_allocator::units::{Order, PageCount, PfnRange};
use pagelab_migrate::fault::Access;
use pagelab_migrate::folio::PinTerm;
use pagelab_migrate::tag_storage::cma::CmaV3;
use pagelab_migrate::vma::{Prot, VirtRange};

use crate::crowd::Crowd;
use crate::machine::{CPU, DATA, ORDER_9, Program, TAGS, boot};

#[test]
fn a_tagged_page_may_move_into_tag_storage_and_repairs_itself() {
    let mut emulator = boot(CmaV3, 1);
    let mut crowd = Crowd::fill(&mut emulator);
    let spare = PfnRange::from_len(DATA.start() + PageCount::new(0x1000), PageCount::new(0x800));
    crowd.leave(&mut emulator, spare, PfnRange::default());
    let program = Program::start(&mut emulator, 1, Prot::TAGGED);
    program.touch(&mut emulator, 0).unwrap();
    let place = PfnRange::block(program.pfn(&emulator, 0), Order::ZERO);
    // Once most of the free memory is tag storage, movable memory goes there first.
    let mut newcomers = Crowd::fill(&mut emulator);
    newcomers.leave(&mut emulator, PfnRange::from_len(spare.start(), PageCount::new(440)), place);
    crowd.leave(&mut emulator, TAGS, PfnRange::default());
    let mode = IsolateMode::Other;
    let taken = emulator.claim_range(CPU, place, mode, GfpFlags::KERNEL).unwrap();
    emulator.check().unwrap();
    assert!(TAGS.contains(program.pfn(&emulator, 0)));
    assert!(emulator.folios()[program.folio(&emulator, 0)].is_tagged());
    assert_eq!((program.marked(&emulator), emulator.tags().stashed()), (1, 1));
    newcomers.leave(&mut emulator, spare, place);
    program.touch(&mut emulator, 0).unwrap();
    assert!(!TAGS.contains(program.pfn(&emulator, 0)));
    assert_eq!((program.marked(&emulator), emulator.tags().stashed()), (0, 0));
    let stats = *emulator.tags().stats();
    assert_eq!((stats.stashed_pages, stats.restored_pages), (2, 1));
    emulator.release_range(CPU, taken.range);
    emulator.check().unwrap();
}

/// A program that fills the data and then gives every second page back: there is memory enough,
/// but no block; one pin in each pageblock keeps it so.
#[test]
fn what_compaction_moved_in_vain_has_moved() {
    let mut emulator = boot(CmaV3, 1);
    let mut crowd = Crowd::fill(&mut emulator);
    let room = PfnRange::from_len(DATA.start() + PageCount::new(0x2000), PageCount::new(0x1800));
    crowd.leave(&mut emulator, room, PfnRange::default());
    let program = Program::start(&mut emulator, 0x1800, Prot::TAGGED);
    let mut touched = 0;
    while emulator.access(CPU, program.space, program.page(touched), Access::Write).is_ok() {
        touched += 1;
    }
    let _newcomers = Crowd::fill(&mut emulator);
    for offset in (0..touched).step_by(2) {
        let one = VirtRange::from_len(program.page(offset), 1);
        emulator.madvise_dontneed(CPU, program.space, one).unwrap();
    }
    for pageblock in DATA.blocks(ORDER_9) {
        let mut frames = PfnRange::block(pageblock, ORDER_9).iter();
        if let Some(id) = frames.find_map(|pfn| emulator.folio_at(pfn)) {
            emulator.pin(CPU, id, PinTerm::Short).unwrap();
        }
    }
    emulator.drain();
    emulator.check().unwrap();
    emulator.take_moves();
    let refused = emulator.allocate(CPU, ORDER_9, GfpFlags::KERNEL);
    assert!(refused.is_err());
    emulator.check().unwrap();
    assert!(!emulator.take_moves().is_empty());
}
