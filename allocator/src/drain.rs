//! Giving blocks of a per-CPU list back to the buddy lists.
//!
//! Blocks that came to a list in the order of their frames merge with each other before they merge
//! with anything else. They are joined before they are freed; lists and blocks are the same as if
//! each had been freed alone.

use crate::buddy::{Buddy, Placement};
use crate::event::{Event, Sink};
use crate::gfp::{AllocFlags, ZoneType};
use crate::migratetype::MigrateType;
use crate::pcp_list::Cached;
use crate::profile::{BelowHigh, DrainType};
use crate::run::{is_in_order, joined};
use crate::units::{CpuId, Order};
use crate::watermark::Mark;
use crate::zone::Zone;

impl Zone {
    /// The drain that a free brings about. It ends the below-high state when it brings the zone
    /// above the high mark.
    #[inline(never)]
    pub(crate) fn give_back(&mut self, cpu: CpuId, pages: u32, list: usize, sink: &mut impl Sink) {
        self.drain_pcp(cpu, pages, list, sink);
        if self.pressure.below_high
            && self.buddy.rules.below_high == BelowHigh::Tracked
            && self.watermark_ok(Order::ZERO, Mark::High, ZoneType::Movable, AllocFlags::empty())
        {
            self.pressure.below_high = false;
        }
    }

    /// Gives `pages` pages of a CPU's lists back to the buddy lists, starting with `list`.
    /// Linux: `free_pcppages_bulk()`.
    pub(crate) fn drain_pcp(&mut self, cpu: CpuId, pages: u32, list: usize, sink: &mut impl Sink) {
        let Self { pcp, buddy, counters, .. } = self;
        let pcp = &mut pcp[cpu.index()];
        let mut drain = pcp.start_drain(pages, list);
        while let Some((blocks, order)) = pcp.drain_next(&mut drain) {
            if !is_in_order(blocks, order) {
                buddy.map.look_ahead(blocks.iter().map(|block| block.index()), order);
            }
            let mut left = blocks;
            while let Some(&first) = left.first() {
                let (joined, migratetype) = (joined(buddy, left, order), drain_type(buddy, first));
                let (together, rest) = left.split_at(1 << (joined.get() - order.get()));
                left = rest;
                buddy.join(first.index(), order, joined);
                buddy.merge(first.index(), joined, migratetype, Placement::Likely);
                let before = buddy.free;
                buddy.add_free(joined.pages(), migratetype);
                let blocks = 1 << (joined.get() - order.get());
                counters.note_each(cpu, &before, &buddy.free, blocks);
                for block in together {
                    let pfn = buddy.map.pfn(block.index());
                    sink.emit(Event::PcpuDrain { pfn, order, migratetype });
                }
            }
            let count = blocks.len();
            pcp.drained(&mut drain, count);
        }
    }
}

/// The list a drained block goes to.
#[inline]
fn drain_type(buddy: &Buddy, cached: Cached) -> MigrateType {
    match buddy.rules.drain_type {
        DrainType::Remembered if buddy.blocks.isolated() == 0 => cached.mt(),
        _ => buddy.blocks.migratetype(cached.index()),
    }
}
