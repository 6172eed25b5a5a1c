//! Drives a machine with the operations of a trace.
//!
//! What the recorded tasks asked for is asked for again; where the pages lie is this machine's own
//! doing. Single pages that user space asked for (`GFP_HIGHUSER_MOVABLE`) are mapped in an address
//! space of the task that asked, each at an address of its own, and touched; what their flags show
//! to be page cache becomes that; everything else is allocated plainly. A page that became tagged
//! in the recording gets `PROT_MTE` and is touched again. kswapd has its turn after the operation
//! that woke it. What fails after reclaim and compaction is counted, by cause.

mod held;
mod injector;
pub mod note;
mod process;

use std::collections::BTreeMap;

use pagelab_allocator::check::{Violation, same};
use pagelab_allocator::contig::ContigRange;
use pagelab_allocator::event::{Silent, Sink};
use pagelab_allocator::frame::Frame;
use pagelab_allocator::gfp::{AllocFlags, GfpFlags};
use pagelab_allocator::units::{CpuId, Order, PageCount, Pfn, PfnRange};
use pagelab_migrate::alloc::FailureCause;
use pagelab_migrate::cma::CmaArea;
use pagelab_migrate::emulator::{AllocateError, Emulator};
use pagelab_migrate::fault::{Access, AccessError};
use pagelab_migrate::file_io::FileError;
use pagelab_migrate::folio::{FolioId, SpaceId, VirtPage};
use pagelab_migrate::mapping::MmError;
use pagelab_migrate::page_cache::{FileId, FilePage};
use pagelab_migrate::tag_storage::design::Residence;
use pagelab_migrate::vma::{Backing, Prot, VirtRange};

pub use held::is_page_cache;
use held::{Claimed, Held};
use process::Processes;

use crate::background::Background;
use crate::logical::{ContigOwner, Op, PageId, PageSpan, Step};
use crate::machine::Mib;
use crate::report::{Requests, Tagging};
use crate::tagger::Tagger;

/// Largest alignment of a DMA buffer. Linux: `CONFIG_CMA_ALIGNMENT`.
const CMA_ALIGNMENT: Order = Order::of(8);

/// An address space of a task, and its next unused address.
#[derive(Clone, Copy, Debug)]
struct Task {
    space: SpaceId,
    next: u64,
}

/// Whether a page is to carry tags, and since when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Tags {
    /// From its allocation: `mmap(PROT_MTE)`.
    FromStart,
    /// By `mprotect(PROT_MTE)` when it is there.
    Later,
    /// Not now.
    None,
}

/// A machine and the trace's allocations on it.
#[derive(Debug)]
pub struct Driver<S: Sink = Silent> {
    emulator: Emulator<S>,
    held: BTreeMap<PageId, Held>,
    background: Vec<FolioId>,
    tasks: BTreeMap<u32, Task>,
    tagger: Option<Tagger>,
    requests: Requests,
    tagging: Tagging,
    barred_failures: u64,
    /// Frames that the last step tagged after their allocation.
    tagged: Vec<Pfn>,
    /// The file that stands for all page cache of a trace, and its next page.
    cache: Option<(FileId, u32)>,
    processes: Processes,
}

/// Pages of the background could not be allocated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no room for {} that are in use before the trace outside CMA and tags", Mib(*.0))]
pub struct NoRoom(pub PageCount);

impl<S: Sink> Driver<S> {
    /// A machine on which `background` is in use.
    ///
    /// # Errors
    ///
    /// [`NoRoom`] when the machine is too small for that.
    pub fn new(
        emulator: Emulator<S>,
        background: &Background,
        tagger: Option<Tagger>,
    ) -> Result<Self, NoRoom> {
        let mut driver = Self {
            emulator,
            held: BTreeMap::new(),
            background: Vec::new(),
            tasks: BTreeMap::new(),
            tagger,
            requests: Requests::default(),
            tagging: Tagging::default(),
            barred_failures: 0,
            tagged: Vec::new(),
            cache: None,
            processes: Processes::default(),
        };
        let kinds = [
            (background.unmovable, GfpFlags::KERNEL),
            (background.reclaimable, GfpFlags::KERNEL | GfpFlags::RECLAIMABLE),
            (background.movable, GfpFlags::HIGHUSER_MOVABLE),
        ];
        for (pages, gfp) in kinds {
            for _ in 0..pages.get() {
                let got = driver.emulator.allocate(CpuId::BOOT, Order::ZERO, gfp);
                driver.background.push(got.map_err(|_| NoRoom(background.allocated()))?);
            }
        }
        Ok(driver)
    }

