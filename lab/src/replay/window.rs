//! A trace with a bounded look ahead: whether a free is one of a batch.
//!
//! All frees of a batch are printed before the first of them is carried out, and each is announced
//! again when it is. Whoever replays has to know at the first line whether the second one comes.

use std::collections::VecDeque;
use std::io::Read;

use pagelab_allocator::units::{Pfn, PfnRange};

use crate::trace::{Record, TraceError, TraceEvent, TraceReader};

/// How many records are held back. A batch is at most some five hundred pages, each of which may
/// drain a thousand.
const AHEAD: usize = 8192;

/// A record, and what the look ahead says about it.
#[derive(Debug)]
pub struct Step {
    /// The record.
    pub record: Record,
    /// It is a free, and the page joins the lists only at a later `mm_page_free_batched`.
    pub batched: bool,
    /// It is a free, and the page goes past the per-CPU lists (`free_one_page`).
    pub past_pcp: bool,
    /// The node's reclaimer is at work, though perhaps not running at this moment.
    pub reclaiming: bool,
    /// The recording lost events before this one.
    pub lost: bool,
}

/// The reclaimer's round under way.
#[derive(Clone, Copy, Debug)]
struct Round {
    pid: u32,
    /// Number of the last record that was its own.
    last: u64,
}

/// A trace as steps.
#[derive(Debug)]
pub struct Window<R: Read> {
    reader: TraceReader<R>,
    ring: VecDeque<Step>,
    /// Number of the first step in the ring, counted from 0.
    first: u64,
    /// By frame: number of its last free, plus one; 0 when there was none.
    freed: Vec<u64>,
    base: Pfn,
    round: Option<Round>,
    ended: bool,
    /// What ended the trace, after the steps before it.
    error: Option<TraceError>,
}

impl<R: Read> Window<R> {
    /// Looks ahead in `reader`, for a machine with these frames.
    pub fn new(reader: TraceReader<R>, frames: PfnRange) -> Self {
        let len = usize::try_from(frames.len().get()).expect("a machine's frames fit its memory");
        Self {
            reader,
            ring: VecDeque::with_capacity(AHEAD),
            first: 0,
            freed: vec![0; len],
            base: frames.start(),
            round: None,
            ended: false,
            error: None,
        }
    }

    /// The reader, for what it has met besides records.
    pub const fn reader(&self) -> &TraceReader<R> {
        &self.reader
    }

    fn slot(&mut self, pfn: Pfn) -> Option<&mut u64> {
        let offset = pfn.get().checked_sub(self.base.get())?;
        self.freed.get_mut(usize::try_from(offset).ok()?)
    }

    fn read(&mut self) {
        let lost = self.reader.seen().lost_lines;
        let record = match self.reader.next() {
            Some(Ok(record)) => record,
            Some(Err(error)) => {
                self.error = Some(error);
                self.ended = true;
                return;
            }
            None => {
                self.ended = true;
                return;
            }
        };
        let number = self.first + self.ring.len() as u64;
        match record.event {
            TraceEvent::PageFree { pfn, .. } => {
                if let Some(slot) = self.slot(pfn) {
                    *slot = number + 1;
                }
            }
            TraceEvent::PageFreeBatched { pfn } => {
                if let Some(step) = self.freed(pfn) {
                    step.batched = true;
                }
            }
            TraceEvent::FreeOnePage { pfn, .. } => {
                if let Some(step) = self.freed(pfn) {
                    step.past_pcp = true;
                }
            }
            _ => {}
        }
        let pid = record.pid;
        let lost = self.reader.seen().lost_lines > lost;
        let step = Step { record, batched: false, past_pcp: false, reclaiming: false, lost };
        self.ring.push_back(step);
        self.note_reclaim(number, pid);
    }

    /// Marks the records of the reclaimer's round: all from its first to its last. That it ended
    /// before somebody wakes it again is sure; what comes after its last record is not part of it.
    /// Linux: `balance_pgdat()`.
    fn note_reclaim(&mut self, number: u64, pid: u32) {
        match self.ring.back().map(|step| &step.record.event) {
            Some(TraceEvent::KswapdWake) => self.round = Some(Round { pid, last: number }),
            Some(TraceEvent::KswapdSleep | TraceEvent::WakeupKswapd) => self.round = None,
            _ => {}
        }
        let Some(round) = self.round.as_mut().filter(|round| round.pid == pid) else { return };
        let since = core::mem::replace(&mut round.last, number).max(self.first);
        let skipped = usize::try_from(since - self.first).unwrap_or(usize::MAX);
        self.ring.iter_mut().skip(skipped).for_each(|step| step.reclaiming = true);
    }

    /// The last free of a page that is still ahead.
    fn freed(&mut self, pfn: Pfn) -> Option<&mut Step> {
        let first = self.first;
        let number = *self.slot(pfn)?;
        let at = number.checked_sub(first + 1)?;
        self.ring.get_mut(usize::try_from(at).ok()?)
    }
}

impl<R: Read> Iterator for Window<R> {
    type Item = Result<Step, TraceError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended && self.ring.len() < AHEAD {
            self.read();
        }
        match self.ring.pop_front() {
            Some(step) => {
                self.first += 1;
                Some(Ok(step))
            }
            None => self.error.take().map(Err),
        }
    }
}
