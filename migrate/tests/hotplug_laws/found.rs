//! Histories that once went wrong.

use pagelab_migrate::allocator::event::Silent;
use pagelab_migrate::allocator::geometry::Geometry;
use pagelab_migrate::allocator::gfp::GfpFlags;
use pagelab_migrate::allocator::hotplug::caps::Caps;
use pagelab_migrate::allocator::hotplug::errno::Errno;
use pagelab_migrate::allocator::hotplug::gate::Driver;
use pagelab_migrate::allocator::hotplug::group::OnlinePolicy;
use pagelab_migrate::allocator::hotplug::pagemap::{
    PagemapKind, PagemapMemmap, PagemapOps, Provided, Remap,
};
use pagelab_migrate::allocator::hotplug::platform::{Arch, AutoOnline, MemmapOnMemory};
use pagelab_migrate::allocator::hotplug::range::Owner;
use pagelab_migrate::allocator::online::OnlineTo;
use pagelab_migrate::allocator::profile::KernelProfile;
use pagelab_migrate::allocator::units::{CpuId, Order, PageCount, PfnRange};
use pagelab_migrate::folio::FolioId;
use pagelab_migrate::hotplug::actor::Actor;
use pagelab_migrate::hotplug::dax::DaxDevice;
use pagelab_migrate::hotplug::guest::GuestTags;
use pagelab_migrate::hotplug::host::Host;

use crate::machine::{FAR, NEAR, Setting};

const SETTING: Setting = Setting {
    profile: KernelProfile::V6_12,
    geometry: Geometry::PAGES_4K,
    block: 1024,
    arch: Arch::X86,
    gate: 0,
    memmap: MemmapOnMemory::Off,
    auto_online: AutoOnline::Offline,
    policy: OnlinePolicy::ContigZones,
    cxl: Caps::TAG,
};

fn device(range: PfnRange) -> DaxDevice {
    DaxDevice { ranges: vec![range], node: Some(FAR), memmap: MemmapOnMemory::On }
}

/// A call that was refused: what it says, and that nothing has changed.
#[track_caller]
fn refused<T: core::fmt::Debug + PartialEq>(
    host: &mut Host<Silent>,
    call: impl FnOnce(&mut Host<Silent>) -> Result<T, Errno>,
    errno: Errno,
) {
    let before = (host.capacity(), host.hot().ranges().clone(), host.hot().pagemaps().to_vec());
    assert_eq!(call(host), Err(errno));
    let after = (host.capacity(), host.hot().ranges().clone(), host.hot().pagemaps().to_vec());
    assert_eq!(after, before);
    host.check().expect("no page got lost");
}

#[test]
fn no_device_on_memory_of_others() {
    let mut host = SETTING.build();
    let boot = device(SETTING.boot());
    refused(&mut host, |host| host.create_dax(&boot, Driver::Kmem), Errno::Inval);
    let half_taken = DaxDevice { ranges: vec![SETTING.cxl(), SETTING.boot()], ..boot.clone() };
    refused(&mut host, |host| host.create_dax(&half_taken, Driver::Devdax), Errno::Inval);
    refused(&mut host, |host| host.devdax_remove(&boot), Errno::Inval);
    let cxl = device(SETTING.cxl());
    host.create_dax(&cxl, Driver::Devdax).expect("nobody has it");
    refused(&mut host, |host| host.create_dax(&cxl, Driver::Kmem), Errno::Inval);
}

#[test]
fn a_driver_takes_only_what_its_device_has() {
    let mut host = SETTING.build();
    let cxl = device(SETTING.cxl());
    refused(&mut host, |host| host.devdax_probe(&cxl), Errno::Busy);
    host.create_dax(&cxl, Driver::Devdax).expect("nobody has it");
    refused(&mut host, |host| host.kmem_probe(&cxl), Errno::Busy);
    let said = &host.hot().log().visible()[0].text;
    assert!(said.ends_with("could not reserve region"), "{said}");
}

#[test]
fn a_range_that_was_never_added_is_left_alone_when_the_driver_goes() {
    let mut host = SETTING.build();
    let [.., two_ranges, _, _] = &SETTING.devices()[..] else { panic!("five devices") };
    host.create_dax(two_ranges, Driver::Kmem).expect("one range has whole blocks");
    host.kmem_remove(two_ranges).expect("nothing is online");
    let idle = |range: &PfnRange| host.hot().ranges().is_owned(*range, |o| o == Owner::DaxIdle);
    assert!(two_ranges.ranges.iter().all(idle), "with its tail");
    assert_eq!(host.kmem_remove(two_ranges), Ok(()), "there is nothing left to do");
    host.check().expect("no page got lost");
}

