//! The file of operations: there whole or not at all.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::emit::{EmitError, PartialFile};

/// A file that is open under a temporary name until there is something to write.
#[derive(Debug)]
pub struct OpsFile<'p> {
    path: &'p Path,
    partial: PartialFile,
    file: File,
}

impl<'p> OpsFile<'p> {
    /// Opens it before any work is done for it.
    ///
    /// # Errors
    ///
    /// [`EmitError`] when it cannot be created there.
    pub fn create(path: &'p Path) -> Result<Self, EmitError> {
        let (partial, file) = PartialFile::create(path)?;
        Ok(Self { path, partial, file })
    }

    /// Writes it, and gives it its name.
    ///
    /// # Errors
    ///
    /// [`EmitError`] when that is not possible.
    pub fn write(mut self, text: &str) -> Result<(), EmitError> {
        let written = self.file.write_all(text.as_bytes());
        written.map_err(|why| EmitError { path: self.path.to_owned(), why })?;
        self.partial.commit()
    }
}