    /// The machine.
    #[must_use]
    pub const fn emulator(&self) -> &Emulator<S> {
        &self.emulator
    }

    /// The receiver of the machine's events, to empty it.
    pub const fn sink_mut(&mut self) -> &mut S {
        self.emulator.sink_mut()
    }

    /// Frames that the last step tagged after their allocation, in order.
    #[must_use]
    pub fn tagged_now(&self) -> &[Pfn] {
        &self.tagged
    }

    /// What became of the requests so far.
    #[must_use]
    pub const fn requests(&self) -> &Requests {
        &self.requests
    }

    /// What became of the pages that were to carry tags.
    #[must_use]
    pub const fn tagging(&self) -> &Tagging {
        &self.tagging
    }

    /// Tagged requests that failed while free CMA would have sufficed.
    #[must_use]
    pub const fn barred_failures(&self) -> u64 {
        self.barred_failures
    }

    /// Carries one operation out.
    pub fn step(&mut self, step: &Step) {
        // The machine has one virtual CPU: traces of several do not say who ran where and when
        // precisely enough to make more of it.
        self.tagged.clear();
        match step.op {
            Op::Alloc { id, order, gfp } => self.alloc(step.pid, id, order, gfp),
            Op::AllocContig { id, pages, owner } => self.alloc_contig(id, pages, owner),
            Op::Free { id, span } => self.free(id, span),
            Op::Tag { id, .. } => self.tag(id),
            Op::Process(op) => self.process(op),
            Op::Failed { .. } | Op::Snapshot { .. } => {}
        }
        if let Some(wake) = self.emulator.kswapd_wanted() {
            self.emulator.kswapd(CpuId::BOOT, wake);
        }
        self.note_moves();
    }

    /// Migration may have split large folios; whoever held one holds its pages now. Moves change
    /// nothing here, since folios keep their identity.
    fn note_moves(&mut self) {
        self.emulator.take_moves();
        for split in self.emulator.take_splits() {
            let mut held = self.held.values_mut();
            let whole = held.find(|h| matches!(h, Held::Block(folio, _) if *folio == split.folio));
            if let Some(whole) = whole {
                *whole = Held::Pages(split.pages.into_iter().map(Some).collect());
            }
        }
    }

    /// Frees everything that the driver holds, and says what is missing then.
    ///
    /// # Errors
    ///
    /// A [`Violation`] when fewer pages are free than the machine manages, less the page of zeroes
    /// and its tags.
    pub fn release_all(&mut self) -> Result<(), Violation> {
        self.end_processes();
        for held in core::mem::take(&mut self.held).into_values() {
            self.release(held);
        }
        if let Some((file, _)) = self.cache.take() {
            let gone = self.emulator.remove_file(CpuId::BOOT, file);
            gone.expect("the driver made the file");
        }
        for folio in core::mem::take(&mut self.background) {
            self.emulator.free(CpuId::BOOT, folio);
        }
        self.emulator.drain();
        let usage = self.emulator.usage();
        let zones = self.emulator.page_alloc().zones();
        let managed: PageCount = zones.iter().map(|zone| zone.managed()).sum();
        let free: PageCount = zones.iter().map(|zone| zone.free_pages().all).sum();
        let (kept, for_nobody) = self.reserved_frames();
        let block = self.emulator.tags().ledger().map().regions().map(|r| r.block_pages()).max();
        let (live, spare) = (usage.unmovable + usage.movable, block.unwrap_or_default());
        let leaks = live > PageCount::new(1) || for_nobody > spare;
        same(format_args!("{usage:?} after everything was freed is a leak"), leaks, false)?;
        same("pages after everything was freed", free + kept + live, managed)
    }

