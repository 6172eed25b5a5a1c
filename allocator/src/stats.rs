//! Counters and snapshots: facts as values, fragmentation measures as pure functions of them.

use core::fmt;

use crate::event::Sink;
use crate::geometry::Geometry;
use crate::gfp::ZoneType;
use crate::migratetype::{MigrateType, TypeSet};
use crate::page_alloc::PageAllocator;
use crate::units::{NodeId, Order, PageCount};
use crate::zone::Zone;

/// Free blocks of one zone: `blocks[order]` is the number of free blocks of that order.
///
/// The measures follow mm/vmstat.c in integer arithmetic; F is the number of free pages, B of free
/// blocks, S(k) of blocks of order k that fit into the free ones.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FreeBlocks(pub Vec<u64>);

impl FreeBlocks {
    /// F: free pages on the lists, isolated ones included.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.0.iter().enumerate().map(|(order, n)| n << order).sum()
    }

    /// B: free blocks.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.0.iter().sum()
    }

    /// S(k): how many blocks of `order` could be allocated.
    #[must_use]
    pub fn suitable(&self, order: Order) -> u64 {
        let from = order.index();
        self.0.iter().enumerate().skip(from).map(|(o, n)| n << (o - from)).sum()
    }

    /// Share of free memory that a request of `order` cannot use, in thousandths: 0 (all usable)
    /// to 1000 (none, or no free memory). Linux: `unusable_free_index()`.
    #[must_use]
    pub fn unusable_index(&self, order: Order) -> u64 {
        let free = self.pages();
        if free == 0 {
            return 1000;
        }
        (free - (self.suitable(order) << order.get())) * 1000 / free
    }

    /// Why a request of `order` fails, in thousandths: towards 0 for lack of memory, towards 1000
    /// for fragmentation; -1000 when it would succeed. Linux: `__fragmentation_index()`.
    #[must_use]
    pub fn fragmentation_index(&self, order: Order) -> i64 {
        let blocks = self.blocks();
        if blocks == 0 {
            return 0;
        }
        if self.suitable(order) > 0 {
            return -1000;
        }
        let wanted = order.pages().get();
        let part = (1000 + self.pages() * 1000 / wanted) / blocks;
        1000 - i64::try_from(part).unwrap_or(i64::MAX)
    }
}

/// One zone at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ZoneSnapshot {
    /// Node of the zone.
    pub node: NodeId,
    /// Kind of zone.
    pub kind: ZoneType,
    /// Free blocks by order, for each type of the kernel.
    pub free: Vec<(MigrateType, FreeBlocks)>,
    /// Pageblocks of each type of the kernel.
    pub pageblocks: Vec<(MigrateType, u64)>,
    /// Pages handed to the allocator.
    pub managed: PageCount,
    /// Pages on per-CPU lists.
    pub pcp: PageCount,
}

impl ZoneSnapshot {
    /// Free blocks by order, all types together, as /proc/buddyinfo counts them.
    #[must_use]
    pub fn total(&self) -> FreeBlocks {
        let orders = self.free.first().map_or(0, |(_, blocks)| blocks.0.len());
        FreeBlocks(
            (0..orders).map(|o| self.free.iter().map(|(_, blocks)| blocks.0[o]).sum()).collect(),
        )
    }
}

/// The free lists of a machine at one moment. `Display` shapes: [`Self::buddyinfo`],
/// [`Self::pagetypeinfo`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// Sizes of the machine.
    pub geometry: Geometry,
    /// Types of the kernel.
    pub types: TypeSet,
    /// Zones that have memory.
    pub zones: Vec<ZoneSnapshot>,
}

impl Zone {
    fn snapshot(&self, types: TypeSet) -> ZoneSnapshot {
        let geometry = self.buddy.geometry;
        let blocks_of = |mt| {
            let orders = Order::ZERO.to(geometry.max_order());
            let count = |order| self.buddy.free_list(order, mt).map(|_| 1).sum();
            FreeBlocks(orders.map(count).collect())
        };
        ZoneSnapshot {
            node: self.node,
            kind: self.kind,
            free: types.iter().map(|mt| (mt, blocks_of(mt))).collect(),
            pageblocks: self.pageblock_census(types),
            managed: self.managed,
            pcp: self.pcp_pages(),
        }
    }

