//! S6 and S11 on a whole machine: lazy mprotect, sharing of blocks, huge pages.

use pagelab_allocator::units::Order;
use pagelab_migrate::tag_storage::cma::CmaV3;
use pagelab_migrate::vma::Prot;

use crate::machine::{CPU, ORDER_9, Program, boot, count, free_cma, reserved};

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
    assert_eq!(count(&emulator, program.pfn(&emulator, 64)), 0);
    assert_eq!(count(&emulator, program.pfn(&emulator, 99)), 2);
    program.dontneed(&mut emulator);
    assert_eq!(reserved(&emulator), 0);
}
