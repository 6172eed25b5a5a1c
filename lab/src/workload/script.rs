//! What every workload writes its operations with: identities, draws, processes.

use std::collections::VecDeque;

use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::units::{Order, PageCount};
use pagelab_migrate::fault::Access;
use pagelab_migrate::folio::PinTerm;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::tagging::{TagDraws, TagTime, UsesTags};
use crate::logical::process::{AreaId, AreaTags, FileNumber, Hold, PinId, ProcessId, ProcessOp};
use crate::logical::{ContigOwner, Op, PageId, PageSpan};

/// Pages that one operation touches or reads at most.
const CHUNK: u32 = 256;
/// Operations that the script keeps room for.
const SPARE: usize = 4096;
/// Pages that one page table maps: 4 KiB pages, entries of 8 bytes.
const PER_TABLE: u32 = 512;

/// An area of a process.
#[derive(Clone, Debug)]
struct Area {
    id: AreaId,
    pages: u32,
    /// Parts that become tagged after they were touched for the first time.
    later: Vec<PageSpan>,
}

/// A live process, as the script knows it.
#[derive(Clone, Debug)]
pub struct Process {
    id: ProcessId,
    tags: UsesTags,
    areas: Vec<Area>,
    tables: Vec<PageId>,
}

impl Process {
    /// Its identity.
    #[must_use]
    pub const fn id(&self) -> ProcessId {
        self.id
    }

    /// Its areas with their lengths.
    pub fn areas(&self) -> impl Iterator<Item = (AreaId, u32)> {
        self.areas.iter().map(|area| (area.id, area.pages))
    }
}

/// Pages, processes and pins by number, draws by seed, and the operations not yet taken.
#[derive(Clone, Debug)]
pub struct Script {
    rng: Pcg64,
    tags: TagDraws,
    ops: VecDeque<Op>,
    next_page: u64,
    next_process: u32,
    next_pin: u32,
    next_file: u32,
}

impl Script {
    /// An empty script of one seed. The generator is PCG XSL RR 128/64.
    #[must_use]
    pub fn new(seed: u64, tags: TagDraws) -> Self {
        let rng = Pcg64::seed_from_u64(seed);
        let ops = VecDeque::new();
        Self { rng, tags, ops, next_page: 0, next_process: 0, next_pin: 0, next_file: 0 }
    }

    /// The next operation.
    pub(super) fn take(&mut self) -> Option<Op> {
        let op = self.ops.pop_front();
        if op.is_none() {
            // What came before the first tick is much longer than a tick.
            self.ops.shrink_to(SPARE);
        }
        op
    }

    /// A number below `limit`; 0 when there is none.
    pub fn below(&mut self, limit: u64) -> u64 {
        if limit == 0 { 0 } else { self.rng.random_range(0..limit) }
    }

    /// The same for positions of lists.
    pub fn at(&mut self, len: usize) -> usize {
        let at = self.below(u64::try_from(len).expect("a length"));
        usize::try_from(at).expect("below a length")
    }

    /// A number of pages from `least` to, not including, `most`.
    pub fn pages(&mut self, least: u32, most: u32) -> u32 {
        if most <= least { least } else { self.rng.random_range(least..most) }
    }

    /// Whether something happens that does so `count` times in 1000.
    pub fn chance(&mut self, count: u32) -> bool {
        self.rng.random_ratio(count.min(1000), 1000)
    }

    fn process_op(&mut self, op: ProcessOp) {
        self.ops.push_back(Op::Process(op));
    }

    /// A tenth of a second passes.
    pub fn tick(&mut self) {
        self.process_op(ProcessOp::Tick);
    }

    /// The injector holds its target.
    pub fn hold(&mut self, hold: Hold) {
        self.process_op(ProcessOp::Hold(hold));
    }

    /// Kernel memory, or movable memory that nobody maps.
    pub fn alloc(&mut self, order: Order, gfp: GfpFlags) -> PageId {
        let id = self.page_id();
        self.ops.push_back(Op::Alloc { id, order, gfp });
        id
    }

