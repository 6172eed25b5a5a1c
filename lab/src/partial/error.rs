//! Why output is not there.

use core::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why something could not be written.
#[derive(Debug)]
pub struct WriteError {
    /// Where it was to be.
    pub path: PathBuf,
    /// What is wrong.
    pub why: io::Error,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why)
    }
}

impl std::error::Error for WriteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.why)
    }
}

/// Adds the path to an error.
pub(crate) fn at(path: &Path) -> impl Fn(io::Error) -> WriteError {
    move |why| WriteError { path: path.to_owned(), why }
}
