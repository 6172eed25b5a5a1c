//! Results as comma-separated values, in long form.
//!
//! Lines that begin with `#` hold the plan as JSON. Then one row a run, time and metric:
//! `design,memory_mib,tagged_percent,seed,time_s,metric,unit,value`. Metrics of a whole run stand
//! at its end; those of a moment begin with `at_`. What a run does not have has no row.

use std::io::{self, Write};

use super::{Cell, Results, metrics};
use crate::costs::CostModel;
use crate::metric::by_name;
use crate::report::{Moment, seconds};

/// A number of a moment: its name, unit and value.
pub type MomentNumber = (&'static str, &'static str, fn(&Moment) -> u64);

/// Every number of a moment.
pub const MOMENT: &[MomentNumber] = &[
    ("at_free_pages", "pages", |m| m.free_pages),
    ("at_free_cma_pages", "pages", |m| m.free_cma_pages),
    ("at_huge_available", "blocks", |m| m.huge_available),
    ("at_unusable_index", "thousandths", |m| m.unusable_index),
    ("at_tagged_pages", "pages", |m| m.tagged_pages),
    ("at_reserved_tag_pages", "pages", |m| m.reserved_tag_pages),
    ("at_claims_free", "count", |m| m.claims_free),
    ("at_claims", "count", |m| m.claims),
    ("at_moved_pages", "pages", |m| m.moved_pages),
    ("at_failed", "count", |m| m.failed),
];

/// Writes all of it.
///
/// # Errors
///
/// What `out` says.
pub fn write(results: &Results, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "# {}", results.plan)?;
    let costs = results.costs.as_ref().map_or_else(String::new, CostModel::describe);
    for line in costs.lines() {
        writeln!(out, "# {line}")?;
    }
    writeln!(out, "design,memory_mib,tagged_percent,seed,time_s,metric,unit,value")?;
    for group in &results.groups {
        let memory = group.mebibytes();
        let tagged = group.tagged_percent().map_or_else(String::new, |share| share.to_string());
        for (design, cells) in results.designs.iter().zip(&group.cells) {
            for (seed, cell) in (group.scene.seed..).zip(cells) {
                let row = format!("{design},{memory},{tagged},{seed}");
                rows(&row, cell, out)?;
                price(&row, cell, results, out)?;
            }
        }
    }
    Ok(())
}

fn rows(row: &str, cell: &Cell, out: &mut impl Write) -> io::Result<()> {
    for moment in &cell.moments {
        let time = seconds(moment.nanoseconds);
        for (name, unit, value) in MOMENT {
            writeln!(out, "{row},{time},{name},{unit},{}", value(moment))?;
        }
    }
    let end = end(cell);
    for (at, metric) in metrics() {
        if let Some(value) = cell.values[at] {
            writeln!(out, "{row},{end},{},{},{value}", metric.name, metric.unit.name())?;
        }
    }
    // Some counters are metrics as well.
    for (name, value) in cell.counters.iter().filter(|(name, _)| by_name(name).is_none()) {
        writeln!(out, "{row},{end},{name},count,{value}")?;
    }
    Ok(())
}

/// What the run takes by the cost model, whose name is part of the metric's.
fn price(row: &str, cell: &Cell, results: &Results, out: &mut impl Write) -> io::Result<()> {
    let (Some(costs), Some(price)) = (&results.costs, cell.price) else { return Ok(()) };
    let end = end(cell);
    writeln!(out, "{row},{end},cost_by_{},{},{price}", costs.name, costs.unit)
}

/// When a run ended, seconds.
fn end(cell: &Cell) -> f64 {
    cell.moments.last().map_or(0.0, |moment| seconds(moment.nanoseconds))
}