    fn page_id(&mut self) -> PageId {
        let id = PageId(self.next_page);
        self.next_page += 1;
        id
    }

    /// Frees what [`Script::alloc`] or [`Script::cma`] asked for.
    pub fn free(&mut self, id: PageId, pages: u32) {
        self.free_part(id, PageSpan { first: 0, pages });
    }

    /// Frees a part of it.
    pub fn free_part(&mut self, id: PageId, span: PageSpan) {
        self.ops.push_back(Op::Free { id, span });
    }

    /// A buffer from an ordinary CMA area.
    pub fn cma(&mut self, pages: u32) -> PageId {
        let id = self.page_id();
        let pages = PageCount::new(u64::from(pages));
        self.ops.push_back(Op::AllocContig { id, pages, owner: ContigOwner::Cma });
        id
    }

    /// A file that nobody used before.
    pub fn file(&mut self) -> FileNumber {
        let file = FileNumber(self.next_file);
        self.next_file += 1;
        file
    }

    /// Reads pages of a file.
    pub fn read(&mut self, file: FileNumber, span: PageSpan) {
        chunks(span).for_each(|span| self.process_op(ProcessOp::ReadFile { file, span }));
    }

    /// Writes pages of a file.
    pub fn write(&mut self, file: FileNumber, span: PageSpan) {
        chunks(span).for_each(|span| self.process_op(ProcessOp::WriteFile { file, span }));
    }

    /// Removes a file.
    pub fn remove(&mut self, file: FileNumber) {
        self.process_op(ProcessOp::RemoveFile { file });
    }

    fn process_id(&mut self) -> ProcessId {
        let id = ProcessId(self.next_process);
        self.next_process += 1;
        id
    }

    /// A process without memory; draws decide whether it uses tags.
    pub fn spawn(&mut self) -> Process {
        let tags = self.tags.process();
        self.spawn_with(tags)
    }

    /// A process without memory that uses tags or not.
    pub fn spawn_with(&mut self, tags: UsesTags) -> Process {
        let id = self.process_id();
        self.process_op(ProcessOp::Spawn { process: id });
        Process { id, tags, areas: Vec::new(), tables: Vec::new() }
    }

    /// A copy of a process, with page tables of its own.
    pub fn fork(&mut self, parent: &Process) -> Process {
        let (id, tags) = (self.process_id(), self.tags.process());
        self.process_op(ProcessOp::Fork { parent: parent.id, child: id });
        let areas = parent.areas.clone();
        let tables = (0..parent.tables.len()).map(|_| self.table()).collect();
        Process { id, tags, areas, tables }
    }

    fn table(&mut self) -> PageId {
        self.alloc(Order::ZERO, GfpFlags::KERNEL_ACCOUNT | GfpFlags::ZERO)
    }

    /// Ends a process and frees its page tables.
    pub fn exit(&mut self, process: Process) {
        self.process_op(ProcessOp::Exit { process: process.id });
        process.tables.into_iter().for_each(|table| self.free(table, 1));
    }

    /// Maps an anonymous area; which parts are tagged is drawn.
    pub fn map(&mut self, process: &mut Process, pages: u32) -> AreaId {
        let spans = self.tags.area(process.tags, pages);
        self.map_with(process, pages, spans)
    }

    /// Maps an anonymous area that is tagged whole, whatever the share.
    pub fn map_tagged(&mut self, process: &mut Process, pages: u32) -> AreaId {
        self.add_area(process, pages, AreaTags::All, Vec::new())
    }

    /// Maps an anonymous area without tags, whatever the share.
    pub fn map_plain(&mut self, process: &mut Process, pages: u32) -> AreaId {
        self.map_with(process, pages, Vec::new())
    }

