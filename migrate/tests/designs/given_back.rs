//! What comes back at the ends of the scale, and what placement does in between: S13, S14.

use pagelab_allocator::units::{PageCount, Pfn, PfnRange};
use pagelab_migrate::emulator::Emulator;
use pagelab_migrate::fault::Access;
use pagelab_migrate::page_cache::FilePage;
use pagelab_migrate::tag_storage::catalogue::Design;
use pagelab_migrate::tag_storage::clean_store::CleanKey;
use pagelab_migrate::vma::Prot;

use crate::machine::{
    CPU, DATA, MOVABLE, TAGGED, TAGS, boot, boot_taggable, fill, last_page, leave, name, program,
    reserved,
};

/// Pages of tag storage that data uses when there is more of it than fits: movable data of
/// processes, or clean copies where only those may go there.
fn used_by_data(emulator: &mut Emulator) -> u64 {
    let movable = fill(emulator, MOVABLE);
    let inside = movable.keys().filter(|pfn| TAGS.contains(**pfn)).count();
    for index in 0..2000 {
        emulator.cleancache_put(CleanKey { object: 0, index });
    }
    emulator.check().unwrap();
    u64::try_from(inside).unwrap() + emulator.tags().clean().copies().get()
}

#[test]
fn with_no_tags_every_lending_design_gives_everything_back() {
    for design in Design::ALL {
        for mut emulator in [boot(design), boot_taggable(design)] {
            // The zero page has tags, under every design.
            let expected = if design == Design::Carveout { 0 } else { TAGS.len().get() - 1 };
            assert_eq!(used_by_data(&mut emulator), expected, "{}", name(&emulator));
        }
    }
}

#[test]
fn with_all_memory_tagged_nothing_comes_back() {
    for design in Design::ALL {
        let mut emulator = boot(design);
        let guest = fill(&mut emulator, TAGGED);
        // The page of zeroes is the only one that is not the guest's.
        assert_eq!(u64::try_from(guest.len()).unwrap(), DATA.len().get() - 1, "{design}");
        assert!(guest.keys().all(|pfn| DATA.contains(*pfn)), "{design}");
        assert!(guest.values().all(|id| emulator.folios()[*id].is_tagged()), "{design}");
        assert_eq!(reserved(&emulator), 512, "{design}");
        assert_eq!(used_by_data(&mut emulator), 0, "{design}");
        for id in guest.into_values() {
            emulator.free(CPU, id);
        }
        emulator.drain();
        emulator.check().unwrap();
        let kept = matches!(design, Design::Carveout | Design::GrabAll);
        assert_eq!(reserved(&emulator), if kept { 512 } else { 1 }, "{design}");
    }
}

/// Tags 511 pages at the frames of a pattern; tag storage is empty, all other memory in use. Says
/// how many blocks that reserves, the zero page's left out.
fn blocks_for(design: Design, pattern: impl Fn(Pfn) -> bool) -> usize {
    let mut emulator = boot(design);
    let mut others = fill(&mut emulator, MOVABLE);
    leave(&mut emulator, &mut others, |pfn| TAGS.contains(pfn) || pattern(pfn));
    let gfp = TAGGED | pagelab_allocator::gfp::GfpFlags::MEMALLOC;
    for n in 0..511 {
        let id = last_page(&mut emulator, gfp);
        let id = id.unwrap_or_else(|| panic!("{design}: only {n} pages"));
        let pfn = emulator.folios()[id].pfn();
        assert!(pattern(pfn) && emulator.tags().is_reserved(pfn), "{design}: {pfn}");
    }
    emulator.check().unwrap();
    reserved(&emulator) - 1
}

#[test]
fn s13_dense_tags_take_a_32nd_and_scattered_ones_everything() {
    for design in Design::ALL {
        let zero = boot(design).folios().iter().map(|(_, folio)| folio.pfn()).next().unwrap();
        let whole = DATA.start() + PageCount::new(0x1000);
        let dense = PfnRange::from_len(whole, PageCount::new(512));
        assert!(!dense.contains(zero));
        let all_at_once = matches!(design, Design::Carveout | Design::GrabAll);
        let expected = if all_at_once { 511 } else { 16 };
        assert_eq!(blocks_for(design, |pfn| dense.contains(pfn)), expected, "{design}");
        let own_group = |pfn: Pfn| pfn.get() / 32 == zero.get() / 32;
        let scattered =
            |pfn: Pfn| DATA.contains(pfn) && pfn.get().is_multiple_of(32) && !own_group(pfn);
        assert_eq!(blocks_for(design, scattered), 511, "{design}");
    }
}

/// A block that clean page cache had to leave was not free, though nothing moved.
#[test]
fn a_claim_that_drops_clean_cache_did_not_find_the_block_free() {
    let mut emulator = boot(Design::CmaV3);
    let file = emulator.create_file();
    for index in 0..16_000 {
        emulator.read_file(CPU, FilePage { file, index }).unwrap();
    }
    let (space, range) = program(&mut emulator, 640, Prot::TAGGED);
    for page in range.iter() {
        emulator.access(CPU, space, page, Access::Write).unwrap();
    }
    let (dropped, tags) = (emulator.reclaim().stats.contig_dropped, emulator.tags().stats());
    assert!(dropped > 0);
    // Blocks of one page: each claim that was not free dropped or moved exactly that page.
    assert_eq!(tags.claims_moved, dropped + tags.displaced_pages);
    assert_eq!(tags.claims_free + tags.claims_moved, tags.claimed_pages);
    emulator.check().unwrap();
}
