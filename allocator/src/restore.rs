//! A machine as a value: writing its lists down, and going on from there.
//!
//! A dump of a running kernel says what is on the buddy lists and on the per-CPU lists, in order,
//! and which types the pageblocks have. It does not say what the other frames are: kernel image,
//! hole, or somebody's page. They all start as allocated single pages, so that whatever is freed
//! later was allocated; [`PageAllocator::reclaim`] gives them the shape in which they come back.

use crate::boot::{movable_pcp_needs, zonelists};
use crate::buddy::Buddy;
use crate::counters::{FreeCounters, Uncounted};
use crate::event::Sink;
use crate::fallback::Grouping;
use crate::frame::{Frame, Head, Movability};
use crate::frames::End;
use crate::geometry::Geometry;
use crate::gfp::ZoneType;
use crate::migratetype::{MigrateType, TypeSet};
use crate::page_alloc::PageAllocator;
use crate::pcp::{CacheSlice, PcpCounters, PcpSizes, PerCpuPages, Thp};
use crate::pcp_list::Cached;
use crate::profile::{KernelProfile, MovablePcp};
use crate::units::{CpuId, Order, PageCount, Pfn, PfnRange};
use crate::vm_stat::VmStat;
use crate::watermark::Watermarks;
use crate::zone::{Boosted, Zone, ZoneSpec, note_sharing};

/// A block on a list: of the buddy system or of a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListedBlock {
    /// First frame.
    pub pfn: Pfn,
    /// Order of the block.
    pub order: Order,
    /// Type of the list, which may differ from the pageblock's.
    pub migratetype: MigrateType,
}

/// One CPU's lists in one zone. Linux: `struct per_cpu_pages`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PcpState {
    /// Sizes in force.
    pub sizes: PcpSizes,
    /// How the traffic so far has tuned them.
    pub counters: PcpCounters,
    /// What the CPU's share of cache is beside the sizes.
    pub cache: CacheSlice,
    /// What the CPU has not added to the zone's counters.
    pub uncounted: Uncounted,
    /// What is on the lists, list by list, heads first; the type is that of the list.
    pub blocks: Vec<ListedBlock>,
}

/// One zone. Linux: `struct zone`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ZoneState {
    /// Kind, node and frames.
    pub spec: ZoneSpec,
    /// The frames that it could have: at least its own.
    pub room: PfnRange,
    /// Pages that exist.
    pub present: PageCount,
    /// Pages that were handed to the allocator.
    pub managed: PageCount,
    /// Pages of CMA areas.
    pub cma: PageCount,
    /// Watermarks.
    pub watermarks: Watermarks,
    /// Pages kept back from requests that could use a higher zone, by that zone's kind.
    pub lowmem_reserve: [PageCount; ZoneType::COUNT],
    /// Pages of highatomic pageblocks.
    pub reserved_highatomic: PageCount,
    /// How many pages a CPU may keep to itself before it adds them to the counters.
    pub stat_threshold: u32,
    /// What is on the buddy lists, heads first, by order, then by type.
    pub free: Vec<ListedBlock>,
    /// Types of the pageblocks; the memory of a pageblock that is not named is not there.
    pub pageblocks: Vec<(Pfn, MigrateType)>,
    /// The CPUs' lists, as many in every zone.
    pub pcp: Vec<PcpState>,
}

/// A machine at some moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MachineState {
    /// Page, pageblock and block sizes.
    pub geometry: Geometry,
    /// Which kernel's rules.
    pub profile: KernelProfile,
    /// Migratetypes the kernel was built with.
    pub types: TypeSet,
    /// Whether order-9 blocks have per-CPU lists.
    pub thp: Thp,
    /// Whether pageblocks are grouped by type.
    pub grouping: Grouping,
    /// Per-CPU rule for movable requests; `None` is the profile's.
    pub movable_pcp: Option<MovablePcp>,
    /// Linux: `watermark_boost_factor`.
    pub watermark_boost_factor: u64,
    /// The zones, any order.
    pub zones: Vec<ZoneState>,
}

