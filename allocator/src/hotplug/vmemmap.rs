//! What struct pages of memory that joins cost, and where they lie. Linux: mm/sparse-vmemmap.c.

use crate::event::Sink;
use crate::geometry::Geometry;
use crate::gfp::GfpFlags;
use crate::hotplug::errno::Errno;
use crate::hotplug::platform::MemmapOnMemory;
use crate::page_alloc::{AllocRequest, PageAllocator};
use crate::units::{CpuId, NodeId, Order, PageCount, Pfn, PfnRange};

/// Bytes of a struct page. Linux: `sizeof(struct page)`.
pub const STRUCT_PAGE: u64 = 64;
/// Struct pages of a device's compound page that stay apart, in pages; all others share the second.
/// Linux: `VMEMMAP_RESERVE_NR`.
const KEPT: u64 = 2;

/// How struct pages are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vmemmap {
    /// One by one.
    Whole,
    /// Those of a device's compound pages of this order, whose tails look all alike, in few pages.
    /// Linux: `vmemmap_populate_compound_pages()`.
    Deduplicated(Order),
}

impl Vmemmap {
    /// devdax as it comes, aligned to 2 MiB, with pages of 4 KiB.
    pub const DEVDAX: Self = Self::Deduplicated(Order::of(9));

    /// Pages for the struct pages of `memory`, which is whole compound pages.
    #[must_use]
    pub const fn pages(self, memory: PageCount, geometry: Geometry) -> PageCount {
        PageCount::new(match self {
            Self::Whole => whole(memory.get(), geometry),
            Self::Deduplicated(order) => {
                let compound = order.pages().get();
                let one = whole(compound, geometry);
                let one = if one < KEPT { one } else { KEPT };
                memory.get() / compound * one
            }
        })
    }
}

const fn whole(pages: u64, geometry: Geometry) -> u64 {
    (pages * STRUCT_PAGE).div_ceil(geometry.page_size())
}

/// Where the struct pages of some memory lie.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Memmap {
    /// In memory that was never the allocator's: that of boot.
    #[default]
    AtBoot,
    /// In pages that the allocator gave.
    Allocated(Vec<(Pfn, Order)>),
    /// In its first pages. Linux: `struct vmem_altmap`.
    Inside(PageCount),
}

impl Memmap {
    /// Pages of the memory itself.
    #[must_use]
    pub const fn inside(&self) -> PageCount {
        match self {
            Self::Inside(pages) => *pages,
            Self::AtBoot | Self::Allocated(_) => PageCount::ZERO,
        }
    }

    /// Pages that the allocator gave.
    #[must_use]
    pub fn allocated(&self) -> PageCount {
        match self {
            Self::Allocated(blocks) => blocks.iter().map(|(_, order)| order.pages()).sum(),
            Self::AtBoot | Self::Inside(_) => PageCount::ZERO,
        }
    }

    /// Allocates struct pages for `of`. Linux: `vmemmap_populate_hugepages()`.
    ///
    /// # Errors
    ///
    /// [`Errno::NoMem`]; nothing stays allocated then.
    pub fn populate<S: Sink>(
        alloc: &mut PageAllocator<S>,
        cpu: CpuId,
        node: NodeId,
        of: PfnRange,
    ) -> Result<Self, Errno> {
        let pages = Vmemmap::Whole.pages(of.len(), alloc.geometry());
        take(alloc, cpu, node, pages, alloc.geometry().pageblock_order())
    }

    /// Allocates struct pages for device memory of which every pageblock is one compound page:
    /// two pages for each, from which all tails are read. Linux:
    /// `vmemmap_populate_compound_pages()`.
    ///
    /// # Errors
    ///
    /// [`Errno::NoMem`]; nothing stays allocated then.
    pub fn populate_compound<S: Sink>(
        alloc: &mut PageAllocator<S>,
        cpu: CpuId,
        node: NodeId,
        of: PfnRange,
    ) -> Result<Self, Errno> {
        let compound = Vmemmap::Deduplicated(alloc.geometry().pageblock_order());
        let pages = compound.pages(of.len(), alloc.geometry());
        take(alloc, cpu, node, pages, Order::ZERO)
    }

    /// Frees what [`populate`](Self::populate) allocated. Linux: `vmemmap_free()`.
    pub fn free<S: Sink>(self, alloc: &mut PageAllocator<S>, cpu: CpuId) {
        let Self::Allocated(blocks) = self else { return };
        for (pfn, order) in blocks {
            let pages = alloc.reclaim(pfn, order).expect("struct pages are allocated");
            alloc.free_pages(cpu, pages);
        }
    }

