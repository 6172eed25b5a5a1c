//! The memory that the machine has, as the architecture keeps it. Linux: mm/memblock.c.

use crate::units::{NodeId, PfnRange};

/// A piece of memory on one node. Linux: `struct memblock_region`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemblockRegion {
    /// The frames.
    pub range: PfnRange,
    /// Their node.
    pub node: NodeId,
    /// Whether it was added by a driver that manages it; pieces with different flags stay apart.
    pub managed: DriverManaged,
}

/// Whether a driver detected and added a piece of memory. Linux: `MEMBLOCK_DRIVER_MANAGED`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DriverManaged {
    /// Firmware announced it.
    No,
    /// A driver did.
    Yes,
}

/// All memory, ascending; neighbours on one node with the same flags are one piece.
/// Linux: `memblock.memory`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Memblock {
    regions: Vec<MemblockRegion>,
}

impl Memblock {
    /// The pieces, ascending.
    #[must_use]
    pub fn regions(&self) -> &[MemblockRegion] {
        &self.regions
    }

    /// Enters memory. Linux: `memblock_add_node()`.
    pub fn add(&mut self, new: MemblockRegion) {
        let at = self.regions.partition_point(|old| old.range.start() < new.range.start());
        self.regions.insert(at, new);
        self.merge();
    }

    /// Takes memory out; pieces that reach across an end are cut. Linux: `memblock_remove()`.
    pub fn remove(&mut self, range: PfnRange) {
        let cut = |old: &MemblockRegion| {
            let old = *old;
            let parts = old.range.without(range).into_iter().filter(|part| !part.is_empty());
            parts.map(move |range| MemblockRegion { range, ..old })
        };
        self.regions = self.regions.iter().flat_map(cut).collect();
    }

    /// Linux: `memblock_merge_regions()`.
    fn merge(&mut self) {
        self.regions.dedup_by(|next, last| {
            let touch = last.range.end() == next.range.start();
            let alike = (last.node, last.managed) == (next.node, next.managed);
            if touch && alike {
                last.range = last.range.hull(next.range);
            }
            touch && alike
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Pfn;

    fn region(start: u64, end: u64, node: u8, managed: DriverManaged) -> MemblockRegion {
        let range = PfnRange::new(Pfn::new(start), Pfn::new(end));
        MemblockRegion { range, node: NodeId::new(node), managed }
    }

    #[test]
    fn neighbours_of_one_kind_are_one_piece() {
        let mut memblock = Memblock::default();
        for (start, end, node, managed) in [
            (0x400, 0x500, 1, DriverManaged::No),
            (0x100, 0x200, 0, DriverManaged::No),
            (0x200, 0x300, 0, DriverManaged::No),
            (0x300, 0x400, 0, DriverManaged::Yes),
        ] {
            memblock.add(region(start, end, node, managed));
        }
        let expected = [
            region(0x100, 0x300, 0, DriverManaged::No),
            region(0x300, 0x400, 0, DriverManaged::Yes),
            region(0x400, 0x500, 1, DriverManaged::No),
        ];
        assert_eq!(memblock.regions(), expected);
    }

    #[test]
    fn removal_cuts_what_reaches_across() {
        let mut memblock = Memblock::default();
        memblock.add(region(0x100, 0x400, 0, DriverManaged::No));
        memblock.remove(PfnRange::new(Pfn::new(0x200), Pfn::new(0x300)));
        memblock.remove(PfnRange::new(Pfn::new(0x500), Pfn::new(0x600)));
        let expected = [
            region(0x100, 0x200, 0, DriverManaged::No),
            region(0x300, 0x400, 0, DriverManaged::No),
        ];
        assert_eq!(memblock.regions(), expected);
        memblock.remove(PfnRange::new(Pfn::new(0), Pfn::new(0x1000)));
        assert!(memblock.regions().is_empty());
    }
}
