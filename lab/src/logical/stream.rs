//! Records in, operations out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::units::{CpuId, Order, PageCount, Pfn, PfnRange};

use super::live::{LiveTable, Piece};
use super::window::{Bulk, CompactWindow, ContigWindow, Target};
use super::{ContigOwner, Op, PageId, PageSpan, Step, Unused};
use crate::trace::{Marker, Record, TraceError, TraceEvent, VmapPages};

/// The logical stream of a trace. Memory use is bounded by what is live at one time.
#[derive(Debug)]
pub struct Logical<I> {
    records: I,
    state: State,
}

impl<I> Logical<I> {
    /// The operations of `records`.
    pub fn new(records: I) -> Self {
        Self { records, state: State::default() }
    }

    /// What did not become an operation so far.
    #[must_use]
    pub const fn unused(&self) -> &Unused {
        &self.state.unused
    }

    /// The records, for what their reader has counted.
    #[must_use]
    pub const fn records(&self) -> &I {
        &self.records
    }

    /// Pages live now: allocated in the stream and not freed.
    #[must_use]
    pub const fn live(&self) -> PageCount {
        PageCount::new(self.state.live.pages())
    }

    /// What lies at `pfn` in the recording now: an allocation and the page's place in it.
    #[must_use]
    pub fn page_at(&self, pfn: Pfn) -> Option<(PageId, u32)> {
        self.state.live.page(pfn).map(|page| (page.id, page.span.first))
    }

    /// Most pages live at one time so far.
    #[must_use]
    pub const fn peak(&self) -> PageCount {
        PageCount::new(self.state.live.peak())
    }
}

impl<I: Iterator<Item = Result<Record, TraceError>>> Iterator for Logical<I> {
    type Item = Result<Step, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(step) = self.state.ready.pop_front() {
                return Some(Ok(step));
            }
            match self.records.next() {
                Some(Ok(record)) => self.state.record(record),
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    self.state.finish();
                    return self.state.ready.pop_front().map(Ok);
                }
            }
        }
    }
}

/// Who and when, of the record at hand.
#[derive(Clone, Copy, Debug, Default)]
struct Now {
    line: u64,
    timestamp: u64,
    cpu: CpuId,
    pid: u32,
}

#[derive(Debug, Default)]
struct State {
    now: Now,
    live: LiveTable,
    next_id: u64,
    contig: BTreeMap<u32, ContigWindow>,
    compact: BTreeMap<u32, CompactWindow>,
    bulk: BTreeMap<u32, Bulk>,
    cma: BTreeSet<u32>,
    joining: Option<PfnRange>,
    ready: VecDeque<Step>,
    unused: Unused,
}

impl State {
    fn record(&mut self, record: Record) {
        let pid = record.pid;
        self.now = Now {
            line: record.line,
            timestamp: record.timestamp,
            cpu: CpuId::new(record.cpu),
            pid,
        };
        match record.event {
            TraceEvent::PageAlloc { pfn, order, gfp, .. } => self.page_alloc(pfn, order, gfp),
            TraceEvent::PageAllocFailed { order, gfp, .. } => self.emit(Op::Failed { order, gfp }),
            TraceEvent::PageFree { pfn, order } => self.page_free(PfnRange::block(pfn, order)),
            TraceEvent::PageFreeBatched { .. } => self.unused.free_batched += 1,
            TraceEvent::ZoneLocked { .. }
            | TraceEvent::PcpuDrain { .. }
            | TraceEvent::Extfrag(_)
            | TraceEvent::MigratePages(_) => self.unused.internal += 1,
            TraceEvent::BulkEnter { gfp, .. } => {
                self.bulk.entry(pid).or_default().gfp = GfpFlags::from_bits_truncate(gfp);
            }
            TraceEvent::BulkExit { got } => self.bulk.entry(pid).or_default().got += got,
            TraceEvent::VmapPages(map) => self.vmap_pages(&map),
            TraceEvent::CmaAllocStart { .. } => {
                self.cma.insert(pid);
                self.unused.cma_notes += 1;
            }
            TraceEvent::CmaAllocFinish { .. } => {
                self.cma.remove(&pid);
                self.unused.cma_notes += 1;
            }
            TraceEvent::CmaRelease { .. } => self.unused.cma_notes += 1,
            TraceEvent::ContigEnter { range, .. } => {
                self.contig.insert(pid, ContigWindow::new(range));
            }
            TraceEvent::ContigExit { ret } => self.contig_exit(ret),
            TraceEvent::ContigFree { range } => match self.contig.get_mut(&pid) {
                Some(window) => window.trimmed.push(range),
                None => self.unused.internal += 1,
            },
            TraceEvent::CompactionBegin(_) => {
                self.compaction_end();
                self.compact.insert(pid, CompactWindow::default());
            }
            TraceEvent::CompactionEnd(_) => self.compaction_end(),
            TraceEvent::Offline { range } => self.unused.hotplug += range.len().get(),
            TraceEvent::Online { pfn, order } => {
                self.joining = pfn.map(|pfn| PfnRange::block(pfn, order));
            }
            TraceEvent::IsolateFreePage { pfn, order } => self.isolation(|w| w.ask(pfn, order)),
            TraceEvent::IsolateFreePageExit { pages, .. } => self.isolation(|w| w.take(pages)),
            TraceEvent::Marker(marker) => self.marker(marker),
            TraceEvent::Other(name) => self.other(&name),
            replayed => self.other(replayed.name()),
        }
    }

