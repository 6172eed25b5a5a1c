//! `freelists-*.json`: every list of the kernel at a snapshot.

use std::collections::BTreeMap;

use pagelab_allocator::counters::Uncounted;
use pagelab_allocator::fallback::Grouping;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::ZoneType;
use pagelab_allocator::migratetype::{MigrateType, TypeSet};
use pagelab_allocator::pcp::{PcpCounters, PcpSizes, Thp};
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::restore::{ListedBlock, MachineState, PcpState, ZoneState};
use pagelab_allocator::units::{NodeId, Order, PageCount, Pfn, PfnRange};
use pagelab_allocator::watermark::Watermarks;
use pagelab_allocator::zone::ZoneSpec;
use serde::Deserialize;

use super::error::CaseError;
use super::pageblocks::{Pageblock, type_named};
use super::text::CaseText;

/// The lists of a snapshot as they stand in its file.
#[derive(Debug)]
pub struct FreeLists {
    text: CaseText,
    raw: Raw,
    /// First address of the array of `struct page`. Linux: `vmemmap`.
    pub vmemmap: u64,
    /// Bytes of a `struct page`.
    pub struct_page: u64,
}

#[derive(Debug, Deserialize)]
struct Raw {
    vmemmap: String,
    struct_page: u64,
    page_size: u64,
    pageblock_order: u8,
    migratetypes: Vec<String>,
    zones: Vec<RawZone>,
}

#[derive(Debug, Deserialize)]
struct RawZone {
    name: String,
    start_pfn: u64,
    spanned: u64,
    present: u64,
    managed: u64,
    #[serde(default)]
    cma: Option<u64>,
    watermark: Vec<u64>,
    watermark_boost: u64,
    lowmem_reserve: Vec<u64>,
    nr_reserved_highatomic: u64,
    #[serde(default)]
    flags: u64,
    vm_stat_diff: BTreeMap<String, i64>,
    stat_threshold: u32,
    free_area: Vec<RawArea>,
    pcp: RawPcp,
}

#[derive(Debug, Deserialize)]
struct RawArea {
    order: u8,
    nr_free: u64,
    lists: BTreeMap<String, Vec<u64>>,
}

#[derive(Debug, Deserialize)]
struct RawPcp {
    count: u32,
    high: u32,
    batch: u32,
    #[serde(default)]
    free_factor: u32,
    high_min: Option<u32>,
    high_max: Option<u32>,
    #[serde(default)]
    alloc_factor: u32,
    #[serde(default)]
    flags: u32,
    #[serde(default)]
    free_count: u32,
    lists: Vec<RawList>,
}

#[derive(Debug, Deserialize)]
struct RawList {
    order: RawOrder,
    migratetype: String,
    pfns: Vec<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum RawOrder {
    Order(u8),
    Huge(Huge),
}

/// How the lists of huge blocks are marked.
#[derive(Debug, Deserialize)]
enum Huge {
    #[serde(rename = "thp")]
    Thp,
}

/// Linux: `PCPF_PREV_FREE_HIGH_ORDER`.
const FREED_HIGH_ORDER: u32 = 1;
/// Linux: `enum zone_flags`.
const RECLAIM_ACTIVE: u64 = 1 << 1;
const BELOW_HIGH: u64 = 1 << 2;
/// Linux: the default of `watermark_boost_factor`.
const BOOST_FACTOR: u64 = 15_000;
/// Frames lie below this.
const FRAME_LIMIT: u64 = 1 << 40;

/// Flags of a zone that decide how its per-CPU lists behave. Linux: `zone->flags`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZoneFlags {
    /// Which zone.
    pub kind: ZoneType,
    /// Linux: `ZONE_RECLAIM_ACTIVE`.
    pub reclaim_active: bool,
    /// Linux: `ZONE_BELOW_HIGH`.
    pub below_high: bool,
}

