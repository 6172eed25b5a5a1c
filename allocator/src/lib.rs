//! The Linux page allocator as a state machine: zones, free lists by order and migratetype,
//! per-CPU page lists, watermarks, isolation, and claims on exact ranges.
//!
//! Nothing here touches real memory. Frames are numbers, free lists are links in a table, the CPU
//! is an argument, and the kernel version is a [`KernelProfile`](profile::KernelProfile). The same
//! calls in the same order give the same frames, and those are the frames that the kernel of the
//! profile would have handed out.
//!
//! ```
//! use pagelab_allocator::boot::MachineSpec;
//! use pagelab_allocator::event::Silent;
//! use pagelab_allocator::geometry::Geometry;
//! use pagelab_allocator::gfp::{GfpFlags, ZoneType};
//! use pagelab_allocator::page_alloc::{AllocRequest, PageAllocator};
//! use pagelab_allocator::profile::KernelProfile;
//! use pagelab_allocator::units::{CpuId, Order, Pfn, PfnRange};
//!
//! let memory = PfnRange::new(Pfn::new(0x4_0000), Pfn::new(0x6_0000));
//! let spec =
//!     MachineSpec::single(Geometry::PAGES_4K, KernelProfile::V6_1, ZoneType::Dma, memory);
//! let mut alloc = PageAllocator::boot(&spec, Silent)?;
//! let pages = alloc.alloc_pages(CpuId::BOOT, &AllocRequest::new(Order::of(3), GfpFlags::KERNEL))?;
//! print!("{}", alloc.snapshot().buddyinfo());
//! alloc.free_pages(CpuId::BOOT, pages);
//! alloc.check()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Layers only look down; the table is in `notes/architecture.md`.

mod alloc_request;
pub mod boot;
pub mod buddy;
pub mod by_hand;
mod cache_slice;
pub mod check;
pub mod contig;
pub mod counters;
mod drain;
pub mod event;
mod exact;
pub mod fallback;
pub mod frame;
mod frames;
mod free;
mod free_area;
pub mod geometry;
pub mod gfp;
pub mod highatomic;
mod hints;
mod holders;
pub mod hotplug;
pub mod isolate;
mod mem_map;
mod merging;
pub mod migratetype;
mod node;
pub mod note;
pub mod online;
pub mod page_alloc;
mod pageblock;
pub mod pcp;
pub mod pcp_by_hand;
mod pcp_list;
mod pcp_sizes;
mod pcp_tuning;
pub mod profile;
mod reclaim;
mod refill;
pub mod restore;
pub mod rmqueue;
mod run;
pub mod smp;
pub mod stats;
pub mod sync;
pub mod units;
pub mod vm_stat;
pub mod watermark;
pub mod zone;
mod zone_counters;
mod zone_watermark;

#[cfg(test)]
mod fallback_tests;
#[cfg(test)]
mod twin;
#[cfg(test)]
mod twin_tests;
