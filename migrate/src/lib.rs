//! pagelab-migrate: live memory, and everything that moves it.
//!
//! A [`folio::Folio`] is an allocation that somebody holds; its [`folio::FolioId`] stays the same
//! wherever migration, compaction or a claim on a contiguous range puts it.

pub use pagelab_allocator as allocator;

pub mod alloc;
mod audit;
mod claims;
mod cleancache;
pub mod cma;
pub mod compact;
pub mod contig;
mod contig_pages;
pub mod emulator;
pub mod fault;
pub mod file_io;
pub mod folio;
pub mod folios;
mod fork;
mod gup;
pub mod hotplug;
pub mod mapping;
pub mod memory;
pub mod migrate;
pub mod mover;
mod mprotect;
pub mod note;
mod numbered;
pub mod page_cache;
pub mod page_table;
pub mod pin;
pub mod prelude;
pub mod reclaim;
pub mod rmap;
pub mod smp;
pub mod space;
pub mod stats;
pub mod tag_storage;
mod tagged;
pub mod vma;

#[cfg(test)]
mod testing;