    /// Frames of the page allocator that hold tags, and how many of them are not kept for good.
    fn reserved_frames(&self) -> (PageCount, PageCount) {
        let ledger = self.emulator.tags().ledger();
        let held = |pfn: &Pfn| matches!(self.emulator.frame(*pfn), Frame::Allocated { .. });
        let (mut all, mut wanted) = (0, 0);
        for block in ledger.map().ids().filter(|block| ledger.blocks().is_reserved(*block)) {
            let frames = ledger.map().range(block).iter().filter(held).map(|_| 1).sum::<u64>();
            all += frames;
            wanted += if ledger.blocks().is_permanent(block) { 0 } else { frames };
        }
        (PageCount::new(all), PageCount::new(wanted))
    }

    /// Whether data may use tag storage.
    #[must_use]
    pub fn lends(&self) -> bool {
        self.emulator.tags().design().residence().is_lent()
    }

    /// Whether tag storage holds clean copies, and no other data.
    #[must_use]
    pub fn keeps_copies(&self) -> bool {
        self.emulator.tags().design().residence() == Residence::CleanStore
    }

    fn alloc(&mut self, pid: u32, id: PageId, order: Order, gfp: GfpFlags) {
        self.requests.made += 1;
        if order == Order::ZERO && is_page_cache(gfp) {
            let held = self.cache_page(gfp);
            self.held.insert(id, held);
            return;
        }
        let user = order == Order::ZERO && gfp.contains(GfpFlags::HIGHUSER_MOVABLE);
        let later = self.tagger.as_mut().is_some_and(|tagger| tagger.choose(gfp));
        let tags = match (gfp.contains(GfpFlags::TAGGED), later) {
            (true, _) => Tags::FromStart,
            (false, true) => Tags::Later,
            (false, false) => Tags::None,
        };
        let held = if user {
            self.map(pid, tags)
        } else {
            // Blocks are not mapped here, so that nothing in them can carry tags.
            if tags == Tags::FromStart {
                self.tagging.not_mappable += order.pages().get();
            }
            let plain = gfp.difference(GfpFlags::TAGGED);
            match self.emulator.allocate(CpuId::BOOT, order, plain) {
                Ok(folio) => Held::Block(folio, order),
                Err(error) => self.failed(&error, Tags::None),
            }
        };
        self.held.insert(id, held);
        if tags == Tags::Later {
            self.tag(id);
        }
    }

    /// A new page of the trace's page cache.
    fn cache_page(&mut self, gfp: GfpFlags) -> Held {
        let (file, next) = self.cache.unwrap_or_else(|| (self.emulator.create_file(), 0));
        let page = FilePage { file, index: next };
        self.cache = Some((file, next.checked_add(1).expect("fewer than 2^32 cached pages")));
        match self.emulator.cache_page(CpuId::BOOT, page, gfp) {
            Ok(_) => Held::Cached(page),
            Err(FileError::Allocate(error)) => self.failed(&error, Tags::None),
            Err(error) => unreachable!("the file was made: {error}"),
        }
    }

    /// Maps a page for a task and touches it.
    fn map(&mut self, pid: u32, tags: Tags) -> Held {
        let emulator = &mut self.emulator;
        let task = self
            .tasks
            .entry(pid)
            .or_insert_with(|| Task { space: emulator.create_space(), next: 0x10 });
        let (space, page) = (task.space, VirtPage::new(task.next));
        task.next += 1;
        let range = VirtRange::new(page, page.plus(1));
        let mut prot = Prot::READ | Prot::WRITE;
        prot.set(Prot::MTE, tags == Tags::FromStart);
        let mapped = emulator.mmap(space, range, prot, Backing::Anon);
        mapped.expect("every address is used once");
        let outcome = match tags {
            Tags::FromStart => self.touch_tagged(space, page).map(|_| ()),
            _ => self.emulator.access(CpuId::BOOT, space, page, Access::Write).map(|_| ()),
        };
        match outcome {
            Ok(()) => Held::Mapped(space, page),
            Err(AccessError::NoProgress(_)) => Held::Mapped(space, page),
            Err(AccessError::Mm(MmError::Allocate(error))) => {
                let gone = self.emulator.munmap(CpuId::BOOT, space, range);
                gone.expect("nothing is pinned");
                self.failed(&error, tags)
            }
            Err(error) => unreachable!("a page mapped for writing is written: {error}"),
        }
    }

