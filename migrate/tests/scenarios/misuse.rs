//! Wrong arguments: what is refused changes nothing, also when the refusal is a panic.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::isolate::IsolateMode;
use pagelab_allocator::units::{Order, PageCount, Pfn, PfnRange};
use pagelab_migrate::contig::ContigError;
use pagelab_migrate::emulator::Emulator;
use pagelab_migrate::fault::{Access, AccessError};
use pagelab_migrate::folio::{FolioId, PinTerm, SpaceId};
use pagelab_migrate::mapping::MmError;
use pagelab_migrate::tag_storage::cma::CmaV3;
use pagelab_migrate::vma::{Backing, Prot, ShmemId, VirtRange};

use crate::machine::{CPU, DATA, Program, boot};

/// The message of a panic; the machine must be sound afterwards.
#[track_caller]
fn panics(emulator: &mut Emulator, work: impl FnOnce(&mut Emulator)) -> String {
    let panic = catch_unwind(AssertUnwindSafe(|| work(emulator))).unwrap_err();
    emulator.check().unwrap();
    panic.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[test]
fn only_what_was_allocated_can_be_freed_and_only_once() {
    let mut emulator = boot(CmaV3, 1);
    let program = Program::start(&mut emulator, 1, Prot::TAGGED);
    program.touch(&mut emulator, 0).unwrap();
    let mapped = program.folio(&emulator, 0);
    let gfp = GfpFlags::HIGHUSER_MOVABLE | GfpFlags::TAGGED;
    let pinned = emulator.allocate(CPU, Order::ZERO, gfp).unwrap();
    emulator.pin(CPU, pinned, PinTerm::Short).unwrap();
    let zero = emulator.access(CPU, program.space, program.page(0), Access::Read);
    assert!(zero.is_ok());
    let gone = emulator.allocate(CPU, Order::ZERO, gfp).unwrap();
    emulator.free(CPU, gone);
    for (id, message) in [(mapped, "mappings"), (pinned, "pins"), (gone, "not live")] {
        let said = panics(&mut emulator, |emulator| emulator.free(CPU, id));
        assert!(said.contains(message), "{said}");
    }
    let reserved = emulator.tags().ledger().reserved_pages();
    assert_eq!(reserved, PageCount::new(3), "the zero page, the mapped and the pinned page");
    let zero = emulator.folios().iter().map(|(id, _)| id).min().unwrap();
    let said = panics(&mut emulator, |emulator| emulator.free(CPU, zero));
    assert!(said.contains("zero page"), "{said}");
}

#[test]
fn shared_memory_belongs_to_its_object() {
    let mut emulator = boot(CmaV3, 1);
    let id = emulator.create_shmem();
    let space = emulator.create_space();
    let range = emulator.space(space).unwrap().unmapped_area(1, 1);
    emulator.mmap(space, range, Prot::TAGGED, Backing::Shmem { id, offset: 0 }).unwrap();
    let program = Program { space, range };
    program.touch(&mut emulator, 0).unwrap();
    let folio = program.folio(&emulator, 0);
    emulator.exit(CPU, space).unwrap();
    let said = panics(&mut emulator, |emulator| emulator.free(CPU, folio));
    assert!(said.contains("shared memory"), "{said}");
    let twice = panics(&mut emulator, |emulator| emulator.unpin(CPU, folio, PinTerm::Short));
    assert!(twice.contains("has no pins"), "{twice}");
    emulator.destroy_shmem(CPU, id).unwrap();
    assert!(emulator.destroy_shmem(CPU, id).is_err());
    let unknown = panics(&mut emulator, |emulator| {
        let _ = emulator.pin(CPU, FolioId::new(77), PinTerm::Long);
    });
    assert!(unknown.contains("not live"), "{unknown}");
}

#[test]
fn unknown_spaces_and_impossible_ranges_are_errors() {
    let mut emulator = boot(CmaV3, 1);
    let nobody = SpaceId::new(9);
    let program = Program::start(&mut emulator, 8, Prot::TAGGED);
    let (range, page) = (program.range, program.page(0));
    let missing = MmError::NoSuchSpace(nobody);
    assert_eq!(emulator.mmap(nobody, range, Prot::READ, Backing::Anon), Err(missing));
    assert_eq!(emulator.munmap(CPU, nobody, range), Err(missing));
    assert_eq!(emulator.madvise_dontneed(CPU, nobody, range), Err(missing));
    assert_eq!(emulator.mprotect(CPU, nobody, range, Prot::READ), Err(missing));
    assert_eq!(emulator.populate_huge(CPU, nobody, page, Order::of(2)), Err(missing));
    assert_eq!(emulator.exit(CPU, nobody), Err(missing));
    assert_eq!(emulator.fork(nobody), Err(missing));
    let missing = AccessError::Mm(missing);
    assert_eq!(emulator.access(CPU, nobody, page, Access::Read), Err(missing));
    let backing = Backing::Shmem { id: ShmemId::new(3), offset: 0 };
    assert!(emulator.mmap(program.space, range, Prot::READ, backing).is_err());
    let too_large = emulator.populate_huge(CPU, program.space, page, Order::of(3));
    assert!(too_large.is_ok(), "eight pages at a multiple of eight");
    let empty = VirtRange::from_len(page, 0);
    assert!(emulator.mprotect(CPU, program.space, empty, Prot::READ).is_err());
    assert!(emulator.munmap(CPU, program.space, empty).is_ok());
    for range in [
        PfnRange::default(),
        PfnRange::from_len(Pfn::new(5), PageCount::new(1)),
        PfnRange::from_len(DATA.start(), PageCount::new(1 << 40)),
    ] {
        let mode = IsolateMode::Other;
        let refused = emulator.claim_range(CPU, range, mode, GfpFlags::KERNEL).unwrap_err();
        assert_eq!(refused, ContigError::BadRange(range));
        assert!(emulator.isolate(range, mode).is_err());
    }
    emulator.check().unwrap();
}

#[test]
fn a_hole_stops_mprotect_before_it_changes_anything() {
    let mut emulator = boot(CmaV3, 1);
    let program = Program::start(&mut emulator, 16, Prot::READ_WRITE);
    let whole = emulator.populate_huge(CPU, program.space, program.page(0), Order::of(3)).unwrap();
    let hole = VirtRange::from_len(program.page(12), 2);
    emulator.munmap(CPU, program.space, hole).unwrap();
    let across = VirtRange::from_len(program.page(4), 12);
    let refused = emulator.mprotect(CPU, program.space, across, Prot::TAGGED);
    assert!(matches!(refused, Err(MmError::Space(_))));
    assert_eq!(emulator.folios()[whole].order(), Order::of(3));
    assert_eq!(program.marked(&emulator), 0);
    // PROT_MTE stays for good, whatever later calls say.
    program_protect(&mut emulator, program, 0, 12, Prot::TAGGED);
    program_protect(&mut emulator, program, 0, 12, Prot::READ_WRITE);
    program_protect(&mut emulator, program, 0, 12, Prot::READ_WRITE);
    let vma = *emulator.space(program.space).unwrap().vma_at(program.page(0)).unwrap();
    assert_eq!(vma.prot(), Prot::TAGGED);
    emulator.check().unwrap();
}

fn program_protect(emulator: &mut Emulator, program: Program, from: u64, len: u64, prot: Prot) {
    let range = VirtRange::from_len(program.page(from), len);
    emulator.mprotect(CPU, program.space, range, prot).unwrap();
}
