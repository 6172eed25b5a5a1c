//! A shrunk difference for people, and the file of its operations.

use core::fmt::Write;

use super::plan::ShrinkPlan;
use super::{Counts, Difference, End, Shrunk};
use crate::ops::Line;

/// What was found, in words.
#[must_use]
pub fn render(plan: &ShrinkPlan, shrunk: &Shrunk) -> String {
    let [a, b] = &plan.designs;
    let what = plan.property.counted();
    let scene = &plan.scene;
    let Some(found) = &shrunk.difference else {
        return format!(
            "{scene}\nAfter none of {} operations do {a} and {b} differ in {what}.\n",
            shrunk.operations
        );
    };
    let ops = found.steps.len();
    let end = match found.end {
        End::Minimal => "without any one of them the difference vanishes",
        End::Spent => "the budget is spent: fewer may do",
    };
    let mut text = format!(
        "{scene}\n{a} and {b} differ in {what} after {} of {} operations;\n\
         {ops} are enough ({} of at most {} runs): {end}.\n\n",
        found.first, shrunk.operations, shrunk.runs, plan.budget
    );
    text.push_str(&operations(found));
    let width = a.to_string().len().max(b.to_string().len());
    let name = |design: &crate::contender::Contender| format!("{:<width$}", design.to_string());
    let [first, second] = in_words(&found.counts);
    text.push_str(&format!(
        "\n{what}\n  {}  {first}\n  {}  {second}\n\nTo see it again{}:\n  {}\n",
        name(a),
        name(b),
        if plan.out.is_some() { "" } else { ", with the operations in a file (-o FILE)" },
        command(plan)
    ));
    text
}

/// What each design showed: by all operations, and by the last where that is not the same.
fn in_words(counts: &Counts) -> [String; 2] {
    let Counts { all, last } = counts;
    [0, 1].map(|at| match all == last {
        true => all[at].to_string(),
        false => format!("{}, {} of them by the last operation", all[at], last[at]),
    })
}

/// One operation a line.
fn operations(found: &Difference) -> String {
    found.steps.iter().fold(String::new(), |mut text, step| {
        let line = Line::from(*step);
        writeln!(text, "  {line}").expect("strings take everything");
        text
    })
}

/// The words that show the difference.
#[must_use]
pub fn command(plan: &ShrinkPlan) -> String {
    let [a, b] = &plan.designs;
    let file = plan.out.as_ref().map_or_else(|| "FILE".to_owned(), |path| quoted(path));
    let machine = plan.machine.iter().map(|word| quoted(word.as_ref()));
    let machine = machine.fold(String::new(), |all, word| all + " " + &word);
    format!("pagelab compare --designs {a},{b} --ops {file}{machine}")
}

/// A word as a shell takes it.
fn quoted(word: &std::path::Path) -> String {
    let word = word.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./%,=+:".contains(c);
    match word.chars().all(plain) {
        true => word,
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// The file of the operations.
#[must_use]
pub fn file(plan: &ShrinkPlan, found: &Difference) -> String {
    let [a, b] = &plan.designs;
    let [first, second] = in_words(&found.counts);
    let mut text = format!(
        "# {}: {a} {first}, {b} {second}\n# {}\n",
        plan.property.counted(),
        command(plan).replace('\n', " ")
    );
    for step in &found.steps {
        let line = Line::from(*step);
        writeln!(text, "{line}").expect("strings take everything");
    }
    text
}