impl FreeLists {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`CaseError`] with the line when it is not the JSON of such a file.
    pub fn parse(text: CaseText) -> Result<Self, CaseError> {
        let raw: Raw = serde_json::from_str(&text.text)
            .map_err(|cause| CaseError::at(&text.file, cause.line(), "", &cause))?;
        let hex = raw.vmemmap.strip_prefix("0x").and_then(|hex| u64::from_str_radix(hex, 16).ok());
        let vmemmap = hex.ok_or_else(|| wrong(&text, "vmemmap", &raw.vmemmap))?;
        let struct_page = raw.struct_page;
        if !(8..=4096).contains(&struct_page) {
            return Err(wrong(&text, "struct_page", struct_page));
        }
        Ok(Self { text, raw, vmemmap, struct_page })
    }

    /// The file that was read.
    #[must_use]
    pub fn into_text(self) -> CaseText {
        self.text
    }

    /// Flags of every zone.
    ///
    /// # Errors
    ///
    /// [`CaseError`] for a zone of an unknown kind.
    pub fn zone_flags(&self) -> Result<Vec<ZoneFlags>, CaseError> {
        let flags = |zone: &RawZone| {
            Ok(ZoneFlags {
                kind: self.kind(&zone.name)?,
                reclaim_active: zone.flags & RECLAIM_ACTIVE != 0,
                below_high: zone.flags & BELOW_HIGH != 0,
            })
        };
        self.raw.zones.iter().map(flags).collect()
    }

    /// The machine whose lists these are.
    ///
    /// # Errors
    ///
    /// [`CaseError`] with the line of what is impossible or contradictory.
    pub fn machine(
        &self,
        profile: KernelProfile,
        pageblocks: &[Pageblock],
        boost_factor: Option<u64>,
    ) -> Result<MachineState, CaseError> {
        let raw = &self.raw;
        let zones = raw.zones.iter().map(|zone| self.zone(zone, pageblocks));
        let zones: Vec<_> = zones.collect::<Result<_, _>>()?;
        let huge = |zone: &RawZone| {
            zone.pcp.lists.iter().any(|list| matches!(list.order, RawOrder::Huge(Huge::Thp)))
        };
        Ok(MachineState {
            geometry: self.geometry()?,
            profile,
            types: self.types()?,
            thp: if raw.zones.iter().any(huge) { Thp::Configured } else { Thp::Absent },
            grouping: Grouping::ByMobility,
            movable_pcp: None,
            watermark_boost_factor: boost_factor.unwrap_or(BOOST_FACTOR),
            zones,
        })
    }

    fn geometry(&self) -> Result<Geometry, CaseError> {
        let raw = &self.raw;
        let orders = raw.zones.iter().map(|zone| zone.free_area.len()).max().unwrap_or(0);
        let largest = orders.checked_sub(1).and_then(|max| u8::try_from(max).ok());
        let largest = largest.and_then(Order::new);
        let largest = largest.ok_or_else(|| wrong(&self.text, "free_area", orders))?;
        let block = Order::new(raw.pageblock_order);
        let block =
            block.ok_or_else(|| wrong(&self.text, "pageblock_order", raw.pageblock_order))?;
        let shift = raw.page_size.checked_ilog2().filter(|_| raw.page_size.is_power_of_two());
        let shift = shift.and_then(|shift| u8::try_from(shift).ok());
        let shift = shift.ok_or_else(|| wrong(&self.text, "page_size", raw.page_size))?;
        Geometry::new(shift, block, largest)
            .map_err(|cause| CaseError::at(&self.text.file, 1, "page_size", cause))
    }

    fn types(&self) -> Result<TypeSet, CaseError> {
        let named: Vec<_> = self.raw.migratetypes.iter().map(|name| type_named(name)).collect();
        let sets = [TypeSet::WITHOUT_CMA, TypeSet::WITH_CMA, TypeSet::WITH_METADATA];
        let found = sets.into_iter().find(|set| set.iter().map(Some).eq(named.iter().copied()));
        found.ok_or_else(|| wrong(&self.text, "migratetypes", self.raw.migratetypes.join(",")))
    }

    fn kind(&self, name: &str) -> Result<ZoneType, CaseError> {
        let kind = ZoneType::ALL.into_iter().find(|kind| kind.name() == name);
        kind.ok_or_else(|| wrong(&self.text, "name", name))
    }

    fn zone(&self, raw: &RawZone, pageblocks: &[Pageblock]) -> Result<ZoneState, CaseError> {
        let kind = self.kind(&raw.name)?;
        if raw.start_pfn >= FRAME_LIMIT || raw.spanned >= 1 << 31 || raw.spanned == 0 {
            return Err(wrong(&self.text, "spanned", raw.spanned));
        }
        let span = PfnRange::from_len(Pfn::new(raw.start_pfn), PageCount::new(raw.spanned));
        let mark = |at: usize| raw.watermark.get(at).copied().map(PageCount::new);
        let (Some(min), Some(low), Some(high)) = (mark(0), mark(1), mark(2)) else {
            return Err(wrong(&self.text, "watermark", raw.watermark.len()));
        };
        let mut reserve = [PageCount::ZERO; ZoneType::COUNT];
        for (slot, pages) in reserve.iter_mut().zip(&raw.lowmem_reserve) {
            *slot = PageCount::new(*pages);
        }
        let boost = PageCount::new(raw.watermark_boost);
        let own = pageblocks.iter().filter(|block| block.zone == kind);
        Ok(ZoneState {
            spec: ZoneSpec { kind, node: NodeId::new(0), span },
            room: span,
            present: PageCount::new(raw.present),
            managed: PageCount::new(raw.managed),
            cma: PageCount::new(raw.cma.unwrap_or(0)),
            watermarks: Watermarks { min, low, high, boost },
            lowmem_reserve: reserve,
            reserved_highatomic: PageCount::new(raw.nr_reserved_highatomic),
            stat_threshold: raw.stat_threshold,
            free: self.free(raw, span)?,
            pageblocks: own.map(|block| (block.pfn, block.migratetype)).collect(),
            pcp: vec![self.pcp(raw, span)?],
        })
    }

    /// The blocks of the buddy lists, by order, then by type.
    fn free(&self, raw: &RawZone, span: PfnRange) -> Result<Vec<ListedBlock>, CaseError> {
        let mut blocks = Vec::new();
        for area in &raw.free_area {
            let order = Order::new(area.order);
            let order = order.ok_or_else(|| wrong(&self.text, "order", area.order))?;
            let listed: usize = area.lists.values().map(Vec::len).sum();
            if listed as u64 != area.nr_free {
                let why = format!("{} has {listed} blocks of order {order}", raw.name);
                let line = self.text.line_of(&area.nr_free.to_string());
                return Err(CaseError::at(&self.text.file, line, "nr_free", why));
            }
            for mt in MigrateType::ALL {
                let named = area.lists.iter().filter(|(name, _)| type_named(name) == Some(mt));
                for &pfn in named.flat_map(|(_, pfns)| pfns) {
                    blocks.push(self.block(pfn, order, mt, span)?);
                }
            }
        }
        Ok(blocks)
    }

    fn pcp(&self, raw: &RawZone, span: PfnRange) -> Result<PcpState, CaseError> {
        let pcp = &raw.pcp;
        let mut blocks = Vec::new();
        for list in &pcp.lists {
            let order = match &list.order {
                RawOrder::Order(raw) => Order::new(*raw),
                RawOrder::Huge(Huge::Thp) => Order::new(self.raw.pageblock_order),
            };
            let mt = type_named(&list.migratetype);
            let (Some(order), Some(mt)) = (order, mt) else {
                return Err(wrong(&self.text, "pcp.lists", &list.migratetype));
            };
            for &pfn in &list.pfns {
                blocks.push(self.block(pfn, order, mt, span)?);
            }
        }
        let listed: PageCount = blocks.iter().map(|block| block.order.pages()).sum();
        if listed.get() != u64::from(pcp.count) {
            return Err(CaseError::at(
                &self.text.file,
                self.text.line_of(&pcp.count.to_string()),
                "pcp.count",
                format!("{} pages counted, {listed} listed", pcp.count),
            ));
        }
        let kept = |name: &str| raw.vm_stat_diff.get(name).copied().unwrap_or(0);
        Ok(PcpState {
            sizes: PcpSizes {
                batch: pcp.batch,
                high_min: pcp.high_min.unwrap_or(pcp.high),
                high_max: pcp.high_max.unwrap_or(pcp.high),
            },
            counters: PcpCounters {
                high: pcp.high,
                free_factor: pcp.free_factor,
                alloc_factor: pcp.alloc_factor,
                free_count: pcp.free_count,
                freed_high_order: pcp.flags & FREED_HIGH_ORDER != 0,
            },
            uncounted: Uncounted {
                all: kept("NR_FREE_PAGES"),
                cma: kept("NR_FREE_CMA_PAGES"),
                metadata: 0,
            },
            blocks,
        })
    }

    fn block(
        &self,
        pfn: u64,
        order: Order,
        migratetype: MigrateType,
        span: PfnRange,
    ) -> Result<ListedBlock, CaseError> {
        let first = Pfn::new(pfn.min(FRAME_LIMIT));
        if !span.covers(PfnRange::block(first, order)) || !first.is_aligned(order) {
            let why = format!("block {first} of order {order} does not fit zone {span}");
            let line = self.text.line_of(&pfn.to_string());
            return Err(CaseError::at(&self.text.file, line, "lists", why));
        }
        Ok(ListedBlock { pfn: first, order, migratetype })
    }
}

fn wrong(text: &CaseText, field: &str, value: impl core::fmt::Display) -> CaseError {
    let line = text.line_of(field).max(1);
    CaseError::at(&text.file, line, field, format!("{value} is not possible"))
}