/// Why a state is not that of a machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// A listed block is no block of its zone.
    #[error("block {0} of order {1} does not fit zone {2}")]
    Misplaced(Pfn, Order, PfnRange),
    /// A frame is on two lists, or twice on one.
    #[error("block {0} of order {1} overlaps another listed block")]
    ListedTwice(Pfn, Order),
    /// Free buddies of one pageblock are one block.
    #[error("block {0} of order {1} lies beside its free buddy")]
    Unmerged(Pfn, Order),
    /// A pageblock lies elsewhere.
    #[error("pageblock {0} is not in zone {1}")]
    ForeignPageblock(Pfn, PfnRange),
    /// No per-CPU list holds blocks of this order.
    #[error("per-CPU lists hold no blocks of order {0}")]
    NoSuchList(Order),
    /// A listed block lies where no memory is.
    #[error("block {0} of order {1} lies in memory that is offline")]
    Offline(Pfn, Order),
    /// The room of a zone holds its frames.
    #[error("zone {0} does not fit its room {1}")]
    NoRoom(PfnRange, PfnRange),
    /// Zones share no pageblock.
    #[error("zones {0} and {1} overlap")]
    ZonesOverlap(PfnRange, PfnRange),
    /// Every zone has lists of every CPU.
    #[error("zone {0} has lists of {1} CPUs instead of {2}")]
    CpusDiffer(PfnRange, usize, u16),
    /// More pages were handed over than the zone has frames.
    #[error("zone {0} cannot have {1} pages")]
    TooManyPages(PfnRange, PageCount),
}

impl Buddy {
    /// The buddy lists of a zone as dumped. Frames of its span that are there and on no list are
    /// allocated.
    ///
    /// # Errors
    ///
    /// [`RestoreError`] names the block that does not fit.
    ///
    /// # Panics
    ///
    /// Panics when the span, padded to the largest blocks, has 2^32 frames or more.
    pub fn restore(
        geometry: Geometry,
        profile: KernelProfile,
        zone: &ZoneState,
    ) -> Result<Self, RestoreError> {
        let (span, room) = (zone.spec.span, zone.room);
        if !room.covers(span) {
            return Err(RestoreError::NoRoom(span, room));
        }
        let mut buddy = Self::new(geometry, profile, room);
        for block in room.blocks(geometry.pageblock_order()) {
            let index = buddy.index(block);
            buddy.blocks.set_offline(index);
        }
        for &(pfn, mt) in &zone.pageblocks {
            let frames = geometry.pageblock_range(pfn).intersect(span);
            let frames = frames.ok_or(RestoreError::ForeignPageblock(pfn, span))?;
            buddy.restore_pageblock(pfn, frames, mt);
        }
        for &block in &zone.free {
            buddy.restore_block(block)?;
        }
        Ok(buddy)
    }

    /// Gives a pageblock its type; its frames are allocated.
    fn restore_pageblock(&mut self, pfn: Pfn, frames: PfnRange, mt: MigrateType) {
        for pfn in frames.iter() {
            let index = self.index(pfn);
            self.map.set_head(index, Head::Allocated(Order::ZERO, Movability::Unmovable));
        }
        let index = self.index(pfn);
        if mt == MigrateType::Isolate {
            // A type first: it brings memory back that was gone, which isolation does not.
            self.blocks.set_migratetype(index, MigrateType::Movable);
            self.blocks.isolate(index);
        } else {
            self.blocks.set_migratetype(index, mt);
        }
    }

    /// Puts a block at the tail of its list, without merging.
    fn restore_block(&mut self, block: ListedBlock) -> Result<(), RestoreError> {
        let ListedBlock { pfn, order, migratetype } = block;
        self.claim_frames(pfn, order)?;
        let index = self.index(pfn);
        if order < self.geometry.pageblock_order()
            && self.map.is_free_block(index ^ (1 << order.get()), order)
        {
            return Err(RestoreError::Unmerged(pfn, order));
        }
        self.areas.add(&mut self.map, (index, order), migratetype, End::Tail);
        self.add_free(order.pages(), migratetype);
        Ok(())
    }

