//! Tag storage holds nothing but clean copies of file pages: proposed by Alexandru Elisei in the
//! last discussion of the series (February 2024), on the model of cleancache, and of guaranteed CMA
//! (Minchan Kim and SeongJae Park; again by Suren Baghdasaryan in 2025).
//!
//! The page allocator never sees tag storage; the page cache may leave copies of clean pages there.
//! A reservation drops what it finds: it cannot fail, cannot be delayed by a pin, moves nothing,
//! and works in atomic context. So tags can be given to a page when it is mapped, `mprotect()`
//! included, and when its tags are copied; no hooks in the allocator are left.
//!
//! What was objected: memory that only clean file pages can use is less flexible than memory for
//! all movable data. The direct map has to stay, the memory map perhaps not; large folios have to
//! be thought about (David Hildenbrand, in favour). Layers of abstraction (Christoph Hellwig, on
//! the series of 2025). Not merged.
//!
//! What is kept are the clean pages of files that reclaim drops, as cleancache did; the oldest copy
//! goes when room is needed. See [`super::clean_store`].

use pagelab_allocator::gfp::GfpFlags;

use super::design::{Protecting, Reservation, Residence, TagStorageDesign, Terms};

/// A store of clean copies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cleancache;

impl TagStorageDesign for Cleancache {
    fn name(&self) -> &'static str {
        "cleancache"
    }

    fn residence(&self) -> Residence {
        Residence::CleanStore
    }

    fn terms(&self, gfp: GfpFlags) -> Terms {
        Terms::unchanged(gfp)
    }

    fn reservation(&self) -> Reservation {
        Reservation::Mandatory
    }

    fn migration_target(&self, gfp: GfpFlags) -> GfpFlags {
        gfp | GfpFlags::TAGGED
    }

    fn protecting(&self) -> Protecting {
        Protecting::AtOnce
    }
}
