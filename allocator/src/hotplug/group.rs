//! Memory that was added together, and the zone it gets. Linux: `struct memory_group`,
//! `auto_movable_zone_for_pfn()`.

use core::num::NonZeroU32;

use crate::event::Sink;
use crate::gfp::ZoneType;
use crate::hotplug::Hotplug;
use crate::online::OnlineTo;
use crate::page_alloc::PageAllocator;
use crate::units::{NodeId, PageCount, PfnRange};
use crate::zone::Zone;

/// Number of a group. Linux: `mgid`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GroupId(usize);

/// Memory that comes and goes as a whole. Linux: a static `struct memory_group`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryGroup {
    /// Its node.
    pub node: NodeId,
    /// All that it may have.
    pub max: PageCount,
    /// Online in a zone for anything.
    pub kernel: PageCount,
    /// Online in ZONE_MOVABLE.
    pub movable: PageCount,
}

/// How plain onlining chooses a zone. Linux: `memory_hotplug.online_policy`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnlinePolicy {
    /// The zone around it.
    #[default]
    ContigZones,
    /// ZONE_MOVABLE as long as its share is not too large.
    AutoMovable {
        /// Movable pages for 100 pages of early kernel memory.
        /// Linux: `memory_hotplug.auto_movable_ratio`.
        ratio: NonZeroU32,
        /// Whether the share counts on each node, too.
        scope: Scope,
    },
}

/// Where a share counts. Linux: `memory_hotplug.auto_movable_numa_aware`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// On the whole machine.
    Machine,
    /// There, and on the node.
    Node,
}

impl OnlinePolicy {
    /// auto-movable with its defaults.
    pub const AUTO_MOVABLE: Self =
        Self::AutoMovable { ratio: NonZeroU32::new(301).expect("not zero"), scope: Scope::Node };
}

/// All groups, and what was there at boot.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Groups {
    groups: Vec<MemoryGroup>,
    /// Pages of zones for anything at boot, by node. Linux: `present_early_pages`.
    early: Vec<(NodeId, PageCount)>,
}

impl Groups {
    /// No groups yet; the machine as it has booted.
    #[must_use]
    pub fn at_boot<S: Sink>(alloc: &PageAllocator<S>) -> Self {
        let kernel = alloc.zones().iter().filter(|zone| zone.kind() != ZoneType::Movable);
        let early = kernel.map(|zone| (zone.node(), zone.present()));
        Self { groups: Vec::new(), early: early.collect() }
    }

    /// Registers a group of at most `max` pages. Linux: `memory_group_register_static()`.
    pub fn register(&mut self, node: NodeId, max: PageCount) -> GroupId {
        let none = PageCount::ZERO;
        self.groups.push(MemoryGroup { node, max, kernel: none, movable: none });
        GroupId(self.groups.len() - 1)
    }

    /// A group.
    #[must_use]
    pub fn get(&self, id: GroupId) -> Option<&MemoryGroup> {
        self.groups.get(id.0)
    }

    /// Counts pages that were onlined, or offlined.
    /// Linux: `adjust_present_page_count()`.
    pub(crate) fn count(&mut self, id: GroupId, kind: ZoneType, pages: PageCount, way: Hotplug) {
        let group = &mut self.groups[id.0];
        let counter = match kind {
            ZoneType::Movable => &mut group.movable,
            _ => &mut group.kernel,
        };
        *counter = match way {
            Hotplug::Joins => *counter + pages,
            Hotplug::Leaves => counter.saturating_sub(pages),
        };
    }

    /// The zone of memory that is onlined without a wish. Linux: `zone_for_pfn_range()`.
    #[must_use]
    pub fn zone_for<S: Sink>(
        &self,
        alloc: &PageAllocator<S>,
        policy: OnlinePolicy,
        block: (NodeId, PfnRange, Option<GroupId>),
        to: OnlineTo,
    ) -> ZoneType {
        let (node, range, group) = block;
        let chosen = |to| alloc.zone_for_online(node, range, to);
        let OnlinePolicy::AutoMovable { ratio, scope } = policy else { return chosen(to) };
        if to != OnlineTo::Default {
            return chosen(to);
        }
        let group = group.and_then(|id| self.get(id));
        if group.is_some_and(|group| group.kernel > PageCount::ZERO) {
            return chosen(OnlineTo::Kernel);
        }
        let remaining = |group: &MemoryGroup| group.max.saturating_sub(group.movable);
        let pages = group.map_or(range.len(), remaining);
        let fits = |on: Option<NodeId>| self.may_be_movable(alloc, on, pages, ratio);
        match fits(None) && (scope == Scope::Machine || fits(Some(node))) {
            true => ZoneType::Movable,
            false => chosen(OnlineTo::Kernel),
        }
    }

    /// Linux: `auto_movable_can_online_movable()`. CMA counts as movable, not as kernel memory.
    fn may_be_movable<S: Sink>(
        &self,
        alloc: &PageAllocator<S>,
        node: Option<NodeId>,
        pages: PageCount,
        ratio: NonZeroU32,
    ) -> bool {
        let here = |other: NodeId| node.is_none_or(|node| node == other);
        let zones = || alloc.zones().iter().filter(|zone| here(zone.node()));
        let cma: PageCount = zones().map(Zone::cma_pages).sum();
        let movable: PageCount =
            zones().filter(|zone| zone.kind() == ZoneType::Movable).map(Zone::present).sum();
        let early = self.early.iter().filter(|(node, _)| here(*node));
        let early: PageCount = early.map(|(_, pages)| *pages).sum();
        let early = early.saturating_sub(cma).get();
        let allowed = u128::from(early) * u128::from(ratio.get()) / 100;
        u128::from((movable + cma + pages).get()) <= allowed
    }
}
