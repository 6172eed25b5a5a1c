//! Reports for people: one column a design, paste-ready in plain text.

use std::fmt::Write as _;

use super::blocks::{Colour, legend};
use super::{RunReport, approximate};

/// Width of the column of names.
const NAME: usize = 46;
/// Width of a column of values.
const VALUE: usize = 16;

/// A row: a name and the value of each run.
type Row<'a> = (&'static str, &'a dyn Fn(&RunReport) -> String);

/// The whole report behind a preface of finished lines.
#[must_use]
pub fn render(preface: &str, reports: &[RunReport], colour: Colour) -> String {
    let mut out = preface.to_owned();
    head(&mut out, reports);
    vendor(&mut out, reports);
    engineer(&mut out, reports);
    lists(&mut out, reports);
    out.push_str("\nPageblocks, by address\n");
    out.push_str(&legend(colour));
    for report in reports {
        let _ = writeln!(out, "{}, before", report.design);
        out.push_str(&report.before.blocks.render(colour));
        let _ = writeln!(out, "{}, after", report.design);
        out.push_str(&report.after.blocks.render(colour));
    }
    for report in reports {
        let _ =
            write!(out, "\n{}: /proc/buddyinfo after\n{}", report.design, report.after.buddyinfo);
    }
    for report in reports {
        let text = &report.after.pagetypeinfo;
        let _ = write!(out, "\n{}: /proc/pagetypeinfo after\n{text}", report.design);
    }
    out
}

fn head(out: &mut String, reports: &[RunReport]) {
    let _ = write!(out, "\n{:NAME$}", "");
    for report in reports {
        let _ = write!(out, "{:>VALUE$}", report.design);
    }
    out.push('\n');
}

