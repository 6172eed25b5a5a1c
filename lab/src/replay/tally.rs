//! Predictions counted, and the misses among them.

use std::collections::BTreeMap;

use super::cause::Cause;

/// What was predicted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Which block left the buddy lists. Linux: `mm_page_alloc_zone_locked`.
    Taken,
    /// Which block was raided, and what became of its pageblock. Linux: `mm_page_alloc_extfrag`.
    Extfrag,
    /// Whether a free block could be isolated, and its order. Linux: `__isolate_free_page()`.
    Isolated,
    /// Which page a request got. Linux: `mm_page_alloc`.
    Allocated,
    /// Which pages a bulk request got. Linux: `__alloc_pages_bulk()`.
    Bulk,
    /// Which block went back to the buddy lists, and to which. Linux: `mm_page_pcpu_drain`.
    Drained,
    /// The order of a list at a snapshot.
    Listed,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Taken,
        Self::Extfrag,
        Self::Isolated,
        Self::Allocated,
        Self::Bulk,
        Self::Drained,
        Self::Listed,
    ];

    /// The name in reports: the event's.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Taken => "mm_page_alloc_zone_locked",
            Self::Extfrag => "mm_page_alloc_extfrag",
            Self::Isolated => "isolate_free_page",
            Self::Allocated => "mm_page_alloc",
            Self::Bulk => "bulk pages",
            Self::Drained => "mm_page_pcpu_drain",
            Self::Listed => "lists at snapshots",
        }
    }
}

/// Predictions of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Score {
    /// How many were made.
    pub predictions: u64,
    /// How many came true.
    pub exact: u64,
}

/// One prediction that did not come true.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Miss {
    /// Its number, from 1.
    pub number: u64,
    /// Line of the trace.
    pub line: u64,
    /// What was predicted.
    pub kind: Kind,
    /// Why it missed.
    pub cause: Cause,
    /// What the emulator said.
    pub predicted: String,
    /// What Linux did.
    pub recorded: String,
}

/// All predictions of a replay.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// By kind.
    pub scores: BTreeMap<Kind, Score>,
    /// Misses by cause, with the first of each.
    pub causes: BTreeMap<Cause, (u64, Option<Miss>)>,
    /// How often the emulator's state was set to the recorded one.
    pub resyncs: u64,
    hits: [u64; Kind::ALL.len()],
    misses: u64,
}

impl Tally {
    /// A prediction came true.
    #[inline]
    pub const fn hit(&mut self, kind: Kind) {
        self.hits[kind as usize] += 1;
    }

    /// A prediction did not; returns the number of the miss.
    pub fn miss(&mut self, miss: Miss) -> u64 {
        self.misses += 1;
        let number = self.misses;
        self.scores.entry(miss.kind).or_default().predictions += 1;
        let (count, first) = self.causes.entry(miss.cause).or_default();
        *count += 1;
        first.get_or_insert(Miss { number, ..miss });
        number
    }

    /// Moves the last miss of `from`, which has been explained by now, to another cause.
    pub fn reconsider(&mut self, from: Cause, to: Cause) {
        let Some((count, first)) = self.causes.get_mut(&from) else { return };
        *count -= 1;
        let moved = if *count == 0 { first.take() } else { None };
        if *count == 0 {
            self.causes.remove(&from);
        }
        let (count, first) = self.causes.entry(to).or_default();
        *count += 1;
        if first.is_none() {
            *first = moved.map(|miss| Miss { cause: to, ..miss });
        }
    }

    /// Misses so far.
    #[must_use]
    pub const fn misses(&self) -> u64 {
        self.misses
    }

    /// All predictions together, and by kind.
    #[must_use]
    pub fn settle(&mut self) -> Score {
        for kind in Kind::ALL {
            let hits = core::mem::take(&mut self.hits[kind as usize]);
            if hits > 0 {
                let score = self.scores.entry(kind).or_default();
                score.predictions += hits;
                score.exact += hits;
            }
        }
        self.scores.values().fold(Score::default(), |all, score| Score {
            predictions: all.predictions + score.predictions,
            exact: all.exact + score.exact,
        })
    }
}
