//! What is measured of a run: names, units, ranges and where the definitions come from.
//!
//! The catalogue is the one list of them. Tables, data files, pictures and `notes/metrics.md` are
//! made from it.

mod catalogue;

use crate::report::RunReport;

pub use catalogue::{ALL, by_name};

/// One number of a run.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its stable name, in data files.
    pub name: &'static str,
    /// What it is counted in.
    pub unit: Unit,
    /// Least and most.
    pub range: &'static str,
    /// What it says, for people; units are given separately.
    pub meaning: &'static str,
    /// Who defined it so.
    pub source: &'static str,
    /// The number; `None` where the design or the run has none.
    pub of: fn(&RunReport) -> Option<f64>,
}

impl Metric {
    /// Meaning, unit and name, as the heading of a table.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{}, {} ({})", self.meaning, self.unit.name(), self.name)
    }
}

/// What a metric is counted in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Mebibytes.
    Mib,
    /// Base pages.
    Pages,
    /// Pageblocks, or ranges of the size that the name says.
    Blocks,
    /// Times that something happened.
    Count,
    /// A part of a whole: 0 to 1, shown in percent.
    Share,
    /// An index of the kernel: its thousandths divided by 1000.
    Index,
    /// A plain ratio.
    Ratio,
}

/// The catalogue as a table in Markdown.
#[must_use]
pub fn table() -> String {
    let mut out =
        "| metric | unit | range | meaning | source |\n|---|---|---|---|---|\n".to_owned();
    for Metric { name, unit, range, meaning, source, .. } in ALL {
        out.push_str(&format!("| `{name}` | {} | {range} | {meaning} | {source} |\n", unit.name()));
    }
    out
}

impl Unit {
    /// The word in data files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mib => "MiB",
            Self::Pages => "pages",
            Self::Blocks => "blocks",
            Self::Count => "count",
            Self::Share => "share",
            Self::Index => "index",
            Self::Ratio => "ratio",
        }
    }

    /// `value` as people read it, in at most seven characters; shares are shown in percent.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Share => format!("{:.1}%", 100.0 * value),
            Self::Index => format!("{value:.3}"),
            Self::Ratio if value.abs() < 10.0 => format!("{value:.4}"),
            Self::Mib | Self::Ratio if value.abs() < 1000.0 => format!("{value:.1}"),
            _ if value.abs() >= 9_999_500.0 => format!("{:.0}M", value / 1e6),
            _ if value.abs() >= 99_999.5 => format!("{:.0}k", value / 1e3),
            // The mean of a few events says more than the nearest whole number.
            _ if value.abs() < 9.95 && value.fract().abs() > 1e-9 => format!("{value:.1}"),
            _ => format!("{value:.0}"),
        }
    }
}
