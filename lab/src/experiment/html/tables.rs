//! Tables of the page.

use serde::Serialize;

use crate::experiment::estimate::Estimate;
use crate::experiment::{Group, Results, find_metric, headline, metrics};
use crate::metric::{Metric, Unit};

/// A table with named rows and columns.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// Heads of the columns of values.
    pub columns: Vec<String>,
    /// Name and values of each row.
    pub rows: Vec<(String, Vec<String>)>,
}

/// A metric's definition, as text.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Definition {
    name: &'static str,
    unit: &'static str,
    range: &'static str,
    meaning: &'static str,
    source: &'static str,
}

/// The definition of a metric.
#[must_use]
pub const fn definition(metric: &Metric) -> Definition {
    let &Metric { name, unit, range, meaning, source, .. } = metric;
    Definition { name, unit: unit.name(), range, meaning, source }
}

/// What a vendor reads off first: metrics, and the heads of their columns.
const SUMMARY: &[(&str, &str)] = &[
    ("given_back", "MiB given back"),
    ("lent_and_used", "of that used by data"),
    ("fast_path_hit_rate", "claims that hit"),
    ("moves_per_tagged_page", "pages moved per page tagged"),
    ("tagged_waited", "pages that waited"),
    ("tagged_failed", "pages not tagged"),
    ("requests_failed", "requests failed"),
    ("disk_rereads", "pages read again from the disk"),
];

/// A mean with its interval.
fn shown(unit: Unit, estimate: Option<Estimate>) -> String {
    let Some(estimate) = estimate else { return "\u{2013}".to_owned() };
    let mean = unit.show(estimate.mean);
    match estimate.half_width {
        Some(half) if half > 0.0 => {
            let mean = mean.strip_suffix('%').unwrap_or(&mean);
            format!("{mean} \u{b1} {}", unit.show(half))
        }
        _ => mean,
    }
}

fn find(name: &str) -> (usize, &'static Metric) {
    find_metric(name).expect("a test looks all of them up")
}

/// Every design at one tagged share.
#[must_use]
pub fn summary(results: &Results, group: &Group) -> Table {
    let row = |design: usize| {
        let value = |(name, _): &(&str, _)| {
            let (at, metric) = find(name);
            shown(metric.unit, group.estimate(design, at))
        };
        SUMMARY.iter().map(value).collect()
    };
    let designs = results.designs.iter().enumerate();
    Table {
        title: group.tagged(),
        columns: SUMMARY.iter().map(|(_, head)| (*head).to_owned()).collect(),
        rows: designs.map(|(design, name)| (name.to_string(), row(design))).collect(),
    }
}

/// One table a headline metric: designs by shares.
#[must_use]
pub fn headlines(results: &Results, groups: &[Group]) -> Vec<Table> {
    let table = |(at, metric, _): (usize, &Metric, _)| {
        by_share(results, groups, metric.title(), |group, design| {
            shown(metric.unit, group.estimate(design, at))
        })
    };
    headline::headlines().map(table).collect()
}

fn by_share(
    results: &Results,
    groups: &[Group],
    title: String,
    value: impl Fn(&Group, usize) -> String,
) -> Table {
    let designs = results.designs.iter().enumerate();
    let rows = designs.map(|(design, name)| {
        (name.to_string(), groups.iter().map(|group| value(group, design)).collect())
    });
    Table { title, columns: groups.iter().map(Group::tagged).collect(), rows: rows.collect() }
}

/// Claims given up by cause, all shares and seeds together; `None` when none was.
#[must_use]
pub fn blocked(results: &Results, groups: &[Group]) -> Option<Table> {
    let causes = metrics().filter(|(_, metric)| metric.name.starts_with("blocked_"));
    let causes: Vec<_> = causes.collect();
    let sum = |design: usize, at: usize| {
        let cells = groups.iter().flat_map(|group| &group.cells[design]);
        cells.filter_map(|cell| cell.values[at]).sum::<f64>()
    };
    let designs = results.designs.iter().enumerate();
    let rows: Vec<(String, Vec<f64>)> = designs
        .map(|(design, name)| {
            (name.to_string(), causes.iter().map(|(at, _)| sum(design, *at)).collect())
        })
        .collect();
    let some = rows.iter().any(|(_, values)| values.iter().any(|value| *value > 0.0));
    let heads = causes.iter().map(|(_, metric)| metric.meaning.replace("claims given up for ", ""));
    let texts = |values: Vec<f64>| values.into_iter().map(|v| Unit::Count.show(v)).collect();
    some.then(|| Table {
        title: "Claims given up, by what was in the way; sums over all shares and seeds".to_owned(),
        columns: heads.collect(),
        rows: rows.into_iter().map(|(name, values)| (name, texts(values))).collect(),
    })
}

/// What runs take by the cost model; `None` when none was asked for.
#[must_use]
pub fn costs(results: &Results, groups: &[Group]) -> Option<Table> {
    let costs = results.costs.as_ref()?;
    let title = format!("Cost by the model {}, {}", costs.name, costs.unit);
    let value = |group: &Group, design: usize| shown(Unit::Count, group.price(design));
    Some(by_share(results, groups, title, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::by_name;

    #[test]
    fn the_summary_shows_metrics_that_there_are() {
        for (name, _) in SUMMARY {
            assert!(by_name(name).is_some(), "{name}");
        }
    }
}
