//! `freelists-*.json`: every list of the kernel at a snapshot.

use std::collections::BTreeMap;

use pagelab_allocator::counters::Uncounted;
use pagelab_allocator::fallback::Grouping;
use pagelab_allocator::geometry::{Geometry, GeometryError};
use pagelab_allocator::gfp::ZoneType;
use pagelab_allocator::migratetype::{MigrateType, TypeSet};
use pagelab_allocator::pcp::{CacheSlice, PcpCounters, PcpSizes, Thp};
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
    /// Linux: `init_uts_ns.name.release`.
    osrelease: Option<String>,
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
    #[serde(default)]
    node: u8,
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
    vm_stat_diff: BTreeMap<String, i32>,
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
/// Linux: `PCPF_FREE_HIGH_BATCH`.
const FREE_HIGH_BATCH: u32 = 2;
/// Linux: `enum zone_flags`.
const RECLAIM_ACTIVE: u64 = 1 << 1;
const BELOW_HIGH: u64 = 1 << 2;
/// Linux: the default of `watermark_boost_factor`.
const BOOST_FACTOR: u64 = 15_000;
/// Frames lie below this, and there are fewer pages.
const FRAME_LIMIT: u64 = 1 << 40;
/// Most frames from the first to the last: 256 GiB of 4-KiB pages.
const SPAN_LIMIT: u64 = 1 << 26;
/// Largest size of a per-CPU list. Linux: they are of type `int`.
const PCP_LIMIT: u32 = 1 << 28;
/// Largest batch, which grows by the factors and must not lose bits. Linux: `zone_batchsize()`
/// gives at most a quarter of a mebibyte.
const BATCH_LIMIT: u32 = 1 << 20;
/// Largest growth of a refill or drain, as a power of two. Linux: `CONFIG_PCP_BATCH_SCALE_MAX` is
/// at most 6.
const FACTOR_LIMIT: u32 = 6;

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

    /// The kernel in whose memory they were found, where they say so.
    #[must_use]
    pub fn release(&self) -> Option<&str> {
        self.raw.osrelease.as_deref()
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
        let spans = || zones.iter().map(|zone| zone.spec.span);
        let first = spans().map(PfnRange::start).min();
        let last = spans().map(PfnRange::end).max();
        if let Some((first, last)) = first.zip(last)
            && last.get() - first.get() > SPAN_LIMIT
        {
            return Err(wrong(&self.text, "start_pfn", last));
        }
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

    /// Whether a file of pageblocks names those of every zone in which there is memory, each once.
    ///
    /// # Errors
    ///
    /// [`CaseError`] with the line that does not fit.
    pub fn check_pageblocks(
        &self,
        file: &str,
        blocks: &[(usize, Pageblock)],
    ) -> Result<(), CaseError> {
        let (order, types) = (self.geometry()?.pageblock_order(), self.types()?);
        let last = blocks.last().map_or(1, |(line, _)| *line);
        let mut known = 0;
        for raw in &self.raw.zones {
            let kind = self.kind(&raw.name)?;
            let span = self.span(raw)?;
            let mut all = span.blocks(order);
            let mut pages = PageCount::ZERO;
            for (line, block) in blocks.iter().filter(|(_, block)| block.zone == kind) {
                // Memory that is offline has none, and lies between the others.
                if !all.any(|pfn| pfn == block.pfn) {
                    let why = format!("{} is no further pageblock of zone {kind}", block.pfn);
                    return Err(CaseError::at(file, *line, "first_pfn", why));
                }
                if !types.contains(block.migratetype) {
                    let why = format!("{} is no migratetype of this kernel", block.migratetype);
                    return Err(CaseError::at(file, *line, "migratetype", why));
                }
                let inside = span.intersect(PfnRange::block(block.pfn, order));
                pages += inside.map_or(PageCount::ZERO, PfnRange::len);
                known += 1;
            }
            if pages.get() < raw.present {
                let why = format!("zone {kind} has {} pages, its pageblocks {pages}", raw.present);
                return Err(CaseError::at(file, last, "", why));
            }
        }
        if known == blocks.len() {
            return Ok(());
        }
        let kinds: Vec<_> = self.raw.zones.iter().map(|zone| self.kind(&zone.name)).collect();
        let foreign = |block: &Pageblock| !kinds.contains(&Ok(block.zone));
        let line = blocks.iter().find(|(_, block)| foreign(block)).map_or(last, |(line, _)| *line);
        Err(CaseError::at(file, line, "zone", "the lists know no such zone"))
    }

    fn span(&self, raw: &RawZone) -> Result<PfnRange, CaseError> {
        if raw.start_pfn >= FRAME_LIMIT || raw.spanned > SPAN_LIMIT || raw.spanned == 0 {
            return Err(wrong(&self.text, "spanned", raw.spanned));
        }
        Ok(PfnRange::from_len(Pfn::new(raw.start_pfn), PageCount::new(raw.spanned)))
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
        Geometry::new(shift, block, largest).map_err(|cause| {
            let field = match cause {
                GeometryError::PageShift(_) => "page_size",
                _ => "pageblock_order",
            };
            CaseError::at(&self.text.file, self.text.line_of(field).max(1), field, cause)
        })
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
        let span = self.span(raw)?;
        let mark = |at: usize| raw.watermark.get(at).copied().map(PageCount::new);
        let (Some(min), Some(low), Some(high)) = (mark(0), mark(1), mark(2)) else {
            return Err(wrong(&self.text, "watermark", raw.watermark.len()));
        };
        let mut reserve = [PageCount::ZERO; ZoneType::COUNT];
        for (slot, pages) in reserve.iter_mut().zip(&raw.lowmem_reserve) {
            *slot = PageCount::new(*pages);
        }
        for (field, value, limit) in [
            ("present", raw.present, raw.spanned),
            ("managed", raw.managed, raw.present),
            ("cma", raw.cma.unwrap_or(0), raw.managed),
            ("watermark", raw.watermark.iter().copied().max().unwrap_or(0), FRAME_LIMIT),
            ("watermark_boost", raw.watermark_boost, FRAME_LIMIT),
            ("lowmem_reserve", raw.lowmem_reserve.iter().copied().max().unwrap_or(0), FRAME_LIMIT),
            ("nr_reserved_highatomic", raw.nr_reserved_highatomic, raw.spanned),
        ] {
            if value > limit {
                let line = self.text.line_of(&value.to_string()).max(1);
                let why = format!("{value} of zone {kind} is not possible");
                return Err(CaseError::at(&self.text.file, line, field, why));
            }
        }
        let boost = PageCount::new(raw.watermark_boost);
        let own = pageblocks.iter().filter(|block| block.zone == kind);
        Ok(ZoneState {
            spec: ZoneSpec { kind, node: NodeId::new(raw.node), span },
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
        let types = self.types()?;
        let areas = self.raw.zones.iter().map(|zone| zone.free_area.len()).max();
        if Some(raw.free_area.len()) != areas {
            return Err(wrong(&self.text, "free_area", raw.free_area.len()));
        }
        for (expected, area) in (0..).zip(&raw.free_area) {
            let order = Order::new(area.order).filter(|order| order.get() == expected);
            let order = order.ok_or_else(|| wrong(&self.text, "order", area.order))?;
            let known = |name: &str| type_named(name).is_some_and(|mt| types.contains(mt));
            if let Some((name, _)) = area.lists.iter().find(|(name, _)| !known(name)) {
                let line = self.text.line_of(name).max(1);
                let why = format!("{name:?} is no migratetype of this kernel");
                return Err(CaseError::at(&self.text.file, line, "lists", why));
            }
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
        let blocks = self.cached(pcp, span)?;
        self.check_tuning(pcp)?;
        let kept = |name: &str| raw.vm_stat_diff.get(name).copied().map_or(0, i64::from);
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
            cache: match pcp.flags & FREE_HIGH_BATCH {
                0 => CacheSlice::Small,
                _ => CacheSlice::Large,
            },
            uncounted: Uncounted {
                all: kept("NR_FREE_PAGES"),
                cma: kept("NR_FREE_CMA_PAGES"),
                metadata: kept("NR_FREE_METADATA_PAGES"),
            },
            blocks,
        })
    }

    /// The blocks of the per-CPU lists, as many as are counted.
    fn cached(&self, pcp: &RawPcp, span: PfnRange) -> Result<Vec<ListedBlock>, CaseError> {
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
        Ok(blocks)
    }

    fn check_tuning(&self, pcp: &RawPcp) -> Result<(), CaseError> {
        for (field, value, range) in [
            ("pcp.batch", pcp.batch, 1..=BATCH_LIMIT),
            ("pcp.high", pcp.high, 0..=PCP_LIMIT),
            ("pcp.high_min", pcp.high_min.unwrap_or(0), 0..=PCP_LIMIT),
            ("pcp.high_max", pcp.high_max.unwrap_or(0), 0..=PCP_LIMIT),
            ("pcp.free_factor", pcp.free_factor, 0..=FACTOR_LIMIT),
            ("pcp.alloc_factor", pcp.alloc_factor, 0..=FACTOR_LIMIT),
            ("pcp.free_count", pcp.free_count, 0..=PCP_LIMIT),
        ] {
            if !range.contains(&value) {
                let line = self.text.line_of(&value.to_string()).max(1);
                let why = format!("{value} is not possible");
                return Err(CaseError::at(&self.text.file, line, field, why));
            }
        }
        Ok(())
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
