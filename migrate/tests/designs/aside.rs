//! Tags that are kept aside: only where storage may be missing when a page is copied.

use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::isolate::IsolateMode;
use pagelab_allocator::units::{Order, PageCount, PfnRange};
use pagelab_migrate::fault::Access;
use pagelab_migrate::folio::VirtPage;
use pagelab_migrate::tag_storage::catalogue::Design;
use pagelab_migrate::vma::Prot;

use crate::machine::{CPU, boot, program};

const PAGES: u64 = 40;

/// Tags forty pages, makes each of them move, and says how often tags went aside and came back.
fn aside(design: Design) -> (u64, u64) {
    let mut emulator = boot(design);
    let (space, range) = program(&mut emulator, PAGES, Prot::TAGGED);
    for page in range.start().get()..range.start().get() + PAGES {
        let page = VirtPage::new(page);
        let touch = |emulator: &mut pagelab_migrate::emulator::Emulator| {
            emulator.access(CPU, space, page, Access::Write).unwrap().translation.pfn
        };
        let place = PfnRange::from_len(touch(&mut emulator), PageCount::new(1));
        let taken = emulator.claim_range(CPU, place, IsolateMode::Other, GfpFlags::KERNEL).unwrap();
        emulator.check().unwrap();
        assert!(!place.overlaps(PfnRange::block(touch(&mut emulator), Order::ZERO)), "{design}");
        emulator.check().unwrap();
        emulator.release_range(CPU, taken.range);
    }
    assert!(emulator.mm_stats().pgmigrate_success >= PAGES, "{design}");
    let stats = emulator.tags().stats();
    (stats.stashed_pages, stats.restored_pages)
}

/// Where storage is always there, and where it is reserved before the copy, tags are copied once.
#[test]
fn tags_with_storage_never_go_aside() {
    for design in [Design::Carveout, Design::CmaV2, Design::Metadata] {
        assert_eq!(aside(design), (0, 0), "{design}");
    }
    assert_eq!(aside(Design::CmaV3), (PAGES, PAGES));
}

/// A child that was forked before its parent's `mprotect()` copies a page whose tags it never asked
/// for. Its copy is no tagged request's, and yet a carve-out has room for the tags.
#[test]
fn copies_on_write_go_aside_only_where_storage_is_lent() {
    for (design, expected) in [(Design::Carveout, 0), (Design::CmaV3, 1)] {
        let mut emulator = boot(design);
        let (parent, range) = program(&mut emulator, 1, Prot::READ | Prot::WRITE);
        emulator.access(CPU, parent, range.start(), Access::Write).unwrap();
        let child = emulator.fork(parent).unwrap();
        emulator.mprotect(CPU, parent, range, Prot::TAGGED).unwrap();
        emulator.access(CPU, parent, range.start(), Access::Read).unwrap();
        emulator.access(CPU, child, range.start(), Access::Write).unwrap();
        emulator.check().unwrap();
        let stats = emulator.tags().stats();
        assert_eq!((stats.stashed_pages, stats.restored_pages), (expected, 0), "{design}");
        assert_eq!(emulator.tags().stashed(), usize::try_from(expected).unwrap(), "{design}");
    }
}
