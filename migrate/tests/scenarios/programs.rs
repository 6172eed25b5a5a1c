//! What programs do to tagged pages, and the traps on the way: fork, shared memory, pins, atomic
//! requests, cache maintenance.

use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::units::{Order, PageCount, PfnRange};
use pagelab_migrate::emulator::AllocateError;
use pagelab_migrate::fault::Access;
use pagelab_migrate::folio::PinTerm;
use pagelab_migrate::tag_storage::caches::Maintenance;
use pagelab_migrate::tag_storage::carveout::Carveout;
use pagelab_migrate::tag_storage::cma::CmaV3;
use pagelab_migrate::tag_storage::reserve::ReserveError;
use pagelab_migrate::vma::{Backing, Prot};

use crate::crowd::Crowd;
use crate::machine::{CPU, DATA, Program, TAGS, boot, count, reserved};

#[test]
fn fork_inherits_the_marker_and_a_store_copies_the_tags() {
    let mut emulator = boot(CmaV3, 1);
    let parent = Program::start(&mut emulator, 2, Prot::READ_WRITE);
    parent.touch(&mut emulator, 0).unwrap();
    parent.touch(&mut emulator, 1).unwrap();
    parent.protect(&mut emulator, Prot::TAGGED);
    parent.touch(&mut emulator, 0).unwrap();
    let child = Program { space: emulator.fork(parent.space).unwrap(), ..parent };
    emulator.check().unwrap();
    assert_eq!((parent.marked(&emulator), child.marked(&emulator)), (1, 1));
    child.touch(&mut emulator, 0).unwrap();
    let (ours, theirs) = (parent.folio(&emulator, 0), child.folio(&emulator, 0));
    assert_ne!(ours, theirs);
    assert!(emulator.folios()[theirs].is_tagged() && emulator.folios()[ours].is_tagged());
    emulator.exit(CPU, parent.space).unwrap();
    emulator.exit(CPU, child.space).unwrap();
    emulator.check().unwrap();
    assert_eq!(reserved(&emulator), 0);
}

#[test]
fn shared_memory_is_reserved_once_however_often_it_is_mapped() {
    let mut emulator = boot(CmaV3, 1);
    let id = emulator.create_shmem();
    let spaces = [Prot::READ_WRITE, Prot::TAGGED, Prot::TAGGED].map(|prot| {
        let space = emulator.create_space();
        let range = emulator.space(space).unwrap().unmapped_area(1, 1);
        emulator.mmap(space, range, prot, Backing::Shmem { id, offset: 0 }).unwrap();
        Program { space, range }
    });
    spaces[0].touch(&mut emulator, 0).unwrap();
    assert_eq!(reserved(&emulator), 0);
    spaces[1].touch(&mut emulator, 0).unwrap();
    spaces[2].touch(&mut emulator, 0).unwrap();
    let pfn = spaces[0].pfn(&emulator, 0);
    assert_eq!(pfn, spaces[2].pfn(&emulator, 0));
    assert_eq!((reserved(&emulator), count(&emulator, pfn)), (1, 2));
    for program in spaces {
        assert!(emulator.destroy_shmem(CPU, id).is_err());
        emulator.exit(CPU, program.space).unwrap();
    }
    assert_eq!(reserved(&emulator), 1);
    emulator.destroy_shmem(CPU, id).unwrap();
    emulator.check().unwrap();
    assert_eq!(reserved(&emulator), 0);
}

/// Data pages to be freed, away from the zero page, whose group has its tag page already.
fn spare() -> PfnRange {
    PfnRange::from_len(DATA.start() + PageCount::new(0x1000), PageCount::new(0x800))
}

#[test]
fn a_long_pin_leaves_tag_storage_and_a_short_one_stays() {
    let mut emulator = boot(CmaV3, 1);
    let mut crowd = Crowd::fill(&mut emulator);
    crowd.leave(&mut emulator, spare(), PfnRange::default());
    let ids: Vec<_> = TAGS.iter().filter_map(|pfn| crowd.at(pfn)).take(2).collect();
    emulator.pin(CPU, ids[0], PinTerm::Short).unwrap();
    emulator.pin(CPU, ids[1], PinTerm::Long).unwrap();
    let lies_in_storage = |id| TAGS.contains(emulator.folios()[id].pfn());
    assert!(lies_in_storage(ids[0]) && !lies_in_storage(ids[1]));
    emulator.check().unwrap();
}

#[test]
fn tagged_requests_must_be_able_to_sleep() {
    let gfp = GfpFlags::ATOMIC | GfpFlags::MOVABLE | GfpFlags::TAGGED;
    let mut lent = boot(CmaV3, 1);
    let refused = lent.allocate(CPU, Order::ZERO, gfp);
    assert_eq!(refused, Err(AllocateError::Tags(ReserveError::Atomic)));
    // A static carve-out has nothing to reserve.
    let mut fixed = boot(Carveout, 1);
    let id = fixed.allocate(CPU, Order::ZERO, gfp).unwrap();
    assert!(fixed.folios()[id].is_tagged());
}

/// Pages destroyed by late write-back when maintenance is done, or left out.
fn corruptions(data: Maintenance, tags: Maintenance) -> u64 {
    let mut emulator = boot(CmaV3, 1);
    emulator.tags_mut().caches_mut().set_maintenance(data, tags);
    let mut crowd = Crowd::fill(&mut emulator);
    crowd.leave(&mut emulator, spare(), PfnRange::default());
    let program = Program::start(&mut emulator, 1, Prot::TAGGED);
    let page = program.page(0);
    emulator.access(CPU, program.space, page, Access::Write).unwrap();
    emulator.madvise_dontneed(CPU, program.space, program.range).unwrap();
    let corruptions = emulator.tags().caches().corruptions();
    assert_eq!(emulator.check().is_err(), corruptions > 0);
    corruptions
}

#[test]
fn both_invalidations_are_needed() {
    use Maintenance::{Omitted, Performed};
    assert_eq!(corruptions(Performed, Performed), 0);
    assert_eq!(corruptions(Omitted, Performed), 1);
    assert_eq!(corruptions(Performed, Omitted), 1);
}

#[test]
fn a_snapshot_is_a_machine_of_its_own() {
    let mut emulator = boot(CmaV3, 1);
    let program = Program::start(&mut emulator, 8, Prot::TAGGED);
    program.touch(&mut emulator, 0).unwrap();
    let mut copy = emulator.clone();
    let ahead: Vec<_> = (1..8).map(|n| program.touch(&mut copy, n).unwrap()).collect();
    assert_eq!(emulator.usage().tagged, PageCount::new(2));
    let again: Vec<_> = (1..8).map(|n| program.touch(&mut emulator, n).unwrap()).collect();
    assert_eq!(ahead, again);
}
