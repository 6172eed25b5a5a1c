//! A page of private memory. Linux: `kvm_gmem_get_folio()`.
//!
//! It comes from the page allocator as any other does, but cannot be migrated: it is never in a CMA
//! area nor in a movable zone, and it holds on to its memory block.

use pagelab_allocator::event::Sink;
use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::page_alloc::{AllocError, AllocRequest, PageAllocator};
use pagelab_allocator::units::{CpuId, NodeId, Order, Pfn};

/// What is asked of the page allocator for a page, near `node`.
pub(crate) const fn request(node: NodeId) -> AllocRequest {
    let gfp = GfpFlags::HIGHUSER.union(GfpFlags::ZERO);
    AllocRequest { node, ..AllocRequest::new(Order::ZERO, gfp) }
}

/// Allocates a page.
///
/// # Errors
///
/// [`AllocError`] when there is none.
///
/// # Panics
///
/// Panics when the machine has no such CPU.
pub(crate) fn allocate<S: Sink>(
    page_alloc: &mut PageAllocator<S>,
    cpu: CpuId,
    request: &AllocRequest,
) -> Result<Pfn, AllocError> {
    let (pfn, _) = page_alloc.alloc_pages(cpu, request)?.into_raw();
    Ok(pfn)
}

/// Frees a page.
///
/// # Panics
///
/// Panics when it is not allocated, or the machine has no such CPU.
pub(crate) fn free<S: Sink>(page_alloc: &mut PageAllocator<S>, cpu: CpuId, pfn: Pfn) {
    let pages = page_alloc.reclaim(pfn, Order::ZERO);
    page_alloc.free_pages(cpu, pages.expect("a private page is allocated"));
}
