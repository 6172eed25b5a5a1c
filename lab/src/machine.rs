//! The one place that builds a machine from a plan.
//!
//! The machine is an arm64 board: memory in one piece from 1 GiB, ZONE_DMA up to 4 GiB, ZONE_NORMAL
//! above. The upper 1/32 of memory, rounded up to pageblocks, is tag storage; the rest is data.
//! Lent memory may not cross zones: where tag storage would, it lies at the top of ZONE_DMA
//! instead, and what is above it is data too. Designs that keep tag storage in a zone or node of
//! its own get one, at the same place. The kernel's image lies at the bottom, an ordinary CMA area
//! below the tag storage.

use core::fmt;
use std::sync::Arc;

use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::ZoneType;
use pagelab_allocator::migratetype::TypeSet;
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::{NodeId, PageCount, Pfn, PfnRange};
use pagelab_allocator::zone::ZoneSpec;
use pagelab_migrate::emulator::{EmulatorSpec, TagSpec};
use pagelab_migrate::tag_storage::design::{CarveOutTags, TagStorageDesign};
use pagelab_migrate::tag_storage::formula::Formula;
use pagelab_migrate::tag_storage::region::{DATA_PER_TAG, RegionError, block_pages};
use pagelab_migrate::tag_storage::zones::with_own_zone;

use crate::background::Background;
use crate::tag_layout::{Grain, TagLayout};

/// Where memory starts on the boards and virtual machines that traces come from.
const RAM_BASE: u64 = 1 << 30;
/// ZONE_DMA ends here on arm64 unless the device tree says otherwise.
const DMA_LIMIT: u64 = 4 << 30;

/// Largest machine, bytes. The tables of frames take about 1/150 of the memory they describe.
pub const MAX_MEMORY: u64 = 1 << 40;

/// A machine as a plan describes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MachinePlan {
    /// Memory in bytes, tag storage included.
    pub memory: u64,
    /// Ordinary CMA in bytes.
    pub cma: u64,
    /// Tag block of the hardware in bytes.
    pub block_size: u64,
    /// Whose rules to follow.
    pub profile: KernelProfile,
    /// In use before the trace.
    pub background: Background,
}

/// Where things lie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// All memory.
    pub memory: PfnRange,
    /// Tag storage.
    pub tags: TagLayout,
    /// The ordinary CMA area; empty when there is none.
    pub cma: PfnRange,
    /// The kernel's image and the like.
    pub image: PfnRange,
}

/// Why a plan makes no machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// Memory is made of whole pageblocks.
    #[error("not a multiple of the pageblock of {} bytes", .0)]
    Unaligned(u64),
    /// The tables of frames would not fit the host.
    #[error("more than {} GiB", MAX_MEMORY >> 30)]
    TooLarge,
    /// What must be there does not fit.
    #[error(
        "no room for {} of tags, {} of CMA and {} in use before the trace",
        Mib(*.tags), Mib(*.cma), Mib(*.used)
    )]
    TooSmall {
        /// Tag storage.
        tags: PageCount,
        /// Ordinary CMA.
        cma: PageCount,
        /// In use before the first operation.
        used: PageCount,
    },
    /// The tag block is impossible.
    #[error(transparent)]
    Block(#[from] RegionError),
}

/// Pages of 4 KiB, shown as mebibytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mib(pub PageCount);

impl fmt::Display for Mib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0.get() / 256, self.0.get() % 256);
        match part * 10 / 256 {
            0 => write!(f, "{whole} MiB"),
            tenths => write!(f, "{whole}.{tenths} MiB"),
        }
    }
}

/// Where things lie on the machine of `plan`, with hardware that keeps tags of tag storage or not.
///
/// # Errors
///
/// [`LayoutError`] when they do not fit.
pub fn layout(plan: &MachinePlan, hardware: CarveOutTags) -> Result<Layout, LayoutError> {
    let geometry = Geometry::PAGES_4K;
    let pageblock = geometry.pageblock_pages();
    let block_bytes = geometry.bytes_of(pageblock);
    if plan.memory == 0 || !plan.memory.is_multiple_of(block_bytes) {
        return Err(LayoutError::Unaligned(block_bytes));
    }
    if plan.memory > MAX_MEMORY {
        return Err(LayoutError::TooLarge);
    }
    let have = geometry.pages_in(plan.memory);
    let memory = PfnRange::from_len(Pfn::new(RAM_BASE / geometry.page_size()), have);
    let block = block_pages(geometry.page_size(), plan.block_size)?;
    let unit = common_multiple(pageblock.get(), block.get());
    let grain = Grain { unit, group: block.get() * DATA_PER_TAG };
    let limit = Pfn::new(DMA_LIMIT / geometry.page_size());
    let cma = geometry.pages_in(plan.cma.next_multiple_of(block_bytes));
    let used = plan.background.used();
    let tags = TagLayout::place(memory, limit, grain, hardware)
        .map_err(|tags| LayoutError::TooSmall { tags, cma, used })?;
    let image = plan.background.reserved;
    // What is left above tag storage counts as room for what is in use, not for image or CMA.
    let start = tags.tags.start();
    let (below, all_tags) = (start - memory.start(), tags.tags.len());
    if image + cma >= below || all_tags + cma + used >= have {
        return Err(LayoutError::TooSmall { tags: all_tags, cma, used });
    }
    Ok(Layout {
        memory,
        tags,
        cma: PfnRange::new(start - cma, start),
        image: PfnRange::from_len(memory.start(), image),
    })
}

/// The least common multiple of a power of two and any other positive number.
fn common_multiple(power: u64, other: u64) -> u64 {
    other * (power >> other.trailing_zeros().min(power.trailing_zeros()))
}

