//! The names under which output is written until it is whole.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::{WriteError, at};

/// What of this process is there under a temporary name. A signal strikes the process as a whole,
/// so the list is the process's. Whoever creates, renames or removes anything holds it meanwhile.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn unfinished() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    // A path is in the list or it is not: no panic leaves it half-way.
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes all that is there under temporary names. Nothing is begun or finished in this process
/// from then on: who tries waits for ever. For a process that is about to end.
pub fn abandon() {
    let names = unfinished();
    names.iter().for_each(|name| remove(name));
    core::mem::forget(names);
}

/// There is nobody to tell when something stays.
fn remove(path: &Path) {
    let _ = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
}

/// Something under a temporary name, which vanishes unless it gets its own.
#[derive(Debug)]
pub(super) struct Temporary(PathBuf);

impl Temporary {
    /// Makes what is to be at `target` under a temporary name: beside it, hidden, and different
    /// for every process.
    pub(super) fn make<T>(
        target: &Path,
        make: impl FnOnce(&Path) -> io::Result<T>,
    ) -> Result<(Self, T), WriteError> {
        let unnamed = || io::Error::new(io::ErrorKind::InvalidInput, "names no file");
        let name = target.file_name().ok_or_else(unnamed).map_err(at(target))?;
        let name = format!(".{}.{}.partial", name.to_string_lossy(), std::process::id());
        let path = target.with_file_name(name);
        let mut names = unfinished();
        let made = make(&path).map_err(at(target))?;
        names.insert(path.clone());
        Ok((Self(path), made))
    }

    /// Makes something below it, if it is a folder.
    pub(super) fn make_inside<T>(
        &self,
        name: &str,
        make: impl FnOnce(&Path) -> io::Result<T>,
    ) -> io::Result<T> {
        let _names = unfinished();
        make(&self.0.join(name))
    }

    /// Gives it its own name, in place of whatever had it.
    pub(super) fn rename(self, target: &Path) -> Result<(), WriteError> {
        let mut names = unfinished();
        let renamed = fs::rename(&self.0, target).map_err(at(target));
        if renamed.is_ok() {
            names.remove(&self.0);
        }
        // The list is let go before what is left, if anything, is removed.
        drop(names);
        renamed
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let mut names = unfinished();
        if names.remove(&self.0) {
            remove(&self.0);
        }
    }
}
