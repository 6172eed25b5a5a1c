//! The files of an experiment's results: each is there whole or not at all.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::{Results, csv, html, jsonl};
use crate::emit::{EmitError, PartialFile};
use crate::plan::Files;

/// Files that are open under temporary names until there is something to write.
#[derive(Debug, Default)]
pub struct ResultFiles {
    csv: Option<(PartialFile, File)>,
    jsonl: Option<(PartialFile, File)>,
    html: Option<(PartialFile, File)>,
}

impl ResultFiles {
    /// Opens what the plan names, before any work is done for it.
    ///
    /// # Errors
    ///
    /// [`EmitError`] for the first file that cannot be created, that is named twice, or that is one
    /// of `inputs`; none is left behind then.
    pub fn create(files: &Files, inputs: &[&Path]) -> Result<Self, EmitError> {
        let mut taken: Vec<PathBuf> = inputs.iter().map(|path| real(path)).collect();
        for path in [&files.csv, &files.jsonl, &files.html].into_iter().flatten() {
            let path_there = real(path);
            if taken.contains(&path_there) {
                let why = io::Error::new(io::ErrorKind::InvalidInput, "is read or written already");
                return Err(EmitError { path: path.clone(), why });
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
    /// [`EmitError`] for the first file that cannot be written.
    pub fn write(self, files: &Files, results: &Results) -> Result<(), EmitError> {
        finish(self.csv, files.csv.as_deref(), |out| csv::write(results, out))?;
        finish(self.jsonl, files.jsonl.as_deref(), |out| jsonl::write(results, out))?;
        finish(self.html, files.html.as_deref(), |out| html::write(results, out))
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

fn finish(
    file: Option<(PartialFile, File)>,
    path: Option<&Path>,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), EmitError> {
    let (Some((partial, file)), Some(path)) = (file, path) else { return Ok(()) };
    let mut out = BufWriter::new(file);
    let written = write(&mut out).and_then(|()| out.flush());
    written.map_err(|why| EmitError { path: path.to_owned(), why })?;
    partial.commit()
}
