//! The pictures: which numbers they show, and how they are to be read.

use serde::Serialize;

use super::chart::{Axis, Chart, Level, Place, Point, Series};
use crate::experiment::{Cell, Group, Results, find_metric};
use crate::metric::{Unit, by_name};
use crate::report::approximate;
use crate::report::census::RUN_ORDERS;

/// A picture with its words.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What it shows, in short.
    pub title: String,
    /// How to read it.
    pub caption: String,
    /// A panel for each design; none when there is nothing to show.
    pub panels: Vec<String>,
}

impl Figure {
    fn new(title: String, caption: &str, chart: &Chart) -> Self {
        let panels = if chart.is_empty() { Vec::new() } else { chart.draw(&title) };
        Self { title, caption: caption.to_owned(), panels }
    }
}

fn position(metric: &str) -> usize {
    find_metric(metric).expect("pictures show metrics that there are").0
}

/// Where a group stands on the axis of shares.
fn percent(group: &Group) -> f64 {
    group.tagged_percent().unwrap_or(0.0)
}

/// A metric of every design against the tagged share.
fn by_share(results: &Results, groups: &[Group], metric: &str) -> Vec<(String, Series)> {
    let at = position(metric);
    let scale = if by_name(metric).is_some_and(|m| m.unit == Unit::Share) { 100.0 } else { 1.0 };
    let series = |design: usize| {
        let points = groups.iter().filter_map(|group| {
            let estimate = group.estimate(design, at)?;
            let half = scale * estimate.half_width.unwrap_or(0.0);
            Some(Point { x: percent(group), y: scale * estimate.mean, half, weight: 0.3 })
        });
        points.collect()
    };
    let named = results.designs.iter().enumerate();
    named.map(|(design, name)| (name.to_string(), series(design))).collect()
}

fn shares(groups: &[Group]) -> Axis {
    let least = groups.iter().map(percent).fold(100.0, f64::min);
    let most = highest(groups.iter().map(percent));
    let label = |x| format!("{x:.0}");
    if most > least {
        let title = "tagged share, percent".to_owned();
        return Axis { title, range: (least, most), limit: 100.0, labels: 6, label };
    }
    // One share is no axis: its name stands where others have a scale.
    let title = format!("tagged {}", groups[0].tagged());
    Axis { title, range: (least - 1.0, least + 1.0), limit: 100.0, labels: 0, label }
}

fn highest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, f64::max)
}

/// A number with as many decimals as its first two digits need: labels of a scale, however small,
/// differ.
fn few_digits(value: f64) -> String {
    const MOST: usize = 9;
    let shown = |decimals: &usize| {
        let text: f64 = format!("{value:.decimals$}").parse().unwrap_or(value);
        (text - value).abs() <= value.abs() / 100.0
    };
    let decimals = (0..MOST).find(shown).unwrap_or(MOST);
    format!("{value:.decimals$}")
}

/// From zero to a little above the highest value and its interval.
fn from_zero(title: &str, series: &[(String, Series)], label: fn(f64) -> String) -> Axis {
    let tops = series.iter().flat_map(|(_, series)| series.iter().map(|p| p.y + p.half));
    let top = highest(tops);
    let top = if top > 0.0 { 1.1 * top } else { 1.0 };
    Axis { title: title.to_owned(), range: (0.0, top), limit: top, labels: 5, label }
}

/// What a vendor asks: how much memory comes back. `groups` are those of one memory size.
#[must_use]
pub fn given_back(results: &Results, groups: &[Group]) -> Figure {
    let series = by_share(results, groups, "given_back");
    let carve_out = approximate(groups[0].pages()) / 32.0 / 256.0;
    let y = Axis {
        title: "MiB given back".to_owned(),
        range: (0.0, 1.15 * carve_out),
        limit: carve_out,
        labels: 5,
        label: |y| format!("{y:.0}"),
    };
    let level = |y, words: &str, place| Level { y, words: words.to_owned(), place };
    let levels = vec![
        level(carve_out, "all: 3 % of memory", Place::AboveRight),
        level(carve_out * 2.0 / 3.0, "if 1 % held tags", Place::BelowLeft),
    ];
    let chart = Chart { x: shares(groups), y, levels, absent: "no value", series };
    let title = format!("Memory given back, {} MiB machine", groups[0].mebibytes());
    let caption = "Tag storage that holds no tags, averaged over time, against the share of memory \
                   that is tagged. One panel a design; the others are grey. A band is the 95 % \
                   interval over the seeds, where there are several. The upper line is all of tag \
                   storage, 1/32 or about 3 % of memory; the lower one is what would come back if \
                   a third of it held tags, which is what the cover letters of the series guess \
                   (3 % reserved, 1 % used).";
    Figure::new(title, caption, &chart)
}

/// Bins of memory pressure.
const BINS: u32 = 20;
/// Claims that a bin needs to be shown.
const LEAST_CLAIMS: u64 = 20;

/// How often a claim finds its block free, against memory in use.
#[must_use]
pub fn pressure(results: &Results, groups: &[Group]) -> Figure {
    let designs = results.designs.iter().enumerate();
    let series = designs.map(|(design, name)| {
        let cells = groups.iter().flat_map(|group| &group.cells[design]);
        (name.to_string(), hit_rates(cells))
    });
    let percents = |v: f64| format!("{v:.0}");
    let chart = Chart {
        x: Axis {
            title: "memory in use, percent".to_owned(),
            range: (0.0, 100.0),
            limit: 100.0,
            labels: 6,
            label: percents,
        },
        y: Axis {
            title: "claims that hit, percent".to_owned(),
            range: (0.0, 105.0),
            limit: 100.0,
            labels: 6,
            label: percents,
        },
        levels: Vec::new(),
        absent: "no claims, or too few",
        series: series.collect(),
    };
    let caption = "Share of the claims on tag storage that found the block free, by how much of \
                   memory was in use then, over all shares and seeds. Larger points rest on more \
                   claims of the same design; places with fewer than 20 are left out.";
    Figure::new("Fast-path hit rate against memory pressure".to_owned(), caption, &chart)
}

