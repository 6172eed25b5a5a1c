//! Reports for programs: one JSON object.
//!
//! * `plan`: `version`, `kernel`, `trace`, `recorded_on`, `designs`, `memory_bytes`, `cma_bytes`,
//!   `block_size_bytes`, `tagged_share`, `seed`, and `survey`, the counts of the trace.
//! * `runs`: one object a design, in the plan's order. Its fields are those of [`RunReport`] and of
//!   the types in `report`, by the same names. What a design does not have (what of tag storage a
//!   carve-out lends, say) is `null`.
//! * `runs[].before.blocks` and `runs[].after.blocks`: one letter a pageblock, by address, as in
//!   the text report; see [`BlockMap`](super::blocks::BlockMap).
//!
//! Numbers of pages are exact integers; averages are floats, and so named.

use serde_json::{Value, json};

use super::RunReport;

/// The plan with its trace, and every run.
#[must_use]
pub fn render(plan: &Value, reports: &[RunReport]) -> String {
    let whole = json!({ "plan": plan, "runs": reports });
    format!("{whole:#}\n")
}
