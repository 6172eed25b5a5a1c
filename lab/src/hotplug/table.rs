//! Results as text that can be pasted into a mail.

use std::fmt::Write as _;

use pagelab_allocator::units::PageCount;

use pagelab_migrate::hotplug::interleavings::TdxWorks;

use super::facts::Facts;
use super::list::cut;
use super::results::{Ran, result};
use super::runner::Outcome;

/// Columns of a mail.
const WIDTH: usize = 100;
/// Columns of a gate's name.
const NAME: usize = 19;
/// Least columns of a value, with the gap before it.
const VALUE: usize = 9;
/// Complaints of a scenario that are printed.
const MOST_COMPLAINTS: usize = 50;

/// A column: its head, and the value under a gate.
type Column = (&'static str, fn(&Facts, u64) -> String);

/// All scenarios; of each log, so many lines.
#[must_use]
pub fn render(all: &[Ran], log_lines: usize) -> String {
    let mut out = String::new();
    for (at, ran) in all.iter().enumerate() {
        if at > 0 {
            out.push('\n');
        }
        scenario(&mut out, ran, log_lines);
    }
    if all.len() > 1 {
        let bad: Vec<_> = all.iter().filter(|ran| !ran.complaints().is_empty()).collect();
        let _ = writeln!(out, "\n{} scenarios, {} as expected", all.len(), all.len() - bad.len());
        for ran in bad {
            let _ = writeln!(out, "  not: {}", ran.scenario.short_name());
        }
    }
    out
}

fn scenario(out: &mut String, ran: &Ran, log_lines: usize) {
    let scenario = &ran.scenario;
    let _ = writeln!(out, "{}", cut(&format!("==== {}", scenario.short_name()), WIDTH));
    paragraph(out, &scenario.title);
    if !scenario.answers.is_empty() {
        paragraph(out, &format!("answers {}", scenario.answers.join(", ")));
    }
    steps(out, ran);
    let page = scenario.machine.geometry.page_size();
    let heads = [
        ("where the memory is, GiB", CAPACITY),
        ("what was said and refused", MESSAGES),
        ("what moved, and what is wrong", MOVES),
    ];
    for (title, columns) in heads {
        block(out, ran, title, columns, page);
    }
    schedules(out, ran);
    errors(out, ran);
    log(out, ran, log_lines);
    promises(out, ran);
}

const CAPACITY: &[Column] = &[
    ("online", |f, page| gib(f.blocks.joined, page)),
    ("offline", |f, page| gib(f.capacity.offline, page)),
    ("limbo", |f, page| gib(f.capacity.limbo, page)),
    ("devdax", |f, page| gib(f.capacity.devdax, page)),
    ("idle", |f, page| gib(f.capacity.idle, page)),
    ("stranded", |f, page| gib(f.capacity.stranded, page)),
    ("private", |f, page| gib(f.capacity.private, page)),
    ("metadata", |f, page| gib(f.capacity.metadata, page)),
    ("buddy", |f, page| gib(f.capacity.buddy, page)),
];

const MESSAGES: &[Column] = &[
    ("visible", |f, _| f.log.visible.to_string()),
    ("hidden", |f, _| f.log.hidden.to_string()),
    ("suppr.", |f, _| f.log.suppressed.to_string()),
    ("vetoes", |f, _| f.vetoes.to_string()),
    ("refused", |f, _| f.tally.refused.values().sum::<u64>().to_string()),
    ("blocks", |f, _| f.blocks.all.to_string()),
    ("online", |f, _| f.blocks.online.to_string()),
    ("tried", |f, _| f.tally.blocks_tried.to_string()),
    ("done", |f, _| f.tally.blocks_done.to_string()),
];

const MOVES: &[Column] = &[
    ("moved", |f, _| f.evacuated.get().to_string()),
    ("pinned", |f, _| f.tally.pinned.to_string()),
    ("demoted", |f, _| f.tally.demoted.get().to_string()),
    ("barred", |f, _| f.tally.barred.get().to_string()),
    ("promoted", |f, _| f.tally.promoted.get().to_string()),
    ("exits", |f, _| f.tally.exits.to_string()),
    ("untagged", |f, _| f.tally.lost_tags.get().to_string()),
    ("lacking", |f, _| f.violations.get().to_string()),
    ("TDX", |f, _| if f.tdx == 1 { "on".to_owned() } else { "-".to_owned() }),
];

/// A part of memory in GiB, as exact as three decimals are.
fn gib(pages: PageCount, page_size: u64) -> String {
    const GIB: u64 = 1 << 30;
    let bytes = pages.get().saturating_mul(page_size);
    let thousandths = (u128::from(bytes) * 1000 + u128::from(GIB / 2)) / u128::from(GIB);
    let (whole, part) = (thousandths / 1000, thousandths % 1000);
    let decimals = format!("{part:03}");
    match (bytes, decimals.trim_end_matches('0')) {
        (0, _) => "-".to_owned(),
        (_, "") => whole.to_string(),
        (_, decimals) => format!("{whole}.{decimals}"),
    }
}

fn paragraph(out: &mut String, text: &str) {
    let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    out.push_str(&filled(&words));
}

/// Words on lines of a mail.
fn filled(words: &[String]) -> String {
    let mut lines = vec![String::new()];
    for word in words {
        let last = lines.last_mut().expect("there is one");
        if last.chars().count() + 1 + word.chars().count() <= WIDTH - 2 || last.is_empty() {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(&cut(word, WIDTH));
        } else {
            lines.push(cut(word, WIDTH));
        }
    }
    lines.join("\n") + "\n"
}

fn steps(out: &mut String, ran: &Ran) {
    if ran.scenario.steps.is_empty() {
        return;
    }
    out.push('\n');
    for (at, step) in ran.scenario.steps.iter().enumerate() {
        let name = step.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        let _ = writeln!(out, "{}", cut(&format!("  {:>2}. {}{name}", at + 1, step.words), WIDTH));
    }
}

fn block(out: &mut String, ran: &Ran, title: &str, columns: &[Column], page: u64) {
    let cell = |outcome: &Outcome, column: &Column| column.1(&outcome.end, page);
    // What is nothing under every gate takes no room.
    let says = |column: &&Column| {
        ran.outcomes.iter().any(|outcome| !["-", "0"].contains(&&*cell(outcome, column)))
    };
    let columns: Vec<&Column> = columns.iter().filter(says).collect();
    if columns.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{title}");
    let width = |column: &Column| {
        let cells = ran.outcomes.iter().map(|outcome| cell(outcome, column).len());
        cells.chain([column.0.len()]).map(|len| len + 1).fold(VALUE, usize::max)
    };
    let columns: Vec<(&Column, usize)> = columns.into_iter().map(|c| (c, width(c))).collect();
    let _ = write!(out, "{:<NAME$}", "  gate");
    for ((head, _), width) in &columns {
        let _ = write!(out, "{head:>width$}");
    }
    out.push('\n');
    for outcome in &ran.outcomes {
        let _ = write!(out, "{:<NAME$}", format!("  {}", outcome.gate.name()));
        for (column, width) in &columns {
            let _ = write!(out, "{:>width$}", cell(outcome, column));
        }
        out.push('\n');
    }
}

/// Every order that was tried, and what it led to.
fn schedules(out: &mut String, ran: &Ran) {
    let raced = |outcome: &&Outcome| !outcome.end.tally.schedules.is_empty();
    let mut outcomes = ran.outcomes.iter().filter(raced).peekable();
    if outcomes.peek().is_none() {
        return;
    }
    out.push_str(
        "\norders: A1 the gate is asked, A2 memory is added, A3 it is onlined, T TDX begins\n",
    );
    let size = ran.scenario.machine.geometry.page_size();
    for outcome in outcomes {
        for schedule in &outcome.end.tally.schedules {
            let refused = schedule.refused.map(|step| format!("{} is refused", step.letter()));
            let mib = (schedule.foreign.get() * size) >> 20;
            let end = match (refused, schedule.tdx) {
                _ if schedule.is_bad() => format!("BAD: {mib} MiB of foreign memory joined"),
                (Some(refused), _) => refused,
                (None, TdxWorks::No) => "memory joined, TDX is off".to_owned(),
                (None, TdxWorks::Yes) => "memory joined, TDX is on".to_owned(),
            };
            let name = format!("  {}", outcome.gate.name());
            let _ = writeln!(out, "{name:<NAME$}  {:<12} {end}", schedule.text());
        }
    }
}

/// Errors by gate: how often each came, and from which steps.
fn errors(out: &mut String, ran: &Ran) {
    let failed = |outcome: &&Outcome| !outcome.end.tally.refused.is_empty();
    let mut outcomes = ran.outcomes.iter().filter(failed).peekable();
    if outcomes.peek().is_none() {
        return;
    }
    out.push_str("\nerrors\n");
    for outcome in outcomes {
        let counted = outcome.end.tally.refused.iter();
        let mut words: Vec<String> =
            counted.map(|(errno, times)| format!("{times} x {}", errno.symbol())).collect();
        for (at, step) in outcome.steps.iter().enumerate().filter(|(_, s)| s.result.is_err()) {
            words.push(format!("step {}: {}", at + 1, result(step.result)));
        }
        let line = format!("{}: {}", outcome.gate.name(), words.join(", "));
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        out.push_str(&format!("  {}", filled(&words).replace('\n', "\n  ").trim_end_matches(' ')));
    }
}

fn log(out: &mut String, ran: &Ran, most: usize) {
    let says = |outcome: &&Outcome| most > 0 && !outcome.lines.is_empty();
    let mut outcomes = ran.outcomes.iter().filter(says).peekable();
    if outcomes.peek().is_none() {
        return;
    }
    out.push_str("\nlog\n");
    for outcome in outcomes {
        let _ = writeln!(out, "  {}", outcome.gate.name());
        for line in outcome.lines.iter().take(most) {
            let _ = writeln!(out, "    {}", cut(line, WIDTH - 4));
        }
        let shown = u64::try_from(outcome.lines.len().min(most)).unwrap_or(u64::MAX);
        let more = outcome.end.log.visible.saturating_sub(shown);
        if more > 0 {
            let _ = writeln!(out, "    ... and {more} more");
        }
    }
}

fn promises(out: &mut String, ran: &Ran) {
    let verdicts = ran.verdicts();
    let met = verdicts.iter().filter(|verdict| verdict.is_met()).count();
    let complaints = ran.complaints();
    let _ = writeln!(out, "\nexpected numbers: {met} of {} met", verdicts.len());
    for complaint in complaints.iter().take(MOST_COMPLAINTS) {
        let words: Vec<String> = complaint.split(' ').map(str::to_owned).collect();
        out.push_str(&filled(&words));
    }
    if complaints.len() > MOST_COMPLAINTS {
        let _ = writeln!(out, "... and {} more", complaints.len() - MOST_COMPLAINTS);
    }
}
