//! One folder.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::error::{WriteError, at};
use super::temporary::Temporary;

/// A folder that gets its name when it is whole, and vanishes when it never is.
#[derive(Debug)]
pub struct PartialFolder {
    target: PathBuf,
    temporary: Temporary,
}

impl PartialFolder {
    /// Creates the folder under a temporary name.
    ///
    /// # Errors
    ///
    /// [`WriteError`] when it cannot be created there, or something is at `target` that is no empty
    /// folder.
    pub fn create(target: &Path) -> Result<Self, WriteError> {
        let taken = match fs::read_dir(target) {
            Ok(mut entries) => entries.next().is_some().then_some(io::ErrorKind::DirectoryNotEmpty),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => None,
            Err(cause) => Some(cause.kind()),
        };
        if let Some(kind) = taken {
            return Err(at(target)(kind.into()));
        }
        let (temporary, ()) = Temporary::make(target, |path| fs::create_dir(path))?;
        Ok(Self { target: target.to_owned(), temporary })
    }

    /// The last part of the folder's name.
    #[must_use]
    pub fn name(&self) -> String {
        self.target.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Writes one file of the folder.
    ///
    /// # Errors
    ///
    /// [`WriteError`] with the name that it was to have.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), WriteError> {
        let written = self.create_file(name)?.write_all(bytes);
        written.map_err(at(&self.path(name)))
    }

    /// Creates one file of the folder, to be written bit by bit.
    ///
    /// # Errors
    ///
    /// [`WriteError`] with the name that it is to have.
    pub fn create_file(&self, name: &str) -> Result<File, WriteError> {
        let file = self.temporary.make_inside(name, |path| File::create(path));
        file.map_err(at(&self.path(name)))
    }

    /// Where a file of the folder will be.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.target.join(name)
    }

    /// Gives the folder its name.
    ///
    /// # Errors
    ///
    /// [`WriteError`] when that is not possible; nothing is left behind then.
    pub fn commit(self) -> Result<(), WriteError> {
        self.temporary.rename(&self.target)
    }
}
