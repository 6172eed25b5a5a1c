//! Blocks of per-CPU lists that are given back together, against one by one.

use super::random::range;
use super::zone_text::{same, state};
use crate::boot::MachineSpec;
use crate::buddy::Placement;
use crate::event::Silent;
use crate::gfp::ZoneType;
use crate::pcp::PcpSizes;
use crate::profile::{DrainType, KernelProfile};
use crate::smp::*;

/// Empties the lists of a zone twice, as it is done and block by block.
#[track_caller]
pub(super) fn drains_as_one_by_one(zone: &Zone, what: &str) {
    let (mut together, mut single) = (zone.clone(), zone.clone());
    together.drain_all(&mut Silent);
    for cpu in (0..).map(CpuId::new).take(single.pcp.len()) {
        drain_one_by_one(&mut single, cpu);
    }
    same(&state(&single), &state(&together), what);
}

/// Linux: `drain_pages_zone()` and `free_pcppages_bulk()`, to the letter but for the size of steps.
fn drain_one_by_one(zone: &mut Zone, cpu: CpuId) {
    loop {
        let step = zone.pcp[cpu.index()].pages().min(100);
        if step == 0 {
            return;
        }
        let mut drain = zone.pcp[cpu.index()].start_drain(step, 0);
        while let Some((blocks, order)) = zone.pcp[cpu.index()].drain_next(&mut drain) {
            let block = blocks[0];
            zone.pcp[cpu.index()].drained(&mut drain, 1);
            let mt = match zone.buddy.rules.drain_type {
                DrainType::Remembered if zone.buddy.blocks.isolated() == 0 => block.mt(),
                _ => zone.buddy.blocks.migratetype(block.index()),
            };
            zone.buddy.put_index(block.index(), order, mt, Placement::Likely);
            zone.count_free(cpu);
        }
    }
}

/// A pageblock may change its type while its pages wait on a list, where they lie side by side with
/// those of its neighbour: the two go to different lists, or merge by the rule of their types.
#[test]
fn neighbours_of_two_pageblocks_are_not_joined() {
    for profile in [KernelProfile::V6_1, KernelProfile::V6_12] {
        let geometry = Geometry::new(12, Order::of(3), Order::of(5)).expect("sizes that fit");
        let memory = range(0, 256);
        let mut spec = MachineSpec::single(geometry, profile, ZoneType::Normal, memory);
        spec.grouping = Some(Grouping::ByMobility);
        spec.tunables.min_free_kbytes = Some(0);
        let mut alloc = PageAllocator::boot(&spec, Silent).expect("a small machine");
        alloc.zones[0].set_pcp_sizes(PcpSizes { batch: 63, high_min: 1000, high_max: 1000 });
        let req = AllocRequest::new(Order::ZERO, GfpFlags::HIGHUSER_MOVABLE);
        let held = (0..256).map_while(|_| alloc.alloc_pages(CpuId::BOOT, &req).ok());
        let mut held: Vec<Pfn> = held.map(|pages| pages.into_raw().0).collect();
        held.sort_unstable();
        let free = |pfn| alloc.free_pages(CpuId::BOOT, Pages::new(pfn, Order::ZERO));
        held.into_iter().for_each(free);
        let zone = &mut alloc.zones[0];
        assert!(zone.pcp_pages().get() > 250, "most of them wait on a list");
        for block in (0..256).step_by(16) {
            zone.buddy.blocks.set_migratetype(block, MigrateType::Unmovable);
        }
        drains_as_one_by_one(zone, &format!("{profile:?}"));
    }
}