    /// A note about a free page that is isolated, by compaction or not.
    fn isolation(&mut self, note: impl FnOnce(&mut CompactWindow)) {
        self.unused.internal += 1;
        if let Some(window) = self.compact.get_mut(&self.now.pid) {
            note(window);
        }
    }

    fn emit(&mut self, op: Op) {
        let Now { line, timestamp, cpu, pid } = self.now;
        self.ready.push_back(Step { line, timestamp, cpu, pid, op });
    }

    /// Supplies the frees that were missed for pages of `range` that are still live.
    fn clear(&mut self, range: PfnRange) {
        let mut missed = Vec::new();
        self.unused.realloc += self.live.remove(range, |_, piece| missed.push(piece));
        self.free_all(missed);
    }

    fn free_all(&mut self, pieces: impl IntoIterator<Item = Piece>) {
        for piece in pieces {
            self.emit(Op::Free { id: piece.id, span: piece.span });
        }
    }

    /// A new identity for `range`.
    fn adopt(&mut self, range: PfnRange) -> PageId {
        self.clear(range);
        let id = PageId(self.next_id);
        self.next_id += 1;
        let pages = u32::try_from(range.len().get()).expect("the reader bounds ranges");
        self.live.insert(range.start(), Piece { id, span: PageSpan { first: 0, pages } });
        id
    }

    fn alloc(&mut self, pfn: Pfn, order: Order, gfp: GfpFlags) {
        let id = self.adopt(PfnRange::block(pfn, order));
        self.emit(Op::Alloc { id, order, gfp });
    }

    fn page_alloc(&mut self, pfn: Pfn, order: Order, gfp: GfpFlags) {
        match self.contig.get_mut(&self.now.pid) {
            Some(window) if ContigWindow::is_target(gfp) => {
                window.targets.push_back(Target { pfn, order, gfp });
            }
            _ => self.alloc(pfn, order, gfp),
        }
    }

    fn page_free(&mut self, range: PfnRange) {
        if self.joining.take_if(|joining| *joining == range).is_some() {
            self.unused.hotplug += range.len().get();
            return;
        }
        if self.free_in_contig(range) || self.free_in_compaction(range) {
            return;
        }
        let Self { live, ready, now, .. } = self;
        let Now { line, timestamp, cpu, pid } = *now;
        let known = live.remove(range, |_, piece| {
            let op = Op::Free { id: piece.id, span: piece.span };
            ready.push_back(Step { line, timestamp, cpu, pid, op });
        });
        self.unused.free_unknown += range.len().get() - known;
    }

    /// Frees inside `alloc_contig_range()`: trimming, failed targets, and migrated sources.
    fn free_in_contig(&mut self, range: PfnRange) -> bool {
        let Some(window) = self.contig.get_mut(&self.now.pid) else { return false };
        if window.trimmed.iter().any(|t| t.covers(range)) {
            self.unused.contig_trimmed += range.len().get();
            return true;
        }
        if window.drop_target(range.start()) {
            self.unused.targets_returned += range.len().get();
            return true;
        }
        let fits = |t: &mut Target| t.order.pages() == range.len();
        if !window.range.covers(range) {
            return false;
        }
        let Some(target) = window.targets.pop_front_if(fits) else { return false };
        let mut moved = Vec::new();
        let pages = self.live.remove(range, |at, piece| moved.push((at, piece)));
        if pages < range.len().get() {
            // The source is older than the trace: a part of what was in use before, and still is.
            self.free_all(moved.into_iter().map(|(_, piece)| piece));
            self.unused.moved_unknown += range.len().get();
            return true;
        }
        self.clear(PfnRange::block(target.pfn, target.order));
        for (at, piece) in moved {
            self.live.insert(target.pfn + (at - range.start()), piece);
        }
        self.unused.moved_contig += pages;
        true
    }

