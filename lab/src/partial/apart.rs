//! Output that would replace what is read, or other output.

use std::io;
use std::path::{Path, PathBuf};

use super::error::{WriteError, at};

/// Makes sure that `target` is none of the files that are read or written besides.
///
/// # Errors
///
/// [`WriteError`] when it is one of them.
pub fn apart(target: &Path, taken: &[&Path]) -> Result<(), WriteError> {
    let there = real(target);
    if taken.iter().all(|path| real(path) != there) {
        return Ok(());
    }
    let why = io::Error::new(io::ErrorKind::InvalidInput, "is read or written already");
    Err(at(target)(why))
}

/// Where a file is, or will be, however its name is spelt.
fn real(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = std::fs::canonicalize(folder.unwrap_or(Path::new(".")));
    let name = path.file_name().unwrap_or_default();
    let named = folder.map(|folder| folder.join(name));
    std::fs::canonicalize(path).or(named).unwrap_or_else(|_| path.to_owned())
}
