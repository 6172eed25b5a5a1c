//! What the designs beside v2 and v3 do, each in the scenario that is special about it.

use std::sync::Arc;

use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::event::Silent;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::{GfpFlags, ZoneType};
use pagelab_allocator::isolate::IsolateMode;
use pagelab_allocator::migratetype::MigrateType;
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::{NodeId, Order, PageCount, Pfn, PfnRange};
use pagelab_allocator::zone::ZoneSpec;
use pagelab_migrate::emulator::{Emulator, EmulatorSpec, SpecError, TagSpec};
use pagelab_migrate::tag_storage::cma::CmaV3;
use pagelab_migrate::tag_storage::cma_flag::CmaFlag;
use pagelab_migrate::tag_storage::design::TagStorageDesign;
use pagelab_migrate::tag_storage::grab_all::GrabAll;
use pagelab_migrate::tag_storage::metadata::Metadata;
use pagelab_migrate::tag_storage::numa_node::NumaNode;
use pagelab_migrate::tag_storage::taggable_hw::TaggableHw;
use pagelab_migrate::tag_storage::zone_movable::ZoneMovable;
use pagelab_migrate::vma::{Prot, VirtRange};

use crate::crowd::Crowd;
use crate::machine::{CPU, DATA, Program, TAGS, boot, boot_on, count, reserved};

#[test]
fn the_first_tagged_page_grabs_all_tag_storage_for_good() {
    let mut emulator = boot(GrabAll, 1);
    // The zero page's tags are reserved at boot, but nobody uses tags yet.
    assert_eq!(reserved(&emulator), 0);
    let program = Program::start(&mut emulator, 1, Prot::TAGGED);
    program.touch(&mut emulator, 0).unwrap();
    assert_eq!(reserved(&emulator), 511);
    program.dontneed(&mut emulator);
    assert_eq!(reserved(&emulator), 511);
}

/// A machine whose tag storage lies in a zone of its own.
fn two_zones(kind: ZoneType, node: NodeId) -> MachineSpec {
    let memory = PfnRange::new(DATA.start(), TAGS.end());
    let mut machine =
        MachineSpec::single(Geometry::PAGES_4K, KernelProfile::V6_12, ZoneType::Normal, memory);
    let own = ZoneSpec { kind: ZoneType::Normal, node: NodeId::new(0), span: DATA };
    machine.zones = vec![own, ZoneSpec { kind, node, span: TAGS }];
    machine
}

/// Fills tag storage with data, some of it a program's, and then wants that to be tagged.
fn leaves_tag_storage(emulator: &mut Emulator<Silent>) {
    let program = Program::start(emulator, 0x4200, Prot::READ_WRITE);
    let access = pagelab_migrate::fault::Access::Write;
    let inside = (0..0x4200).find(|offset| {
        emulator.access(CPU, program.space, program.page(*offset), access).unwrap();
        TAGS.contains(program.pfn(emulator, *offset))
    });
    let inside = inside.expect("movable data goes to tag storage sooner or later");
    let spare = if inside < 0x2000 { 0x2000 } else { 0x1000 };
    let spare = VirtRange::from_len(program.page(spare), 0x1000);
    emulator.madvise_dontneed(CPU, program.space, spare).unwrap();
    program.protect(emulator, Prot::TAGGED);
    program.touch(emulator, inside).unwrap();
    let pfn = program.pfn(emulator, inside);
    assert!(DATA.contains(pfn));
    assert_eq!((reserved(emulator), count(emulator, pfn)), (1, 2));
    program.dontneed(emulator);
    assert_eq!(reserved(emulator), 0);
}

#[test]
fn tag_storage_may_be_a_movable_zone() {
    let machine = two_zones(ZoneType::Movable, NodeId::new(0));
    let mut emulator = boot_on(machine, vec![(DATA, TAGS)], ZoneMovable).unwrap();
    leaves_tag_storage(&mut emulator);
    let elsewhere = two_zones(ZoneType::Normal, NodeId::new(1));
    let refused = boot_on(elsewhere, vec![(DATA, TAGS)], ZoneMovable);
    assert_eq!(refused.unwrap_err(), SpecError::Elsewhere(TAGS));
}

#[test]
fn tag_storage_may_be_a_node() {
    let machine = two_zones(ZoneType::Movable, NodeId::new(1));
    let mut emulator = boot_on(machine, vec![(DATA, TAGS)], NumaNode).unwrap();
    leaves_tag_storage(&mut emulator);
}

#[test]
fn a_taggable_carve_out_needs_a_second_one() {
    // 64 MiB of data, 2 MiB of tags, and 64 KiB for the tags of those.
    let second = PfnRange::from_len(TAGS.end(), PageCount::new(16));
    let memory = PfnRange::new(DATA.start(), Pfn::new(0x4_4400));
    let machine =
        MachineSpec::single(Geometry::PAGES_4K, KernelProfile::V6_12, ZoneType::Normal, memory);
    let design = TaggableHw::new(Arc::new(CmaV3));
    let mut emulator = boot_on(machine, vec![(DATA, TAGS), (TAGS, second)], design).unwrap();
    assert_eq!(reserved(&emulator), 16);
    let mut crowd = Crowd::fill(&mut emulator);
    crowd.leave(&mut emulator, TAGS, PfnRange::default());
    let some = PfnRange::from_len(DATA.start() + PageCount::new(0x1000), PageCount::new(440));
    crowd.leave(&mut emulator, some, PfnRange::default());
    let program = Program::start(&mut emulator, 1, Prot::TAGGED);
    program.touch(&mut emulator, 0).unwrap();
    let place = program.pfn(&emulator, 0);
    assert!(TAGS.contains(place) && emulator.tags().is_reserved(place));
    let room = PfnRange::from_len(DATA.start() + PageCount::new(0x2000), PageCount::new(0x800));
    crowd.leave(&mut emulator, room, PfnRange::default());
    // A data page whose tags belong where the tagged page lies.
    let map = emulator.tags().ledger().map();
    let block = map.block_at(place).unwrap();
    let wanted = map.covered(block).start();
    assert_eq!(count(&emulator, wanted), 0);
    let taken = emulator.claim_range(
        CPU,
        map.range(block),
        IsolateMode::CmaAlloc(MigrateType::Cma),
        GfpFlags::KERNEL,
    );
    emulator.check().unwrap();
    assert_ne!(program.pfn(&emulator, 0), place);
    emulator.release_range(CPU, taken.unwrap().range);
    program.touch(&mut emulator, 0).unwrap();
    program.dontneed(&mut emulator);
    assert_eq!(reserved(&emulator), 16);
}

