//! The results as a table that can be pasted into a plain-text mail.
//!
//! One block a metric: a row a design, a column a tagged share. Values are means over the seeds.

use std::fmt::Write as _;

use super::estimate::Estimate;
use super::headline::{Show, headlines};
use super::{Group, Results};
use crate::metric::{Metric, Unit};
use crate::report::text::wrapped;

/// Width of a mail.
const WIDTH: usize = 100;
/// Width of the column of designs.
const NAME: usize = 16;
/// Width of a column of values.
const VALUE: usize = 14;

/// The whole table, behind the plan.
#[must_use]
pub fn render(results: &Results) -> String {
    let mut out = results.preface.clone();
    let _ = writeln!(
        out,
        "\nMeans over {}; +-: half the 95 % interval (Student's t). In parentheses: change\n\
         from {}, seed by seed; ~ where its 95 % interval holds zero, so that no\n\
         difference is shown. -: there is no such number.",
        match results.groups[0].cells[0].len() {
            1 => "one seed".to_owned(),
            seeds => format!("{seeds} seeds"),
        },
        results.designs[0],
    );
    let per_line = (WIDTH - NAME) / VALUE;
    for sized in results.by_memory() {
        if results.groups.len() > sized.len() {
            let _ = writeln!(out, "\n==== {} MiB of memory", sized[0].mebibytes());
        }
        for columns in sized.chunks(per_line) {
            page(&mut out, results, columns);
        }
    }
    out
}

/// All blocks of some columns; of those that hold nothing but zeroes, the names.
fn page(out: &mut String, results: &Results, columns: &[Group]) {
    let mut zero = Vec::new();
    for (at, metric, show) in headlines() {
        let cells = columns.iter().flat_map(|group| group.cells.iter().flatten());
        if cells.filter_map(|cell| cell.values[at]).any(|value| value != 0.0) {
            block(out, results, columns, (at, metric, show));
        } else {
            zero.push(metric.name.to_owned());
        }
    }
    if !zero.is_empty() {
        out.push_str("\nzero, or not there, for every design and share\n");
        out.push_str(&wrapped("", &zero));
    }
    prices(out, results, columns);
}

fn block(
    out: &mut String,
    results: &Results,
    columns: &[Group],
    (at, metric, show): (usize, &Metric, Show),
) {
    rows(out, &metric.title(), results, columns, |group, design| {
        value(group, design, at, (metric, show))
    });
}

/// What the runs take by the cost model, if there is one.
fn prices(out: &mut String, results: &Results, columns: &[Group]) {
    let Some(costs) = &results.costs else { return };
    let title = format!("cost by the model {}, {}", costs.name, costs.unit);
    rows(out, &title, results, columns, |group, design| {
        group.price(design).map_or("-".to_owned(), |price| interval(Unit::Count, price))
    });
    out.push_str(&costs.describe());
}

/// A title, and a row a design.
fn rows(
    out: &mut String,
    title: &str,
    results: &Results,
    columns: &[Group],
    value: impl Fn(&Group, usize) -> String,
) {
    let _ = writeln!(out, "\n{title}");
    let _ = write!(out, "{:<NAME$}", "  tagged");
    for group in columns {
        let _ = write!(out, "{:>VALUE$}", group.tagged());
    }
    out.push('\n');
    for (design, contender) in results.designs.iter().enumerate() {
        let name = format!("  {contender}");
        let fits = name.chars().count() < NAME;
        let _ =
            if fits { write!(out, "{name:<NAME$}") } else { write!(out, "{name}\n{:NAME$}", "") };
        for group in columns {
            let _ = write!(out, "{:>VALUE$}", fitted(value(group, design)));
        }
        out.push('\n');
    }
}

/// A value that leaves a space before it: without one inside, and without a zero before the point
/// of what follows, if that is needed.
fn fitted(value: String) -> String {
    if value.chars().count() < VALUE {
        return value;
    }
    let tight = value.replace(' ', "");
    if tight.chars().count() < VALUE { tight } else { tight.replace("+-0.", "+-.") }
}

/// One value of the table.
fn value(group: &Group, design: usize, at: usize, (metric, show): (&Metric, Show)) -> String {
    let Some(estimate) = group.estimate(design, at) else { return "-".to_owned() };
    match show {
        Show::Interval => interval(metric.unit, estimate),
        Show::Change => {
            format!("{} ({})", metric.unit.show(estimate.mean), change(group, design, at))
        }
    }
}

/// A mean with half the width of its interval.
fn interval(unit: Unit, estimate: Estimate) -> String {
    let mean = unit.show(estimate.mean);
    match estimate.half_width {
        Some(half) => format!("{} +-{}", mean.strip_suffix('%').unwrap_or(&mean), unit.show(half)),
        None => mean,
    }
}

/// The change from the first design in percent of that one's value.
fn change(group: &Group, design: usize, at: usize) -> String {
    let Some(base) = group.estimate(0, at).filter(|base| base.mean != 0.0) else {
        return "-".to_owned();
    };
    let Some(difference) = group.difference(design, at) else { return "-".to_owned() };
    let percent = 100.0 * difference.mean / base.mean.abs();
    if design > 0 && !difference.is_not_zero() {
        return format!("~{:.1}%", percent.abs());
    }
    match percent {
        _ if percent >= 999.5 => format!("x{:.0}", 1.0 + percent / 100.0),
        _ if percent.abs() >= 99.95 => format!("{percent:+.0}%"),
        _ => format!("{percent:+.1}%"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_do_not_touch() {
        for (value, expected) in [
            ("15872 (+3.2%)", "15872 (+3.2%)"),
            ("0.055 (~12.2%)", "0.055(~12.2%)"),
            ("0.0024 +-0.0010", "0.0024+-.0010"),
            ("474k (+12.3%)", "474k (+12.3%)"),
            ("1984.0 (+10.0%)", "1984.0(+10.0%)"),
        ] {
            assert_eq!(fitted(value.to_owned()), expected);
        }
    }
}
