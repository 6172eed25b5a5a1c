//! One file.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::error::{WriteError, at};
use super::temporary::Temporary;

/// A file that gets its name when it is whole, and vanishes when it never is.
#[derive(Debug)]
pub struct PartialFile {
    target: PathBuf,
    temporary: Temporary,
    file: File,
}

impl PartialFile {
    /// Creates the file under a temporary name, before any work is done for it.
    ///
    /// # Errors
    ///
    /// [`WriteError`] when it cannot be created there, or `target` is there and no regular file.
    pub fn create(target: &Path) -> Result<Self, WriteError> {
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
        let (temporary, file) = Temporary::make(target, |path| File::create(path))?;
        Ok(Self { target: target.to_owned(), temporary, file })
    }

    /// The same file once more, to be written bit by bit before [`commit`](Self::commit).
    ///
    /// # Errors
    ///
    /// [`WriteError`] when the system gives no handle.
    pub fn stream(&self) -> Result<BufWriter<File>, WriteError> {
        self.file.try_clone().map(BufWriter::new).map_err(at(&self.target))
    }

    /// Writes all of it, and gives it its name.
    ///
    /// # Errors
    ///
    /// [`WriteError`] when that is not possible; nothing is left behind then.
    pub fn write(
        self,
        write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
    ) -> Result<(), WriteError> {
        let mut out = BufWriter::new(&self.file);
        write(&mut out).and_then(|()| out.flush()).map_err(at(&self.target))?;
        drop(out);
        self.commit()
    }

    /// Gives the file its name, in place of whatever had it.
    ///
    /// # Errors
    ///
    /// [`WriteError`] when that is not possible; nothing is left behind then.
    pub fn commit(self) -> Result<(), WriteError> {
        self.temporary.rename(&self.target)
    }
}
