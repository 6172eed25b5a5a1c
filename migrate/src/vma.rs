//! A mapped range of one address space: where, with which rights, backed by what.

use core::fmt;

use crate::folio::VirtPage;

/// Virtual pages `[start, end)`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct VirtRange {
    start: VirtPage,
    end: VirtPage,
}

impl VirtRange {
    /// The pages from `start` up to, not including, `end`.
    ///
    /// # Panics
    ///
    /// Panics when `end` lies before `start`.
    #[must_use]
    pub fn new(start: VirtPage, end: VirtPage) -> Self {
        assert!(start <= end, "range ends before it starts");
        Self { start, end }
    }

    /// `pages` pages from `start`.
    #[must_use]
    pub const fn from_len(start: VirtPage, pages: u64) -> Self {
        Self { start, end: start.plus(pages) }
    }

    /// First page.
    #[must_use]
    pub const fn start(self) -> VirtPage {
        self.start
    }

    /// One past the last page.
    #[must_use]
    pub const fn end(self) -> VirtPage {
        self.end
    }

    /// Number of pages.
    #[must_use]
    pub const fn len(self) -> u64 {
        self.end.get() - self.start.get()
    }

    /// Whether no page is inside.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether `page` is inside.
    #[must_use]
    pub fn contains(self, page: VirtPage) -> bool {
        self.start <= page && page < self.end
    }

    /// Whether every page of `other` is inside.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// The pages that are in both, or `None`.
    #[must_use]
    pub fn intersect(self, other: Self) -> Option<Self> {
        let (start, end) = (self.start.max(other.start), self.end.min(other.end));
        (start < end).then_some(Self { start, end })
    }

    /// The pages, ascending.
    pub fn iter(self) -> impl Iterator<Item = VirtPage> + use<> {
        (self.start.get()..self.end.get()).map(VirtPage::new)
    }
}

impl fmt::Display for VirtRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:#x}, {:#x})", self.start.get(), self.end.get())
    }
}

bitflags::bitflags! {
    /// Rights on a mapped range. Linux: `PROT_*`, and `VM_*` derived from them.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct Prot: u8 {
        /// May be read.
        const READ = 1;
        /// May be written.
        const WRITE = 2;
        /// Accesses check tags. Linux: `PROT_MTE`, `VM_MTE`.
        const MTE = 4;
    }
}

impl Prot {
    /// Reading and writing, without tags.
    pub const READ_WRITE: Self = Self::READ.union(Self::WRITE);
    /// Reading and writing with tags.
    pub const TAGGED: Self = Self::READ_WRITE.union(Self::MTE);
}

/// A shared-memory object. Linux: a tmpfs inode.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShmemId(u32);

impl ShmemId {
    /// Object number `raw`.
    #[must_use]
    pub const fn new(raw: u32) -> Self {
        Self(raw)
    }

    /// The raw number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// Where the pages of a mapped range come from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Backing {
    /// Private memory without a file. Linux: `MAP_PRIVATE | MAP_ANONYMOUS`.
    Anon,
    /// A shared mapping of a shared-memory object.
    Shmem {
        /// The object.
        id: ShmemId,
        /// The object's page that the first mapped page shows.
        offset: u64,
    },
    /// A private mapping of an ordinary file: never tagged.
    File,
}

impl Backing {
    /// Whether `PROT_MTE` is possible. Linux: `VM_MTE_ALLOWED`.
    #[must_use]
    pub const fn allows_tags(self) -> bool {
        !matches!(self, Self::File)
    }

    /// The backing of the page `pages` pages further on.
    #[must_use]
    pub const fn advanced(self, pages: u64) -> Self {
        match self {
            Self::Shmem { id, offset } => Self::Shmem { id, offset: offset + pages },
            Self::Anon | Self::File => self,
        }
    }
}

/// A mapped range. Linux: `struct vm_area_struct`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vma {
    range: VirtRange,
    prot: Prot,
    backing: Backing,
}

impl Vma {
    /// A range with rights and a backing; the caller has checked that they go together.
    #[must_use]
    pub(crate) const fn new(range: VirtRange, prot: Prot, backing: Backing) -> Self {
        Self { range, prot, backing }
    }

    /// The mapped pages.
    #[must_use]
    pub const fn range(&self) -> VirtRange {
        self.range
    }

    /// The rights.
    #[must_use]
    pub const fn prot(&self) -> Prot {
        self.prot
    }

    /// What the range maps.
    #[must_use]
    pub const fn backing(&self) -> Backing {
        self.backing
    }

    /// Whether accesses check tags. Linux: `VM_MTE`.
    #[must_use]
    pub const fn is_tagged(&self) -> bool {
        self.prot.contains(Prot::MTE)
    }

    /// Whether several spaces see each other's writes. Linux: `VM_SHARED`.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        matches!(self.backing, Backing::Shmem { .. })
    }

    /// The object and the object's page that `page` shows, for shared memory.
    #[must_use]
    pub fn shmem_page(&self, page: VirtPage) -> Option<(ShmemId, u64)> {
        match self.backing {
            Backing::Shmem { id, offset } => {
                Some((id, offset + (page.get() - self.range.start().get())))
            }
            Backing::Anon | Backing::File => None,
        }
    }

    /// The part of the range inside `within`, with other rights.
    pub(crate) fn part(&self, within: VirtRange, prot: Prot) -> Option<Self> {
        let range = self.range.intersect(within)?;
        let skipped = range.start().get() - self.range.start().get();
        Some(Self { range, prot, backing: self.backing.advanced(skipped) })
    }

    /// Both ranges as one, when the second continues the first. Linux: `can_vma_merge_after()`.
    pub(crate) fn merged(&self, next: &Self) -> Option<Self> {
        let continues = self.range.end() == next.range.start()
            && self.prot == next.prot
            && self.backing.advanced(self.range.len()) == next.backing;
        continues
            .then(|| Self { range: VirtRange::new(self.range.start(), next.range.end()), ..*self })
    }
}
