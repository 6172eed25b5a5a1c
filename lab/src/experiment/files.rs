//! The files of an experiment's results: each is there whole or not at all.

use std::io;
use std::path::{Path, PathBuf};

use super::{Results, csv, html, jsonl};
use crate::partial::{PartialFile, WriteError};
use crate::plan::Files;

/// Files that are open under temporary names until there is something to write.
#[derive(Debug, Default)]
pub struct ResultFiles {
    csv: Option<PartialFile>,
    jsonl: Option<PartialFile>,
    html: Option<PartialFile>,
}

impl ResultFiles {
    /// Opens what the plan names, before any work is done for it.
    ///
    /// # Errors
    ///
    /// [`WriteError`] for the first file that cannot be created, that is named twice, or that is
    /// one of `inputs`; none is left behind then.
    pub fn create(files: &Files, inputs: &[&Path]) -> Result<Self, WriteError> {
        let mut taken: Vec<PathBuf> = inputs.iter().map(|path| real(path)).collect();
        for path in [&files.csv, &files.jsonl, &files.html].into_iter().flatten() {
            let path_there = real(path);
            if taken.contains(&path_there) {
                let why = io::Error::new(io::ErrorKind::InvalidInput, "is read or written already");
                return Err(WriteError { path: path.clone(), why });
            }
            taken.push(path_there);
        }
        let open = |path: &Option<_>| {
            path.as_ref().map(|path: &PathBuf| PartialFile::create(path)).transpose()
        };
        Ok(Self { csv: open(&files.csv)?, jsonl: open(&files.jsonl)?, html: open(&files.html)? })
    }

    /// Writes the results, and gives the files their names.
    ///
    /// # Errors
    ///
    /// [`WriteError`] for the first file that cannot be written.
    pub fn write(self, results: &Results) -> Result<(), WriteError> {
        let Self { csv, jsonl, html } = self;
        csv.map(|file| file.write(|out| csv::write(results, out))).transpose()?;
        jsonl.map(|file| file.write(|out| jsonl::write(results, out))).transpose()?;
        html.map(|file| file.write(|out| html::write(results, out))).transpose()?;
        Ok(())
    }
}

/// Where a file is, or will be, however its name is spelt.
fn real(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = std::fs::canonicalize(folder.unwrap_or(Path::new(".")));
    let name = path.file_name().unwrap_or_default();
    let named = folder.map(|folder| folder.join(name));
    std::fs::canonicalize(path).or(named).unwrap_or_else(|_| path.to_owned())
}
