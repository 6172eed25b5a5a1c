//! Reports for people: one column a design, paste-ready in plain text.

use std::fmt::Write as _;

use super::blocks::{BlockMap, Colour, legend};
use super::{Claims, Lent, RunReport, approximate};

/// Width of the column of names.
const NAME: usize = 50;
/// Width of a column of values.
const VALUE: usize = 16;
/// Designs side by side; more would not fit a mail.
const COLUMNS: usize = 3;
/// Width of running text.
const WIDTH: usize = 96;

/// A row: a name and the value of a run.
type Row = (&'static str, fn(&RunReport) -> String);

/// The whole report behind a preface of finished lines.
#[must_use]
pub fn render(preface: &str, reports: &[RunReport], colour: Colour) -> String {
    let mut out = preface.to_owned();
    for side_by_side in reports.chunks(COLUMNS) {
        tables(&mut out, side_by_side);
    }
    pictures(&mut out, reports, colour);
    proc_files(&mut out, reports);
    out
}

/// The tables of a few reports, under the names of their designs; what is switched on is below the
/// name.
fn tables(out: &mut String, reports: &[RunReport]) {
    out.push('\n');
    let names = reports.iter().map(|report| match report.design.find('+') {
        Some(at) => report.design.split_at(at),
        None => (&*report.design, ""),
    });
    heading(out, names.clone().map(|(name, _)| name));
    if names.clone().any(|(_, switch)| !switch.is_empty()) {
        heading(out, names.map(|(_, switch)| switch));
    }
    for (title, rows, note) in TABLES {
        table(out, title, reports, rows);
        if *title == "Tag storage" {
            failures(out, reports);
        }
        for line in *note {
            let _ = writeln!(out, "  ({line})");
        }
    }
}

fn heading<'a>(out: &mut String, words: impl Iterator<Item = &'a str>) {
    let _ = write!(out, "{:NAME$}", "");
    for word in words {
        let _ = write!(out, "{word:>VALUE$}");
    }
    out.push('\n');
}

/// A line of words that may grow longer than a line: `name`, then `items`, or `none`.
#[must_use]
pub fn wrapped(name: &str, items: &[String]) -> String {
    const INDENT: usize = 16;
    let mut out = format!("  {name:<width$}", width = INDENT - 2);
    let mut column = INDENT;
    let none = ["none".to_owned()];
    let items = if items.is_empty() { &none } else { items };
    for (at, item) in items.iter().enumerate() {
        let last = at + 1 == items.len();
        if at > 0 && column + item.len() + 2 > WIDTH {
            let _ = write!(out, "\n{:INDENT$}", "");
            column = INDENT;
        } else if at > 0 {
            out.push(' ');
        }
        let _ = write!(out, "{item}{}", if last { "\n" } else { "," });
        column += item.len() + 2;
    }
    out
}

fn table(out: &mut String, title: &str, reports: &[RunReport], rows: &[Row]) {
    let _ = writeln!(out, "\n{title}");
    for (name, value) in rows {
        line(out, name, reports.iter().map(value));
    }
}

fn line(out: &mut String, name: &str, values: impl Iterator<Item = String>) {
    let _ = write!(out, "  {name:<width$}", width = NAME - 2);
    for value in values {
        let _ = write!(out, "{value:>VALUE$}");
    }
    out.push('\n');
}

/// For numbers that mean nothing under a design.
fn dash() -> String {
    "-".to_owned()
}

fn mib(report: &RunReport, pages: f64) -> String {
    format!("{:.2} MiB", report.machine.mib(pages))
}

fn percent(part: f64, whole: u64) -> String {
    if whole == 0 { dash() } else { format!("{:.1} %", 100.0 * part / approximate(whole)) }
}

fn ratio(value: Option<f64>) -> String {
    value.map_or_else(dash, |value| format!("{:.1} %", 100.0 * value))
}

/// A number of lent tag storage.
fn lent(report: &RunReport, value: fn(&RunReport, &Lent) -> String) -> String {
    report.lent.as_ref().map_or_else(dash, |lent| value(report, lent))
}

/// A number of the claims.
fn claims(report: &RunReport, value: fn(&Claims) -> String) -> String {
    report.claims.as_ref().map_or_else(dash, value)
}

