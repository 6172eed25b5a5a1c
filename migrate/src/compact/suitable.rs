//! Whether compaction can help at all: watermarks and the fragmentation index.

use pagelab_allocator::gfp::{AllocFlags, ZoneType};
use pagelab_allocator::stats::FreeBlocks;
use pagelab_allocator::units::{Order, PageCount};
use pagelab_allocator::watermark::Mark;
use pagelab_allocator::zone::Zone;

/// Fragmentation indices up to this blame a lack of memory rather than fragmentation.
/// Linux: `sysctl_extfrag_threshold`.
const EXTFRAG_THRESHOLD: i64 = 500;

/// Whether a zone should be compacted for a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Suitability {
    /// A block exists already. Linux: `COMPACT_SUCCESS`.
    NotNeeded,
    /// Too little memory is free, or fragmentation is not the problem. Linux: `COMPACT_SKIPPED`.
    Hopeless,
    /// Linux: `COMPACT_CONTINUE`.
    Suitable,
}

/// Free memory that compaction wants for its targets. Linux: `compact_gap()`.
fn gap(order: Order) -> PageCount {
    PageCount::new(2 * order.pages().get())
}

/// Linux: `compaction_suitable()`, `compaction_suit_allocation_order()` in 6.12.
pub(crate) fn suitability(
    zone: &Zone,
    order: Order,
    flags: AllocFlags,
    highest: ZoneType,
) -> Suitability {
    if zone.watermark_ok(order, mark_of(flags), highest, flags) {
        return Suitability::NotNeeded;
    }
    if !has_room(zone, order, highest) {
        return Suitability::Hopeless;
    }
    let blames_memory = |index| (0..=EXTFRAG_THRESHOLD).contains(&index);
    if order > Order::COSTLY && blames_memory(fragmentation_index(zone, order)) {
        return Suitability::Hopeless;
    }
    Suitability::Suitable
}

/// Whether enough is free for migration targets. Linux: `__compaction_suitable()`, the base check.
pub(crate) fn has_room(zone: &Zone, order: Order, highest: ZoneType) -> bool {
    let mark = if order > Order::COSTLY { Mark::Low } else { Mark::Min };
    let mark = zone.watermarks().get(mark) + gap(order);
    zone.watermark_ok_with(zone.counted().all, Order::ZERO, mark, highest, AllocFlags::CMA)
}

fn mark_of(flags: AllocFlags) -> Mark {
    if flags.contains(AllocFlags::WMARK_HIGH) {
        Mark::High
    } else if flags.contains(AllocFlags::WMARK_LOW) {
        Mark::Low
    } else {
        Mark::Min
    }
}

/// Linux: `fragmentation_index()`.
fn fragmentation_index(zone: &Zone, order: Order) -> i64 {
    let counts = Order::ZERO.to(Order::LIMIT).map(|o| zone.buddy().nr_free(o)).collect();
    FreeBlocks(counts).fragmentation_index(order)
}