    fn map_with(&mut self, process: &mut Process, pages: u32, spans: Vec<PageSpan>) -> AreaId {
        let at_once = self.tags.choice().time == TagTime::Mmap;
        let whole = at_once && spans == [PageSpan { first: 0, pages }];
        let tags = if whole { AreaTags::All } else { AreaTags::None };
        if whole {
            return self.add_area(process, pages, tags, Vec::new());
        }
        let later = if at_once { Vec::new() } else { spans.clone() };
        let area = self.add_area(process, pages, tags, later);
        if at_once {
            // The same ranges come of it as of several calls of mmap().
            spans.into_iter().for_each(|span| self.protect(process, area, span));
        }
        area
    }

    fn add_area(
        &mut self,
        process: &mut Process,
        pages: u32,
        tags: AreaTags,
        later: Vec<PageSpan>,
    ) -> AreaId {
        let area = AreaId(u32::try_from(process.areas.len()).expect("few areas"));
        self.process_op(ProcessOp::Map { process: process.id, area, pages, tags });
        for _ in 0..pages.div_ceil(PER_TABLE) {
            process.tables.push(self.table());
        }
        process.areas.push(Area { id: area, pages, later });
        area
    }

    /// Tags a part of an area.
    pub fn protect(&mut self, process: &Process, area: AreaId, span: PageSpan) {
        self.process_op(ProcessOp::Protect { process: process.id, area, span });
    }

    /// Accesses every page of a span.
    pub fn touch(&mut self, process: &Process, area: AreaId, span: PageSpan, access: Access) {
        let process = process.id;
        for span in chunks(span) {
            self.process_op(ProcessOp::Touch { process, area, span, stride: 1, access });
        }
    }

    /// Accesses every `stride`th page of a span.
    pub fn stride(&mut self, process: &Process, area: AreaId, span: PageSpan, stride: u32) {
        let (process, access) = (process.id, Access::Write);
        self.process_op(ProcessOp::Touch { process, area, span, stride, access });
    }

    /// Writes every page of a new area; what is to be tagged later is then, and is written again.
    pub fn fill(&mut self, process: &mut Process, area: AreaId) {
        let at = usize::try_from(area.0).expect("an index");
        let span = PageSpan { first: 0, pages: process.areas[at].pages };
        self.touch(process, area, span, Access::Write);
        for span in core::mem::take(&mut process.areas[at].later) {
            self.protect(process, area, span);
            self.touch(process, area, span, Access::Write);
        }
    }

    /// Maps and fills an area.
    pub fn grow(&mut self, process: &mut Process, pages: u32) -> AreaId {
        let area = self.map(process, pages);
        self.fill(process, area);
        area
    }

    /// Accesses some run of pages of some area, at most `pages`.
    pub fn visit(&mut self, process: &Process, pages: u32, access: Access) {
        if process.areas.is_empty() {
            return;
        }
        let at = self.at(process.areas.len());
        let (area, all) = (process.areas[at].id, process.areas[at].pages);
        let len = pages.min(all);
        let first = self.pages(0, all - len + 1);
        self.touch(process, area, PageSpan { first, pages: len }, access);
    }

    /// Pins some page of an area.
    pub fn pin(&mut self, process: &Process, (area, page): (AreaId, u32), term: PinTerm) -> PinId {
        let pin = PinId(self.next_pin);
        self.next_pin += 1;
        self.process_op(ProcessOp::Pin { pin, process: process.id, area, page, term });
        pin
    }

    /// Ends a pin.
    pub fn unpin(&mut self, pin: PinId) {
        self.process_op(ProcessOp::Unpin { pin });
    }
}

/// A span in pieces of at most [`CHUNK`] pages.
fn chunks(span: PageSpan) -> impl Iterator<Item = PageSpan> + use<> {
    let end = span.first + span.pages;
    (span.first..end)
        .step_by(usize::try_from(CHUNK).expect("a small number"))
        .map(move |first| PageSpan { first, pages: CHUNK.min(end - first) })
}
