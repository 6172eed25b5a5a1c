//! pagelab-migrate: live memory, and everything that moves it.
//!
//! A [`folio::Folio`] is an allocation that somebody holds; its [`folio::FolioId`] stays the same
//! wherever migration, compaction or a claim on a contiguous range puts it.

pub mod folio;
pub mod folios;
pub mod page_table;
pub mod rmap;
pub mod space;
pub mod tag_storage;
pub mod vma;