    /// Checks that the frames of a block are on no list yet, and makes them one block.
    fn claim_frames(&mut self, pfn: Pfn, order: Order) -> Result<(), RestoreError> {
        let range = PfnRange::block(pfn, order);
        if !pfn.is_aligned(order) || order > self.geometry.max_order() || !self.span.covers(range) {
            return Err(RestoreError::Misplaced(pfn, order, self.span));
        }
        let mut blocks = range.blocks(self.geometry.pageblock_order());
        if blocks.any(|block| self.blocks.is_offline(self.index(block))) {
            return Err(RestoreError::Offline(pfn, order));
        }
        if !range.iter().all(|pfn| matches!(self.frame(pfn), Frame::Allocated { .. })) {
            return Err(RestoreError::ListedTwice(pfn, order));
        }
        for pfn in range.iter() {
            let index = self.index(pfn);
            self.map.clear_head(index);
        }
        Ok(())
    }
}

impl Zone {
    /// The zone written down. Linux: what a debugger reads from `struct zone`.
    #[must_use]
    pub fn state(&self) -> ZoneState {
        ZoneState {
            spec: ZoneSpec { kind: self.kind, node: self.node, span: self.span() },
            room: self.buddy.span(),
            present: self.present,
            managed: self.managed,
            cma: self.cma,
            watermarks: self.watermarks,
            lowmem_reserve: self.lowmem_reserve,
            reserved_highatomic: self.reserved_highatomic,
            stat_threshold: self.counters.threshold(),
            free: self.free_state(),
            pageblocks: self.pageblock_state(),
            pcp: (0..).map(CpuId::new).take(self.pcp.len()).map(|c| self.pcp_state(c)).collect(),
        }
    }

    /// The zone's flags as a debugger reads them. Linux: `zone->flags`, `enum zone_flags`.
    #[must_use]
    pub fn flag_bits(&self) -> u64 {
        u64::from(self.boosted == Boosted::Yes)
            | u64::from(self.pressure.reclaim_active) << 1
            | u64::from(self.pressure.below_high) << 2
    }

    fn movable_pcp(&self) -> MovablePcp {
        if self.movable_pcp_needs.is_empty() { MovablePcp::Always } else { MovablePcp::OnlyWithCma }
    }

    fn free_state(&self) -> Vec<ListedBlock> {
        let orders = Order::ZERO.to(self.buddy.geometry.max_order());
        let lists = orders.flat_map(|order| MigrateType::ALL.map(|mt| (order, mt)));
        lists
            .flat_map(|(order, migratetype)| {
                let list = self.buddy.free_list(order, migratetype);
                list.map(move |pfn| ListedBlock { pfn, order, migratetype })
            })
            .collect()
    }

    fn pageblock_state(&self) -> Vec<(Pfn, MigrateType)> {
        let blocks = self.span().blocks(self.buddy.geometry.pageblock_order());
        let there = blocks.filter(|pfn| self.owns((*pfn).max(self.span.start())));
        there.map(|pfn| (pfn, self.buddy.migratetype(pfn))).collect()
    }

    fn pcp_state(&self, cpu: CpuId) -> PcpState {
        let pcp = &self.pcp[cpu.index()];
        let listed = pcp.listed().map(|(block, order, migratetype)| ListedBlock {
            pfn: self.buddy.map.pfn(block.index()),
            order,
            migratetype,
        });
        PcpState {
            sizes: pcp.sizes(),
            counters: pcp.counters(),
            cache: pcp.cache(),
            uncounted: self.counters.uncounted(cpu),
            blocks: listed.collect(),
        }
    }

