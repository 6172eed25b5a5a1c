//! A folio: a live allocation, named by an identity that survives migration.
//!
//! A folio knows where it lies and where it is mapped first; further mappings and pins are rare and
//! live in side tables of [`crate::folios::Folios`]. It does not know which lists it came from.

use core::fmt;

use pagelab_allocator::frame::Movability;
use pagelab_allocator::units::{Order, Pfn, PfnRange};

use crate::numbered::Number;
use crate::page_cache::{FileId, FilePage};

/// Identity of a live folio, wherever it lies. Identities of dead folios are reused, last first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FolioId(u32);

impl FolioId {
    /// Wraps a raw slot number.
    #[must_use]
    pub const fn new(raw: u32) -> Self {
        Self(raw)
    }

    /// The raw slot number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for FolioId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "folio {}", self.0)
    }
}

impl fmt::Debug for FolioId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An address space. Linux: `struct mm_struct *`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SpaceId(u32);

impl SpaceId {
    /// Stands for "nobody" inside a folio; never given to a space.
    const NONE: Self = Self(u32::MAX);

    /// Space number `raw`.
    ///
    /// # Panics
    ///
    /// Panics for `u32::MAX`, which is reserved.
    #[must_use]
    pub const fn new(raw: u32) -> Self {
        assert!(raw != Self::NONE.0, "space number out of range");
        Self(raw)
    }

    /// The raw number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Number for SpaceId {
    fn of(raw: u32) -> Self {
        Self::new(raw)
    }

    fn raw(self) -> u32 {
        self.0
    }
}

/// Virtual page number: virtual address divided by the page size.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct VirtPage(u64);

impl VirtPage {
    /// Wraps a raw virtual page number.
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The raw virtual page number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The page `offset` pages further on.
    #[must_use]
    pub const fn plus(self, offset: u64) -> Self {
        Self(self.0 + offset)
    }
}

impl fmt::Display for VirtPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "virtual page {:#x}", self.0)
    }
}

/// One place where a whole folio is mapped. Linux: one step of `rmap_walk()`.
///
/// A folio of `n` pages mapped at `page` occupies `[page, page + n)`. Mapping a part of a folio
/// needs [`crate::mover::Mover::split`] first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Mapping {
    /// The address space.
    pub space: SpaceId,
    /// Where the folio's first page is mapped.
    pub page: VirtPage,
}

/// What a folio holds; decides whether it is on the LRU lists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FolioKind {
    /// Kernel memory: never on an LRU list.
    Kernel,
    /// Anonymous user memory.
    Anon,
    /// Shared memory. Linux: `swapbacked` page cache.
    Shmem,
    /// Page cache of a file.
    File,
}

impl FolioKind {
    /// What the allocator has to know of a new folio: kernel memory stays where it is.
    pub(crate) const fn movability(self) -> Movability {
        match self {
            Self::Kernel => Movability::Unmovable,
            Self::Anon | Self::Shmem | Self::File => Movability::Movable,
        }
    }
}

bitflags::bitflags! {
    /// Properties of a folio. Linux: `folio->flags`.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct FolioFlags: u8 {
        /// On an LRU list: can be isolated and migrated. Linux: `PG_lru`.
        const MOVABLE = 1;
        /// Carries MTE tags, which move along. Linux: `PG_mte_tagged`.
        const TAGGED = 2;
        /// Has an entry in the table of pins.
        const PINNED = 4;
        /// Has an entry in the table of further mappings.
        const SHARED = 8;
        /// Off the LRU lists, because somebody is about to move it. Linux: `PG_isolated`.
        const ISOLATED = 16;
        /// In the page cache. Linux: a `mapping` that is a file's.
        const CACHED = 32;
        /// Changed since it was read or written. Linux: `PG_dirty`.
        const DIRTY = 64;
        /// Being written. Linux: `PG_writeback`.
        const WRITEBACK = 128;
    }
}

impl FolioFlags {
    /// Flags that a creator may choose; the others are bookkeeping.
    pub(crate) const CHOSEN: Self = Self::MOVABLE.union(Self::TAGGED);
}

/// How long a pin is expected to last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PinTerm {
    /// Short, as for one I/O: an elevated reference count. Linux: `FOLL_PIN` or `folio_get()`.
    Short,
    /// For good, as for RDMA: refused in memory that must stay movable. Linux: `FOLL_LONGTERM`.
    Long,
}

/// Pins on one folio.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pins {
    /// Pins for the time of one operation.
    pub short: u32,
    /// Pins for good.
    pub long: u32,
}

impl Pins {
    pub(crate) fn of(&mut self, term: PinTerm) -> &mut u32 {
        match term {
            PinTerm::Short => &mut self.short,
            PinTerm::Long => &mut self.long,
        }
    }

    /// Pins of both kinds.
    #[must_use]
    pub const fn total(self) -> u32 {
        self.short + self.long
    }
}

/// A live allocation. Linux: `struct folio`.
///
/// Sixteen bytes: a full machine has one for nearly every frame.
#[derive(Clone, Debug)]
pub struct Folio {
    /// Number of the first frame.
    pfn: u32,
    /// The space of the first mapping, or the file of a page of the cache.
    owner: SpaceId,
    /// Where it is in there: the low bits.
    place: u32,
    /// Where it is in there: bits 32 to 39.
    place_high: u8,
    pub(crate) order: Order,
    kind: FolioKind,
    pub(crate) flags: FolioFlags,
}

/// Virtual pages have so many bits: 52 of address with pages of 4 KiB.
const PLACE_BITS: u32 = 40;

