//! Private memory of a guest: a file of single pages that never move. Linux:
//! virt/kvm/guest_memfd.c; `memfile_pfn_ops` of 2022.
//!
//! For whoever needs to know which page of a guest lies where; [`Host`](crate::hotplug::host::Host)
//! counts private memory by frames alone.

use core::fmt;
use core::ops::Range;
use std::collections::BTreeSet;

use pagelab_allocator::event::Sink;
use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::page_alloc::{AllocError, AllocRequest, PageAllocator};
use pagelab_allocator::units::{CpuId, NodeId, Order, PageCount, Pfn};

use crate::hotplug::private_page;

/// A place in a file, in pages. Linux: `pgoff_t`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct PageOffset(usize);

impl PageOffset {
    /// Page number `raw` of a file.
    #[must_use]
    pub const fn new(raw: usize) -> Self {
        Self(raw)
    }
}

impl fmt::Display for PageOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page {}", self.0)
    }
}

/// A frame or a hole, in eight bytes: files are as large as guests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Slot(u64);

impl Slot {
    const HOLE: Self = Self(u64::MAX);

    fn pfn(self) -> Option<Pfn> {
        (self != Self::HOLE).then(|| Pfn::new(self.0))
    }
}

/// The frame of a page that is locked until it is put back. Dropped, it stays locked.
#[derive(PartialEq, Eq, Debug)]
#[must_use = "a page stays locked until it is put"]
pub struct LockedPfn {
    offset: PageOffset,
    pfn: Pfn,
    order: Order,
}

impl LockedPfn {
    /// The frame.
    #[must_use]
    pub const fn pfn(&self) -> Pfn {
        self.pfn
    }

    /// How much lies there in one piece.
    #[must_use]
    pub const fn order(&self) -> Order {
        self.order
    }
}

/// Why a call fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrivateError {
    /// The file has a size, and keeps it.
    #[error("{0} is past the end")]
    PastEnd(PageOffset),
    /// A range without pages.
    #[error("no pages at all")]
    Empty,
    /// Nothing was allocated there: such memory is not private.
    #[error("{0} is a hole")]
    Hole(PageOffset),
    /// Somebody has it. Linux sleeps until it is put back.
    #[error("{0} is locked")]
    Locked(PageOffset),
    /// There is no page to be had.
    #[error(transparent)]
    Alloc(#[from] AllocError),
}

impl PrivateError {
    /// What the call returns; for a lock, what a call that does not sleep would.
    #[must_use]
    pub const fn errno(self) -> Errno {
        match self {
            Self::PastEnd(_) | Self::Empty => Errno::Inval,
            Self::Hole(_) => Errno::Fault,
            Self::Locked(_) => Errno::Busy,
            Self::Alloc(_) => Errno::NoMem,
        }
    }
}

/// A file of private memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PrivateMemory {
    file: Vec<Slot>,
    /// Pages in use by who asked for them. Linux: `PG_locked`.
    locked: BTreeSet<usize>,
    request: AllocRequest,
    allocated: PageCount,
}

impl PrivateMemory {
    /// A file of `size` pages, all holes, whose pages come from `node` if it has any. Linux:
    /// `kvm_gmem_create()`, and mbind(2) since 6.19.
    ///
    /// # Panics
    ///
    /// Panics when the file is larger than this process can address.
    #[must_use]
    pub fn create(size: PageCount, node: NodeId) -> Self {
        let size = usize::try_from(size.get()).expect("the file can be addressed");
        Self {
            file: vec![Slot::HOLE; size],
            locked: BTreeSet::new(),
            request: private_page::request(node),
            allocated: PageCount::ZERO,
        }
    }

    /// What is asked of the page allocator for each page.
    #[must_use]
    pub const fn request(&self) -> &AllocRequest {
        &self.request
    }

    /// Pages that are there.
    #[must_use]
    pub const fn allocated(&self) -> PageCount {
        self.allocated
    }

    /// Frames of pages that are there, by their place in the file.
    pub fn frames(&self) -> impl Iterator<Item = Pfn> {
        self.file.iter().filter_map(|slot| slot.pfn())
    }

    /// Fills holes of a range. Pages that could be had before one could not stay. Linux:
    /// `kvm_gmem_allocate()`.
    ///
    /// # Errors
    ///
    /// [`PrivateError::Empty`], [`PrivateError::PastEnd`] before anything is done;
    /// [`PrivateError::Alloc`].
    ///
    /// # Panics
    ///
    /// Panics when the machine has no such CPU.
    pub fn fallocate<S: Sink>(
        &mut self,
        page_alloc: &mut PageAllocator<S>,
        cpu: CpuId,
        range: Range<PageOffset>,
    ) -> Result<(), PrivateError> {
        let range = self.inside(range)?;
        range.into_iter().try_for_each(|at| self.fill(page_alloc, cpu, at).map(drop))
    }

