//! Pageblocks kept back for high-order atomic requests.

use crate::event::{Event, Sink};
use crate::migratetype::MigrateType;
use crate::profile::{HighAtomicLimit, HighAtomicSpan};
use crate::units::{Order, PageCount, Pfn, PfnRange};
use crate::zone::Zone;

impl Zone {
    fn highatomic_limit(&self) -> PageCount {
        let block = self.buddy.geometry.pageblock_pages().get();
        let hundredth = self.managed.get() / 100;
        PageCount::new(match self.buddy.rules.highatomic_limit {
            HighAtomicLimit::PlusOneBlock => hundredth + block,
            HighAtomicLimit::RoundedUp if hundredth < block => 0,
            HighAtomicLimit::RoundedUp => hundredth.next_multiple_of(block),
        })
    }

    /// Keeps the pageblock of a block that a high-order atomic request just got; all its pageblocks
    /// when the rule of the profile says so. Linux: `reserve_highatomic_pageblock()`.
    pub(crate) fn reserve_highatomic(&mut self, pfn: Pfn, order: Order, sink: &mut impl Sink) {
        let index = self.buddy.index(pfn);
        let block = self.buddy.geometry.pageblock_pages();
        let mergeable = self.buddy.blocks.migratetype(index).is_mergeable();
        if self.reserved_highatomic >= self.highatomic_limit() || !mergeable {
            return;
        }
        if self.buddy.rules.highatomic_span == HighAtomicSpan::FirstPageblock {
            self.retype_noted(pfn, MigrateType::HighAtomic, sink);
            self.reserved_highatomic += block;
        } else if order >= self.buddy.geometry.pageblock_order() {
            self.note_types(pfn, order, MigrateType::HighAtomic, sink);
            self.buddy.set_types(index, order, MigrateType::HighAtomic);
            self.reserved_highatomic += order.pages();
        } else if self.buddy.is_whole_block(index) {
            self.retype_noted(pfn, MigrateType::HighAtomic, sink);
            self.reserved_highatomic += block;
        }
    }

    /// Gives the first reserved pageblock with a free block back to ordinary use as `mt`; says
    /// whether pages moved. Linux: `unreserve_highatomic_pageblock()` for one zone.
    pub(crate) fn unreserve_highatomic(
        &mut self,
        mt: MigrateType,
        effort: Unreserve,
        sink: &mut impl Sink,
    ) -> bool {
        let block = self.buddy.geometry.pageblock_pages();
        if effort == Unreserve::Surplus && self.reserved_highatomic <= block {
            return false;
        }
        for order in Order::ZERO.to(self.buddy.geometry.max_order()) {
            let areas = &self.buddy.areas;
            let Some(index) = areas.first(&self.buddy.map, order, MigrateType::HighAtomic) else {
                continue;
            };
            let span = self.buddy.rules.highatomic_span;
            let pages = match span {
                HighAtomicSpan::FirstPageblock => block,
                HighAtomicSpan::WholeBlock => block.max(order.pages()),
            };
            // Under 6.1 a page cached before its pageblock was given back is listed as highatomic.
            if self.buddy.blocks.migratetype(index) == MigrateType::HighAtomic {
                self.reserved_highatomic = self.reserved_highatomic.saturating_sub(pages);
            }
            let pfn = self.buddy.map.pfn(index);
            let moved = self.retype_noted(pfn, mt, sink);
            if span == HighAtomicSpan::WholeBlock {
                self.note_types(pfn, order, mt, sink);
                self.buddy.set_types(index, order, mt);
            }
            if moved > PageCount::ZERO {
                return true;
            }
        }
        false
    }

    /// Gives the pageblock of `pfn` another type and moves its free blocks along.
    fn retype_noted(
        &mut self,
        pfn: Pfn,
        migratetype: MigrateType,
        sink: &mut impl Sink,
    ) -> PageCount {
        let block = pfn.align_down(self.buddy.geometry.pageblock_order());
        sink.emit(Event::SetPageblockMigratetype { pfn: block, migratetype });
        sink.emit(Event::MoveFreepagesBlock { pfn: block, migratetype });
        self.buddy.retype(pfn, migratetype)
    }

    /// Says that all pageblocks of a large block get a type. Linux: `change_pageblock_range()`.
    fn note_types(&self, pfn: Pfn, order: Order, migratetype: MigrateType, sink: &mut impl Sink) {
        let pageblock = self.buddy.geometry.pageblock_order();
        for pfn in PfnRange::block(pfn, order).blocks(pageblock) {
            sink.emit(Event::SetPageblockMigratetype { pfn, migratetype });
        }
    }
}

/// Which reserved pageblocks to give back. Linux: the `force` argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unreserve {
    /// Only when more than one pageblock is reserved.
    Surplus,
    /// The last one as well.
    All,
}
