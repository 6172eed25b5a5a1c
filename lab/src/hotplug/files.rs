//! The files of results: each is there whole or not at all.

use std::path::{Path, PathBuf};

use super::plan::HotplugPlan;
use super::results::Ran;
use super::{csv, html, jsonl};
use crate::partial::{PartialFile, WriteError, apart};

/// Files that are open under temporary names until there is something to write.
#[derive(Debug, Default)]
pub struct HotplugFiles {
    csv: Option<PartialFile>,
    jsonl: Option<PartialFile>,
    html: Option<PartialFile>,
}

impl HotplugFiles {
    /// Opens what the plan names, before any work is done for it.
    ///
    /// # Errors
    ///
    /// [`WriteError`] for the first file that cannot be created, that is named twice, or that was
    /// read; none is left behind then.
    pub fn create(plan: &HotplugPlan) -> Result<Self, WriteError> {
        let mut taken: Vec<&Path> = plan.inputs.iter().map(PathBuf::as_path).collect();
        for path in [&plan.csv, &plan.jsonl, &plan.html].into_iter().flatten() {
            apart(path, &taken)?;
            taken.push(path);
        }
        let open = |path: &Option<PathBuf>| path.as_deref().map(PartialFile::create).transpose();
        Ok(Self { csv: open(&plan.csv)?, jsonl: open(&plan.jsonl)?, html: open(&plan.html)? })
    }

    /// Writes the results, and gives the files their names.
    ///
    /// # Errors
    ///
    /// [`WriteError`] for the first file that cannot be written.
    pub fn write(self, all: &[Ran]) -> Result<(), WriteError> {
        let Self { csv, jsonl, html } = self;
        csv.map(|file| file.write(|out| csv::write(all, out))).transpose()?;
        jsonl.map(|file| file.write(|out| jsonl::write(all, out))).transpose()?;
        html.map(|file| file.write(|out| html::write(all, out))).transpose()?;
        Ok(())
    }
}
