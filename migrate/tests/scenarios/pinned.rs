//! S9: the tag page of a wanted page is used as data, and pinned.

use std::collections::BTreeMap;

use pagelab_allocator::event::Silent;
use pagelab_allocator::units::{Order, PageCount, Pfn, PfnRange};
use pagelab_migrate::emulator::Emulator;
use pagelab_migrate::fault::{Access, AccessError, FaultOutcome};
use pagelab_migrate::folio::{FolioId, Mapping, PinTerm};
use pagelab_migrate::tag_storage::cma::{CmaV2, CmaV3};
use pagelab_migrate::tag_storage::design::{Attempt, TagStorageDesign};
use pagelab_migrate::tag_storage::metadata::Metadata;
use pagelab_migrate::vma::{Prot, VirtRange};

use crate::crowd::Crowd;
use crate::machine::{CPU, DATA, Program, TAGS, boot};

/// The first page that a tagged request is given: alone in its group, so found first.
const X: Pfn = Pfn::new(0x4_2000);
const GROUP: PfnRange = PfnRange::new(X, Pfn::new(0x4_2020));

/// A machine whose tag storage is full of data, with the data in X's tag page pinned. X is the only
/// free page of its group.
fn boot_pinned(design: impl TagStorageDesign + 'static) -> (Emulator<Silent>, Crowd, FolioId) {
    let mut emulator = boot(design, 1);
    let mut crowd = Crowd::fill(&mut emulator);
    crowd.leave(&mut emulator, DATA, GROUP);
    crowd.leave(&mut emulator, PfnRange::from_len(X, PageCount::new(1)), PfnRange::default());
    let block = emulator.tags().ledger().map().block_of(X).unwrap();
    let tag_page = emulator.tags().ledger().map().range(block).start();
    let pinned = crowd.at(tag_page).unwrap();
    emulator.pin(CPU, pinned, PinTerm::Short).unwrap();
    (emulator, crowd, pinned)
}

#[test]
fn s09_v2_refuses_the_page_and_takes_another() {
    let (mut emulator, _crowd, _) = boot_pinned(CmaV2);
    let program = Program::start(&mut emulator, 1, Prot::TAGGED);
    program.touch(&mut emulator, 0).unwrap();
    let stats = *emulator.tags().stats();
    assert_eq!((stats.refused_pages, stats.claim_retries, stats.claim_failures), (1, 2, 1));
    assert!(!GROUP.contains(program.pfn(&emulator, 0)));
}

#[test]
fn s09_v1_tries_five_times_refuses_the_page_and_takes_another() {
    let (mut emulator, _crowd, _) = boot_pinned(Metadata);
    let program = Program::start(&mut emulator, 1, Prot::TAGGED);
    program.touch(&mut emulator, 0).unwrap();
    let stats = *emulator.tags().stats();
    assert_eq!((stats.refused_pages, stats.claim_retries, stats.claim_failures), (1, 4, 1));
    assert_eq!(stats.claims_pinned, 1);
    assert!(!GROUP.contains(program.pfn(&emulator, 0)));
}

#[test]
fn s09_v1_migrates_at_the_first_fault() {
    let (mut emulator, _crowd, _) = boot_pinned(Metadata);
    let program = untagged_on_x(&mut emulator);
    program.protect(&mut emulator, Prot::TAGGED);
    let at = Mapping { space: program.space, page: program.page(0) };
    let first = emulator.fault(CPU, at, Access::Write, Attempt::First).unwrap();
    assert_eq!(first, FaultOutcome::Replay);
    assert!(!GROUP.contains(program.pfn(&emulator, 0)));
    program.touch(&mut emulator, 0).unwrap();
    assert_eq!(emulator.tags().stats().fault_retries, 0);
}

