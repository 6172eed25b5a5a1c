//! Carrying out what the processes of a workload do.

use std::collections::BTreeMap;

use pagelab_allocator::event::Sink;
use pagelab_allocator::units::{CpuId, Pfn};
use pagelab_migrate::emulator::AllocateError;
use pagelab_migrate::fault::{Access, AccessError};
use pagelab_migrate::file_io::{FileAccess, FileError};
use pagelab_migrate::folio::{FolioId, PinTerm, SpaceId, VirtPage};
use pagelab_migrate::mapping::MmError;
use pagelab_migrate::page_cache::{FileId, FilePage};
use pagelab_migrate::vma::{Backing, Prot, VirtRange};

use super::injector::Injector;
use super::note::Note;
use super::{Driver, Tags};
use crate::logical::PageSpan;
use crate::logical::process::{AreaId, AreaTags, FileNumber, PinId, ProcessId, ProcessOp};

/// Pages that the disk writes in a tick. Assumed: 500 MB/s.
const DISK: u64 = 12_800;
/// Ticks after which a dirty page is written. Linux: `dirty_expire_centisecs`, 30 s.
const EXPIRE: u64 = 300;
/// Above one part in so many of memory dirty pages are written at once. Linux:
/// `dirty_background_ratio`, 10 %.
const BACKGROUND: u64 = 10;
/// Addresses between two areas, so that they stay areas of their own.
const GAP: u64 = 512;
/// Where the first area lies.
const BASE: u64 = 0x1_0000;

/// A live process.
#[derive(Clone, Debug)]
struct Process {
    space: SpaceId,
    areas: BTreeMap<AreaId, VirtRange>,
    next: u64,
}

/// What the stream's numbers mean on this machine. What is missing here was refused.
#[derive(Debug, Default)]
pub(super) struct Processes {
    live: BTreeMap<ProcessId, Process>,
    files: BTreeMap<FileNumber, FileId>,
    pins: BTreeMap<PinId, (FolioId, PinTerm)>,
    pub(super) injector: Injector,
}

impl<S: Sink> Driver<S> {
    /// Frames that the workload has pinned.
    pub fn pinned_frames(&self) -> impl Iterator<Item = Pfn> {
        let folios = self.emulator.folios();
        let pinned = self.processes.pins.values().filter_map(|(id, _)| folios.get(*id));
        pinned.flat_map(|folio| folio.range().iter())
    }

    /// Carries one operation out; what it names and was refused is passed over.
    pub(super) fn process(&mut self, op: ProcessOp) {
        match op {
            ProcessOp::Spawn { process } => self.spawn(process),
            ProcessOp::Fork { parent, child } => self.fork(parent, child),
            ProcessOp::Exit { process } => self.exit(process),
            ProcessOp::Map { process, area, pages, tags } => {
                self.map_area(process, area, u64::from(pages), tags);
            }
            ProcessOp::Protect { process, area, span } => self.protect(process, area, span),
            ProcessOp::Touch { process, area, span, stride, access } => {
                self.touch(process, area, (span, stride), access);
            }
            ProcessOp::ReadFile { file, span } => {
                self.file_pages(file, span, |driver, page| {
                    driver.emulator.read_file(CpuId::BOOT, page)
                });
            }
            ProcessOp::WriteFile { file, span } => {
                self.file_pages(file, span, |driver, page| {
                    driver.emulator.write_file(CpuId::BOOT, page)
                });
            }
            ProcessOp::RemoveFile { file } => {
                if let Some(file) = self.processes.files.remove(&file) {
                    let gone = self.emulator.remove_file(CpuId::BOOT, file);
                    gone.expect("the driver made the file");
                }
            }
            ProcessOp::Pin { pin, process, area, page, term } => {
                self.pin(pin, (process, area, page), term);
            }
            ProcessOp::Unpin { pin } => {
                if let Some((folio, term)) = self.processes.pins.remove(&pin) {
                    self.emulator.unpin(CpuId::BOOT, folio, term);
                }
            }
            ProcessOp::Hold(hold) => self.hold(hold),
            ProcessOp::Tick => self.write_back(),
        }
    }

    fn spawn(&mut self, process: ProcessId) {
        let space = self.emulator.create_space();
        let fresh = Process { space, areas: BTreeMap::new(), next: BASE };
        self.processes.live.insert(process, fresh);
    }

    fn fork(&mut self, parent: ProcessId, child: ProcessId) {
        let Some(parent) = self.processes.live.get(&parent).cloned() else { return };
        let space = self.emulator.fork(parent.space).expect("the parent lives");
        self.processes.live.insert(child, Process { space, ..parent });
    }

    fn exit(&mut self, process: ProcessId) {
        if let Some(process) = self.processes.live.remove(&process) {
            let ended = self.emulator.exit(CpuId::BOOT, process.space);
            ended.expect("nothing is cut, so no pin is in the way");
        }
    }

    fn map_area(&mut self, process: ProcessId, area: AreaId, pages: u64, tags: AreaTags) {
        let Some(process) = self.processes.live.get_mut(&process) else { return };
        let range = VirtRange::from_len(VirtPage::new(process.next), pages);
        process.next = (process.next + pages).next_multiple_of(GAP) + GAP;
        process.areas.insert(area, range);
        let prot = match tags {
            AreaTags::All => Prot::TAGGED,
            AreaTags::None => Prot::READ_WRITE,
        };
        let mapped = self.emulator.mmap(process.space, range, prot, Backing::Anon);
        mapped.expect("every address is used once");
    }

