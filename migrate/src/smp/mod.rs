//! Memory that several threads use: pages that are shared, moved, pinned and tagged at once.
//!
//! [`SharedMemory`] stands on the shared allocator as `Memory` stands on the other one. A thread
//! brings its [`Cpu`] to every call. Pages are single; one that moves keeps its identity,
//! [`folio::SharedFolio`], and changes its frame.
//!
//! Lock order, outermost first; nobody holds two of one kind but fork, parent before child:
//! reservers of a tag region, an [`anon_vma::AnonVma`], tables, the map of frames, the release lock
//! of a tag region, and below them the allocator's own. Under the first one may wait for pages to
//! move; under all others nothing waits. A reference may only be put where none of them is held, as
//! the last one frees. `notes/locking.md` has the allocator's part.
//!
//! CPUs, tables and pins belong to one machine. Each call looks at them first, and panics before
//! anything has happened when one is of another machine. A frame is a number, and so of any.

pub mod anon_vma;
mod batch;
mod check;
mod contents;
pub mod folio;
mod folio_map;
mod fork;
pub mod gup;
mod machine;
pub mod migrate;
mod moving;
pub mod mprotect;
pub mod page_table;
pub mod populate;
mod positions;
mod reserve;
mod slab;
mod step;
pub mod tag_blocks;
pub mod worker;

use pagelab_allocator::gfp::{AllocFlags, GfpFlags};
use pagelab_allocator::page_alloc::{AllocError, AllocRequest};
use pagelab_allocator::profile::MovablePcp;
use pagelab_allocator::smp::{Asymmetric, Cpu, Exclusive, SharedAllocator, Steps};
use pagelab_allocator::sync::Arc;
use pagelab_allocator::units::{Order, Pfn, PfnRange};

use crate::smp::anon_vma::AnonVma;
pub use crate::smp::contents::{Contents, Copies};
use crate::smp::folio::{Put, SharedFolio};
use crate::smp::folio_map::FolioMap;
use crate::smp::machine::Machine;
use crate::smp::moving::Carries;
use crate::smp::page_table::{Entry, Mapping, SharedTable, Tags, Write};
use crate::smp::slab::FolioRef;
pub use crate::smp::step::Step;
use crate::smp::tag_blocks::SharedTagBlocks;
use crate::tag_storage::map::TagMap;

/// Where a page may lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Placement {
    /// Anywhere that users' pages lie.
    Anywhere,
    /// Where it could have tags: not in memory that is lent out. Linux (RFC v2):
    /// `arch_alloc_cma()`.
    Taggable,
}

impl Placement {
    const fn request(self) -> AllocRequest {
        let request = AllocRequest::new(Order::ZERO, GfpFlags::HIGHUSER_MOVABLE);
        match self {
            Self::Anywhere => request,
            Self::Taggable => request.barring(AllocFlags::CMA),
        }
    }
}

/// Pages in use, by several threads. Linux: mm/.
///
/// All calls that take a CPU panic when it, or a table or a pin that comes with it, is of another
/// machine; nothing has happened then.
#[derive(Debug)]
pub struct SharedMemory<P = Asymmetric> {
    alloc: Arc<SharedAllocator<P>>,
    machine: Machine,
    folios: FolioMap,
    tags: SharedTagBlocks,
    contents: Box<dyn Contents>,
    steps: Steps<Step>,
}

impl<P: Exclusive> SharedMemory<P> {
    /// No page is in use yet of `span`, the frames of the machine.
    ///
    /// # Panics
    ///
    /// Panics when the machine has tag storage, and the lists of its CPUs hand CMA pages to
    /// requests that bar them ([`MovablePcp::Always`]): a page in tag storage that is to have tags
    /// might move within tag storage for ever.
    #[must_use]
    pub fn new(
        alloc: Arc<SharedAllocator<P>>,
        span: PfnRange,
        tags: TagMap,
        contents: Box<dyn Contents>,
    ) -> Self {
        let bars = alloc.movable_pcp() == MovablePcp::OnlyWithCma;
        assert!(tags.is_empty() || bars, "requests that bar CMA memory get none");
        let folios = FolioMap::new(span, alloc.geometry().pageblock_order());
        let tags = SharedTagBlocks::new(tags);
        Self { alloc, machine: Machine::new(), folios, tags, contents, steps: Steps::ALL }
    }

    /// A protocol that lacks a step and therefore does not hold: canaries of the models.
    #[cfg(all(loom, feature = "loom"))]
    #[doc(hidden)]
    #[must_use]
    pub fn without(mut self, step: Step) -> Self {
        self.steps = Steps::without(step);
        self
    }

    /// The allocator.
    #[must_use]
    pub const fn alloc(&self) -> &Arc<SharedAllocator<P>> {
        &self.alloc
    }

