//! Pageblocks kept back for high-order atomic requests.

use crate::migratetype::MigrateType;
use crate::profile::{HighAtomicLimit, HighAtomicSpan};
use crate::units::{Order, PageCount, Pfn};
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
    pub(crate) fn reserve_highatomic(&mut self, pfn: Pfn, order: Order) {
        let index = self.buddy.index(pfn);
        let block = self.buddy.geometry.pageblock_pages();
        let mergeable = self.buddy.blocks.migratetype(index).is_mergeable();
        if self.reserved_highatomic >= self.highatomic_limit() || !mergeable {
            return;
        }
        if self.buddy.rules.highatomic_span == HighAtomicSpan::FirstPageblock {
            self.buddy.retype(pfn, MigrateType::HighAtomic);
            self.reserved_highatomic += block;
        } else if order >= self.buddy.geometry.pageblock_order() {
            self.buddy.set_types(index, order, MigrateType::HighAtomic);
            self.reserved_highatomic += order.pages();
        } else if self.buddy.is_whole_block(index) {
            self.buddy.retype(pfn, MigrateType::HighAtomic);
            self.reserved_highatomic += block;
        }
    }

    /// Gives the first reserved pageblock with a free block back to ordinary use as `mt`; says
    /// whether pages moved. Linux: `unreserve_highatomic_pageblock()` for one zone.
    pub(crate) fn unreserve_highatomic(&mut self, mt: MigrateType, effort: Unreserve) -> bool {
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
            let moved = self.buddy.retype(pfn, mt);
            if span == HighAtomicSpan::WholeBlock {
                self.buddy.set_types(index, order, mt);
            }
            if moved > PageCount::ZERO {
                return true;
            }
        }
        false
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