    /// The space of a process, and where a span of an area lies.
    fn place(
        &self,
        process: ProcessId,
        area: AreaId,
        span: PageSpan,
    ) -> Option<(SpaceId, VirtRange)> {
        let process = self.processes.live.get(&process)?;
        let start = process.areas.get(&area)?.start().plus(u64::from(span.first));
        Some((process.space, VirtRange::from_len(start, u64::from(span.pages))))
    }

    fn protect(&mut self, process: ProcessId, area: AreaId, span: PageSpan) {
        let Some((space, range)) = self.place(process, area, span) else { return };
        let changed = self.emulator.mprotect(CpuId::BOOT, space, range, Prot::TAGGED);
        changed.expect("anonymous memory may be tagged");
    }

    fn touch(
        &mut self,
        process: ProcessId,
        area: AreaId,
        (span, stride): (PageSpan, u32),
        access: Access,
    ) {
        let Some((space, range)) = self.place(process, area, span) else { return };
        let step = usize::try_from(stride.max(1)).expect("a small number");
        let mut vma = None;
        for page in range.iter().step_by(step) {
            let known = vma.filter(|(part, _): &(VirtRange, Tags)| part.contains(page));
            let (part, tags) = known.unwrap_or_else(|| self.area_at(space, page));
            vma = Some((part, tags));
            let place = page.get() - range.start().get() + u64::from(span.first);
            self.emulator.sink_mut().note(|| Note::Page(place));
            self.touch_page(space, page, tags, access);
        }
    }

    /// The range around a page, and whether it is tagged.
    fn area_at(&self, space: SpaceId, page: VirtPage) -> (VirtRange, Tags) {
        let vma = self.emulator.space(space).and_then(|space| space.vma_at(page));
        let vma = vma.expect("areas stay mapped while their process lives");
        (vma.range(), if vma.is_tagged() { Tags::FromStart } else { Tags::None })
    }

    /// Accesses a page and notes how that went, if it was not there already.
    fn touch_page(&mut self, space: SpaceId, page: VirtPage, tags: Tags, access: Access) {
        let tagged = tags == Tags::FromStart;
        let before = if tagged { self.effort() } else { 0 };
        let outcome = self.emulator.access(CpuId::BOOT, space, page, access);
        self.emulator.sink_mut().note(|| Note::Accessed(outcome));
        if matches!(outcome, Ok(done) if done.faults == 0) {
            return;
        }
        self.requests.made += 1;
        if tagged {
            self.tagging.asked += 1;
            match &outcome {
                Ok(_) if self.effort() == before => self.tagging.at_once += 1,
                Ok(_) => self.tagging.waited += 1,
                Err(AccessError::NoProgress(_)) => self.tagging.failed_no_progress += 1,
                Err(_) => self.tagging.failed_no_memory += 1,
            }
        }
        match outcome {
            Ok(_) | Err(AccessError::NoProgress(_)) => {}
            Err(AccessError::Mm(MmError::Allocate(error))) => self.refused(&error, tags),
            Err(error) => unreachable!("a page mapped for writing is written: {error}"),
        }
    }

    fn refused(&mut self, error: &AllocateError, tags: Tags) {
        let _missing = self.failed(error, tags);
    }

    fn file_pages(
        &mut self,
        file: FileNumber,
        span: PageSpan,
        access: impl Fn(&mut Self, FilePage) -> Result<FileAccess, FileError>,
    ) {
        let known = self.processes.files.get(&file).copied();
        let id = known.unwrap_or_else(|| self.emulator.create_file());
        self.processes.files.insert(file, id);
        for index in span.first..span.first + span.pages {
            self.emulator.sink_mut().note(|| Note::Page(u64::from(index)));
            let outcome = access(self, FilePage { file: id, index });
            self.emulator.sink_mut().note(|| Note::File(outcome));
            match outcome {
                Ok(FileAccess::Hit) => {}
                Ok(_) => self.requests.made += 1,
                Err(FileError::Allocate(error)) => {
                    self.requests.made += 1;
                    self.refused(&error, Tags::None);
                }
                Err(error) => unreachable!("the file was made: {error}"),
            }
        }
    }

    fn pin(&mut self, pin: PinId, (process, area, page): (ProcessId, AreaId, u32), term: PinTerm) {
        let span = PageSpan { first: page, pages: 1 };
        let Some((space, range)) = self.place(process, area, span) else { return };
        let at = self.emulator.translate(space, range.start());
        if let Some(at) = at
            && self.emulator.pin(CpuId::BOOT, at.folio, term).is_ok()
        {
            self.processes.pins.insert(pin, (at.folio, term));
        }
    }

    /// Ends what the disk has written, and begins what is old or too much.
    fn write_back(&mut self) {
        let memory: u64 =
            self.emulator.page_alloc().zones().iter().map(|zone| zone.managed().get()).sum();
        let dirty = self.emulator.reclaim().dirty_pages();
        let begin = dirty.div_ceil(EXPIRE) + dirty.saturating_sub(memory / BACKGROUND);
        self.emulator.write_back(CpuId::BOOT, DISK, begin.min(DISK));
    }

    /// Ends everything that processes hold.
    pub(super) fn end_processes(&mut self) {
        let Processes { live, files, pins, injector } = core::mem::take(&mut self.processes);
        for page in injector.into_kept() {
            self.emulator.free(CpuId::BOOT, page);
        }
        for (folio, term) in pins.into_values() {
            self.emulator.unpin(CpuId::BOOT, folio, term);
        }
        for process in live.into_values() {
            self.emulator.exit(CpuId::BOOT, process.space).expect("nothing is pinned");
        }
        for file in files.into_values() {
            self.emulator.remove_file(CpuId::BOOT, file).expect("the driver made the file");
        }
    }
}