    /// Frees what a range has: it is shared, or nothing, from now on. Linux:
    /// `kvm_gmem_punch_hole()`.
    ///
    /// # Errors
    ///
    /// [`PrivateError`] but for `Alloc`; nothing is freed then.
    ///
    /// # Panics
    ///
    /// Panics when the machine has no such CPU.
    pub fn punch_hole<S: Sink>(
        &mut self,
        page_alloc: &mut PageAllocator<S>,
        cpu: CpuId,
        range: Range<PageOffset>,
    ) -> Result<PageCount, PrivateError> {
        let range = self.inside(range)?;
        if let Some(at) = self.locked.range(range.clone()).next() {
            return Err(PrivateError::Locked(PageOffset(*at)));
        }
        let before = self.allocated;
        for slot in &mut self.file[range] {
            if let Some(pfn) = slot.pfn() {
                private_page::free(page_alloc, cpu, pfn);
                *slot = Slot::HOLE;
                self.allocated -= PageCount::new(1);
            }
        }
        Ok(before - self.allocated)
    }

    /// The frame at a place, locked. Does not allocate: a hole is memory that is not private. Linux
    /// (2022): `get_lock_pfn()`.
    ///
    /// # Errors
    ///
    /// [`PrivateError`] but for `Alloc` and `Empty`.
    pub fn get_lock_pfn(&mut self, offset: PageOffset) -> Result<LockedPfn, PrivateError> {
        let slot = self.file.get(offset.0).ok_or(PrivateError::PastEnd(offset))?;
        let pfn = slot.pfn().ok_or(PrivateError::Hole(offset))?;
        if !self.locked.insert(offset.0) {
            return Err(PrivateError::Locked(offset));
        }
        Ok(LockedPfn { offset, pfn, order: self.request.order })
    }

    /// Unlocks a page. Linux (2022): `put_unlock_pfn()`.
    ///
    /// # Panics
    ///
    /// Panics when the page was locked in another file.
    #[expect(clippy::needless_pass_by_value, reason = "a page is put back once")]
    pub fn put_unlock_pfn(&mut self, locked: LockedPfn) {
        let pfn = self.file.get(locked.offset.0).and_then(|slot| slot.pfn());
        let own = pfn == Some(locked.pfn) && self.locked.remove(&locked.offset.0);
        assert!(own, "{} was locked in another file", locked.offset);
    }

    /// The frame at a place, allocated if it is a hole, as a guest's fault does it. Linux:
    /// `kvm_gmem_get_pfn()`.
    ///
    /// # Errors
    ///
    /// [`PrivateError::PastEnd`], [`PrivateError::Alloc`].
    ///
    /// # Panics
    ///
    /// Panics when the machine has no such CPU.
    pub fn fault<S: Sink>(
        &mut self,
        page_alloc: &mut PageAllocator<S>,
        cpu: CpuId,
        offset: PageOffset,
    ) -> Result<Pfn, PrivateError> {
        if offset.0 >= self.file.len() {
            return Err(PrivateError::PastEnd(offset));
        }
        self.fill(page_alloc, cpu, offset.0)
    }

    /// Frees everything with the guest. Linux: `kvm_gmem_release()`.
    ///
    /// # Panics
    ///
    /// Panics when the machine has no such CPU.
    pub fn release<S: Sink>(self, page_alloc: &mut PageAllocator<S>, cpu: CpuId) {
        self.frames().for_each(|pfn| private_page::free(page_alloc, cpu, pfn));
    }

    fn fill<S: Sink>(
        &mut self,
        page_alloc: &mut PageAllocator<S>,
        cpu: CpuId,
        at: usize,
    ) -> Result<Pfn, PrivateError> {
        if let Some(pfn) = self.file[at].pfn() {
            return Ok(pfn);
        }
        let pfn = private_page::allocate(page_alloc, cpu, &self.request)?;
        self.file[at] = Slot(pfn.get());
        self.allocated += PageCount::new(1);
        Ok(pfn)
    }

    fn inside(&self, range: Range<PageOffset>) -> Result<Range<usize>, PrivateError> {
        if range.start >= range.end {
            return Err(PrivateError::Empty);
        }
        if range.end.0 > self.file.len() {
            return Err(PrivateError::PastEnd(PageOffset(self.file.len())));
        }
        Ok(range.start.0..range.end.0)
    }
}

#[cfg(test)]
#[path = "private_memory_tests.rs"]
mod tests;