    /// The tag storage.
    #[must_use]
    pub const fn tags(&self) -> &SharedTagBlocks {
        &self.tags
    }

    /// An address space of `pages` pages that descends from none. Linux: `mm_alloc()`.
    #[must_use]
    pub fn new_table(&self, pages: usize) -> Arc<SharedTable> {
        let anon = Arc::new(AnonVma::new(self.machine.clone()));
        let table = Arc::new(SharedTable::new(Arc::clone(&anon), pages));
        anon.link(Arc::clone(&table));
        table
    }

    /// Panics when a CPU is of another machine.
    #[inline]
    #[track_caller]
    fn admit(&self, cpu: &Cpu<P>) {
        assert!(cpu.is_of(&self.alloc), "a CPU of another machine");
    }

    /// The same, and for the pages of address spaces.
    #[inline]
    #[track_caller]
    fn admit_with(&self, cpu: &Cpu<P>, anon: &AnonVma) {
        self.admit(cpu);
        assert!(anon.is_of(&self.machine), "pages of another machine");
    }

    /// Maps a new page at `index` unless something is there. Linux: `do_anonymous_page()`.
    ///
    /// # Errors
    ///
    /// [`AllocError`] when there is no memory; nothing is mapped then.
    ///
    /// # Panics
    ///
    /// Panics when the table is shorter; nothing is mapped then either.
    pub fn map(
        &self,
        cpu: &mut Cpu<P>,
        table: &SharedTable,
        index: usize,
        placement: Placement,
    ) -> Result<(), AllocError> {
        self.admit_with(cpu, table.anon());
        let folio = self.new_folio(cpu, table, index, placement)?;
        self.contents.clear(folio.frame());
        let mapping = Mapping::new(folio.clone(), Write::Allowed, Tags::Untagged);
        let entry = Entry::new(mapping);
        let mut entries = table.lock();
        let (len, place) = (entries.len(), entries.get_mut(index));
        let unused = match place.filter(|place| place.is_none()) {
            Some(place) => {
                *place = entry;
                false
            }
            None => true,
        };
        drop(entries);
        if unused {
            self.put(cpu, &folio);
        }
        assert!(index < len, "the table has such an entry");
        Ok(())
    }

    /// A page for `table` at `index`, with one reference.
    fn new_folio(
        &self,
        cpu: &mut Cpu<P>,
        table: &SharedTable,
        index: usize,
        placement: Placement,
    ) -> Result<FolioRef, AllocError> {
        let (frame, _) = cpu.alloc_pages(&placement.request())?.into_raw();
        let folio = table.folios().make(frame, index);
        self.folios.insert(folio.clone());
        Ok(folio)
    }

    /// Takes away what is at `index`. An entry of a page that is about to move has no reference,
    /// and whoever moves it will not find it. Linux: `zap_pte_range()`.
    pub fn unmap(&self, cpu: &mut Cpu<P>, table: &SharedTable, index: usize) {
        self.admit_with(cpu, table.anon());
        let entry = core::mem::take(&mut table.lock()[index]);
        if let Some(mapping) = entry.into_present() {
            self.put(cpu, mapping.folio());
        }
    }

    /// Ends an address space. Linux: `exit_mmap()`.
    pub fn exit(&self, cpu: &mut Cpu<P>, table: Arc<SharedTable>) {
        self.admit_with(cpu, table.anon());
        let entries = core::mem::take(&mut *table.lock());
        for entry in entries {
            if let Some(mapping) = entry.into_present() {
                self.put(cpu, mapping.folio());
            }
        }
        table.anon().unlink(&table);
    }

    /// Gives a reference back; the last one frees. Linux: `folio_put()`.
    fn put(&self, cpu: &mut Cpu<P>, folio: &SharedFolio) {
        let put = folio.put();
        self.end(cpu, folio, put);
    }

    /// What the last put leaves to be done. Linux: `__folio_put()`, `free_pages_prepare()`.
    fn end(&self, cpu: &mut Cpu<P>, folio: &SharedFolio, put: Put) {
        let Put::Last(frame) = put else { return };
        // Not there while somebody tries to move it, who will see that it is gone.
        drop(self.folios.take(frame));
        self.free_frame(cpu, frame, Carries::of(folio));
    }

    /// Frees a frame, after its tags. Linux: `free_unref_page()`, RFC v3:
    /// `arch_free_pages_exact()`.
    fn free_frame(&self, cpu: &mut Cpu<P>, frame: Pfn, carries: Carries) {
        if carries == Carries::Tags {
            self.release_tags(cpu, frame);
        }
        let pages = self.alloc.reclaim(frame, Order::ZERO).expect("a page is freed once");
        cpu.free_pages(pages);
    }
}
