//! Which pages somebody has, as far as the recording says: what shows that an event is missing from
//! a recording, or stands in it twice.
//!
//! A page's way ends at one place: a free that was printed is followed by at most one event that
//! says where the page went, and no such event comes without a free.
//!
//! At the buddy level nothing else looks at pages that go to per-CPU lists and come from there.

use pagelab_allocator::restore::MachineState;
use pagelab_allocator::units::{Order, Pfn, PfnRange};

use super::compare::Difference;
use super::tally::Kind;
use crate::trace::{Record, TraceEvent};

/// A bulk request under way.
#[derive(Clone, Copy, Debug)]
struct Bulk {
    pid: u32,
    /// Single requests that it has made instead, with events of their own.
    single: u64,
}

/// The pages that somebody has.
#[derive(Clone, Debug)]
pub struct InUse {
    frames: PfnRange,
    /// A bit a frame.
    words: Vec<u64>,
    /// A bit for each first frame of a block whose free was printed, until an event says where the
    /// block went.
    printed: Vec<u64>,
    /// A free block that is being isolated.
    isolating: Option<PfnRange>,
    bulk: Option<Bulk>,
    /// Pages that bulk requests got and no event named.
    unnamed: u64,
}

/// What an event contradicts: the kind of prediction it is, and what was known.
pub type Contradiction = (Kind, &'static str);

const FREE_ALREADY: Contradiction = (Kind::Drained, "a page that is free already");
const DRAINED_IN_USE: Contradiction = (Kind::Drained, "a page that is in use");
const NOT_FREED: Contradiction = (Kind::Drained, "a page whose free was not printed before");
const ISOLATED_TWICE: Contradiction = (Kind::Isolated, "a block that is being isolated already");
const HANDED_OUT_TWICE: Contradiction = (Kind::Allocated, "a page that is in use");

impl InUse {
    /// Of a machine with these frames: what is on no list of a dump.
    #[must_use]
    pub fn new(frames: PfnRange, dump: &MachineState) -> Self {
        let len = usize::try_from(frames.len().get()).expect("a machine's frames fit its memory");
        let words = vec![u64::MAX; len.div_ceil(64)];
        let printed = vec![0; words.len()];
        let mut pages = Self { frames, words, printed, isolating: None, bulk: None, unnamed: 0 };
        let blocks = dump
            .zones
            .iter()
            .flat_map(|zone| zone.free.iter().chain(zone.pcp.iter().flat_map(|pcp| &pcp.blocks)));
        for block in blocks {
            pages.give_back(PfnRange::block(block.pfn, block.order));
        }
        pages
    }

    /// Notes an event before the first snapshot: where a page goes may be said after it.
    pub fn note_before(&mut self, record: &Record) {
        if let TraceEvent::PageFree { pfn, .. } = record.event {
            self.set_printed(pfn);
        }
    }

    /// Notes what an event says; returns what contradicts it, if anything does.
    #[inline]
    pub fn note(&mut self, record: &Record) -> Option<Contradiction> {
        match record.event {
            TraceEvent::PageAlloc { pfn, order, .. } => {
                if let Some(bulk) = self.bulk.as_mut().filter(|bulk| bulk.pid == record.pid) {
                    bulk.single += 1;
                }
                let fresh = self.take(PfnRange::block(pfn, order));
                (fresh < order.pages().get()).then_some(HANDED_OUT_TWICE)
            }
            TraceEvent::PageFree { pfn, order } => {
                self.set_printed(pfn);
                self.free(pfn, order)
            }
            TraceEvent::PageFreeBatched { pfn } | TraceEvent::FreeOnePage { pfn, .. } => {
                (!self.take_printed(pfn)).then_some(NOT_FREED)
            }
            TraceEvent::PcpuDrain { pfn, order, .. } => {
                let held = self.give_back(PfnRange::block(pfn, order));
                (held > 0).then_some(DRAINED_IN_USE)
            }
            TraceEvent::IsolateFreePage { pfn, order } => {
                let block = pfn.map(|pfn| PfnRange::block(pfn, order));
                let before = core::mem::replace(&mut self.isolating, block);
                before.map(|_| ISOLATED_TWICE)
            }
            _ => {
                self.note_rare(record);
                None
            }
        }
    }

    fn note_rare(&mut self, record: &Record) {
        match record.event {
            TraceEvent::IsolateFreePageExit { pages, .. } => {
                if let Some(block) = self.isolating.take().filter(|_| pages > 0) {
                    self.take(block);
                }
            }
            TraceEvent::PutbackIsolated { pfn: Some(pfn), order, .. } => {
                self.give_back(PfnRange::block(pfn, order));
            }
            TraceEvent::Offline { range } => {
                self.take(range);
            }
            TraceEvent::BulkEnter { .. } => {
                self.bulk = Some(Bulk { pid: record.pid, single: 0 });
            }
            TraceEvent::BulkExit { got } => {
                let single = self.bulk.take().map_or(0, |bulk| bulk.single);
                self.unnamed += got.saturating_sub(single);
            }
            TraceEvent::VmapPages(ref map) => {
                for pfn in map.pages.iter().copied().flatten() {
                    let named = self.take(PfnRange::block(pfn, Order::ZERO));
                    self.unnamed = self.unnamed.saturating_sub(named);
                }
            }
            _ => {}
        }
    }

    /// A page that nobody was seen to get may be one that a bulk request got.
    fn free(&mut self, pfn: Pfn, order: Order) -> Option<Contradiction> {
        let block = PfnRange::block(pfn, order);
        let unheld = block.intersect(self.frames)?.len().get() - self.give_back(block);
        let bulk = unheld.min(self.unnamed);
        self.unnamed -= bulk;
        (unheld > bulk).then_some(FREE_ALREADY)
    }

    /// What a dump says otherwise; pages of bulk requests that no event named do not count.
    #[must_use]
    pub fn difference(&self, dump: &MachineState) -> Option<Difference> {
        let theirs = Self::new(self.frames, dump);
        let words = || self.words.iter().zip(&theirs.words);
        let extra: u64 = words().map(|(own, their)| u64::from((own & !their).count_ones())).sum();
        let lacking: u64 = words().map(|(own, their)| u64::from((their & !own).count_ones())).sum();
        if extra == 0 && lacking <= self.unnamed {
            return None;
        }
        let first = self.frames.iter().find(|pfn| self.has(*pfn) != theirs.has(*pfn))?;
        let name = |pages: &Self| if pages.has(first) { "in use" } else { "free" }.to_owned();
        Some(Difference {
            what: format!("page {first}, the first of {} pages", extra + lacking),
            ours: name(self),
            theirs: name(&theirs),
        })
    }

    /// Word and bit of a frame.
    fn place(&self, pfn: Pfn) -> Option<(usize, u64)> {
        let offset = pfn.get().checked_sub(self.frames.start().get())?;
        Some((usize::try_from(offset / 64).ok()?, 1 << (offset % 64)))
    }

    fn has(&self, pfn: Pfn) -> bool {
        let bits = |(word, bit)| self.words.get::<usize>(word).map(|word| word & bit != 0);
        self.place(pfn).and_then(bits).unwrap_or(true)
    }

    /// The free of a block was printed: where it goes is open.
    fn set_printed(&mut self, pfn: Pfn) {
        if let Some((at, bit)) = self.place(pfn)
            && let Some(word) = self.printed.get_mut(at)
        {
            *word |= bit;
        }
    }

    /// An event says where a block went; whether that was open.
    fn take_printed(&mut self, pfn: Pfn) -> bool {
        let Some((at, bit)) = self.place(pfn) else { return false };
        let Some(word) = self.printed.get_mut(at) else { return false };
        core::mem::replace(word, *word & !bit) & bit != 0
    }

    /// Somebody gets the frames; how many of them nobody had.
    fn take(&mut self, range: PfnRange) -> u64 {
        self.turn(range, |word, bit| core::mem::replace(word, *word | bit) & bit == 0)
    }

    /// Somebody gives the frames back; how many of them anybody had.
    fn give_back(&mut self, range: PfnRange) -> u64 {
        self.turn(range, |word, bit| core::mem::replace(word, *word & !bit) & bit != 0)
    }

    /// How many frames of the machine in a range a turn of their bits changes.
    #[inline]
    fn turn(&mut self, range: PfnRange, changes: impl Fn(&mut u64, u64) -> bool) -> u64 {
        let Some(range) = range.intersect(self.frames) else { return 0 };
        let mut changed = 0;
        for pfn in range.iter() {
            if let Some((at, bit)) = self.place(pfn)
                && let Some(word) = self.words.get_mut(at)
            {
                changed += u64::from(changes(word, bit));
            }
        }
        changed
    }
}