/// The emulator's description of the machine of `plan` under `design`.
///
/// # Errors
///
/// [`LayoutError`] when things do not fit.
pub fn spec(
    plan: &MachinePlan,
    design: Arc<dyn TagStorageDesign>,
) -> Result<EmulatorSpec, LayoutError> {
    let geometry = Geometry::PAGES_4K;
    let layout = layout(plan, design.carve_out_tags())?;
    let limit = Pfn::new(DMA_LIMIT / geometry.page_size());
    let zones = [
        (ZoneType::Dma, PfnRange::new(Pfn::new(0), limit)),
        (ZoneType::Normal, PfnRange::new(limit, layout.memory.end().max(limit))),
    ];
    let zones = zones.into_iter().filter_map(|(kind, all)| {
        let span = all.intersect(layout.memory)?;
        Some(ZoneSpec { kind, node: NodeId::default(), span })
    });
    let mut machine = MachineSpec::single(geometry, plan.profile, ZoneType::Dma, layout.memory);
    let zones: Vec<_> = zones.collect();
    machine.zones = with_own_zone(&zones, design.residence(), layout.tags.tags);
    machine.types = TypeSet::WITH_CMA;
    machine.reserved = [layout.image].into_iter().filter(|range| !range.is_empty()).collect();
    machine.cma = split_at(layout.cma, limit);
    let tags = TagSpec {
        regions: layout.tags.regions,
        block_size: plan.block_size,
        formula: Formula::Intent,
        design,
    };
    Ok(EmulatorSpec { machine, tags: Some(tags) })
}

/// `range` in the parts below and above `limit`: lent memory may not cross zones.
fn split_at(range: PfnRange, limit: Pfn) -> Vec<PfnRange> {
    let all = [PfnRange::new(Pfn::new(0), limit), PfnRange::new(limit, range.end().max(limit))];
    all.into_iter().filter_map(|part| part.intersect(range)).collect()
}

#[cfg(test)]
mod tests {
    use pagelab_migrate::tag_storage::catalogue::Design;

    use super::*;

    fn layout(plan: &MachinePlan) -> Result<Layout, LayoutError> {
        super::layout(plan, CarveOutTags::Impossible)
    }

    fn plan(memory: u64) -> MachinePlan {
        MachinePlan {
            memory,
            cma: 32 << 20,
            block_size: 4096,
            profile: KernelProfile::V6_1,
            background: Background::default(),
        }
    }

    #[test]
    fn tag_storage_is_one_part_in_32() {
        for (gib, mib) in [(1, 32), (16, 512), (64, 2048)] {
            let layout = layout(&plan(gib << 30)).unwrap();
            assert_eq!(layout.tags.tags.len(), PageCount::new(mib << 8));
            assert_eq!(layout.cma.end(), layout.tags.tags.start());
            let [(data, tags)] = layout.tags.regions[..] else { panic!("one region") };
            assert_eq!((data.len() + tags.len(), tags), (layout.memory.len(), layout.tags.tags));
        }
    }

    #[test]
    fn tag_storage_lies_in_one_zone() {
        let limit = Pfn::new(DMA_LIMIT >> 12);
        for mib in [3072 + 2, 3072 + 64, 3072 + 94] {
            for block_size in [4096, 8192, 12 << 10, 64 << 10, 2 << 20] {
                let layout = layout(&MachinePlan { block_size, ..plan(mib << 20) }).unwrap();
                assert_eq!(layout.tags.tags.end(), limit, "{mib} MiB, {block_size}");
                let [(low, low_tags), (high, high_tags)] = layout.tags.regions[..] else {
                    panic!("two regions")
                };
                assert_eq!(
                    (low.end(), low_tags.end()),
                    (layout.tags.tags.start(), high_tags.start())
                );
                assert_eq!((high.start(), high.end()), (limit, layout.memory.end()));
                for (data, tags) in layout.tags.regions {
                    assert!(tags.len().get() * DATA_PER_TAG >= data.len().get());
                    assert!(tags.len().get().is_multiple_of(block_size >> 12));
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let odd = (512 << 20) + 4096;
        assert_eq!(layout(&plan(odd)), Err(LayoutError::Unaligned(2 << 20)));
        let error = layout(&plan(32 << 20)).unwrap_err().to_string();
        let expected = "no room for 2 MiB of tags, 32 MiB of CMA and 0 MiB in use before the trace";
        assert_eq!(error, expected);
        let whole = MachinePlan { block_size: 511 << 12, ..plan(512 << 20) };
        let expected =
            "no room for 1022 MiB of tags, 32 MiB of CMA and 0 MiB in use before the trace";
        assert_eq!(layout(&whole).unwrap_err().to_string(), expected);
    }

    #[test]
    fn designs_find_the_zones_they_need() {
        let zones = |design: Design, memory| {
            let spec = spec(&plan(memory), design.build()).unwrap();
            let zones = spec.machine.zones.iter();
            zones.map(|zone| (zone.kind, zone.node.get(), zone.span.len())).collect::<Vec<_>>()
        };
        let mib = |n: u64| PageCount::new(n << 8);
        let (dma, movable) = (ZoneType::Dma, ZoneType::Movable);
        assert_eq!(zones(Design::CmaV3, 1 << 30), [(dma, 0, mib(1024))]);
        let own = [(dma, 0, mib(992)), (movable, 0, mib(32))];
        assert_eq!(zones(Design::ZoneMovable, 1 << 30), own);
        let far = [(dma, 0, mib(992)), (movable, 1, mib(32))];
        assert_eq!(zones(Design::NumaNode, 1 << 30), far);
        let large =
            [(dma, 0, mib(3072)), (ZoneType::Normal, 0, mib(12800)), (movable, 0, mib(512))];
        assert_eq!(zones(Design::ZoneMovable, 16 << 30), large);
    }
}
