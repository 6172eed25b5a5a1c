//! Memory by speed, and where pages go when their node is full. Linux: mm/memory-tiers.c.

use std::collections::BTreeMap;

use pagelab_allocator::units::NodeId;

/// How far memory is, as a number without a unit: more is slower.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct AbstractDistance(u32);

/// Distances in a tier. Linux: `MEMTIER_CHUNK_SIZE`.
const CHUNK: u32 = 128;

impl AbstractDistance {
    /// Memory at a CPU. Linux: `MEMTIER_ADISTANCE_DRAM`.
    pub const DRAM: Self = Self(4 * CHUNK + CHUNK / 2);
    /// Memory that a device brings, where nothing better is known. Linux:
    /// `MEMTIER_DEFAULT_LOWTIER_ADISTANCE`.
    pub const KMEM: Self = Self(5 * Self::DRAM.0);

    /// Distance `raw`.
    #[must_use]
    pub const fn new(raw: u32) -> Self {
        Self(raw)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The tier that memory at this distance belongs to.
    #[must_use]
    pub const fn tier(self) -> Tier {
        Tier(self.0 / CHUNK)
    }
}

/// A tier: less is faster. Linux: `struct memory_tier`, `/sys/devices/virtual/memory_tiering`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Tier(u32);

impl Tier {
    /// The number in sysfs.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// Whether a node has CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodeCpus {
    /// It is memory only.
    None,
    /// It has some.
    Some,
}

/// A node with memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct TierNode {
    tier: Tier,
    cpus: NodeCpus,
}

/// All nodes with memory, and how far they are from each other.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MemoryTiers {
    nodes: BTreeMap<u8, TierNode>,
    distances: BTreeMap<(u8, u8), u8>,
}

/// Distance of a node from itself. Linux: `LOCAL_DISTANCE`.
const LOCAL: u8 = 10;
/// Distance of other nodes that firmware says nothing about. Linux: `REMOTE_DISTANCE`.
const REMOTE: u8 = 20;

impl MemoryTiers {
    /// A node has memory now. Linux: `set_node_memory_tier()`.
    pub fn add(&mut self, node: NodeId, adistance: AbstractDistance, cpus: NodeCpus) {
        self.nodes.insert(node.get(), TierNode { tier: adistance.tier(), cpus });
    }

    /// It has no more. Linux: `clear_node_memory_tier()`.
    pub fn remove(&mut self, node: NodeId) {
        self.nodes.remove(&node.get());
    }

    /// Firmware says how far `to` is from `from`, where 10 is the node itself. Linux: SLIT.
    pub fn set_distance(&mut self, from: NodeId, to: NodeId, distance: u8) {
        self.distances.insert((from.get(), to.get()), distance);
    }

    /// How far `to` is from `from`. Linux: `node_distance()`.
    #[must_use]
    pub fn distance(&self, from: NodeId, to: NodeId) -> u8 {
        let said = self.distances.get(&(from.get(), to.get())).copied();
        said.unwrap_or(if from == to { LOCAL } else { REMOTE })
    }

    /// The tier of a node with memory.
    #[must_use]
    pub fn tier(&self, node: NodeId) -> Option<Tier> {
        self.nodes.get(&node.get()).map(|node| node.tier)
    }

    /// The nearest nodes of the next lower tier, ascending: none for nodes of the lowest. Linux:
    /// `establish_demotion_targets()`.
    #[must_use]
    pub fn demotion_targets(&self, node: NodeId) -> Vec<NodeId> {
        let Some(own) = self.tier(node) else { return Vec::new() };
        let tiers = self.nodes.values().map(|other| other.tier);
        let Some(next) = tiers.filter(|tier| *tier > own).min() else { return Vec::new() };
        let of_next = |(_, other): &(&u8, &TierNode)| other.tier == next;
        let below = self.nodes.iter().filter(of_next).map(|(id, _)| NodeId::new(*id));
        let below: Vec<_> = below.collect();
        let nearest = below.iter().map(|to| self.distance(node, *to)).min();
        let is_nearest = |to: &NodeId| Some(self.distance(node, *to)) == nearest;
        below.into_iter().filter(is_nearest).collect()
    }

    /// Where a page of `node` is demoted to. Linux: `next_demotion_node()`, which takes one of the
    /// targets at random; here it is the one with the lowest number.
    #[must_use]
    pub fn demotion_target(&self, node: NodeId) -> Option<NodeId> {
        self.demotion_targets(node).first().copied()
    }

    /// All nodes of lower tiers, where demotion may end when its target is full. Linux:
    /// `node_get_allowed_targets()`.
    #[must_use]
    pub fn lower(&self, node: NodeId) -> Vec<NodeId> {
        let Some(own) = self.tier(node) else { return Vec::new() };
        let lower = self.nodes.iter().filter(|(_, other)| other.tier > own);
        lower.map(|(id, _)| NodeId::new(*id)).collect()
    }

