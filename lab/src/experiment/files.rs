//! The files of an experiment's results: each is there whole or not at all.

use std::path::{Path, PathBuf};

use super::{Results, csv, html, jsonl};
use crate::partial::{PartialFile, WriteError, apart};
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
        let mut taken = inputs.to_vec();
        for path in [&files.csv, &files.jsonl, &files.html].into_iter().flatten() {
            apart(path, &taken)?;
            taken.push(path);
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
