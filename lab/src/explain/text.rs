//! An explanation for people: at most 100 columns.

use std::fmt::Write;

use serde_json::{Value, json};

use super::line::{Depth, Line};
use super::path::{Path, runs};
use super::{Explanation, Paths};

/// Columns of a line.
const WIDTH: usize = 100;
/// Columns before the text of a line.
const LABEL: usize = 13;
/// Lines of one kind in a row that are shown.
const SHOWN: usize = 3;

/// The explanation as text.
#[must_use]
pub fn render(what: &Explanation) -> String {
    let mut text = String::new();
    let place = what.line.map(|line| format!(", line {line}")).unwrap_or_default();
    let Explanation { number, operations, since, op, scene, .. } = what;
    let (whole, part) = (since / 1_000_000_000, since % 1_000_000_000 / 1_000_000);
    put(&mut text, "", scene);
    put(
        &mut text,
        "",
        &format!("operation {number} of {operations}{place}, after {whole}.{part:03} s"),
    );
    put(&mut text, "  ", op);
    let Paths { paths, around } = &what.paths;
    for path in paths {
        text.push('\n');
        put(&mut text, "", &heading(path, paths.len()));
        lines(&mut text, &path.lines);
        if let Some(outcome) = &path.outcome {
            put(&mut text, &label("outcome", Depth::Own), &outcome.text);
        }
    }
    if !around.is_empty() {
        let heading =
            if paths.is_empty() { "" } else { "Before the first and after the last page" };
        text.push('\n');
        if !heading.is_empty() {
            put(&mut text, "", heading);
        }
        lines(&mut text, around);
    }
    if paths.is_empty() && around.is_empty() {
        text.push_str("\nNothing was asked of the allocator.\n");
    }
    text
}

fn heading(path: &Path, paths: usize) -> String {
    let first = path.pages.first().copied().unwrap_or_default();
    match path.pages.len() {
        1 => format!("Page {first}"),
        pages if paths == 1 => format!("All {pages} pages went this way, as page {first} did"),
        pages => format!("{pages} pages went this way, as page {first} did: {}", runs(&path.pages)),
    }
}

fn label(label: &str, depth: Depth) -> String {
    let inside = if depth == Depth::Inside { "  " } else { "" };
    format!("{:<LABEL$}", format!("  {inside}{label}"))
}

fn lines(text: &mut String, lines: &[Line]) {
    let kind = |line: &Line| (line.label, line.kind);
    let mut left = lines;
    while let Some(first) = left.first() {
        let run = left.iter().take_while(|line| kind(line) == kind(first)).count();
        let shown = if run > SHOWN + 1 { SHOWN } else { run };
        for line in &left[..shown] {
            put(text, &label(line.label, line.depth), &line.text);
        }
        if shown < run {
            put(text, &label("", first.depth), &format!(".. and {} more", run - shown));
        }
        left = &left[run..];
    }
}

/// Words behind a label, wrapped where flags or words end.
fn put(text: &mut String, label: &str, words: &str) {
    let indent = if label.is_empty() { 2 } else { label.chars().count() };
    let mut prefix = label.to_owned();
    for line in words.lines() {
        let mut left = line;
        loop {
            let room = WIDTH - prefix.chars().count().max(indent);
            let cut = cut(left, room);
            let (now, rest) = left.split_at(cut);
            let end = writeln!(text, "{prefix}{}", now.trim_end());
            end.expect("strings take everything");
            prefix = " ".repeat(indent);
            left = rest.trim_start();
            if left.is_empty() {
                break;
            }
        }
    }
}

/// Where to break: after the last blank or `|` that fits.
fn cut(line: &str, room: usize) -> usize {
    if line.chars().count() <= room {
        return line.len();
    }
    let fits = line.char_indices().nth(room).map_or(line.len(), |(at, _)| at);
    line[..fits].rfind([' ', '|']).map_or(fits, |at| at + 1)
}

/// The explanation as data: `paths` have `pages`, `lines` and `outcome`; a line has `label`,
/// `kind`, `text` and `inside`.
#[must_use]
pub fn json(what: &Explanation) -> Value {
    let line = |line: &Line| {
        json!({
            "label": line.label,
            "kind": line.kind,
            "text": line.text,
            "inside": line.depth == Depth::Inside,
        })
    };
    let lines = |lines: &[Line]| lines.iter().map(line).collect::<Vec<_>>();
    let path = |path: &Path| {
        json!({
            "pages": path.pages,
            "lines": lines(&path.lines),
            "outcome": path.outcome.as_ref().map(|outcome| outcome.text.clone()),
        })
    };
    json!({
        "scene": what.scene,
        "operation": what.number,
        "operations": what.operations,
        "line": what.line,
        "since_ns": what.since,
        "op": what.op,
        "paths": what.paths.paths.iter().map(path).collect::<Vec<_>>(),
        "around": lines(&what.paths.around),
    })
}
