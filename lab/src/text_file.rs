//! Files of text that people write: plans and cost models.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// More bytes than people write.
const MOST: u64 = 1 << 20;

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
    /// [`TextFileError`] when it cannot be read, is too large or is no text.
    pub fn read(path: &Path) -> Result<Self, TextFileError> {
        let name = path.display().to_string();
        let bytes = match up_to(path, MOST) {
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

/// The bytes of a file that has no more than so many; a device may have any number.
fn up_to(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut file = File::open(path)?.take(most + 1);
    match u64::try_from(file.read_to_end(&mut bytes)?) {
        Ok(read) if read <= most => Ok(bytes),
        _ => Err(io::Error::new(io::ErrorKind::FileTooLarge, "more than 1 MiB")),
    }
}

/// Line of a byte, from 1.
pub(crate) fn line_of(text: &[u8], at: usize) -> usize {
    1 + text.iter().take(at).filter(|byte| **byte == b'\n').count()
}