#[test]
fn s09_another_page_of_the_group_is_refused_as_well() {
    let (mut emulator, mut crowd, _) = boot_pinned(CmaV2);
    let second = PfnRange::from_len(X + PageCount::new(2), PageCount::new(1));
    crowd.leave(&mut emulator, second, PfnRange::default());
    let program = Program::start(&mut emulator, 1, Prot::TAGGED);
    program.touch(&mut emulator, 0).unwrap();
    assert_eq!(emulator.tags().stats().refused_pages, 2);
    assert!(!GROUP.contains(program.pfn(&emulator, 0)));
}

#[test]
fn a_pinned_page_in_tag_storage_makes_no_progress_until_it_is_unpinned() {
    for design in [&CmaV2 as &dyn TagStorageDesign, &CmaV3] {
        let tries = u64::from(design.migrate_tries());
        let mut emulator = match design.name() {
            "cma-v2" => boot(CmaV2, 1),
            _ => boot(CmaV3, 1),
        };
        let program = Program::start(&mut emulator, 0x4200, Prot::READ_WRITE);
        let inside = (0..0x4200).find(|offset| {
            let page = program.page(*offset);
            emulator.access(CPU, program.space, page, Access::Write).unwrap();
            TAGS.contains(program.pfn(&emulator, *offset))
        });
        let inside = inside.unwrap();
        let spare =
            VirtRange::from_len(program.page(if inside < 0x1000 { 0x1000 } else { 0 }), 0x1000);
        emulator.madvise_dontneed(CPU, program.space, spare).unwrap();
        let own = program.folio(&emulator, inside);
        emulator.pin(CPU, own, PinTerm::Short).unwrap();
        program.protect(&mut emulator, Prot::TAGGED);
        let before = emulator.mm_stats().pgmigrate_fail;
        let stuck = program.touch(&mut emulator, inside);
        assert_eq!(stuck, Err(AccessError::NoProgress(8)));
        let fails = emulator.mm_stats().pgmigrate_fail - before;
        assert_eq!(fails, 8 * tries, "{}", design.name());
        emulator.unpin(CPU, own, PinTerm::Short);
        program.touch(&mut emulator, inside).unwrap();
        assert!(DATA.contains(program.pfn(&emulator, inside)));
    }
}

#[test]
fn s09_v2_fails_when_every_tag_page_is_pinned() {
    let mut emulator = boot(CmaV2, 1);
    let mut crowd = Crowd::fill(&mut emulator);
    // Not the zero page's group: its tag page is reserved already.
    let free = PfnRange::from_len(Pfn::new(0x4_1000), PageCount::new(0x800));
    let ledger = emulator.tags().ledger();
    assert!(free.iter().all(|pfn| !ledger.is_reserved(pfn)));
    crowd.leave(&mut emulator, free, PfnRange::default());
    for id in TAGS.iter().filter_map(|pfn| crowd.at(pfn)) {
        emulator.pin(CPU, id, PinTerm::Short).unwrap();
    }
    let program = Program::start(&mut emulator, 1, Prot::TAGGED);
    assert!(matches!(program.touch(&mut emulator, 0), Err(AccessError::Mm(_))));
    assert_eq!(emulator.tags().stats().no_progress, 0);
}

#[test]
fn s09_v2_faults_for_ever_after_mprotect() {
    let (mut emulator, _crowd, pinned) = boot_pinned(CmaV2);
    let program = untagged_on_x(&mut emulator);
    program.protect(&mut emulator, Prot::TAGGED);
    assert!(matches!(program.touch(&mut emulator, 0), Err(AccessError::NoProgress(_))));
    assert_eq!(program.pfn(&emulator, 0), X);
    emulator.unpin(CPU, pinned, PinTerm::Short);
    program.touch(&mut emulator, 0).unwrap();
    assert_eq!(program.pfn(&emulator, 0), X);
}

