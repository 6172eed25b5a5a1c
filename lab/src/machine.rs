//! The one place that builds a machine from a plan.
//!
//! The machine is an arm64 board: memory in one piece from 1 GiB, ZONE_DMA up to 4 GiB, ZONE_NORMAL
//! above. The upper 1/32 of memory, rounded up to pageblocks, is tag storage; the rest is data. The
//! kernel's image lies at the bottom, an ordinary CMA area at the top of the data.

use std::sync::Arc;

use pagelab_allocator::boot::MachineSpec;
use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::gfp::ZoneType;
use pagelab_allocator::migratetype::TypeSet;
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::{NodeId, PageCount, Pfn, PfnRange};
use pagelab_allocator::zone::ZoneSpec;
use pagelab_migrate::emulator::{EmulatorSpec, TagSpec};
use pagelab_migrate::tag_storage::design::TagStorageDesign;
use pagelab_migrate::tag_storage::formula::Formula;
use pagelab_migrate::tag_storage::region::DATA_PER_TAG;

use crate::background::Background;

/// Where memory starts on the boards and virtual machines that traces come from.
const RAM_BASE: u64 = 1 << 30;
/// ZONE_DMA ends here on arm64 unless the device tree says otherwise.
const DMA_LIMIT: u64 = 4 << 30;

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
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// All memory.
    pub memory: PfnRange,
    /// Memory that can carry tags.
    pub data: PfnRange,
    /// Its tags.
    pub tags: PfnRange,
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
    #[error("memory of {0} bytes is not a multiple of the pageblock of {1} bytes")]
    Unaligned(u64, u64),
    /// What must be there does not fit.
    #[error(
        "memory of {have} pages has no room for {need} pages of tags, CMA and what is in use before the trace"
    )]
    TooSmall {
        /// Pages of the machine.
        have: PageCount,
        /// Pages that are taken before the first operation.
        need: PageCount,
    },
}

/// Where things lie on the machine of `plan`.
///
/// # Errors
///
/// [`LayoutError`] when they do not fit.
pub fn layout(plan: &MachinePlan) -> Result<Layout, LayoutError> {
    let geometry = Geometry::PAGES_4K;
    let block = geometry.pageblock_order();
    let block_bytes = geometry.bytes_of(block.pages());
    if plan.memory == 0 || !plan.memory.is_multiple_of(block_bytes) {
        return Err(LayoutError::Unaligned(plan.memory, block_bytes));
    }
    let have = geometry.pages_in(plan.memory);
    let tags = have.get().div_ceil(DATA_PER_TAG).next_multiple_of(block.pages().get());
    let cma = geometry.pages_in(plan.cma).get().next_multiple_of(block.pages().get());
    let image = plan.background.reserved.get();
    let need = PageCount::new(tags + cma + image) + plan.background.allocated();
    if need >= have {
        return Err(LayoutError::TooSmall { have, need });
    }
    let memory = PfnRange::from_len(Pfn::new(RAM_BASE / geometry.page_size()), have);
    let tag_start = memory.end() - PageCount::new(tags);
    let data = PfnRange::new(memory.start(), tag_start);
    Ok(Layout {
        memory,
        data,
        tags: PfnRange::new(tag_start, memory.end()),
        cma: PfnRange::new(data.end() - PageCount::new(cma), data.end()),
        image: PfnRange::from_len(memory.start(), PageCount::new(image)),
    })
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
    let layout = layout(plan)?;
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
    machine.zones = zones.collect();
    machine.types = TypeSet::WITH_CMA;
    machine.reserved = [layout.image].into_iter().filter(|range| !range.is_empty()).collect();
    machine.cma = split_at(layout.cma, limit);
    let tags = TagSpec {
        regions: vec![(layout.data, layout.tags)],
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
    use super::*;

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
            assert_eq!(layout.tags.len(), PageCount::new(mib << 8));
            assert_eq!(layout.cma.end(), layout.tags.start());
            assert_eq!(layout.data.len() + layout.tags.len(), layout.memory.len());
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let odd = (512 << 20) + 4096;
        assert_eq!(layout(&plan(odd)), Err(LayoutError::Unaligned(odd, 2 << 20)));
        let small = layout(&plan(32 << 20)).unwrap_err();
        let need = PageCount::new(512 + 8192);
        assert_eq!(small, LayoutError::TooSmall { have: PageCount::new(8192), need });
    }
}
