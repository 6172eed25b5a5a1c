//! S6 and S11 on a whole machine: lazy mprotect, sharing of blocks, huge pages.

use pagelab_allocator::units::Order;
use pagelab_migrate::tag_storage::cma::CmaV3;
use pagelab_migrate::tag_storage::formula::Formula;
use pagelab_migrate::vma::Prot;

use crate::machine::{CPU, ORDER_9, Program, boot, boot_coded, count, free_cma, reserved};

#[test]
fn s06_a_huge_page_is_reserved_whole_and_freed_page_by_page() {
    let mut emulator = boot(CmaV3, 1);
    let program = Program::start(&mut emulator, 512, Prot::TAGGED);
    let free = free_cma(&emulator);
    let page = program.page(0);
    let id = emulator.populate_huge(CPU, program.space, page, ORDER_9).unwrap();
    emulator.check().unwrap();
    let pfn = emulator.folios()[id].pfn();
    assert_eq!((reserved(&emulator), count(&emulator, pfn)), (16, 33));
    assert_eq!(free - free_cma(&emulator), 16);
    emulator.split(CPU, id).unwrap();
    emulator.check().unwrap();
    assert_eq!(reserved(&emulator), 16);
    for offset in 0..512 {
        let one = pagelab_migrate::vma::VirtRange::from_len(program.page(offset), 1);
        emulator.madvise_dontneed(CPU, program.space, one).unwrap();
        emulator.check().unwrap();
        assert_eq!(reserved(&emulator), 16 - usize::try_from((offset + 1) / 32).unwrap());
    }
    assert_eq!(free_cma(&emulator), free);
}

#[test]
fn s06_pages_of_one_group_share_a_tag_page() {
    let mut emulator = boot(CmaV3, 1);
    let program = Program::start(&mut emulator, 32, Prot::READ_WRITE);
    let order = Order::of(5);
    let whole = emulator.populate_huge(CPU, program.space, program.page(0), order).unwrap();
    emulator.split(CPU, whole).unwrap();
    program.protect(&mut emulator, Prot::TAGGED);
    let free = free_cma(&emulator);
    let pfn = program.pfn(&emulator, 0);
    let counts = [0, 7, 31].map(|offset| {
        program.touch(&mut emulator, offset).unwrap();
        (count(&emulator, pfn), free - free_cma(&emulator))
    });
    assert_eq!(counts, [(2, 1), (3, 1), (4, 1)]);
    let counts = [31, 0, 7].map(|offset| {
        let one = pagelab_migrate::vma::VirtRange::from_len(program.page(offset), 1);
        emulator.madvise_dontneed(CPU, program.space, one).unwrap();
        emulator.check().unwrap();
        (count(&emulator, pfn), free - free_cma(&emulator))
    });
    assert_eq!(counts, [(3, 1), (2, 1), (0, 0)]);
}

/// Tag pages that a huge page of blocks of two pages reserves, those that stay when it was split
/// and freed page by page, and drops of references that nobody held.
fn split_and_freed(formula: Formula) -> (u64, u64, u64) {
    let mut emulator = boot_coded(CmaV3, formula);
    let own = emulator.usage().reserved_tag_storage;
    let program = Program::start(&mut emulator, 512, Prot::TAGGED);
    let id = emulator.populate_huge(CPU, program.space, program.page(0), ORDER_9).unwrap();
    emulator.check().unwrap();
    let whole = emulator.usage().reserved_tag_storage - own;
    emulator.split(CPU, id).unwrap();
    program.dontneed(&mut emulator);
    let leaked = emulator.usage().reserved_tag_storage - own;
    (whole.get(), leaked.get(), emulator.tags().ledger().unmatched())
}

#[test]
fn s05_a_whole_machine_reserves_as_intended_or_as_coded() {
    assert_eq!(split_and_freed(Formula::Intent), (16, 0, 0));
    // v1 and v2 reserve the blocks of the next 512 pages as well, and nobody ever gives them back.
    assert_eq!(split_and_freed(Formula::AsCodedV2), (32, 16, 0));
    // v3 leaves the second half of the huge page without tag storage.
    assert_eq!(split_and_freed(Formula::AsCodedV3), (8, 0, 256));
}

#[test]
fn s11_mprotect_is_lazy() {
    let mut emulator = boot(CmaV3, 1);
    // 100 pages in four consecutive groups: a block of order 7 gives them, split by hand.
    let program = Program::start(&mut emulator, 128, Prot::READ_WRITE);
    let order = Order::of(7);
    let whole = emulator.populate_huge(CPU, program.space, program.page(0), order).unwrap();
    emulator.split(CPU, whole).unwrap();
    let spare = pagelab_migrate::vma::VirtRange::from_len(program.page(100), 28);
    emulator.munmap(CPU, program.space, spare).unwrap();
    let program = Program {
        range: pagelab_migrate::vma::VirtRange::from_len(program.page(0), 100),
        ..program
    };
    program.protect(&mut emulator, Prot::TAGGED);
    assert_eq!((program.marked(&emulator), reserved(&emulator)), (100, 0));
    for offset in [0, 31, 32, 99] {
        program.touch(&mut emulator, offset).unwrap();
    }
    assert_eq!((program.marked(&emulator), reserved(&emulator)), (96, 3));
    assert_eq!(count(&emulator, program.pfn(&emulator, 0)), 3);
    assert_eq!(count(&emulator, program.pfn(&emulator, 32)), 2);
    assert_eq!(count(&emulator, program.pfn(&emulator, 64)), 0);
    assert_eq!(count(&emulator, program.pfn(&emulator, 99)), 2);
    program.dontneed(&mut emulator);
    assert_eq!(reserved(&emulator), 0);
}