/// Title, rows and explanations of each table.
const TABLES: &[(&str, &[Row], &[&str])] = &[
    (
        "Memory given back",
        GIVEN_BACK,
        &[
            "tag storage that holds no tags is free for data; data does not always want it",
            "holding data: counted every 256 operations; on large machines more rarely",
        ],
    ),
    (
        "Pages that become PROT_MTE",
        TAGGING,
        &["waited: data had to leave the page's tag storage, or a fault was tried again"],
    ),
    (
        "Tag storage",
        TAG_STORAGE,
        &["a tag page serves 32 data pages; scattered tagged pages take more tag pages than dense"],
    ),
    ("Requests", REQUESTS, &["after reclaim and compaction; nobody is killed for want of memory"]),
    ("Reclaim", RECLAIM, &["refault: a page comes back that reclaim had taken away"]),
    (
        "Free CMA that tagged requests could not use",
        BARRED,
        &["the design bars all CMA to them, ordinary areas too, and so do the watermarks"],
    ),
    (
        "Free lists, before -> after",
        LISTS,
        &["index: 0 when all free memory can serve a block of that size, 1 when none can"],
    ),
];

/// What a vendor asks: how much memory comes back, and at what risk.
const GIVEN_BACK: &[Row] = &[
    ("tag storage", |r| mib(r, approximate(r.machine.carve_out_pages))),
    ("holding no tags, averaged over time", |r| lent(r, |r, l| mib(r, l.average_pages))),
    ("  share of tag storage", |r| {
        lent(r, |r, l| percent(l.average_pages, r.machine.carve_out_pages))
    }),
    ("holding no tags, at the end", |r| lent(r, |r, l| mib(r, approximate(l.end_pages)))),
    ("  share of tag storage", |r| {
        lent(r, |r, l| percent(approximate(l.end_pages), r.machine.carve_out_pages))
    }),
    ("holding data, averaged over time", |r| lent(r, |r, l| mib(r, l.occupied_average_pages))),
    ("requests that failed", |r| r.requests.failed().to_string()),
    ("pages that could not be tagged", |r| r.tagging.failed().to_string()),
];

/// What a kernel engineer asks: what it costs, and what was in the way.
const TAGGING: &[Row] = &[
    ("asked for", |r| r.tagging.asked.to_string()),
    ("tagged at once", |r| r.tagging.at_once.to_string()),
    ("tagged after waiting", |r| r.tagging.waited.to_string()),
    ("failed: no memory", |r| r.tagging.failed_no_memory.to_string()),
    ("failed: no progress", |r| r.tagging.failed_no_progress.to_string()),
    ("not tried: the page's own request had failed", |r| r.tagging.absent.to_string()),
    ("not tried: memory that cannot be PROT_MTE", |r| r.tagging.not_mappable.to_string()),
    ("tagged pages, peak", |r| r.tagged_peak_pages.to_string()),
];

const TAG_STORAGE: &[Row] = &[
    ("tag pages reserved, peak", |r| lent(r, |_, l| l.reserved_peak_pages.to_string())),
    ("efficiency then: tagged / (32 x reserved)", |r| lent(r, |_, l| ratio(l.efficiency()))),
    ("claims that found the block free", |r| claims(r, |c| c.free.to_string())),
    ("claims that data had to leave the block for", |r| claims(r, |c| c.moved.to_string())),
    ("  fast-path hit rate", |r| claims(r, |c| ratio(c.hit_rate()))),
    ("pages migrated per page tagged", moved_per_tagged),
    ("claims tried again", |r| claims(r, |c| c.retries.to_string())),
    ("claims that failed", |r| claims(r, |c| c.failed.values().sum::<u64>().to_string())),
];

const REQUESTS: &[Row] = &[
    ("made", |r| r.requests.made.to_string()),
    ("failed: nothing left", |r| r.requests.failed_no_memory.to_string()),
    ("failed: no block of the order", |r| r.requests.failed_no_contiguity.to_string()),
    ("failed: only CMA left, which they may not use", |r| r.requests.failed_only_cma.to_string()),
    ("failed: contiguous ranges", |r| r.requests.failed_contig.to_string()),
];

