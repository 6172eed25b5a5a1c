//! Giving blocks of a per-CPU list back to the buddy lists.
//!
//! Blocks that came to a list in the order of their frames merge with each other before they merge
//! with anything else. They are joined before they are freed; lists and blocks are the same as if
//! each had been freed alone.

use crate::buddy::{Buddy, Placement};
use crate::counters::FreeCounters;
use crate::event::{Event, Sink};
use crate::gfp::{AllocFlags, ZoneType};
use crate::merging::{AHEAD, Merging};
use crate::migratetype::MigrateType;
use crate::pageblock::Pageblocks;
use crate::pcp::CpuList;
use crate::pcp_list::Cached;
use crate::profile::{BelowHigh, DrainType};
use crate::run::{is_in_order, joined};
use crate::units::{CpuId, Order, PageCount};
use crate::watermark::Mark;
use crate::zone::Zone;

impl Zone {
    /// The drain that a free brings about: `pages` pages, starting with a list. It ends the
    /// below-high state when it brings the zone above the high mark.
    #[inline(never)]
    pub(crate) fn give_back(&mut self, from: CpuList<'_>, pages: u32, sink: &mut impl Sink) {
        self.buddy.drain(from, pages, &mut self.counters, sink);
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
        let from = CpuList { pcp: &mut pcp[cpu.index()], cpu, list };
        buddy.drain(from, pages, counters, sink);
    }
}

impl Buddy {
    /// Frees `pages` pages of a CPU's lists, starting with a list.
    #[inline]
    fn drain(
        &mut self,
        from: CpuList<'_>,
        pages: u32,
        counters: &mut FreeCounters,
        sink: &mut impl Sink,
    ) {
        let CpuList { pcp, cpu, list } = from;
        let mut drain = pcp.start_drain(pages, list);
        while let Some((blocks, order)) = pcp.drain_next(&mut drain) {
            let in_order = is_in_order(blocks, order);
            let mut left = blocks;
            while let Some(&first) = left.first() {
                let migratetype = self.drain_source().of(first, &self.blocks);
                let alike = match in_order {
                    true => self.put_runs(left, order, migratetype),
                    false => self.put_each(left, order, migratetype),
                };
                let (put, rest) = left.split_at(alike as usize);
                left = rest;
                let before = self.free;
                self.add_free(PageCount::new(u64::from(alike) << order.get()), migratetype);
                counters.note_each(cpu, (&before, &self.free), (alike, order));
                for block in put {
                    let pfn = self.map.pfn(block.index());
                    sink.emit(Event::PcpuDrain { pfn, order, migratetype });
                }
            }
            let count = blocks.len();
            pcp.drained(&mut drain, count);
        }
    }

    /// Frees blocks one after the other while they go to lists of `mt`, as the first does; says how
    /// many. Counters are the caller's.
    fn put_each(&mut self, blocks: &[Cached], order: Order, mt: MigrateType) -> u32 {
        let alike = self.alike(blocks, mt);
        let merging = self.merging(mt);
        // Most blocks are single pages, for which it is compiled apart.
        match order {
            Order::ZERO => put_all(merging, alike, Order::ZERO),
            _ => put_all(merging, alike, order),
        }
        u32::try_from(alike.len()).expect("blocks of a list")
    }

    /// The blocks that go to lists of `mt`, up to the first that does not. Merging changes no type
    /// of theirs: a pageblock that takes another's type is all free.
    #[inline(always)]
    fn alike<'a>(&self, blocks: &'a [Cached], mt: MigrateType) -> &'a [Cached] {
        let source = self.drain_source();
        let other = blocks.iter().position(|&block| source.of(block, &self.blocks) != mt);
        &blocks[..other.unwrap_or(blocks.len())]
    }

    /// [`put_each`](Self::put_each) of blocks many of which lie side by side: these are joined
    /// before they are freed.
    fn put_runs(&mut self, blocks: &[Cached], order: Order, mt: MigrateType) -> u32 {
        let most = self.geometry.pageblock_order().min(self.geometry.max_order());
        let source = self.drain_source();
        let mut merging = self.merging(mt);
        let mut put = 0;
        while let Some(&first) = blocks.get(put as usize) {
            if source.of(first, merging.blocks) != mt {
                break;
            }
            let joined = joined(&blocks[put as usize..], order, most);
            if joined > order {
                merging.join(first.index(), joined);
            }
            merging.put(first.index(), joined, Placement::Likely);
            put += 1 << (joined.get() - order.get());
        }
        merging.end();
        put
    }

    /// Where the type of a drained block's list comes from.
    fn drain_source(&self) -> DrainType {
        match self.rules.drain_type {
            DrainType::Remembered if self.blocks.isolated() == 0 => DrainType::Remembered,
            _ => DrainType::Pageblock,
        }
    }
}

/// Puts blocks of `order` on the lists of a type, one after the other.
#[inline(always)]
fn put_all(mut merging: Merging<'_>, blocks: &[Cached], order: Order) {
    for window in blocks.array_windows::<{ AHEAD[0] + 1 }>() {
        merging.look_ahead(AHEAD.map(|ahead| window[ahead].index()), order);
        merging.put(window[0].index(), order, Placement::Likely);
    }
    // How many these are is chance: to ask each time what there is to look at costs too much.
    for block in &blocks[blocks.len().saturating_sub(AHEAD[0])..] {
        merging.put(block.index(), order, Placement::Likely);
    }
    merging.end();
}

impl DrainType {
    /// The list a drained block goes to.
    #[inline(always)]
    fn of(self, cached: Cached, blocks: &Pageblocks) -> MigrateType {
        match self {
            Self::Remembered => cached.mt(),
            Self::Pageblock => blocks.migratetype(cached.index()),
        }
    }
}