fn table(out: &mut String, title: &str, reports: &[RunReport], rows: &[Row<'_>]) {
    let _ = writeln!(out, "{title}");
    for (name, value) in rows {
        let _ = write!(out, "  {name:<width$}", width = NAME - 2);
        for report in reports {
            let _ = write!(out, "{:>VALUE$}", value(report));
        }
        out.push('\n');
    }
}

fn mib(report: &RunReport, pages: f64) -> String {
    format!("{:.2} MiB", report.machine.mib(pages))
}

fn percent(part: f64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{:.1} %", 100.0 * part / approximate(whole)) }
}

fn ratio(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{:.1} %", 100.0 * value))
}

/// What a vendor asks: how much memory comes back, and at what risk.
fn vendor(out: &mut String, reports: &[RunReport]) {
    let carve_out = |r: &RunReport| mib(r, approximate(r.machine.carve_out_pages));
    let average = |r: &RunReport| mib(r, r.lent.average_pages);
    let share = |r: &RunReport| percent(r.lent.average_pages, r.machine.carve_out_pages);
    let end = |r: &RunReport| mib(r, approximate(r.lent.end_pages));
    let end_share =
        |r: &RunReport| percent(approximate(r.lent.end_pages), r.machine.carve_out_pages);
    let occupied = |r: &RunReport| mib(r, r.lent.occupied_average_pages);
    let failed = |r: &RunReport| r.requests.failed().to_string();
    let untagged =
        |r: &RunReport| (r.tagging.failed_no_memory + r.tagging.failed_no_progress).to_string();
    table(
        out,
        "Memory given back",
        reports,
        &[
            ("tag storage", &carve_out),
            ("not holding tags, averaged over time", &average),
            ("  of the tag storage", &share),
            ("not holding tags, at the end", &end),
            ("  of the tag storage", &end_share),
            ("holding data, averaged over time", &occupied),
            ("requests that failed", &failed),
            ("pages that could not be tagged", &untagged),
        ],
    );
}

/// What a kernel engineer asks: what it costs, and what was in the way.
fn engineer(out: &mut String, reports: &[RunReport]) {
    tagging(out, reports);
    let made = |r: &RunReport| r.requests.made.to_string();
    let memory = |r: &RunReport| r.requests.failed_no_memory.to_string();
    let blocks = |r: &RunReport| r.requests.failed_no_contiguity.to_string();
    let cma = |r: &RunReport| r.requests.failed_only_cma.to_string();
    let contig = |r: &RunReport| r.requests.failed_contig.to_string();
    let barred = |r: &RunReport| mib(r, r.barred_cma.average_pages);
    let barred_end = |r: &RunReport| mib(r, approximate(r.barred_cma.end_pages));
    let barred_failed = |r: &RunReport| r.barred_cma.failed_requests.to_string();
    table(
        out,
        "Requests",
        reports,
        &[
            ("made", &made),
            ("failed: nothing left", &memory),
            ("failed: no block of the order", &blocks),
            ("failed: only CMA left, which they may not use", &cma),
            ("failed: contiguous ranges", &contig),
        ],
    );
    table(
        out,
        "Free CMA that tagged requests could not use",
        reports,
        &[
            ("averaged over time", &barred),
            ("at the end", &barred_end),
            ("tagged requests failed for that reason", &barred_failed),
        ],
    );
}

fn tagging(out: &mut String, reports: &[RunReport]) {
    let asked = |r: &RunReport| r.tagging.asked.to_string();
    let at_once = |r: &RunReport| r.tagging.at_once.to_string();
    let waited = |r: &RunReport| r.tagging.waited.to_string();
    let memory = |r: &RunReport| r.tagging.failed_no_memory.to_string();
    let stuck = |r: &RunReport| r.tagging.failed_no_progress.to_string();
    let absent = |r: &RunReport| (r.tagging.absent + r.tagging.not_mappable).to_string();
    table(
        out,
        "Pages that become PROT_MTE",
        reports,
        &[
            ("asked for", &asked),
            ("tagged at once", &at_once),
            ("tagged after waiting", &waited),
            ("failed: no memory", &memory),
            ("failed: no progress", &stuck),
            ("not tried: page missing or not mappable", &absent),
        ],
    );
    let peak = |r: &RunReport| r.lent.reserved_peak_pages.to_string();
    let tagged = |r: &RunReport| r.lent.tagged_peak.to_string();
    let efficiency = |r: &RunReport| ratio(r.lent.efficiency());
    let hits = |r: &RunReport| ratio(r.claims.hit_rate());
    let claims = |r: &RunReport| format!("{} / {}", r.claims.free, r.claims.moved);
    let moved = |r: &RunReport| {
        let pages = r.claims.displaced_pages + r.claims.moved_tagged_pages;
        let tagged = r.tagging.at_once + r.tagging.waited;
        if tagged == 0 {
            "-".to_owned()
        } else {
            format!("{:.4}", approximate(pages) / approximate(tagged))
        }
    };
    let retries = |r: &RunReport| r.claims.retries.to_string();
    table(
        out,
        "Tag storage",
        reports,
        &[
            ("tag pages reserved, peak", &peak),
            ("tagged pages, peak", &tagged),
            ("efficiency at the peak: tagged / (32 x reserved)", &efficiency),
            ("claims that found the block free / had to move", &claims),
            ("  fast-path hit rate", &hits),
            ("pages migrated per page tagged", &moved),
            ("claims tried again", &retries),
        ],
    );
    failures(out, reports);
}

fn failures(out: &mut String, reports: &[RunReport]) {
    let causes: Vec<&'static str> = reports
        .iter()
        .map(|r| &r.claims.failed)
        .max_by_key(|failed| failed.len())
        .map_or_else(Vec::new, |failed| failed.iter().map(|(cause, _)| *cause).collect());
    for cause in causes {
        let _ = write!(out, "  {:<width$}", format!("claims failed: {cause}"), width = NAME - 2);
        for report in reports {
            let count =
                report.claims.failed.iter().find(|(c, _)| *c == cause).map_or(0, |(_, n)| *n);
            let _ = write!(out, "{count:>VALUE$}");
        }
        out.push('\n');
    }
}

fn lists(out: &mut String, reports: &[RunReport]) {
    let change = |before: u64, after: u64| format!("{before} -> {after}");
    let huge = |r: &RunReport| change(r.before.huge_available, r.after.huge_available);
    let free = |r: &RunReport| change(r.before.free_pages, r.after.free_pages);
    let index = |r: &RunReport| {
        let show = |n: u64| format!("{}.{:03}", n / 1000, n % 1000);
        format!("{} -> {}", show(r.before.unusable_index), show(r.after.unusable_index))
    };
    table(
        out,
        "Free lists, before -> after",
        reports,
        &[
            ("free pages", &free),
            ("pageblock-sized blocks available", &huge),
            ("unusable free space index at that order", &index),
        ],
    );
}