    /// Pageblocks by type, counted as /proc/pagetypeinfo does: in steps from the zone's first
    /// frame. Linux: `pagetypeinfo_showblockcount_print()`.
    fn pageblock_census(&self, types: TypeSet) -> Vec<(MigrateType, u64)> {
        let mut counts = [0; MigrateType::COUNT];
        let step = self.buddy.geometry.pageblock_pages();
        let mut pfn = self.span().start();
        while pfn < self.span().end() {
            if !self.buddy.blocks.is_offline(self.buddy.index(pfn)) {
                counts[self.buddy.migratetype(pfn).index()] += 1;
            }
            pfn = pfn + step;
        }
        types.iter().map(|mt| (mt, counts[mt.index()])).collect()
    }
}

impl<S: Sink> PageAllocator<S> {
    /// Free blocks of all zones together.
    #[must_use]
    pub fn free_blocks(&self) -> FreeBlocks {
        let count = |order| self.zones().iter().map(|zone| zone.buddy().nr_free(order)).sum();
        FreeBlocks(Order::ZERO.to(self.geometry().max_order()).map(count).collect())
    }

    /// The free lists at this moment; per-CPU lists are not drained, as in Linux.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let populated = self.zones().iter().filter(|zone| zone.present() > PageCount::ZERO);
        Snapshot {
            geometry: self.geometry(),
            types: self.types(),
            zones: populated.map(|zone| zone.snapshot(self.types())).collect(),
        }
    }
}

impl Snapshot {
    /// The text of /proc/buddyinfo. Linux: `frag_show_print()`.
    #[must_use]
    pub fn buddyinfo(&self) -> BuddyInfo<'_> {
        BuddyInfo(self)
    }

    /// The text of /proc/pagetypeinfo. Linux: `pagetypeinfo_show()`.
    #[must_use]
    pub fn pagetypeinfo(&self) -> PageTypeInfo<'_> {
        PageTypeInfo(self)
    }

    fn orders(&self) -> impl Iterator<Item = Order> + use<> {
        Order::ZERO.to(self.geometry.max_order())
    }
}

/// Prints /proc/buddyinfo.
#[derive(Clone, Copy, Debug)]
pub struct BuddyInfo<'a>(&'a Snapshot);

impl fmt::Display for BuddyInfo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for zone in &self.0.zones {
            write!(f, "Node {}, zone {:>8} ", zone.node, zone.kind)?;
            for blocks in zone.total().0 {
                write!(f, "{blocks:>6} ")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Prints /proc/pagetypeinfo.
#[derive(Clone, Copy, Debug)]
pub struct PageTypeInfo<'a>(&'a Snapshot);

/// The kernel stops counting a list here, and says so.
const COUNT_LIMIT: u64 = 100_000;

impl fmt::Display for PageTypeInfo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(snapshot) = self;
        let geometry = snapshot.geometry;
        writeln!(f, "Page block order: {}", geometry.pageblock_order())?;
        writeln!(f, "Pages per block:  {}", geometry.pageblock_pages())?;
        writeln!(f)?;
        write!(f, "{:<43} ", "Free pages count per migrate type at order")?;
        for order in snapshot.orders() {
            write!(f, "{:>6} ", order.get())?;
        }
        writeln!(f)?;
        for zone in &snapshot.zones {
            for (mt, blocks) in &zone.free {
                write!(f, "Node {:>4}, zone {:>8}, type {:>12} ", zone.node, zone.kind, mt)?;
                for &n in &blocks.0 {
                    let overflow = if n >= COUNT_LIMIT { ">" } else { "" };
                    write!(f, "{overflow}{:>6} ", n.min(COUNT_LIMIT))?;
                }
                writeln!(f)?;
            }
        }
        write!(f, "\n{:<23}", "Number of blocks type ")?;
        for mt in snapshot.types.iter() {
            write!(f, "{mt:>12} ")?;
        }
        writeln!(f)?;
        for zone in &snapshot.zones {
            write!(f, "Node {}, zone {:>8} ", zone.node, zone.kind)?;
            for (_, blocks) in &zone.pageblocks {
                write!(f, "{blocks:>12} ")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(blocks: &[u64], order: u8, unusable: u64, fragmentation: i64) {
        let free = FreeBlocks(blocks.to_vec());
        let order = Order::of(order);
        assert_eq!(free.unusable_index(order), unusable);
        assert_eq!(free.fragmentation_index(order), fragmentation);
    }

    #[test]
    fn measures_of_small_lists() {
        check(&[0, 0, 0], 1, 1000, 0);
        check(&[4, 0, 0], 0, 0, -1000);
        // F = 4, B = 4, no pair: 1000 - (1000 + 4 * 1000 / 2) / 4.
        check(&[4, 0, 0], 1, 1000, 250);
        // F = 10, S(1) = 1 + 2 = 3: (10 - 6) * 1000 / 10.
        check(&[4, 1, 1], 1, 400, -1000);
    }
}
