//! Where something that is wrong stands.

use core::fmt;

/// Where a word stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// It was typed.
    CommandLine,
    /// It stands in a file.
    File {
        /// Name of the file.
        file: String,
        /// Line, from 1; 0 for the file as a whole.
        line: usize,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => Ok(()),
            Self::File { file, line } => in_file(f, file, *line),
        }
    }
}

/// Writes what errors begin with: file and line, or the file alone when the line is 0.
pub(crate) fn in_file<L: fmt::Display + PartialEq + Default>(
    f: &mut fmt::Formatter<'_>,
    file: &str,
    line: L,
) -> fmt::Result {
    match line == L::default() {
        true => write!(f, "{file}: "),
        false => write!(f, "{file}:{line}: "),
    }
}