    /// Touches a page of a tagged range and notes how that went. Says where it lies then.
    fn touch_tagged(&mut self, space: SpaceId, page: VirtPage) -> Result<Pfn, AccessError> {
        self.tagging.asked += 1;
        let before = self.effort();
        let outcome = self.emulator.access(CpuId::BOOT, space, page, Access::Write);
        match outcome {
            Ok(_) if self.effort() == before => self.tagging.at_once += 1,
            Ok(_) => self.tagging.waited += 1,
            Err(AccessError::NoProgress(_)) => self.tagging.failed_no_progress += 1,
            Err(_) => self.tagging.failed_no_memory += 1,
        }
        outcome.map(|done| done.translation.pfn)
    }

    /// Grows with everything that makes a tagged access wait.
    fn effort(&self) -> u64 {
        let tags = self.emulator.tags().stats();
        let moved = self.emulator.mm_stats().pgmigrate_success;
        moved + tags.claim_retries + tags.fault_retries + tags.fault_replays + tags.refused_pages
    }

    fn tag(&mut self, id: PageId) {
        match self.held.get(&id) {
            Some(&Held::Mapped(space, page)) => {
                let range = VirtRange::new(page, page.plus(1));
                let prot = Prot::READ | Prot::WRITE | Prot::MTE;
                let changed = self.emulator.mprotect(CpuId::BOOT, space, range, prot);
                changed.expect("anonymous memory may be tagged");
                // A page that cannot get storage keeps its entry and stays unusable; the program
                // would hang or fail here.
                if let Ok(pfn) = self.touch_tagged(space, page) {
                    self.tagged.push(pfn);
                }
            }
            Some(Held::Missing) => self.tagging.absent += 1,
            _ => self.tagging.not_mappable += 1,
        }
    }

    fn failed(&mut self, error: &AllocateError, tags: Tags) -> Held {
        match error {
            AllocateError::Alloc(failure) => match failure.cause {
                FailureCause::NoContiguity | FailureCause::OrderTooLarge(_) => {
                    self.requests.failed_no_contiguity += 1;
                }
                FailureCause::OnlyCmaFree => {
                    self.requests.failed_only_cma += 1;
                    self.barred_failures += u64::from(tags == Tags::FromStart);
                }
                _ => self.requests.failed_no_memory += 1,
            },
            _ => self.requests.failed_no_memory += 1,
        }
        Held::Missing
    }

    fn alloc_contig(&mut self, id: PageId, pages: PageCount, owner: ContigOwner) {
        self.requests.made += 1;
        let area = (owner == ContigOwner::Cma).then(|| self.area_for(pages)).flatten();
        let claimed = match (owner, area) {
            (ContigOwner::Cma, Some(area)) => {
                let align = Order::fitting(pages, CMA_ALIGNMENT).unwrap_or_default();
                self.emulator.cma_alloc(CpuId::BOOT, area, pages, align).ok()
            }
            (ContigOwner::Cma, None) => None,
            (ContigOwner::Anyone, _) => self.emulator.alloc_contig_pages(CpuId::BOOT, pages).ok(),
        };
        let held = match claimed {
            Some(taken) => {
                let range = taken.range.into_raw();
                Held::Contig(Box::new(Claimed { start: range.start(), left: vec![range], area }))
            }
            None => {
                self.requests.failed_contig += 1;
                Held::Missing
            }
        };
        self.held.insert(id, held);
    }

