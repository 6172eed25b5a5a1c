//! What a replay found, as a value.

use super::compare::SnapshotVerdict;
use super::ledger::Explained;
use super::plan::Level;
use super::tally::{Kind, Score, Tally};

/// A finished replay.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// Name of the case.
    pub case: String,
    /// Release of the recorded kernel.
    pub kernel: String,
    /// Version whose rules were followed.
    pub profile: &'static str,
    /// What was predicted.
    pub level: Level,
    /// Events read since the first snapshot.
    pub events: u64,
    /// All predictions.
    pub score: Score,
    /// Predictions and misses in detail.
    pub tally: Tally,
    /// The snapshots, in order, without the first, from which the replay started.
    pub snapshots: Vec<SnapshotVerdict>,
    /// The miss that somebody asked about.
    pub explained: Option<Explained>,
    /// The machine's state as text, where the replay was told to stop.
    pub stopped: Option<String>,
}

impl Summary {
    /// Share of predictions that came true; 1 when none was made.
    #[must_use]
    pub fn exact_ratio(&self) -> f64 {
        let Score { predictions, exact } = self.score;
        if predictions == 0 { 1.0 } else { ratio(exact, predictions) }
    }

    /// Whether every snapshot is the same in everything that is modelled.
    #[must_use]
    pub fn lists_hold(&self) -> bool {
        self.snapshots.iter().all(SnapshotVerdict::is_equal)
    }

    /// Predictions about fallbacks.
    #[must_use]
    pub fn extfrag(&self) -> Score {
        self.tally.scores.get(&Kind::Extfrag).copied().unwrap_or_default()
    }
}

/// Counts of a trace are far below 2^53.
fn ratio(part: u64, whole: u64) -> f64 {
    let float = |n: u64| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    if u32::try_from(whole).is_ok() {
        return float(part) / float(whole);
    }
    float(part >> 20) / float(whole >> 20)
}
