//! What a trace holds, before any machine is built from it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read;

use pagelab_allocator::units::PageCount;
use serde_json::{Value, json};

use crate::logical::{Logical, Op, Unused};
use crate::trace::{Seen, SnapPhase, TraceError, TraceReader};

/// Counts of a whole trace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Survey {
    /// Operations by kind.
    pub operations: BTreeMap<&'static str, u64>,
    /// Most pages live at one time.
    pub peak: PageCount,
    /// Pages live at the end.
    pub live: PageCount,
    /// Pages of the trace live at the first snapshot; `None` when the trace has none.
    pub live_at_start: Option<PageCount>,
    /// What did not become an operation.
    pub unused: Unused,
    /// What the reader met besides records.
    pub seen: Seen,
}

impl Survey {
    /// Reads the trace to its end.
    ///
    /// # Errors
    ///
    /// [`TraceError`] of the first line that cannot be read.
    pub fn new<R: Read>(reader: TraceReader<R>) -> Result<Self, TraceError> {
        let mut stream = Logical::new(reader);
        let mut operations = BTreeMap::new();
        let mut live_at_start = None;
        while let Some(step) = stream.next() {
            let op = step?.op;
            *operations.entry(kind(op)).or_default() += 1;
            if matches!(op, Op::Snapshot { index: 0, phase: SnapPhase::Begin }) {
                live_at_start = Some(stream.live());
            }
        }
        Ok(Self {
            operations,
            peak: stream.peak(),
            live: stream.live(),
            live_at_start,
            unused: stream.unused().clone(),
            seen: stream.records().seen().clone(),
        })
    }

    /// Every count with its name, those of zero left out.
    fn counts(&self) -> Vec<(String, u64)> {
        let operations = self.operations.iter().map(|(name, n)| ((*name).to_owned(), *n));
        let pages = [("peak pages", self.peak.get()), ("pages live at the end", self.live.get())];
        let pages = pages.map(|(name, n)| (name.to_owned(), n));
        let unused = self.unused.classes().map(|(name, n)| (name.replace('_', " "), n));
        let other = self.unused.other.iter().map(|(name, n)| (format!("event {name}"), *n));
        let skipped = self.seen.skipped.iter().map(|((field, cause), n)| {
            (format!("skipped: {field} {cause}").replace("  ", " "), *n)
        });
        let lost = [("lost events".to_owned(), self.seen.lost_events)];
        let all = operations.chain(pages).chain(unused).chain(other).chain(skipped).chain(lost);
        all.filter(|(_, n)| *n > 0).collect()
    }

    /// The counts as a table.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, count) in self.counts() {
            writeln!(text, "{count:>12}  {name}").expect("writing to memory");
        }
        text
    }

    /// The counts as one JSON object.
    #[must_use]
    pub fn json(&self) -> Value {
        self.counts().into_iter().map(|(name, count)| (name, json!(count))).collect()
    }
}

const fn kind(op: Op) -> &'static str {
    match op {
        Op::Alloc { .. } => "allocations",
        Op::Failed { .. } => "allocations that failed",
        Op::AllocContig { .. } => "contiguous allocations",
        Op::Free { .. } => "frees",
        Op::Tag { .. } => "tags",
        Op::Snapshot { .. } => "snapshot marks",
    }
}