    /// Pages at the front of a block that hold its struct pages, if it may keep them itself.
    /// Linux: `mhp_supports_memmap_on_memory()`, `memory_block_memmap_on_memory_pages()`.
    #[must_use]
    pub fn on_memory(
        mode: MemmapOnMemory,
        geometry: Geometry,
        block: PageCount,
    ) -> Option<PageCount> {
        let bytes = block.get() * STRUCT_PAGE;
        if !bytes.is_multiple_of(geometry.page_size()) {
            return None;
        }
        let pages = PageCount::new(bytes / geometry.page_size());
        let pageblock = geometry.pageblock_pages().get();
        let inside = match mode {
            MemmapOnMemory::Off => None,
            MemmapOnMemory::On => pages.get().is_multiple_of(pageblock).then_some(pages),
            MemmapOnMemory::Force => Some(PageCount::new(pages.get().next_multiple_of(pageblock))),
        };
        // A block that holds nothing else is no use.
        inside.filter(|pages| *pages < block)
    }
}

/// Blocks of `order`, single pages once there are none. Linux: `vmemmap_alloc_block_buf()`.
fn take<S: Sink>(
    alloc: &mut PageAllocator<S>,
    cpu: CpuId,
    node: NodeId,
    pages: PageCount,
    order: Order,
) -> Result<Memmap, Errno> {
    let request = |order| AllocRequest {
        node,
        ..AllocRequest::new(order, GfpFlags::KERNEL | GfpFlags::RETRY_MAYFAIL | GfpFlags::NOWARN)
    };
    let mut taken = Vec::new();
    let mut left = pages;
    while left > PageCount::ZERO {
        let first = if left >= order.pages() { order } else { Order::ZERO };
        let got = alloc
            .alloc_pages(cpu, &request(first))
            .or_else(|_| alloc.alloc_pages(cpu, &request(Order::ZERO)));
        let Ok(got) = got else {
            Memmap::Allocated(taken).free(alloc, cpu);
            return Err(Errno::NoMem);
        };
        left = left.saturating_sub(got.order().pages());
        taken.push(got.into_raw());
    }
    Ok(Memmap::Allocated(taken))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_mib_of_a_block_of_128_hold_its_struct_pages() {
        let block = PageCount::new(128 << 8);
        let inside = |mode, block| Memmap::on_memory(mode, Geometry::PAGES_4K, block);
        assert_eq!(inside(MemmapOnMemory::On, block), Some(PageCount::new(512)));
        assert_eq!(inside(MemmapOnMemory::Off, block), None);
        let small = PageCount::new(64 << 8);
        assert_eq!(inside(MemmapOnMemory::On, small), None, "half a pageblock");
        assert_eq!(inside(MemmapOnMemory::Force, small), Some(PageCount::new(512)));
    }

    const GIB: u64 = 1 << 18;

    fn pages(vmemmap: Vmemmap, memory: u64) -> u64 {
        vmemmap.pages(PageCount::new(memory), Geometry::PAGES_4K).get()
    }

    #[test]
    fn q2_struct_pages_of_memory_that_is_refused() {
        assert_eq!(pages(Vmemmap::Whole, 64 * GIB), GIB, "one 64th");
        assert_eq!(pages(Vmemmap::DEVDAX, 64 * GIB), GIB / 4, "256 MiB");
        assert_eq!(pages(Vmemmap::Whole, 512), 8, "of 2 MiB");
        assert_eq!(pages(Vmemmap::DEVDAX, 512), 2);
    }

    #[test]
    fn a_block_that_holds_its_own() {
        let block = 128 << 8;
        assert_eq!(pages(Vmemmap::Whole, block), 512);
        assert_eq!(block - pages(Vmemmap::Whole, block), 126 << 8);
    }

    #[test]
    fn sharing_never_costs_more() {
        let geometry = Geometry::PAGES_16K;
        let memory = PageCount::new(128 * 1024);
        let (one, shared) = (Vmemmap::Whole, Vmemmap::Deduplicated(Order::of(7)));
        assert_eq!(one.pages(memory, geometry), PageCount::new(512));
        assert_eq!(shared.pages(memory, geometry), PageCount::new(1024), "a page for each 2 MiB");
    }
}
