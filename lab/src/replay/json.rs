//! A replay as JSON; the names are stable and documented in `notes/replay.md`.

use serde_json::{Map, Value, json};

use super::cause::Cause;
use super::compare::SnapshotVerdict;
use super::summary::Summary;

/// The summary as one JSON object, ended by a newline.
#[must_use]
pub fn render(summary: &Summary) -> String {
    let causes = &summary.tally.causes;
    let misses: Map<_, _> =
        causes.iter().map(|(cause, (count, _))| (cause.name().to_owned(), json!(count))).collect();
    let extfrag = summary.extfrag();
    let snapshots: Vec<_> = summary.snapshots.iter().map(snapshot).collect();
    let unexplained = causes.get(&Cause::Unexplained).map_or(0, |(count, _)| *count);
    let value = json!({
        "case": summary.case,
        "kernel": summary.kernel,
        "profile": summary.profile,
        "level": summary.level.name(),
        "events": summary.events,
        "predictions": summary.score.predictions,
        "exact": summary.score.exact,
        "exact_ratio": summary.exact_ratio(),
        "resyncs": summary.tally.resyncs,
        "misses": misses,
        "extfrag": { "expected": extfrag.predictions, "equal": extfrag.exact },
        "snapshots": snapshots,
        "unexplained": unexplained,
    });
    format!("{value:#}\n")
}

fn snapshot(verdict: &SnapshotVerdict) -> Value {
    json!({
        "id": verdict.id,
        "lists_equal": verdict.lists_equal,
        "pageblocks_equal": verdict.pageblocks_equal,
        "pcp_equal": verdict.pcp_equal,
        "pagetypeinfo_equal": verdict.pagetypeinfo_equal,
    })
}
