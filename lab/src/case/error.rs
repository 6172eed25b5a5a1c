//! Why a recorded case, or a file beside a trace, could not be read.

use core::fmt;

use crate::place::in_file;

/// A place in a file of a case that could not be used, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CaseError {
    /// The file as the user would name it.
    pub file: String,
    /// Line, from 1; 0 when it is the file as a whole.
    pub line: usize,
    /// The field that is wrong; empty when it is the file as a whole.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

impl CaseError {
    /// A file that could not be read.
    #[must_use]
    pub fn unreadable(file: &str, why: impl fmt::Display) -> Self {
        Self { file: file.to_owned(), line: 0, field: String::new(), why: why.to_string() }
    }

    /// A line that says something impossible.
    #[must_use]
    pub fn at(file: &str, line: usize, field: &str, why: impl fmt::Display) -> Self {
        Self { file: file.to_owned(), line, field: field.to_owned(), why: why.to_string() }
    }
}

impl fmt::Display for CaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        in_file(f, &self.file, self.line)?;
        if !self.field.is_empty() {
            write!(f, "field `{}`: ", self.field)?;
        }
        f.write_str(&self.why)
    }
}

impl std::error::Error for CaseError {}