/// Moves the only page of a program away when nearly all free memory is tag storage; says where.
fn evicted(prot: Prot) -> (bool, usize) {
    let mut emulator = boot(Metadata, 1);
    let mut crowd = Crowd::fill(&mut emulator);
    let room = PfnRange::from_len(DATA.start() + PageCount::new(0x1000), PageCount::new(0x800));
    crowd.leave(&mut emulator, room, PfnRange::default());
    let program = Program::start(&mut emulator, 1, prot);
    program.touch(&mut emulator, 0).unwrap();
    let place = PfnRange::block(program.pfn(&emulator, 0), Order::ZERO);
    let mut newcomers = Crowd::fill(&mut emulator);
    let some = PfnRange::from_len(room.start(), PageCount::new(440));
    newcomers.leave(&mut emulator, some, place);
    crowd.leave(&mut emulator, TAGS, PfnRange::default());
    let taken = emulator.claim_range(CPU, place, IsolateMode::Other, GfpFlags::KERNEL);
    emulator.check().unwrap();
    (taken.is_ok(), program.marked(&emulator))
}

#[test]
fn only_untagged_data_may_move_into_metadata() {
    // Watermarks count METADATA for whoever may use it, and for nobody else.
    assert_eq!(evicted(Prot::READ_WRITE), (true, 0));
    assert_eq!(evicted(Prot::TAGGED), (false, 0));
}

/// `PROT_MTE` from ZONE_NORMAL only: where all that is free lies in ZONE_MOVABLE, nothing can be
/// tagged.
#[test]
fn row_39_a_node_that_is_all_movable_has_no_room_for_tagged_pages() {
    // The kernel's own memory, which holds the zero page, and its tags.
    let kernel = PfnRange::new(Pfn::new(0x3_0000), Pfn::new(0x3_0400));
    let mut machine = two_zones(ZoneType::Movable, NodeId::new(0));
    let zone = |kind, span| ZoneSpec { kind, node: NodeId::new(0), span };
    let movable = PfnRange::new(DATA.start(), TAGS.end());
    machine.zones = vec![zone(ZoneType::Normal, kernel), zone(ZoneType::Movable, movable)];
    machine.memory.push(kernel);
    let mut emulator = boot_on(machine, vec![(DATA, TAGS)], ZoneMovable).unwrap();
    while emulator.allocate(CPU, Order::ZERO, GfpFlags::KERNEL).is_ok() {}
    let plain = Program::start(&mut emulator, 16, Prot::READ_WRITE);
    plain.touch(&mut emulator, 0).unwrap();
    let tagged = Program::start(&mut emulator, 16, Prot::TAGGED);
    tagged.touch(&mut emulator, 0).unwrap_err();
    let free: PageCount =
        emulator.page_alloc().zones().iter().map(|zone| zone.free_pages().all).sum();
    assert!(free > PageCount::new(0x3000), "{free} pages are free, and none will do");
}

/// Tagged pages keep the CMA areas that are not tag storage; without the flag they lose all.
#[test]
fn row_42_a_flag_of_areas_leaves_other_areas_to_tagged_pages() {
    let other = PfnRange::new(DATA.start(), DATA.start() + PageCount::new(0x3000));
    let in_other = |design: Arc<dyn TagStorageDesign>| {
        let memory = PfnRange::new(DATA.start(), TAGS.end());
        let (geometry, profile) = (Geometry::PAGES_4K, KernelProfile::V6_12);
        let mut machine = MachineSpec::single(geometry, profile, ZoneType::Normal, memory);
        machine.cma.push(other);
        let tags = Some(TagSpec::single(DATA, TAGS, design));
        let mut emulator = Emulator::new(&EmulatorSpec { machine, tags }, Silent).unwrap();
        let program = Program::start(&mut emulator, 0x1800, Prot::TAGGED);
        let touched = (0..0x1800).filter(|page| {
            let page = program.page(*page);
            let access = pagelab_migrate::fault::Access::Write;
            emulator.access(CPU, program.space, page, access).is_ok()
        });
        let touched = touched.count();
        emulator.check().unwrap();
        let pfns = (0..0x1800).filter(|page| {
            let table = emulator.space(program.space).unwrap().table();
            let folio = table.get(program.page(*page)).folio();
            folio.is_some_and(|folio| other.contains(emulator.folios()[folio].pfn()))
        });
        (touched, pfns.count())
    };
    let (all, inside) = in_other(Arc::new(CmaFlag));
    assert!(all == 0x1800 && inside > 0, "{all} touched, {inside} of them in the other area");
    let (some, inside) = in_other(Arc::new(CmaV3));
    assert!(some < 0x1800 && inside == 0, "{some} touched, {inside} of them in the other area");
}
