//! Files of text that people write: plans and cost models.

use std::io;
use std::path::Path;

/// Why a file is no text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextFileError {
    /// It cannot be read.
    #[error("{file}: {why}")]
    Read {
        /// Its name.
        file: String,
        /// What is wrong.
        why: io::Error,
    },
    /// It is not text.
    #[error("{file}:{line}: not UTF-8")]
    NotText {
        /// Its name.
        file: String,
        /// The first line that is not, from 1.
        line: usize,
    },
}

/// A file's text, and the name by which errors call the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TextFile {
    /// The name.
    pub name: String,
    /// The text.
    pub text: String,
}

impl TextFile {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`TextFileError`] when it cannot be read or is no text.
    pub fn read(path: &Path) -> Result<Self, TextFileError> {
        let name = path.display().to_string();
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(why) => return Err(TextFileError::Read { file: name, why }),
        };
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self { name, text }),
            Err(error) => {
                let line = line_of(error.as_bytes(), error.utf8_error().valid_up_to());
                Err(TextFileError::NotText { file: name, line })
            }
        }
    }
}

/// Line of a byte, from 1.
pub(crate) fn line_of(text: &[u8], at: usize) -> usize {
    1 + text.iter().take(at).filter(|byte| **byte == b'\n').count()
}
