//! Where tagged requests may go, when they fail, and whether they may wait.

use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::units::{Order, PageCount, PfnRange};
use pagelab_migrate::emulator::AllocateError;
use pagelab_migrate::fault::{Access, AccessError};
use pagelab_migrate::tag_storage::catalogue::Design;
use pagelab_migrate::tag_storage::reserve::ReserveError;
use pagelab_migrate::vma::Prot;

use crate::machine::{CPU, DATA, Layout, MOVABLE, TAGGED, TAGS, boot, fill, leave, program};

#[test]
fn who_may_use_ordinary_cma() {
    for design in Design::ALL {
        let area = PfnRange::from_len(DATA.start() + PageCount::new(0x1000), PageCount::new(1536));
        let mut emulator =
            Layout { cma: Some(area), ..Layout::usual() }.boot(design.build()).unwrap();
        let mut others = fill(&mut emulator, MOVABLE);
        leave(&mut emulator, &mut others, |pfn| area.contains(pfn));
        let found = emulator.allocate(CPU, Order::ZERO, TAGGED | GfpFlags::MEMALLOC);
        emulator.check().unwrap();
        let found = found.is_ok_and(|id| area.contains(emulator.folios()[id].pfn()));
        let barred =
            [Design::CmaV2, Design::CmaV3, Design::DropMovable, Design::GrabAll].contains(&design);
        assert_eq!(found, !barred, "{design}");
    }
}

#[test]
fn prot_mte_fails_when_only_tag_storage_is_free() {
    for design in Design::ALL {
        let mut emulator = boot(design);
        let mut others = fill(&mut emulator, MOVABLE);
        leave(&mut emulator, &mut others, |pfn| TAGS.contains(pfn));
        let (space, range) = program(&mut emulator, 1, Prot::TAGGED);
        let outcome = emulator.access(CPU, space, range.start(), Access::Write);
        assert!(matches!(outcome, Err(AccessError::Mm(_))), "{design}: {outcome:?}");
        emulator.check().unwrap();
        let (space, range) = program(&mut emulator, 1, Prot::READ_WRITE);
        let outcome = emulator.access(CPU, space, range.start(), Access::Write);
        let nowhere = matches!(design, Design::Carveout | Design::Cleancache);
        assert_eq!(outcome.is_err(), nowhere, "{design}: untagged data may use it");
    }
}

#[test]
fn only_what_never_migrates_works_in_atomic_context() {
    for design in Design::ALL {
        let mut emulator = boot(design);
        let gfp = GfpFlags::ATOMIC | GfpFlags::MOVABLE | GfpFlags::TAGGED;
        let outcome = emulator.allocate(CPU, Order::ZERO, gfp);
        emulator.check().unwrap();
        if matches!(design, Design::Carveout | Design::Cleancache) {
            assert!(emulator.folios()[outcome.unwrap()].is_tagged(), "{design}");
        } else {
            assert_eq!(outcome, Err(AllocateError::Tags(ReserveError::Atomic)), "{design}");
        }
    }
}

/// Share of tag storage in use when data takes an eighth of memory, in percent.
fn in_tag_storage(design: Design) -> u64 {
    let mut emulator = boot(design);
    let (space, range) = program(&mut emulator, 0x800, Prot::READ_WRITE);
    for offset in 0..0x800 {
        emulator.access(CPU, space, range.start().plus(offset), Access::Write).unwrap();
    }
    emulator.usage().in_tag_storage.get() * 100 / TAGS.len().get()
}

#[test]
fn a_zone_is_used_first_and_everything_else_last() {
    assert!(in_tag_storage(Design::ZoneMovable) > 80);
    for design in Design::ALL.into_iter().filter(|design| *design != Design::ZoneMovable) {
        assert_eq!(in_tag_storage(design), 0, "{design}");
    }
}

#[test]
fn a_filter_pays_for_what_it_filters() {
    for (design, pays) in [(Design::CmaFilter, true), (Design::CmaV3, false)] {
        let mut emulator = boot(design);
        let mut others = fill(&mut emulator, MOVABLE);
        // More than half of what is free is CMA, which a movable request then tries first.
        let some = PfnRange::from_len(DATA.start() + PageCount::new(0x1000), PageCount::new(440));
        leave(&mut emulator, &mut others, |pfn| TAGS.contains(pfn) || some.contains(pfn));
        let id = emulator.allocate(CPU, Order::ZERO, TAGGED | GfpFlags::MEMALLOC).unwrap();
        emulator.check().unwrap();
        assert!(some.contains(emulator.folios()[id].pfn()), "{design}");
        assert_eq!(emulator.tags().stats().refused_pages >= 64, pays, "{design}");
    }
}
