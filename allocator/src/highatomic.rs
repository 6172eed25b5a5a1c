//! Pageblocks kept back for high-order atomic requests.

use crate::migratetype::MigrateType;
use crate::profile::HighAtomicLimit;
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

    /// Keeps the pageblock of a page that a high-order atomic request just got.
    /// Linux: `reserve_highatomic_pageblock()`.
    pub(crate) fn reserve_highatomic(&mut self, pfn: Pfn) {
        let index = self.buddy.index(pfn);
        let mergeable = self.buddy.blocks.migratetype(index).is_mergeable();
        if self.reserved_highatomic >= self.highatomic_limit() || !mergeable {
            return;
        }
        if !self.buddy.is_whole_block(index)
            && self.buddy.rules.highatomic_limit == HighAtomicLimit::RoundedUp
        {
            return;
        }
        self.buddy.retype(pfn, MigrateType::HighAtomic);
        self.reserved_highatomic += self.buddy.geometry.pageblock_pages();
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
            let pages = block.max(order.pages());
            self.reserved_highatomic = self.reserved_highatomic.saturating_sub(pages);
            let pfn = self.buddy.map.pfn(index);
            let moved = self.buddy.retype(pfn, mt);
            self.buddy.set_types(index, order, mt);
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
