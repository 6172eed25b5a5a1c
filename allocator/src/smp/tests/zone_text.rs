//! All that a zone is, in words that can be compared.

use std::fmt::Write as _;

use crate::frame::Frame;
use crate::smp::posted::{Mood, Posted};
use crate::smp::*;

/// All that a zone is, as text that can be compared.
pub(super) fn state(zone: &Zone) -> String {
    let mut text = String::new();
    let buddy = &zone.buddy;
    for order in Order::ZERO.to(buddy.geometry.max_order()) {
        for mt in MigrateType::ALL {
            let list: Vec<u64> = buddy.free_list(order, mt).map(Pfn::get).collect();
            if !list.is_empty() {
                writeln!(text, "{mt} {order:?} {list:?}").expect("text");
            }
        }
    }
    for pcp in &zone.pcp {
        let lists: Vec<_> =
            pcp.listed().map(|(block, order, mt)| (block.index(), order, mt, block.mt())).collect();
        let (count, sizes, counters) = (pcp.count(), pcp.sizes(), pcp.counters());
        let cache = pcp.cache();
        writeln!(text, "pcp {count} {sizes:?} {cache:?} {counters:?} {lists:?}").expect("text");
    }
    let types: Vec<_> = (0..buddy.blocks.len()).map(|slot| buddy.blocks.type_at(slot)).collect();
    writeln!(text, "{:?} {:?} {types:?}", zone.counters, buddy.free).expect("text");
    let (marks, reserved) = (zone.watermarks, zone.reserved_highatomic);
    let (pressure, boosted, managed) = (zone.pressure, zone.boosted, zone.managed);
    writeln!(text, "{marks:?} {pressure:?} {boosted:?} {reserved} {managed}").expect("text");
    for pfn in zone.span.iter() {
        if let Frame::Allocated { order, movability, .. } = buddy.frame(pfn) {
            write!(text, "{pfn}:{order:?}{movability:?} ").expect("text");
        }
    }
    text
}

/// What is posted of a shared zone is what its like of one thread is; no lock is taken.
#[track_caller]
pub(super) fn is_posted(zone: &Zone, posted: &Posted, what: &str) {
    assert_eq!(posted.mood(), Mood::of(zone), "{what}");
    let buddy = &zone.buddy;
    for index in (0..buddy.map.len()).step_by(1 << buddy.geometry.pageblock_order().get()) {
        let types = (posted.migratetype(index), buddy.blocks.migratetype(index));
        assert_eq!(types.0, types.1, "{index} {what}");
    }
}

#[track_caller]
pub(super) fn same(one: &str, other: &str, what: &str) {
    let lines = one.lines().zip(other.lines()).find(|(a, b)| a != b);
    if let Some((a, b)) = lines {
        panic!("{what}:\n  {a}\n  {b}");
    }
    assert_eq!(one.len(), other.len(), "{what}");
}
