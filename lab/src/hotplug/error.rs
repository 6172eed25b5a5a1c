//! Why nothing runs.

use std::path::Path;

use crate::place::Place;
use crate::text_file::TextFileError;

/// A word or a file that makes no run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HotplugError {
    /// A word that was typed.
    #[error("{flag} {value:?}: {why}")]
    Word {
        /// The flag, or what stands in its place.
        flag: &'static str,
        /// What was typed.
        value: String,
        /// What is wrong with that.
        why: String,
    },
    /// A file.
    #[error(transparent)]
    File(#[from] TextFileError),
    /// A folder cannot be listed.
    #[error("{file}: {why}")]
    Folder {
        /// Its name.
        file: String,
        /// What is wrong.
        why: std::io::Error,
    },
    /// A line of a scenario.
    #[error("{place}{key}: {why}")]
    Text {
        /// Where.
        place: Place,
        /// The key; `TOML` when it is not about one.
        key: String,
        /// What is wrong.
        why: String,
    },
}

impl HotplugError {
    pub(super) fn word(flag: &'static str, value: &str, why: impl Into<String>) -> Self {
        Self::Word { flag, value: value.to_owned(), why: why.into() }
    }

    pub(super) fn folder(path: &Path, why: std::io::Error) -> Self {
        Self::Folder { file: path.display().to_string(), why }
    }
}
