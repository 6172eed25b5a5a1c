//! Output that is there whole or not at all.

use core::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Why something could not be written.
#[derive(Debug)]
pub struct EmitError {
    /// Where it was to be.
    pub path: PathBuf,
    /// What is wrong.
    pub why: io::Error,
}

impl fmt::Display for EmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why)
    }
}

impl std::error::Error for EmitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.why)
    }
}

/// Adds the path to an error.
pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> EmitError {
    move |why| EmitError { path: path.to_owned(), why }
}

/// The name under which `target` is written until it is whole: beside it, hidden, and different for
/// every process.
fn temporary(target: &Path) -> Result<PathBuf, EmitError> {
    let unnamed = || io::Error::new(io::ErrorKind::InvalidInput, "names no file");
    let name = target.file_name().ok_or_else(unnamed).map_err(at(target))?;
    let name = format!(".{}.{}.partial", name.to_string_lossy(), std::process::id());
    Ok(target.with_file_name(name))
}

/// A file that gets its name when it is whole, and vanishes when it never is.
#[derive(Debug)]
pub struct PartialFile {
    target: PathBuf,
    temporary: PathBuf,
}

impl PartialFile {
    /// Creates the file under a temporary name.
    ///
    /// # Errors
    ///
    /// [`EmitError`] when it cannot be created there, or `target` is there and no regular file.
    pub fn create(target: &Path) -> Result<(Self, File), EmitError> {
        match fs::symlink_metadata(target) {
            Ok(there) if there.is_dir() => {
                return Err(at(target)(io::ErrorKind::IsADirectory.into()));
            }
            // A device, a pipe or a link would be replaced by the file.
            Ok(there) if !there.is_file() => {
                let why = io::Error::new(io::ErrorKind::AlreadyExists, "is no regular file");
                return Err(at(target)(why));
            }
            _ => {}
        }
        let temporary = temporary(target)?;
        let file = File::create(&temporary).map_err(at(target))?;
        Ok((Self { target: target.to_owned(), temporary }, file))
    }

    /// Gives the file its name, in place of whatever had it.
    ///
    /// # Errors
    ///
    /// [`EmitError`] when that is not possible; nothing is left behind then.
    pub fn commit(self) -> Result<(), EmitError> {
        fs::rename(&self.temporary, &self.target).map_err(at(&self.target))
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        // After a commit there is nothing to remove, and nobody to tell if there is and it stays.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// A folder that gets its name when it is whole, and vanishes when it never is.
#[derive(Debug)]
pub struct PartialFolder {
    target: PathBuf,
    temporary: PathBuf,
}

impl PartialFolder {
    /// Creates the folder under a temporary name.
    ///
    /// # Errors
    ///
    /// [`EmitError`] when it cannot be created there, or something is at `target` that is no empty
    /// folder.
    pub fn create(target: &Path) -> Result<Self, EmitError> {
        let taken = match fs::read_dir(target) {
            Ok(mut entries) => entries.next().is_some().then_some(io::ErrorKind::DirectoryNotEmpty),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => None,
            Err(cause) => Some(cause.kind()),
        };
        if let Some(kind) = taken {
            return Err(at(target)(kind.into()));
        }
        let temporary = temporary(target)?;
        fs::create_dir(&temporary).map_err(at(target))?;
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
    /// [`EmitError`] with the name that it was to have.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), EmitError> {
        fs::write(self.temporary.join(name), bytes).map_err(at(&self.target.join(name)))
    }

    /// Writes one file of the folder, compressed.
    ///
    /// # Errors
    ///
    /// [`EmitError`] with the name that it was to have.
    pub fn write_zstd(&self, name: &str, text: &str) -> Result<(), EmitError> {
        let packed = zstd::encode_all(text.as_bytes(), super::recording::LEVEL);
        self.write(name, &packed.map_err(at(&self.target.join(name)))?)
    }

    /// Creates one file of the folder, to be written bit by bit.
    ///
    /// # Errors
    ///
    /// [`EmitError`] with the name that it is to have.
    pub fn create_file(&self, name: &str) -> Result<File, EmitError> {
        File::create(self.temporary.join(name)).map_err(at(&self.target.join(name)))
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
    /// [`EmitError`] when that is not possible; nothing is left behind then.
    pub fn commit(self) -> Result<(), EmitError> {
        fs::rename(&self.temporary, &self.target).map_err(at(&self.target))
    }
}

impl Drop for PartialFolder {
    fn drop(&mut self) {
        // As for files.
        let _ = fs::remove_dir_all(&self.temporary);
    }
}