#[test]
fn raw_changes_of_owners_leave_blocks_and_struct_pages_alone() {
    let mut host = SETTING.build();
    let (boot, cxl) = (SETTING.boot(), SETTING.cxl());
    assert!(host.hot_mut().give(boot, Owner::Free).is_err());
    assert!(host.hot_mut().give(cxl, Owner::Blocks).is_err(), "without any blocks");
    host.create_dax(&device(cxl), Driver::Devdax).expect("nobody has it");
    assert!(host.hot_mut().give(cxl, Owner::DaxIdle).is_err(), "it has struct pages");
    let id = host.hot().ids(boot).last().expect("boot memory");
    host.offline_block(id).expect("it is empty");
    let last = host.hot().range_of(id);
    refused(&mut host, |host| host.remove_memory(last, Owner::Leaked), Errno::Inval);
}

#[test]
fn a_device_may_hold_its_own_struct_pages_whoever_owns_it() {
    let mut host = SETTING.build();
    let yes = Provided::Yes;
    let ops = PagemapOps { migrate_to_ram: yes, page_free: yes, owner: yes };
    let (kind, memmap) = (PagemapKind::Private, PagemapMemmap::Altmap);
    let nowhere = PfnRange::from_len(SETTING.all().end(), PageCount::new(1024));
    for range in [SETTING.cxl(), nowhere] {
        let remap = Remap { ranges: vec![range], node: NEAR, kind, ops, memmap };
        host.memremap_pages(&remap).expect("nobody has it");
        host.check().expect("no page got lost");
    }
    let all = host.capacity();
    assert_eq!(all.metadata.get(), SETTING.cxl().len().get() / 64, "of what is installed");
    assert_eq!(all.idle + all.metadata, SETTING.cxl().len() + SETTING.acpi().len());
}

#[test]
fn a_block_is_never_all_struct_pages() {
    let setting = Setting { block: 512, memmap: MemmapOnMemory::Force, ..SETTING };
    let mut host = setting.build();
    host.create_dax(&device(setting.cxl()), Driver::Kmem).expect("nobody has it");
    assert_eq!(host.online_range(setting.cxl(), Actor::Udev, OnlineTo::Movable).failed(), 0);
    assert!(host.hot().blocks().all(|(_, block)| !block.given().is_empty()));
    host.check().expect("no page got lost");
}

#[test]
fn a_guest_holds_the_pages_of_what_was_split() {
    let mut host = SETTING.build();
    host.create_dax(&device(SETTING.cxl()), Driver::Kmem).expect("nobody has it");
    host.online_range(SETTING.cxl(), Actor::Udev, OnlineTo::Movable);
    let mut guest = host.start_guest(6, Order::of(9), GuestTags::None, NEAR).expect("memory");
    let near = guest.pages.iter().filter(|page| host.node_of(page.folio) == Some(NEAR)).count();
    assert!(near > 1);
    // Every second page of the far node is taken: no room for large folios there.
    let cpu = CpuId::BOOT;
    let gfp = GfpFlags::HIGHUSER_MOVABLE;
    let mut taken = Vec::new();
    while let Ok(id) = host.allocate(Order::ZERO, gfp, &[FAR]) {
        taken.push(id);
    }
    let pfn = |host: &Host<Silent>, id| host.emulator().folios()[id].pfn().get();
    let (kept, freed): (Vec<_>, Vec<_>) =
        taken.into_iter().partition(|id| pfn(&host, *id).is_multiple_of(2));
    freed.into_iter().for_each(|id| host.emulator_mut().free(cpu, id));
    let all = 0..guest.pages.len();
    let moved = host.demote(&mut guest, all, FAR).moved;
    assert!(moved > PageCount::ZERO);
    let held: PageCount =
        guest.pages.iter().map(|page| host.emulator().folios()[page.folio].order().pages()).sum();
    assert_eq!(held.get(), 6 * 512, "as much as it began with");
    host.stop_guest(guest);
    kept.into_iter().for_each(|id| host.emulator_mut().free(cpu, id));
    assert_eq!(host.emulator().folios().len(), 0);
}

#[test]
fn an_allocation_tells_what_compaction_moved_for_it() {
    let mut host = SETTING.build();
    let gfp = GfpFlags::HIGHUSER_MOVABLE;
    let mut taken = Vec::new();
    while let Ok(id) = host.allocate(Order::ZERO, gfp, &[NEAR]) {
        taken.push(id);
    }
    let odd = |id: &FolioId| !host.emulator().folios()[*id].pfn().get().is_multiple_of(2);
    let freed: Vec<_> = taken.into_iter().filter(odd).collect();
    freed.into_iter().for_each(|id| host.emulator_mut().free(CpuId::BOOT, id));
    let before = host.emulator().mm_stats().pgmigrate_success;
    // The first ones find what the pages left over.
    for _ in 0..32 {
        let _ = host.allocate(Order::of(5), gfp, &[NEAR]);
    }
    let moved = host.emulator().mm_stats().pgmigrate_success - before;
    assert!(moved > 0);
    assert_eq!(host.emulator_mut().take_moves().len() as u64, moved);
}
