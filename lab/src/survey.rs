//! What a trace holds, before any machine is built from it.

use std::collections::BTreeMap;
use std::io::Read;

use pagelab_allocator::units::PageCount;
use serde_json::{Value, json};

use crate::logical::{Logical, Op, Step, Unused};
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
    /// When it happens.
    pub time: Span,
}

/// From the first to the last operation, nanoseconds of the trace's clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span {
    /// Of the first operation.
    pub start: u64,
    /// Of the last operation.
    pub end: u64,
}

impl Span {
    /// Begins with the first moment that it hears of.
    fn hear(span: &mut Option<Self>, now: u64) {
        let all = span.get_or_insert(Self { start: now, end: now });
        all.end = all.end.max(now);
    }
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
        let mut time = None;
        while let Some(step) = stream.next() {
            let Step { op, timestamp, .. } = step?;
            Span::hear(&mut time, timestamp);
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
            time: time.unwrap_or_default(),
        })
    }

    /// Counts the operations of a workload; nothing else is known before they are carried out.
    #[must_use]
    pub fn of_workload(steps: impl Iterator<Item = Step>) -> Self {
        let mut operations = BTreeMap::new();
        let mut time = None;
        for step in steps {
            Span::hear(&mut time, step.timestamp);
            *operations.entry(kind(step.op)).or_default() += 1;
        }
        Self {
            operations,
            peak: PageCount::ZERO,
            live: PageCount::ZERO,
            live_at_start: None,
            unused: Unused::default(),
            seen: Seen::default(),
            time: time.unwrap_or_default(),
        }
    }

    /// What was used of the trace and what was not, as lists of words.
    #[must_use]
    pub fn lists(&self) -> Vec<(&'static str, Vec<String>)> {
        let operations =
            self.operations.iter().map(|(name, n)| format!("{n} {}", name.replace('_', " ")));
        let others: u64 = self.unused.other.values().sum();
        let classes = self.unused.classes().map(|(name, n)| (in_words(name), n));
        let unused = classes.chain([("events of other kinds", others)]);
        let unused = unused.filter(|(_, n)| *n > 0).map(|(name, n)| format!("{n} {name}"));
        let skipped = self.seen.skipped.iter().map(|((field, cause), n)| match *field {
            "" => format!("{n} {cause}"),
            field => format!("{n} {field} {cause}"),
        });
        let (lost, places) = (self.seen.lost_events, self.seen.lost_lines);
        let lost = (places > 0).then(|| format!("{lost} in {places} places"));
        vec![
            ("operations", operations.collect()),
            ("not used", unused.collect()),
            ("skipped lines", skipped.collect()),
            ("lost events", lost.into_iter().collect()),
        ]
    }

    /// Every count: `operations`, `unused` and `other_events` are objects of counts by name,
    /// `skipped_lines` of counts by field and cause; `lost_events` were lost at `lost_places`.
    #[must_use]
    pub fn json(&self) -> Value {
        let skipped = self.seen.skipped.iter().map(|((field, cause), n)| {
            let name = if field.is_empty() { "line" } else { field };
            (format!("{name}: {cause}"), json!(n))
        });
        let other = self.unused.other.iter().map(|(name, n)| (name.to_string(), json!(n)));
        json!({
            "lines": self.seen.lines,
            "operations": self.operations,
            "peak_pages": self.peak.get(),
            "live_pages_at_end": self.live.get(),
            "unused": self.unused.classes().collect::<BTreeMap<_, _>>(),
            "other_events": other.collect::<serde_json::Map<_, _>>(),
            "skipped_lines": skipped.collect::<serde_json::Map<_, _>>(),
            "lost_events": self.seen.lost_events,
            "lost_places": self.seen.lost_lines,
        })
    }
}

/// What an operation is, for counts.
pub(crate) const fn kind(op: Op) -> &'static str {
    match op {
        Op::Alloc { .. } => "allocations",
        Op::Failed { .. } => "failed_allocations",
        Op::AllocContig { .. } => "contiguous_ranges",
        Op::Free { .. } => "frees",
        Op::Tag { .. } => "tags",
        Op::Process(op) => op.name(),
        Op::Snapshot { .. } => "snapshot_marks",
    }
}

/// A class of [`Unused`] for people.
fn in_words(class: &'static str) -> &'static str {
    match class {
        "free_batched" => "second notices of frees",
        "free_unknown" => "frees of pages older than the trace",
        "realloc" => "frees that were missing",
        "tag_unknown" => "tags on pages older than the trace",
        "moved_contig" => "pages moved out of ranges",
        "moved_compaction" => "pages moved by compaction",
        "moved_unknown" => "moves of pages older than the trace",
        "targets_returned" => "migration targets given back",
        "hotplug" => "pages of memory hotplug",
        "contig_failed" => "ranges that failed",
        "contig_trimmed" => "pages trimmed off ranges",
        "bulk_unlocated" => "bulk pages at unknown places",
        "bulk_known" => "bulk pages with events of their own",
        "vmap_other" => "mappings of other pages",
        "internal" => "notes about free lists",
        "cma_notes" => "notes about CMA",
        "markers" => "other markers",
        other => other,
    }
}
