//! Hardware that keeps tags for tag storage: what stays reserved, and where tagged pages may lie.

use std::sync::Arc;

use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::units::{Order, PageCount, Pfn, PfnRange};
use pagelab_migrate::emulator::SpecError;
use pagelab_migrate::fault::Access;
use pagelab_migrate::tag_storage::catalogue::Design;
use pagelab_migrate::tag_storage::placement::RecursivePlacement;
use pagelab_migrate::tag_storage::taggable_hw::TaggableHw;
use pagelab_migrate::vma::Prot;

use crate::machine::{
    CPU, DATA, Layout, MOVABLE, TAGGED, TAGS, boot_taggable, fill, leave, program, reserved,
};

#[test]
fn a_32nd_of_a_32nd_stays_reserved() {
    // 2 GiB less its tags: 31 times 64 MiB of data, 62 MiB of tags, 2 MiB for theirs.
    let data = PfnRange::from_len(DATA.start(), PageCount::new(0x4000 * 31));
    let tags = PfnRange::from_len(data.end(), PageCount::new(0x200 * 31));
    let fixed = PfnRange::from_len(tags.end(), PageCount::new(0x200));
    let placement = RecursivePlacement::by_halves(2 << 30);
    let from_start = |pfn: Pfn| (pfn - data.start()).get() << 12;
    assert_eq!(
        (from_start(tags.start()), from_start(fixed.start())),
        (placement.tag_offset, placement.fixed)
    );
    for design in Design::ALL.into_iter().filter(|design| *design != Design::Carveout) {
        let layout = Layout { data, tags, fixed, ..Layout::usual() };
        let emulator = layout.boot(Arc::new(TaggableHw::new(design.build()))).unwrap();
        emulator.check().unwrap();
        // And the tag page of the page of zeroes.
        assert_eq!(reserved(&emulator), 512 + 1, "{design}");
        let all = u64::try_from(emulator.tags().ledger().map().len()).unwrap();
        assert_eq!(all, (1 << 19) / 32, "{design}: {all} tag pages");
    }
}

#[test]
fn tagged_pages_may_lie_in_tag_storage() {
    for design in Design::ALL {
        let mut emulator = boot_taggable(design);
        let mut others = fill(&mut emulator, MOVABLE);
        leave(&mut emulator, &mut others, |pfn| TAGS.contains(pfn));
        let found = emulator.allocate(CPU, Order::ZERO, TAGGED | GfpFlags::MEMALLOC);
        emulator.check().unwrap();
        if matches!(design, Design::Carveout | Design::Cleancache | Design::GrabAll) {
            // Processes have no part of tag storage, or nobody has from this moment on.
            continue;
        }
        let id = found.unwrap();
        let pfn = emulator.folios()[id].pfn();
        assert!(TAGS.contains(pfn) && emulator.tags().is_reserved(pfn), "{design}");
        emulator.free(CPU, id);
        emulator.check().unwrap();
    }
}

#[test]
fn no_page_has_to_leave_tag_storage_for_being_tagged() {
    for design in Design::ALL {
        if matches!(design, Design::Carveout | Design::Cleancache | Design::GrabAll) {
            continue;
        }
        let mut emulator = boot_taggable(design);
        let mut others = fill(&mut emulator, MOVABLE);
        leave(&mut emulator, &mut others, |pfn| TAGS.contains(pfn));
        let (space, range) = program(&mut emulator, 1, Prot::READ_WRITE);
        let page = range.start();
        let before = emulator.access(CPU, space, page, Access::Write).unwrap().translation.pfn;
        emulator.mprotect(CPU, space, range, Prot::TAGGED).unwrap();
        let after = emulator.access(CPU, space, page, Access::Write).unwrap().translation.pfn;
        assert!(TAGS.contains(before) && before == after, "{design}: {before}, {after}");
        assert_eq!(emulator.tags().stats().fault_migrations, 0, "{design}");
        emulator.check().unwrap();
    }
}

#[test]
fn tags_of_tags_have_to_be_somewhere() {
    for design in Design::ALL {
        let design = Arc::new(TaggableHw::new(design.build()));
        let refused = Layout::usual().boot_with(design, None).unwrap_err();
        assert_eq!(refused, SpecError::NoTagsOfTags(TAGS));
    }
}
