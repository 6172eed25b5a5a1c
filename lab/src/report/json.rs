//! Reports for programs: one JSON object. Field names are those of the types in `report`.

use serde_json::{Value, json};

use super::RunReport;

/// The preface (plan and trace) and every run.
#[must_use]
pub fn render(preface: &Value, reports: &[RunReport]) -> String {
    let whole = json!({ "plan": preface, "runs": reports });
    format!("{whole:#}\n")
}