    /// The first ordinary CMA area with room for `pages`.
    fn area_for(&self, pages: PageCount) -> Option<usize> {
        let room = |area: &CmaArea| area.range().len() - area.used() >= pages;
        self.emulator.cma_areas().iter().position(room)
    }

    fn free(&mut self, id: PageId, span: PageSpan) {
        let Some(held) = self.held.remove(&id) else { return };
        let rest = match held {
            Held::Block(folio, order) if u64::from(span.pages) < order.pages().get() => {
                let pages = self.split(folio);
                self.free_pages(pages, span)
            }
            Held::Mapped(..) | Held::Block(..) | Held::Cached(_) => {
                self.release(held);
                None
            }
            Held::Pages(pages) => self.free_pages(pages, span),
            Held::Contig(claimed) => self.free_contig(claimed, span),
            Held::Missing => Some(Held::Missing),
        };
        if let Some(rest) = rest {
            self.held.insert(id, rest);
        }
    }

    /// Frees all that is left of an allocation.
    fn release(&mut self, held: Held) {
        match held {
            Held::Mapped(space, page) => {
                let range = VirtRange::new(page, page.plus(1));
                let gone = self.emulator.munmap(CpuId::BOOT, space, range);
                gone.expect("nothing is pinned");
            }
            Held::Block(folio, _) => self.emulator.free(CpuId::BOOT, folio),
            Held::Cached(page) => self.emulator.uncache_page(CpuId::BOOT, page),
            Held::Pages(pages) => {
                pages.into_iter().flatten().for_each(|page| self.emulator.free(CpuId::BOOT, page));
            }
            Held::Contig(claimed) => {
                claimed.left.into_iter().for_each(|part| self.release_range(part, claimed.area));
            }
            Held::Missing => {}
        }
    }

    fn release_range(&mut self, part: PfnRange, area: Option<usize>) {
        let pages = ContigRange::reclaim(self.emulator.page_alloc(), part);
        let pages = pages.expect("nobody else frees claimed pages");
        match area {
            Some(area) => self.emulator.cma_release(CpuId::BOOT, area, pages),
            None => self.emulator.release_range(CpuId::BOOT, pages),
        }
    }

    fn split(&mut self, folio: FolioId) -> Box<[Option<FolioId>]> {
        let range = self.emulator.folios()[folio].range();
        self.emulator.split(CpuId::BOOT, folio).expect("nothing is pinned");
        range.iter().map(|pfn| self.emulator.folio_at(pfn)).collect()
    }

    fn free_pages(&mut self, mut pages: Box<[Option<FolioId>]>, span: PageSpan) -> Option<Held> {
        for place in span.first..span.first + span.pages {
            let page = pages.get_mut(place as usize).and_then(Option::take);
            if let Some(folio) = page {
                self.emulator.free(CpuId::BOOT, folio);
            }
        }
        pages.iter().any(Option::is_some).then_some(Held::Pages(pages))
    }

    fn free_contig(&mut self, mut claimed: Box<Claimed>, span: PageSpan) -> Option<Held> {
        let start = claimed.start + PageCount::new(u64::from(span.first));
        let part = PfnRange::from_len(start, PageCount::new(u64::from(span.pages)));
        if let Some(part) = claimed.take(part) {
            self.release_range(part, claimed.area);
        }
        (!claimed.left.is_empty()).then_some(Held::Contig(claimed))
    }

    /// Whether the design bars CMA to tagged requests.
    #[must_use]
    pub fn bars_cma(&self) -> bool {
        let gfp = GfpFlags::HIGHUSER_MOVABLE | GfpFlags::TAGGED;
        let terms = self.emulator.tags().design().terms(gfp);
        let rights = (terms.gfp.cma_flag() | terms.granted).difference(terms.barred);
        !rights.contains(AllocFlags::CMA)
    }

    /// Whether a page of tag storage holds tags.
    #[must_use]
    pub fn holds_tags(&self, pfn: Pfn) -> bool {
        let ledger = self.emulator.tags().ledger();
        ledger.map().block_at(pfn).is_some_and(|block| ledger.blocks().is_reserved(block))
    }
}
