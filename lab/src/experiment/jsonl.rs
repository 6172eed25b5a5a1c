//! Results as lines of JSON.
//!
//! The first line is `{"plan": ..., "costs": ...}`; the cost model is null when none was asked for.
//! Every other line is a run: `design`, `memory_bytes`, `tagged_percent` (null: as recorded, or
//! what the workload always tags), `seed`, `metrics` (null where a run has none), `counters`,
//! `moments`, a list of objects, and `cost`, what the run takes by the cost model.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::json;

use super::{Results, metrics};

/// Writes all of it.
///
/// # Errors
///
/// What `out` says.
pub fn write(results: &Results, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}", json!({ "plan": results.plan, "costs": results.costs }))?;
    for group in &results.groups {
        for (design, cells) in results.designs.iter().zip(&group.cells) {
            for (seed, cell) in (group.scene.seed..).zip(cells) {
                let values: BTreeMap<_, _> =
                    metrics().map(|(at, metric)| (metric.name, cell.values[at])).collect();
                let run = json!({
                    "design": design.to_string(),
                    "memory_bytes": group.pages() * 4096,
                    "tagged_percent": group.tagged_percent(),
                    "seed": seed,
                    "metrics": values,
                    "counters": cell.counters,
                    "moments": cell.moments,
                    "cost": cell.price,
                });
                writeln!(out, "{run}")?;
            }
        }
    }
    Ok(())
}