    /// Frees of a task that compacts: targets that were not needed, and migrated sources.
    fn free_in_compaction(&mut self, range: PfnRange) -> bool {
        let Some(window) = self.compact.get_mut(&self.now.pid) else { return false };
        if range.len().get() == 1 && window.isolated.remove(&range.start()).is_some() {
            self.unused.targets_returned += 1;
            return true;
        }
        if window.isolated.is_empty() || range.len().get() != 1 {
            return false;
        }
        self.live.remove(range, |_, piece| window.sources.push_back(piece)) == 1
    }

    fn compaction_end(&mut self) {
        let Some(mut window) = self.compact.remove(&self.now.pid) else { return };
        let mut used = window.used().into_iter();
        for pfn in used.by_ref().take(window.sources.len()) {
            let source = window.sources.pop_front().expect("as many as were counted");
            self.clear(PfnRange::block(pfn, Order::ZERO));
            self.live.insert(pfn, source);
            self.unused.moved_compaction += 1;
        }
        self.unused.moved_unknown += u64::try_from(used.len()).unwrap_or(u64::MAX);
        self.free_all(window.sources);
    }

    fn contig_exit(&mut self, ret: i32) {
        let Some(window) = self.contig.remove(&self.now.pid) else { return };
        for target in window.targets {
            self.alloc(target.pfn, target.order, target.gfp);
        }
        if ret != 0 {
            self.unused.contig_failed += 1;
            return;
        }
        let owner = match self.cma.contains(&self.now.pid) {
            true => ContigOwner::Cma,
            false => ContigOwner::Anyone,
        };
        let id = self.adopt(window.range);
        self.emit(Op::AllocContig { id, pages: window.range.len(), owner });
    }

    /// Pages taken in bulk: the first eight of the mapping are known.
    fn vmap_pages(&mut self, map: &VmapPages) {
        let Some(bulk) = self.bulk.remove(&self.now.pid) else {
            self.unused.vmap_other += 1;
            return;
        };
        let mapped = bulk.got.min(map.bytes >> 12);
        let located = usize::try_from(mapped).unwrap_or(usize::MAX).min(map.pages.len());
        let mut unlocated = bulk.got;
        for pfn in map.pages[..located].iter().flatten() {
            unlocated -= 1;
            match self.live.page(*pfn) {
                Some(_) => self.unused.bulk_known += 1,
                None => self.alloc(*pfn, Order::ZERO, bulk.gfp),
            }
        }
        self.unused.bulk_unlocated += unlocated;
    }

    fn marker(&mut self, marker: Marker) {
        match marker {
            Marker::TagsOn(frames) => {
                for pfn in frames {
                    match self.live.page(pfn) {
                        Some(page) => self.emit(Op::Tag { id: page.id, page: page.span.first }),
                        None => self.unused.tag_unknown += 1,
                    }
                }
            }
            Marker::Snapshot { index, phase } => self.emit(Op::Snapshot { index, phase }),
            Marker::ProtMte { .. } | Marker::MemoryBlock { .. } | Marker::Text(_) => {
                self.unused.markers += 1;
            }
        }
    }

    fn other(&mut self, name: &str) {
        match self.unused.other.get_mut(name) {
            Some(count) => *count += 1,
            None => {
                self.unused.other.insert(name.into(), 1);
            }
        }
    }

    /// The end of the trace: what was under way is settled.
    fn finish(&mut self) {
        let compacting: Vec<_> = self.compact.keys().copied().collect();
        for pid in compacting {
            self.now.pid = pid;
            self.compaction_end();
        }
        self.unused.bulk_unlocated += self.bulk.values().map(|bulk| bulk.got).sum::<u64>();
        self.bulk.clear();
    }
}
