//! A replay as one row of a table.

use super::summary::Summary;

/// The summary as a row in Markdown, ended by a newline.
#[must_use]
pub fn render(summary: &Summary) -> String {
    let Summary { profile, level, events, score, tally, snapshots, .. } = summary;
    let case = summary.case.replace('|', "\\|");
    let causes = tally.causes.iter().map(|(cause, (count, _))| format!("{count} {cause}"));
    let causes: Vec<_> = causes.collect();
    let equal: u32 = snapshots.iter().filter(|s| s.is_equal()).map(|_| 1).sum();
    format!(
        "| {case} | {profile} | {} | {events} | {} | {} | {} | {} | {equal} of {} |\n",
        level.name(),
        score.predictions,
        score.exact,
        tally.resyncs,
        if causes.is_empty() { "none".to_owned() } else { causes.join(", ") },
        snapshots.len(),
    )
}