    fn restore(state: &ZoneState, machine: &MachineState) -> Result<Self, RestoreError> {
        let MachineState { geometry, profile, thp, .. } = *machine;
        let span = state.spec.span;
        let block = |(pfn, _): &(Pfn, _)| geometry.pageblock_range(*pfn).intersect(span);
        let there: PageCount = state.pageblocks.iter().filter_map(block).map(PfnRange::len).sum();
        if state.managed > there {
            return Err(RestoreError::TooManyPages(span, state.managed));
        }
        let mut buddy = Buddy::restore(geometry, profile, state)?;
        let pcp: Result<Vec<_>, _> =
            state.pcp.iter().map(|pcp| restore_pcp(pcp, &mut buddy, thp)).collect();
        let cpus = u16::try_from(state.pcp.len()).unwrap_or(u16::MAX);
        let fresh = Self::new(state.spec, geometry, profile, thp, cpus);
        let mut counters = FreeCounters::new(cpus);
        let uncounted: Vec<_> = state.pcp.iter().map(|pcp| pcp.uncounted).collect();
        counters.restore(state.stat_threshold, buddy.free_pages(), &uncounted);
        let rule = machine.movable_pcp.unwrap_or(profile.rules().movable_pcp);
        Ok(Self {
            counters,
            movable_pcp_needs: movable_pcp_needs(rule, machine.types),
            assumed: there - state.managed,
            pcp: pcp?,
            buddy,
            managed: state.managed,
            present: state.present,
            cma: state.cma,
            watermarks: state.watermarks,
            lowmem_reserve: state.lowmem_reserve,
            reserved_highatomic: state.reserved_highatomic,
            boost_factor: machine.watermark_boost_factor,
            grouping: machine.grouping,
            ..fresh
        })
    }
}

fn restore_pcp(state: &PcpState, buddy: &mut Buddy, thp: Thp) -> Result<PerCpuPages, RestoreError> {
    let mut pcp = PerCpuPages::new(buddy.rules, buddy.geometry, thp);
    pcp.tuning.set_sizes(state.sizes);
    pcp.tuning.set_counters(state.counters);
    pcp.tuning.set_cache(state.cache);
    for &ListedBlock { pfn, order, migratetype } in &state.blocks {
        let list = pcp.list_of(order, migratetype).ok_or(RestoreError::NoSuchList(order))?;
        buddy.claim_frames(pfn, order)?;
        let index = buddy.index(pfn);
        buddy.map.set_head(index, Head::PerCpu(order));
        // The movable list also holds pages of types without a list; a dump shows only the list.
        let mt = match buddy.blocks.migratetype(index) {
            block if block.is_mergeable() => migratetype,
            block => block,
        };
        pcp.push_refilled(list, order, Cached::new(index, mt));
    }
    Ok(pcp)
}

impl<S: Sink> PageAllocator<S> {
    /// The machine written down: what [`restore`](Self::restore) takes. Frames on no list are not
    /// part of it: allocated ones and those that were never handed over look alike.
    #[must_use]
    pub fn state(&self) -> MachineState {
        MachineState {
            geometry: self.geometry,
            profile: self.profile,
            types: self.types,
            thp: self.zones.first().and_then(|z| z.pcp.first()).map_or(Thp::Absent, |p| p.thp()),
            grouping: self.grouping,
            movable_pcp: self.zones.first().map(Zone::movable_pcp),
            watermark_boost_factor: self.zones.first().map_or(0, |z| z.boost_factor),
            zones: self.zones.iter().map(Zone::state).collect(),
        }
    }

    /// A machine that goes on where another one was dumped. Counters of events start at zero.
    ///
    /// # Errors
    ///
    /// [`RestoreError`] names what is contradictory in the state.
    ///
    /// # Panics
    ///
    /// Panics when a zone, padded to the largest blocks, has 2^32 frames or more.
    pub fn restore(state: &MachineState, sink: S) -> Result<Self, RestoreError> {
        let zones: Result<Vec<_>, _> =
            state.zones.iter().map(|zone| Zone::restore(zone, state)).collect();
        let mut zones = zones?;
        zones.sort_by_key(|z| (z.node, z.kind, z.span().start()));
        let cpus = zones.first().map_or(0, |z| z.pcp.len());
        let cpus = u16::try_from(cpus).unwrap_or(u16::MAX);
        for (i, zone) in zones.iter().enumerate() {
            if zone.pcp.len() != usize::from(cpus) {
                return Err(RestoreError::CpusDiffer(zone.span(), zone.pcp.len(), cpus));
            }
            if let Some(other) = zones[..i].iter().find(|other| other.shares_block(zone)) {
                return Err(RestoreError::ZonesOverlap(other.span(), zone.span()));
            }
        }
        note_sharing(&mut zones);
        Ok(Self {
            geometry: state.geometry,
            profile: state.profile,
            types: state.types,
            grouping: state.grouping,
            cpus,
            zonelists: zonelists(&zones),
            zones,
            stats: VmStat::default(),
            sink,
        })
    }
}