const RECLAIM: &[Row] = &[
    ("kswapd woken", |r| r.reclaim.kswapd_wakes.to_string()),
    ("requests that had to reclaim", |r| r.reclaim.stalls.to_string()),
    ("  and waited for a write", |r| r.reclaim.writeback_stalls.to_string()),
    ("pages looked at", |r| r.reclaim.scanned.to_string()),
    ("page cache dropped", |r| mib(r, approximate(r.reclaim.file))),
    ("  read again (workingset_refault_file)", |r| mib(r, approximate(r.reclaim.refault_file))),
    ("  of that, found in tag storage", |r| mib(r, approximate(r.reclaim.refault_copied))),
    ("  dropped for contiguous ranges", |r| mib(r, approximate(r.reclaim.contig_dropped))),
    ("anonymous memory swapped out", |r| mib(r, approximate(r.reclaim.anon))),
    ("  come back (workingset_refault_anon)", |r| mib(r, approximate(r.reclaim.refault_anon))),
    ("page cache, at the end", |r| mib(r, approximate(r.reclaim.cached_end))),
    ("in swap, at the end", |r| mib(r, approximate(r.reclaim.swapped_end))),
    ("  memory that it took", |r| mib(r, approximate(r.reclaim.swap_memory_end))),
];

const BARRED: &[Row] = &[
    ("averaged over time", |r| {
        r.barred_cma.map_or_else(dash, |barred| mib(r, barred.average_pages))
    }),
    ("at the end", |r| {
        r.barred_cma.map_or_else(dash, |barred| mib(r, approximate(barred.end_pages)))
    }),
    ("tagged requests that failed for that reason", |r| {
        r.barred_cma.map_or_else(dash, |barred| barred.failed_requests.to_string())
    }),
];

const LISTS: &[Row] = &[
    ("free pages", |r| change(r.before.free_pages, r.after.free_pages)),
    ("pageblock-sized blocks available", |r| {
        change(r.before.huge_available, r.after.huge_available)
    }),
    ("unusable free space index at that order", |r| {
        let show = |n: u64| format!("{}.{:03}", n / 1000, n % 1000);
        format!("{} -> {}", show(r.before.unusable_index), show(r.after.unusable_index))
    }),
];

fn change(before: u64, after: u64) -> String {
    format!("{before} -> {after}")
}

fn moved_per_tagged(report: &RunReport) -> String {
    let tagged = report.tagging.at_once + report.tagging.waited;
    match &report.claims {
        Some(claims) if tagged > 0 => {
            let pages = claims.displaced_pages + claims.moved_tagged_pages;
            format!("{:.4}", approximate(pages) / approximate(tagged))
        }
        _ => dash(),
    }
}

/// Failed claims by cause; causes that no design met are left out.
fn failures(out: &mut String, reports: &[RunReport]) {
    let all = || reports.iter().filter_map(|report| report.claims.as_ref());
    let causes = all().flat_map(|claims| claims.failed.iter().filter(|(_, n)| **n > 0));
    let mut causes: Vec<&str> = causes.map(|(cause, _)| *cause).collect();
    causes.sort_unstable();
    causes.dedup();
    for cause in causes {
        let count = |claims: &Claims| claims.failed.get(cause).copied().unwrap_or(0).to_string();
        let values = reports.iter().map(|r| r.claims.as_ref().map_or_else(dash, count));
        line(out, &format!("  {cause}"), values);
    }
}

fn pictures(out: &mut String, reports: &[RunReport], colour: Colour) {
    let maps: Vec<&BlockMap> =
        reports.iter().flat_map(|r| [&r.before.blocks, &r.after.blocks]).collect();
    out.push_str("\nPageblocks, by address\n");
    out.push_str(&legend(&maps, colour));
    for report in reports {
        for (when, picture) in [("before", &report.before), ("after", &report.after)] {
            let _ = writeln!(out, "\n  {}, {when}", report.design);
            out.push_str(&picture.blocks.render(colour));
        }
    }
}

/// As the kernel would print them, to be compared with a real machine's.
fn proc_files(out: &mut String, reports: &[RunReport]) {
    for report in reports {
        let text = &report.after.buddyinfo;
        let _ = write!(out, "\n{}: /proc/buddyinfo after\n{text}", report.design);
    }
    for report in reports {
        let text = &report.after.pagetypeinfo;
        let _ = write!(out, "\n{}: /proc/pagetypeinfo after\n{text}", report.design);
    }
}
