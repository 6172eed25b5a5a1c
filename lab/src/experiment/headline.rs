//! What people are shown of an experiment, table by table; data files have all of it.

use super::metrics;
use crate::metric::Metric;

/// How a table in plain text shows a metric; the page has intervals for all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Show {
    /// With half the width of the 95 % interval.
    Interval,
    /// With the change from the first design.
    Change,
}

/// The metrics with a table of their own.
const HEADLINES: &[(&str, Show)] = &[
    ("usable_memory", Show::Change),
    ("given_back", Show::Interval),
    ("lent_and_used", Show::Interval),
    ("fast_path_hit_rate", Show::Interval),
    ("tag_efficiency", Show::Interval),
    ("moves_per_tagged_page", Show::Interval),
    ("tagged_waited", Show::Interval),
    ("tagged_failed", Show::Interval),
    ("claims_failed", Show::Interval),
    ("requests_failed", Show::Interval),
    ("cma_utilisation", Show::Interval),
    ("unusable_index", Show::Change),
    ("mixed_blocks", Show::Change),
    ("huge_available", Show::Change),
    ("extfrag_unmovable_in_movable", Show::Change),
    ("pages_migrated", Show::Change),
    ("pages_scanned", Show::Change),
    ("disk_rereads", Show::Change),
    ("refault_copied", Show::Interval),
    ("refault_anon", Show::Change),
];

/// The metrics with a table of their own and their positions, in the catalogue's order.
pub fn headlines() -> impl Iterator<Item = (usize, &'static Metric, Show)> {
    metrics().filter_map(|(at, metric)| {
        let (_, show) = HEADLINES.iter().find(|(name, _)| *name == metric.name)?;
        Some((at, metric, *show))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headlines_are_metrics_that_there_are() {
        assert_eq!(headlines().count(), HEADLINES.len());
    }
}
