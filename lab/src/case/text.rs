//! Small files of a case as text: plain, or zstd under the same name with `.zst`.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use super::error::CaseError;

/// Most bytes that a file other than the trace may have, decompressed: the lists of a terabyte.
const LIMIT: u64 = 1 << 30;

/// A file of a case, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CaseText {
    /// The file as the user would name it.
    pub file: String,
    /// What it says.
    pub text: String,
}

impl CaseText {
    /// Reads `name` in `folder`, or `name` with `.zst`.
    ///
    /// # Errors
    ///
    /// [`CaseError`] when neither is there, or it is too large, truncated, or no text.
    pub fn read(folder: &Path, name: &str) -> Result<Self, CaseError> {
        let packed = folder.join(format!("{name}.zst"));
        let path = if packed.is_file() { packed } else { folder.join(name) };
        let file = path.display().to_string();
        let text = read(&path).map_err(|cause| CaseError::unreadable(&file, cause))?;
        let text = String::from_utf8(text).map_err(|cause| {
            let good = &cause.as_bytes()[..cause.utf8_error().valid_up_to()];
            let line = 1 + good.iter().filter(|byte| **byte == b'\n').map(|_| 1).sum::<usize>();
            CaseError::at(&file, line, "", "not text")
        })?;
        Ok(Self { file, text })
    }

    /// Reads `name`, which lies plain in the folder of `trace`; `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`CaseError`] when there is one that cannot be read.
    pub fn beside(trace: &Path, name: &str) -> Result<Option<Self>, CaseError> {
        let path = trace.with_file_name(name);
        let file = path.display().to_string();
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(Self { file, text })),
            Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(CaseError::unreadable(&file, cause)),
        }
    }

    /// The first line that has `word` as a whole number or name; 0 when none has.
    #[must_use]
    pub fn line_of(&self, word: &str) -> usize {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let has = |line: &str| line.split(|c| !is_word(c)).any(|found| found == word);
        self.text.lines().position(has).map_or(0, |line| line + 1)
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let raw = File::open(path)?;
    let mut bytes = Vec::new();
    let read = if path.extension().is_some_and(|e| e == "zst") {
        zstd::Decoder::new(raw)?.take(LIMIT).read_to_end(&mut bytes)
    } else {
        raw.take(LIMIT).read_to_end(&mut bytes)
    };
    match read {
        Ok(_) if bytes.len() as u64 == LIMIT => Err(std::io::Error::other("too large")),
        Ok(_) => Ok(bytes),
        Err(cause) if cause.kind() == ErrorKind::UnexpectedEof => {
            Err(std::io::Error::other("the compressed data end early"))
        }
        Err(cause) => Err(cause),
    }
}
