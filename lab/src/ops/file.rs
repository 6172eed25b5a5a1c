//! A file of operations: its lines, and whether a machine can take them.

use std::path::Path;

use super::line::Line;
use super::parse::{OpsError, Wrong};
use super::room::Room;
use super::scope::Scope;
use crate::logical::Step;

/// The operations of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpsFile {
    /// The file as the user named it.
    file: String,
    /// Line of each operation, from 1.
    lines: Vec<u64>,
    /// The operations.
    steps: Vec<Step>,
}

impl OpsFile {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`OpsError`] of the first line that makes no sense.
    pub fn read(path: &Path) -> Result<Self, OpsError> {
        let file = path.display().to_string();
        match std::fs::read(path) {
            Ok(bytes) => Self::parse(&file, &bytes),
            Err(why) => Err(OpsError::unreadable(&file, &why)),
        }
    }

    /// Reads the text of a file that errors call `file`.
    ///
    /// # Errors
    ///
    /// [`OpsError`] of the first line that makes no sense.
    pub fn parse(file: &str, text: &[u8]) -> Result<Self, OpsError> {
        let mut scope = Scope::default();
        let (mut lines, mut ops) = (Vec::new(), Vec::new());
        for (line, text) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let error = |wrong| OpsError { file: file.to_owned(), line, wrong };
            let text = str::from_utf8(text).map_err(|_| error(Wrong::new("", "", "not UTF-8")))?;
            if text.trim().is_empty() || text.trim_start().starts_with('#') {
                continue;
            }
            let op: Line = text.parse().map_err(error)?;
            scope.enter(op.op).map_err(error)?;
            lines.push(line);
            ops.push(op);
        }
        Ok(Self { file: file.to_owned(), lines, steps: super::steps(ops) })
    }

    /// The operations, when the machine has room for each.
    ///
    /// # Errors
    ///
    /// [`OpsError`] of the first line that wants more.
    pub fn fit(self, room: Room) -> Result<Vec<Step>, OpsError> {
        for (&line, step) in self.lines.iter().zip(&self.steps) {
            if let Err(wrong) = room.take(step.op) {
                return Err(OpsError { file: self.file, line, wrong });
            }
        }
        Ok(self.steps)
    }
}
