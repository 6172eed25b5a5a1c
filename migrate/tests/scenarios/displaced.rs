//! S10 and S14: data in tag storage, and what becomes of it.

use std::collections::BTreeMap;

use pagelab_allocator::gfp::GfpFlags;
use pagelab_migrate::emulator::Emulator;
use pagelab_migrate::fault::Access;
use pagelab_migrate::tag_storage::carveout::Carveout;
use pagelab_migrate::tag_storage::cma::CmaV3;
use pagelab_migrate::vma::{Prot, VirtRange};

use crate::crowd::last_page;
use crate::machine::{CPU, DATA, Program, TAGS, boot, count, reserved};

#[test]
fn s10_a_program_that_lies_in_its_own_tag_storage() {
    let mut emulator = boot(CmaV3, 1);
    let program = Program::start(&mut emulator, 0x4200, Prot::READ_WRITE);
    let mut touched = 0;
    while emulator.access(CPU, program.space, program.page(touched), Access::Write).is_ok() {
        touched += 1;
    }
    let places: BTreeMap<_, _> =
        (0..touched).map(|offset| (program.pfn(&emulator, offset), offset)).collect();
    let map = emulator.tags().ledger().map();
    let (old, p1) = places
        .range(TAGS.start()..)
        .find_map(|(pfn, _)| {
            let mut group = map.covered(map.block_at(*pfn)?).iter();
            Some((*pfn, *group.find_map(|page| places.get(&page))?))
        })
        .expect("a page of the program has its tags in a page of the program");
    let m1 = places[&old];
    let spare = VirtRange::from_len(program.page(4000), 2000);
    assert!(![m1, p1].iter().any(|offset| spare.contains(program.page(*offset))));
    emulator.madvise_dontneed(CPU, program.space, spare).unwrap();

    program.protect(&mut emulator, Prot::TAGGED);
    emulator.take_moves();
    program.touch(&mut emulator, p1).unwrap();
    assert_eq!(count(&emulator, program.pfn(&emulator, p1)), 2);
    let p2 = program.pfn(&emulator, m1);
    assert_ne!(p2, old);
    let moves = emulator.take_moves();
    assert!(moves.iter().any(|moved| (moved.from, moved.to) == (old, p2)));
    let table = emulator.space(program.space).unwrap().table();
    assert!(table.get(program.page(m1)).faults_on_access());
    assert!(!table.get(program.page(p1)).faults_on_access());
    program.touch(&mut emulator, m1).unwrap();
    assert!(!TAGS.contains(program.pfn(&emulator, m1)));
    program.dontneed(&mut emulator);
    assert_eq!(reserved(&emulator), 0);
}

#[test]
fn s14_movable_data_regains_a_33rd_and_nobody_else_does() {
    let movable = GfpFlags::HIGHUSER_MOVABLE | GfpFlags::MEMALLOC;
    let unmovable = GfpFlags::KERNEL | GfpFlags::MEMALLOC;
    let mut used = Vec::new();
    for gfp in [movable, unmovable] {
        let mut cma = boot(CmaV3, 1);
        let mut fixed = boot(Carveout, 1);
        let pages = |emulator: &mut Emulator| {
            let mut pages = 0;
            while last_page(emulator, gfp).is_some() {
                pages += 1;
            }
            emulator.check().unwrap();
            pages
        };
        used.push((pages(&mut cma), pages(&mut fixed)));
    }
    let data = DATA.len().get() - 1;
    // The zero page is one page of data, and its tag page is never lent.
    assert_eq!(used[0], (data + TAGS.len().get() - 1, data));
    assert_eq!(used[1], (data, data));
    assert_eq!(TAGS.len().get() * 32, DATA.len().get());
}