impl Folio {
    pub(crate) fn new(pfn: Pfn, order: Order, kind: FolioKind, flags: FolioFlags) -> Self {
        let (owner, place, place_high) = (SpaceId::NONE, 0, 0);
        let mut folio = Self { pfn: 0, owner, place, place_high, order, kind, flags };
        folio.set_pfn(pfn);
        folio
    }

    /// # Panics
    ///
    /// Panics for frames beyond the first 16 TiB of 4 KiB pages.
    pub(crate) fn set_pfn(&mut self, pfn: Pfn) {
        self.pfn = u32::try_from(pfn.get()).expect("a frame number of 32 bits");
    }

    /// The first frame.
    #[must_use]
    pub const fn pfn(&self) -> Pfn {
        Pfn::new(self.pfn as u64)
    }

    /// Binary logarithm of the number of pages.
    #[must_use]
    pub const fn order(&self) -> Order {
        self.order
    }

    /// The frames.
    #[must_use]
    pub const fn range(&self) -> PfnRange {
        PfnRange::block(self.pfn(), self.order)
    }

    /// What it holds.
    #[must_use]
    pub const fn kind(&self) -> FolioKind {
        self.kind
    }

    /// Whether it is on an LRU list, so that migration may try to move it.
    #[must_use]
    pub const fn is_movable(&self) -> bool {
        self.flags.contains(FolioFlags::MOVABLE)
    }

    /// What the allocator has to know of it.
    #[must_use]
    pub const fn movability(&self) -> Movability {
        if self.is_movable() { Movability::Movable } else { Movability::Unmovable }
    }

    /// Whether somebody took it off the LRU lists to move it.
    #[must_use]
    pub const fn is_isolated(&self) -> bool {
        self.flags.contains(FolioFlags::ISOLATED)
    }

    /// Whether it carries MTE tags.
    #[must_use]
    pub const fn is_tagged(&self) -> bool {
        self.flags.contains(FolioFlags::TAGGED)
    }

    /// Whether somebody holds a reference that migration cannot account for.
    /// Linux: `folio_ref_count()` above the expected count.
    #[must_use]
    pub const fn is_pinned(&self) -> bool {
        self.flags.contains(FolioFlags::PINNED)
    }

    /// Whether at least one page table maps it. Linux: `folio_mapped()`.
    #[must_use]
    pub fn is_mapped(&self) -> bool {
        self.owner != SpaceId::NONE && !self.flags.contains(FolioFlags::CACHED)
    }

    /// Which page of which file it is; `None` unless it is in the page cache.
    #[must_use]
    pub fn file_page(&self) -> Option<FilePage> {
        let page = FilePage { file: FileId::new(self.owner.0), index: self.place };
        self.flags.contains(FolioFlags::CACHED).then_some(page)
    }

    /// Enters it in the page cache; such folios are not mapped, so the fields are free for that.
    pub(crate) fn set_file_page(&mut self, page: FilePage) {
        assert!(!self.is_mapped(), "a mapped folio enters the page cache");
        (self.owner, self.place) = (SpaceId(page.file.get()), page.index);
        self.flags |= FolioFlags::CACHED;
    }

    /// Takes it out of the page cache.
    pub(crate) fn leave_cache(&mut self) {
        self.flags -= FolioFlags::CACHED | FolioFlags::DIRTY | FolioFlags::WRITEBACK;
        (self.owner, self.place) = (SpaceId::NONE, 0);
    }

    pub(crate) fn first_mapping(&self) -> Option<Mapping> {
        let page = VirtPage::new(u64::from(self.place_high) << 32 | u64::from(self.place));
        self.is_mapped().then_some(Mapping { space: self.owner, page })
    }

    /// # Panics
    ///
    /// Panics for virtual pages of more than 40 bits.
    pub(crate) fn set_first_mapping(&mut self, mapping: Option<Mapping>) {
        let none = Mapping { space: SpaceId::NONE, page: VirtPage::default() };
        let Mapping { space, page } = mapping.unwrap_or(none);
        assert!(page.get() < 1 << PLACE_BITS, "{page} is beyond {PLACE_BITS} bits");
        let low = page.get() & u64::from(u32::MAX);
        self.owner = space;
        self.place = u32::try_from(low).expect("masked");
        self.place_high = u8::try_from(page.get() >> 32).expect("less than 40 bits");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folio_is_sixteen_bytes_and_forgets_nothing() {
        assert_eq!(size_of::<Option<Folio>>(), 16);
        let pfn = Pfn::new(u64::from(u32::MAX));
        let mut folio = Folio::new(pfn, Order::of(3), FolioKind::Anon, FolioFlags::MOVABLE);
        let page = VirtPage::new((1 << PLACE_BITS) - 1);
        let mapping = Some(Mapping { space: SpaceId::new(7), page });
        folio.set_first_mapping(mapping);
        assert_eq!((folio.pfn(), folio.first_mapping(), folio.file_page()), (pfn, mapping, None));
        folio.set_first_mapping(None);
        assert!(!folio.is_mapped());
        let page = FilePage { file: FileId::new(u32::MAX - 1), index: u32::MAX };
        folio.set_file_page(page);
        assert_eq!((folio.file_page(), folio.first_mapping()), (Some(page), None));
        folio.leave_cache();
        assert_eq!((folio.file_page(), folio.first_mapping()), (None, None));
    }

    #[test]
    #[should_panic(expected = "beyond 40 bits")]
    fn a_virtual_page_has_at_most_40_bits() {
        let mut folio = Folio::new(Pfn::new(1), Order::ZERO, FolioKind::Anon, FolioFlags::MOVABLE);
        let page = VirtPage::new(1 << PLACE_BITS);
        folio.set_first_mapping(Some(Mapping { space: SpaceId::new(0), page }));
    }
}
