//! `pagelab replay` as it is typed, and cases to be spoilt.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Runs `pagelab replay`.
pub(crate) fn replay(case: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pagelab"));
    command.arg("replay").arg(case).args(words).output().expect("the command starts")
}

/// Exit code and summary of a replay that has nothing to complain about.
pub(crate) fn summary(case: &Path, words: &[&str]) -> (Option<i32>, Value) {
    let output = replay(case, &[words, &["--json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said, "", "{}", case.display());
    let value = serde_json::from_slice(&output.stdout).expect("JSON");
    (output.status.code(), value)
}

/// Changes a file of a copy.
pub(crate) fn edit(case: &Path, name: &str, change: impl Fn(String) -> String) {
    let file = case.join(name);
    let text = fs::read_to_string(&file).expect("text");
    let changed = change(text.clone());
    assert_ne!(text, changed, "the edit found nothing to change");
    fs::write(file, changed).expect("written");
}
