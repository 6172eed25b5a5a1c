//! Why words make no plan.

use crate::place::Place;

/// A word that does not make a plan.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{place}{flag} {value:?}: {why}")]
pub struct PlanError {
    /// Where it stands, when in a file.
    pub place: Place,
    /// The flag.
    pub flag: &'static str,
    /// What was typed after it.
    pub value: String,
    /// What is wrong with that.
    pub why: &'static str,
}

impl PlanError {
    /// A value that is none of those a flag may have.
    pub(crate) fn not_possible(flag: &'static str, value: &str) -> Self {
        Self::new(flag, value, "not possible")
    }

    pub(crate) fn new(flag: &'static str, value: &str, why: &'static str) -> Self {
        Self { place: Place::CommandLine, flag, value: value.to_owned(), why }
    }
}