    /// Whether pages of the node are not promoted: some node with CPUs is as slow. Linux:
    /// `node_is_toptier()`.
    #[must_use]
    pub fn is_toptier(&self, node: NodeId) -> bool {
        let with_cpus = self.nodes.values().filter(|other| other.cpus == NodeCpus::Some);
        let slowest = with_cpus.map(|other| other.tier).max();
        self.tier(node).is_some_and(|tier| slowest.is_none_or(|slowest| tier <= slowest))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(raw: u8) -> NodeId {
        NodeId::new(raw)
    }

    /// Two sockets with memory, and memory of a device at each.
    fn two_sockets() -> MemoryTiers {
        let mut tiers = MemoryTiers::default();
        for (of, far) in [(0, 1), (1, 0)] {
            tiers.add(node(of), AbstractDistance::DRAM, NodeCpus::Some);
            tiers.add(node(of + 2), AbstractDistance::KMEM, NodeCpus::None);
            tiers.set_distance(node(of), node(of + 2), 14);
            tiers.set_distance(node(of), node(far + 2), 24);
        }
        tiers
    }

    #[test]
    fn row_33_tiers_of_dram_and_of_devices() {
        let numbers = [AbstractDistance::DRAM, AbstractDistance::KMEM];
        assert_eq!(numbers.map(AbstractDistance::get), [576, 2880]);
        assert_eq!(numbers.map(|of| of.tier().get()), [4, 22]);
        let near = AbstractDistance::new(AbstractDistance::DRAM.get() + 63);
        assert_eq!(near.tier().get(), 4, "a little slower is the same tier");
        assert_eq!(AbstractDistance::new(640).tier().get(), 5);
    }

    #[test]
    fn row_33_pages_go_to_the_nearest_of_the_next_tier() {
        let mut tiers = two_sockets();
        assert_eq!(tiers.demotion_target(node(0)), Some(node(2)));
        assert_eq!(tiers.demotion_target(node(1)), Some(node(3)));
        assert_eq!(tiers.demotion_target(node(2)), None, "the lowest tier");
        assert_eq!(tiers.lower(node(0)), [node(2), node(3)]);
        assert_eq!([0, 1, 2, 3].map(|of| tiers.is_toptier(node(of))), [true, true, false, false]);
        tiers.add(node(4), AbstractDistance::new(10_000), NodeCpus::None);
        tiers.set_distance(node(0), node(4), 11);
        assert_eq!(tiers.demotion_target(node(0)), Some(node(2)), "near, but two tiers down");
        assert_eq!(tiers.demotion_targets(node(3)), [node(4)]);
        tiers.remove(node(2));
        assert_eq!(tiers.demotion_target(node(0)), Some(node(3)));
        assert_eq!(tiers.demotion_targets(node(9)), []);
    }

    #[test]
    fn of_equals_the_lowest_number() {
        let mut tiers = two_sockets();
        tiers.set_distance(node(1), node(2), 14);
        assert_eq!(tiers.demotion_targets(node(1)), [node(2), node(3)]);
        assert_eq!(tiers.demotion_target(node(1)), Some(node(2)));
    }

    #[test]
    fn distances_that_nobody_stated() {
        let tiers = MemoryTiers::default();
        assert_eq!(tiers.distance(node(3), node(3)), 10);
        assert_eq!(tiers.distance(node(3), node(4)), 20);
        assert!(!tiers.is_toptier(node(3)), "no memory");
    }

    #[test]
    fn without_cpus_every_node_is_top() {
        let mut tiers = MemoryTiers::default();
        tiers.add(node(1), AbstractDistance::KMEM, NodeCpus::None);
        assert!(tiers.is_toptier(node(1)));
    }

    /// What is wrong with a target: a node that would have been better.
    fn complaint(tiers: &MemoryTiers, from: u8, target: Option<NodeId>) -> Option<String> {
        let rank = |to: NodeId| {
            let (own, other) = (tiers.tier(node(from))?, tiers.tier(to)?);
            (other > own).then(|| (other, tiers.distance(node(from), to), to.get()))
        };
        let best = tiers.nodes.keys().filter_map(|to| rank(node(*to))).min();
        (target.and_then(rank) != best).then(|| format!("{target:?} where {best:?} is best"))
    }

    proptest! {
        #[test]
        fn no_node_is_better_than_the_target(
            adistances in prop::collection::vec(0_u32..1024, 1..8),
            distances in prop::collection::vec(10_u8..14, 64),
        ) {
            let mut tiers = MemoryTiers::default();
            for (id, adistance) in (0_u8..).zip(&adistances) {
                tiers.add(node(id), AbstractDistance::new(*adistance), NodeCpus::None);
            }
            for (at, distance) in (0_u8..).zip(distances) {
                tiers.set_distance(node(at / 8), node(at % 8), distance);
            }
            for id in (0_u8..).take(adistances.len()) {
                prop_assert_eq!(complaint(&tiers, id, tiers.demotion_target(node(id))), None);
            }
        }
    }

    #[test]
    fn canary_targets_that_are_not_best() {
        let tiers = two_sockets();
        assert_eq!(complaint(&tiers, 0, Some(node(2))), None);
        for wrong in [None, Some(node(1)), Some(node(3))] {
            assert!(complaint(&tiers, 0, wrong).is_some(), "{wrong:?}");
        }
        assert!(complaint(&tiers, 2, None).is_none());
    }
}
