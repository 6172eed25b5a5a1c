//! The store of clean copies: filled by whoever evicts clean pages, emptied by reservations.

use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::units::{Order, PageCount};
use pagelab_migrate::emulator::Emulator;
use pagelab_migrate::fault::Access;
use pagelab_migrate::file_io::FileAccess;
use pagelab_migrate::folio::FolioId;
use pagelab_migrate::page_cache::{CacheEntry, FilePage};
use pagelab_migrate::tag_storage::catalogue::Design;
use pagelab_migrate::tag_storage::clean_store::CleanKey;
use pagelab_migrate::vma::Prot;

use crate::machine::{CPU, DATA, TAGGED, boot, fill, program, reserved};

const fn key(index: u64) -> CleanKey {
    CleanKey { object: 7, index }
}

/// A machine whose tag storage is full of copies: 511 of them, the zero page has the last frame.
fn full() -> Emulator {
    let mut emulator = boot(Design::Cleancache);
    for index in 0..511 {
        let frame = emulator.cleancache_put(key(index)).unwrap();
        assert!(emulator.tags().ledger().map().is_tag_storage(frame));
    }
    assert_eq!(emulator.usage().clean_copies, PageCount::new(511));
    emulator.check().unwrap();
    emulator
}

fn tagged(emulator: &mut Emulator, gfp: GfpFlags) -> FolioId {
    let id = emulator.allocate(CPU, Order::ZERO, gfp).unwrap();
    assert!(emulator.folios()[id].is_tagged());
    emulator.check().unwrap();
    id
}

#[test]
fn a_reservation_drops_the_copy_and_moves_nothing() {
    let mut emulator = full();
    let atomic = GfpFlags::ATOMIC | GfpFlags::MOVABLE | GfpFlags::TAGGED;
    // Pages of one group, which share a block, unless it is the zero page's.
    let ids = [TAGGED, atomic].map(|gfp| tagged(&mut emulator, gfp));
    let stats = *emulator.tags().stats();
    let blocks = u64::try_from(reserved(&emulator) - 1).unwrap();
    assert!(blocks > 0);
    assert_eq!((stats.claims_dropped, stats.claims_moved, stats.claim_failures), (blocks, 0, 0));
    assert_eq!(emulator.tags().clean().stats().dropped, blocks);
    assert_eq!(emulator.mm_stats().pgmigrate_success, 0);
    assert_eq!(emulator.tags().caches().corruptions(), 0);
    for id in ids {
        emulator.free(CPU, id);
    }
    emulator.check().unwrap();
    assert_eq!(emulator.tags().clean().frames(), PageCount::new(511), "frames come back");
    assert_eq!(emulator.tags().clean().copies(), PageCount::new(511 - blocks), "copies do not");
}

#[test]
fn copies_are_found_until_they_are_dropped_evicted_or_taken() {
    let mut emulator = full();
    assert!(emulator.cleancache_get(key(5)).is_some());
    assert!(emulator.cleancache_get(key(5)).is_none(), "the page cache has it");
    emulator.cleancache_invalidate(key(6));
    assert!(emulator.cleancache_get(key(6)).is_none());
    for index in 1000..1003 {
        emulator.cleancache_put(key(index)).unwrap();
    }
    assert!(emulator.cleancache_get(key(0)).is_none(), "the oldest made room");
    emulator.cleancache_invalidate_object(7);
    assert_eq!(emulator.tags().clean().copies(), PageCount::ZERO);
    emulator.check().unwrap();
    let stats = *emulator.tags().clean().stats();
    assert_eq!((stats.hits, stats.misses, stats.evicted), (1, 3, 1));
}

#[test]
fn mprotect_gives_tags_at_once() {
    let mut emulator = full();
    let (space, range) = program(&mut emulator, 64, Prot::READ_WRITE);
    for offset in 0..64 {
        emulator.access(CPU, space, range.start().plus(offset), Access::Write).unwrap();
    }
    emulator.mprotect(CPU, space, range, Prot::TAGGED).unwrap();
    emulator.check().unwrap();
    assert_eq!(emulator.usage().tagged, PageCount::new(65), "the zero page is among them");
    let done = emulator.access(CPU, space, range.start(), Access::Write).unwrap();
    assert_eq!((done.faults, emulator.tags().stats().faults), (0, 0));
}

#[test]
fn when_tags_fill_everything_no_copy_is_taken() {
    let mut emulator = full();
    fill(&mut emulator, TAGGED);
    assert_eq!(emulator.usage().tagged, DATA.len());
    assert_eq!(emulator.cleancache_put(key(1)), None);
    assert_eq!(emulator.tags().clean().stats().refused, 1);
}

/// More pages of a file than memory: what reclaim drops is found again in tag storage.
#[test]
fn what_reclaim_drops_is_kept_until_it_is_read_written_or_removed() {
    let mut emulator = boot(Design::Cleancache);
    let file = emulator.create_file();
    for index in 0..20_000 {
        emulator.read_file(CPU, FilePage { file, index }).unwrap();
    }
    emulator.check().unwrap();
    let kept: Vec<_> = emulator.tags().clean().keys().collect();
    assert_eq!(kept.len(), 511, "all of tag storage but the zero page's");
    let page = |key: CleanKey| FilePage { file, index: u32::try_from(key.index).unwrap() };
    let [one, two, ..] = kept[..] else { panic!("some") };
    let found = emulator.read_file(CPU, page(one)).unwrap();
    assert!(matches!(found, FileAccess::Copied(_)), "{found:?}");
    assert_eq!(emulator.read_file(CPU, page(one)), Ok(FileAccess::Hit));
    let written = emulator.write_file(CPU, page(two)).unwrap();
    assert!(matches!(written, FileAccess::Refault(_)), "{written:?}");
    assert!(!emulator.tags().clean().keys().any(|key| key == one || key == two));
    // One that was dropped when tag storage was full already is read from the disk.
    let evicted = (0..20_000).map(|index| FilePage { file, index }).find(|page| {
        let absent = !kept.contains(&CleanKey::from(*page));
        absent && matches!(emulator.reclaim().cache.get(*page), CacheEntry::Shadow(_))
    });
    let read = emulator.read_file(CPU, evicted.expect("there are some")).unwrap();
    assert!(matches!(read, FileAccess::Refault(_)), "{read:?}");
    emulator.check().unwrap();
    emulator.remove_file(CPU, file).unwrap();
    assert_eq!(emulator.tags().clean().copies(), PageCount::ZERO);
    emulator.check().unwrap();
}

#[test]
fn canary_a_copy_of_a_page_that_is_in_memory_is_caught() {
    let mut emulator = boot(Design::Cleancache);
    let file = emulator.create_file();
    let page = FilePage { file, index: 3 };
    emulator.read_file(CPU, page).unwrap();
    emulator.cleancache_put(page.into()).unwrap();
    emulator.check().unwrap_err();
}

#[test]
fn other_designs_take_no_copies() {
    for design in Design::ALL.into_iter().filter(|design| *design != Design::Cleancache) {
        assert_eq!(boot(design).cleancache_put(key(1)), None, "{design}");
    }
}