fn hit_rates<'a>(cells: impl Iterator<Item = &'a Cell>) -> Series {
    let mut bins = vec![(0_u64, 0_u64); usize::try_from(BINS).unwrap_or(0)];
    for cell in cells {
        let mut before = (0, 0);
        for moment in &cell.moments {
            let used = cell.pages.saturating_sub(moment.free_pages);
            let bin = (used * u64::from(BINS) / cell.pages.max(1)).min(u64::from(BINS) - 1);
            let bin = &mut bins[usize::try_from(bin).unwrap_or(0)];
            bin.0 += moment.claims_free - before.0;
            bin.1 += moment.claims - before.1;
            before = (moment.claims_free, moment.claims);
        }
    }
    let most = approximate(bins.iter().map(|(_, all)| *all).max().unwrap_or(0).max(1));
    let points = (0..BINS).zip(bins).filter(|(_, (_, all))| *all >= LEAST_CLAIMS);
    let points = points.map(|(bin, (free, all))| Point {
        x: 100.0 * (f64::from(bin) + 0.5) / f64::from(BINS),
        y: 100.0 * approximate(free) / approximate(all),
        half: 0.0,
        weight: (approximate(all) / most).sqrt(),
    });
    points.collect()
}

/// What it costs: pages moved for each page tagged.
#[must_use]
pub fn moves(results: &Results, groups: &[Group]) -> Figure {
    let series = by_share(results, groups, "moves_per_tagged_page");
    let y = from_zero("pages moved per page tagged", &series, few_digits);
    let absent = "tags never claim memory";
    let chart = Chart { x: shares(groups), y, levels: Vec::new(), absent, series };
    let caption = "Pages that moved for the sake of tags (data out of tag storage, tagged pages to \
                   get storage) for each page that came to carry tags.";
    Figure::new("Migrations".to_owned(), caption, &chart)
}

/// What goes wrong: pages that could not be tagged.
#[must_use]
pub fn failures(results: &Results, groups: &[Group]) -> Figure {
    let title = "pages not tagged, percent";
    let chart = of_failures(results, groups, "tagged_failed", title, few_digits);
    let caption = "Pages that were to carry tags and could not, for want of memory or because page \
                   and tag storage were both stuck. Claims given up are in the table below, by \
                   cause.";
    Figure::new("Pages that could not be tagged".to_owned(), caption, &chart)
}

/// What goes wrong besides: requests of all kinds that got no memory.
#[must_use]
pub fn requests(results: &Results, groups: &[Group]) -> Figure {
    let title = "requests failed";
    let chart = of_failures(results, groups, "requests_failed", title, |y| format!("{y:.0}"));
    let caption = "Requests for memory that failed in a run, for any cause, with tags or without.";
    Figure::new("Requests that failed".to_owned(), caption, &chart)
}

/// A metric against the tagged share; without values where all are zero, so that words take their
/// place.
fn of_failures(
    results: &Results,
    groups: &[Group],
    metric: &str,
    title: &str,
    label: fn(f64) -> String,
) -> Chart {
    let mut series = by_share(results, groups, metric);
    let y = from_zero(title, &series, label);
    if !series.iter().flat_map(|(_, points)| points).any(|point| point.y > 0.0) {
        series.clear();
    }
    Chart { x: shares(groups), y, levels: Vec::new(), absent: "none", series }
}

/// How whole free memory is at the end. `group` is one share.
#[must_use]
pub fn contiguity(results: &Results, group: &Group) -> Figure {
    let first = position("free_in_runs_4KiB");
    let designs = results.designs.iter().enumerate();
    let series = designs.map(|(design, name)| {
        let points = (0..RUN_ORDERS).filter_map(|order| {
            let estimate = group.estimate(design, first + order)?;
            let half = 100.0 * estimate.half_width.unwrap_or(0.0);
            let x = f64::from(u32::try_from(order).unwrap_or(0));
            Some(Point { x, y: 100.0 * estimate.mean, half, weight: 0.1 })
        });
        (name.to_string(), points.collect())
    });
    let chart = Chart {
        x: Axis {
            title: "run of free pages at least as long as".to_owned(),
            range: (0.0, 18.0),
            limit: 18.0,
            labels: 7,
            label: length,
        },
        y: Axis {
            title: "free memory, percent".to_owned(),
            range: (0.0, 105.0),
            limit: 100.0,
            labels: 6,
            label: |y| format!("{y:.0}"),
        },
        levels: Vec::new(),
        absent: "no free memory",
        series: series.collect(),
    };
    let title = format!("Contiguity of free memory at the end, tagged {}", group.tagged());
    let caption = "Share of free memory that lies in runs of free pages at least so long. A curve \
                   that stays high to the right is memory in large pieces.";
    Figure::new(title, caption, &chart)
}

/// 2^`order` pages of 4 KiB.
fn length(order: f64) -> String {
    match order.round() {
        order if order < 8.0 => format!("{:.0}K", 4.0 * order.exp2()),
        order if order < 18.0 => format!("{:.0}M", (order - 8.0).exp2()),
        order => format!("{:.0}G", (order - 18.0).exp2()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_small_scales_differ() {
        let labels = [0.0, 0.0002, 0.0004, 0.005, 0.015, 0.2, 5.0, 150.0].map(few_digits);
        assert_eq!(labels, ["0", "0.0002", "0.0004", "0.005", "0.015", "0.2", "5", "150"]);
    }
}
