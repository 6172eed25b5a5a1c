//! What was asked of a replay, validated.

use std::path::PathBuf;

use pagelab_allocator::profile::KernelProfile;

use crate::cli::ReplayWords;
use crate::plan::{PlanError, parse_profile};

/// What is predicted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// Blocks that leave the buddy lists, and where those land that come back.
    Buddy,
    /// In addition all that the per-CPU lists do, from the requests alone.
    PerCpu,
}

impl Level {
    /// The word to type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Buddy => "buddy",
            Self::PerCpu => "pcp",
        }
    }
}

/// How to print.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplayOutput {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// As a row of the table in `notes/fidelity.md`.
    Row,
}

/// A replay, ready to be carried out.
#[derive(Clone, PartialEq, Debug)]
pub struct ReplayPlan {
    /// Folder of the case.
    pub case: PathBuf,
    /// What to predict.
    pub level: Level,
    /// Whose rules to follow; `None`: the recorded kernel's.
    pub profile: Option<KernelProfile>,
    /// How to print.
    pub output: ReplayOutput,
    /// Number of the miss to explain.
    pub explain: Option<u64>,
    /// Line of the trace before which to stop.
    pub until: Option<u64>,
    /// Least share of predictions that have to come true.
    pub require: Option<f64>,
    /// Whether every snapshot has to be the same.
    pub require_lists: bool,
}

impl ReplayPlan {
    /// Validates what was typed.
    ///
    /// # Errors
    ///
    /// [`PlanError`] for the first word that means nothing.
    pub fn new(words: &ReplayWords) -> Result<Self, PlanError> {
        let number = |flag: &'static str, word: &Option<String>| {
            let read = |text: &String| {
                let number = text.parse::<u64>().ok().filter(|n| *n > 0);
                number.ok_or_else(|| PlanError::not_possible(flag, text))
            };
            word.as_ref().map(read).transpose()
        };
        let level = match words.level.as_str() {
            "buddy" => Level::Buddy,
            "pcp" => Level::PerCpu,
            other => return Err(PlanError::not_possible("--level", other)),
        };
        let require = words.require.as_ref().map(|text| {
            let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
            share.ok_or_else(|| PlanError::not_possible("--require", text))
        });
        Ok(Self {
            case: PathBuf::from(&words.case),
            level,
            profile: words.profile.as_deref().map(parse_profile).transpose()?,
            output: match (words.json, words.table) {
                (true, _) => ReplayOutput::Json,
                (_, true) => ReplayOutput::Row,
                _ => ReplayOutput::Text,
            },
            explain: number("--explain", &words.explain)?,
            until: number("--until", &words.until)?,
            require: require.transpose()?,
            require_lists: words.require_lists,
        })
    }
}