#[test]
fn v2_leaves_tag_storage_only_for_pages_that_have_theirs() {
    let mut emulator = boot(CmaV2, 1);
    let program = Program::start(&mut emulator, 0x4200, Prot::READ_WRITE);
    let touched = (0..0x4200)
        .take_while(|offset| {
            let page = program.page(*offset);
            emulator.access(CPU, program.space, page, Access::Write).is_ok()
        })
        .count();
    let places: BTreeMap<_, _> = (0..u64::try_from(touched).unwrap())
        .map(|offset| (program.pfn(&emulator, offset), offset))
        .collect();
    // The data page whose tags belong where `pinned` lies will be the first that is free.
    let map = emulator.tags().ledger().map();
    let (pinned, first) = places
        .range(TAGS.start()..)
        .find_map(|(pfn, pinned)| {
            let mut group = map.covered(map.block_at(*pfn)?).iter();
            Some((*pinned, *group.find_map(|page| places.get(&page))?))
        })
        .unwrap();
    let inside = *places.range(TAGS.start()..).next_back().unwrap().1;
    let spare = VirtRange::from_len(program.page(4000), 2000);
    let second = 3000;
    assert!([pinned, first, inside].iter().all(|n| !spare.contains(program.page(*n))));
    assert!(![pinned, first, inside].contains(&second));
    let single = |offset| VirtRange::from_len(program.page(offset), 1);
    for range in [spare, single(second), single(first)] {
        emulator.madvise_dontneed(CPU, program.space, range).unwrap();
        emulator.drain();
    }
    let held = program.folio(&emulator, pinned);
    emulator.pin(CPU, held, PinTerm::Short).unwrap();
    program.protect(&mut emulator, Prot::TAGGED);
    program.touch(&mut emulator, inside).unwrap();
    assert_eq!(emulator.tags().stats().refused_pages, 1);
    assert_eq!(emulator.tags().stats().fault_migrations, 1);
}

/// A program whose only page is X.
fn untagged_on_x(emulator: &mut Emulator<Silent>) -> Program {
    let program = Program::start(emulator, 1, Prot::READ_WRITE);
    program.touch(emulator, 0).unwrap();
    assert_eq!(program.pfn(emulator, 0), X);
    program
}

#[test]
fn s09_v3_hands_the_page_out_and_moves_it_at_the_second_fault() {
    let (mut emulator, _crowd, _) = boot_pinned(CmaV3);
    let program = Program::start(&mut emulator, 1, Prot::TAGGED);
    let at = Mapping { space: program.space, page: program.page(0) };
    let step = |emulator: &mut Emulator<Silent>, attempt| {
        let outcome = emulator.fault(CPU, at, Access::Write, attempt).unwrap();
        emulator.check().unwrap();
        outcome
    };
    assert_eq!(step(&mut emulator, Attempt::First), FaultOutcome::Served);
    assert_eq!((program.pfn(&emulator, 0), program.marked(&emulator)), (X, 1));
    assert_eq!(emulator.tags().stats().claim_retries, 2);
    assert_eq!(step(&mut emulator, Attempt::First), FaultOutcome::Retry);
    assert_eq!(step(&mut emulator, Attempt::Again), FaultOutcome::Replay);
    assert!(!GROUP.contains(program.pfn(&emulator, 0)));
    assert_eq!(step(&mut emulator, Attempt::First), FaultOutcome::Served);
    assert!(matches!(step(&mut emulator, Attempt::First), FaultOutcome::Done(_)));
    assert_eq!(emulator.tags().stats().fault_migrations, 1);
}

#[test]
fn s09_v3_makes_no_progress_when_both_are_pinned() {
    let (mut emulator, _crowd, pinned) = boot_pinned(CmaV3);
    let program = untagged_on_x(&mut emulator);
    let own = program.folio(&emulator, 0);
    emulator.pin(CPU, own, PinTerm::Short).unwrap();
    program.protect(&mut emulator, Prot::TAGGED);
    assert!(matches!(program.touch(&mut emulator, 0), Err(AccessError::NoProgress(_))));
    emulator.unpin(CPU, pinned, PinTerm::Short);
    program.touch(&mut emulator, 0).unwrap();
    assert_eq!(program.pfn(&emulator, 0), X);
    emulator.unpin(CPU, own, PinTerm::Short);
    assert_eq!(emulator.folios()[own].order(), Order::ZERO);
}
