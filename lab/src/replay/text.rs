//! A replay for people.

use core::fmt::Write;

use super::compare::SnapshotVerdict;
use super::ledger::Explained;
use super::summary::Summary;
use super::tally::Miss;

/// The summary as text.
#[must_use]
pub fn render(summary: &Summary) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_summary(&mut text, summary);
    text
}

/// Whether two versions agree in their first two numbers.
fn same_series(kernel: &str, profile: &str) -> bool {
    kernel.split(['.', '-']).take(2).eq(profile.split('.').take(2))
}

fn write_summary(out: &mut String, summary: &Summary) -> core::fmt::Result {
    let Summary { case, kernel, profile, level, events, score, tally, .. } = summary;
    writeln!(out, "{case}: Linux {kernel}, rules of {profile}, {} level", level.name())?;
    if !same_series(kernel, profile) {
        writeln!(
            out,
            "note: these are not the rules of that kernel; where they agree, all matches"
        )?;
    }
    writeln!(
        out,
        "{events} events, {} predictions, {} exact ({:.6}), {} resyncs",
        score.predictions,
        score.exact,
        summary.exact_ratio(),
        tally.resyncs
    )?;
    writeln!(out)?;
    for (kind, score) in &tally.scores {
        writeln!(out, "  {:<28} {:>9} of {:>9}", kind.name(), score.exact, score.predictions)?;
    }
    for (cause, (count, first)) in &tally.causes {
        writeln!(out, "\n{count} missed: {cause}")?;
        if let Some(first) = first {
            write_miss(out, first)?;
        }
    }
    writeln!(out)?;
    for verdict in &summary.snapshots {
        write_snapshot(out, verdict)?;
    }
    if let Some(explained) = &summary.explained {
        write_explained(out, explained)?;
    }
    if let Some(state) = &summary.stopped {
        writeln!(out, "\n{state}")?;
    }
    Ok(())
}

fn write_miss(out: &mut String, miss: &Miss) -> core::fmt::Result {
    let Miss { number, line, kind, predicted, recorded, .. } = miss;
    writeln!(out, "  miss {number}, trace line {line}, {}", kind.name())?;
    writeln!(out, "    predicted: {predicted}\n    recorded:  {recorded}")
}

fn write_snapshot(out: &mut String, verdict: &SnapshotVerdict) -> core::fmt::Result {
    let Some(difference) = &verdict.difference else {
        return writeln!(out, "snapshot {}: equal", verdict.id);
    };
    writeln!(out, "snapshot {}: {} differs", verdict.id, difference.what)?;
    writeln!(out, "  ours:   {}\n  theirs: {}", difference.ours, difference.theirs)
}

fn write_explained(out: &mut String, explained: &Explained) -> core::fmt::Result {
    writeln!(out, "\n{}", explained.miss.cause)?;
    write_miss(out, &explained.miss)?;
    writeln!(out, "before:\n{}", explained.before)?;
    writeln!(out, "after:\n{}", explained.after.as_deref().unwrap_or("not reached\n"))
}
