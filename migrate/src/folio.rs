//! A folio: a live allocation, named by an identity that survives migration.
//!
//! A folio knows where it lies and where it is mapped first; further mappings and pins are rare and
//! live in side tables of [`crate::folios::Folios`]. It does not know which lists it came from.

use core::fmt;

use pagelab_allocator::frame::Movability;
use pagelab_allocator::units::{Order, Pfn, PfnRange};

use crate::page_cache::{FileId, FilePage};

/// Identity of a live folio, wherever it lies. Identities of dead folios are reused, last first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
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
#[derive(Clone, Debug)]
pub struct Folio {
    pub(crate) pfn: Pfn,
    page: VirtPage,
    space: SpaceId,
    pub(crate) order: Order,
    kind: FolioKind,
    pub(crate) flags: FolioFlags,
}

impl Folio {
    pub(crate) fn new(pfn: Pfn, order: Order, kind: FolioKind, flags: FolioFlags) -> Self {
        Self { pfn, page: VirtPage::default(), space: SpaceId::NONE, order, kind, flags }
    }

    /// The first frame.
    #[must_use]
    pub const fn pfn(&self) -> Pfn {
        self.pfn
    }

    /// Binary logarithm of the number of pages.
    #[must_use]
    pub const fn order(&self) -> Order {
        self.order
    }

    /// The frames.
    #[must_use]
    pub const fn range(&self) -> PfnRange {
        PfnRange::block(self.pfn, self.order)
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
        self.space != SpaceId::NONE
    }

    /// Which page of which file it is; `None` unless it is in the page cache.
    #[must_use]
    pub fn file_page(&self) -> Option<FilePage> {
        let packed = self.page.get();
        let low = |word: u64| u32::try_from(word & u64::from(u32::MAX)).expect("masked");
        let page = || FilePage { file: FileId::new(low(packed >> 32)), index: low(packed) };
        self.flags.contains(FolioFlags::CACHED).then(page)
    }

    /// Enters it in the page cache; such folios are not mapped, so the place of the address is
    /// theirs.
    pub(crate) fn set_file_page(&mut self, page: FilePage) {
        assert!(!self.is_mapped(), "a mapped folio enters the page cache");
        self.page = VirtPage::new(u64::from(page.file.get()) << 32 | u64::from(page.index));
        self.flags |= FolioFlags::CACHED;
    }

    pub(crate) fn first_mapping(&self) -> Option<Mapping> {
        self.is_mapped().then_some(Mapping { space: self.space, page: self.page })
    }

    pub(crate) fn set_first_mapping(&mut self, mapping: Option<Mapping>) {
        (self.space, self.page) =
            mapping.map_or((SpaceId::NONE, VirtPage::default()), |m| (m.space, m.page));
    }
}
