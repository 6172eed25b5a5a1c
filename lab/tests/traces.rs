//! Every recorded case under every design: it runs, the machine is consistent at the end, and when
//! everything was freed no page is missing. The command itself checks that and exits 1 otherwise.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where recorded cases are, beside the repository. Most checkouts do not have them.
fn cases() -> Vec<PathBuf> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/traces");
    let Ok(folder) = std::fs::read_dir(shared) else { return Vec::new() };
    let traces = folder.flatten().map(|entry| entry.path().join("trace.txt.zst"));
    let mut traces: Vec<_> = traces.filter(|trace| trace.is_file()).collect();
    traces.sort();
    traces
}

/// Checks the cases of at most `bytes`; how many there were.
fn check(bytes: u64, words: &[&str]) -> usize {
    let mut cases = cases();
    cases.retain(|trace| trace.metadata().is_ok_and(|file| file.len() <= bytes));
    for trace in &cases {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pagelab"));
        command.args(["compare", "--designs", "all", "--json", "--trace"]);
        let output = command.arg(trace).args(words).output().expect("the command starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*said), (Some(0), ""), "{}", trace.display());
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let survey = &report["plan"]["survey"];
        assert_eq!(survey["lost_events"], 0, "{}", trace.display());
        let made = survey["operations"]["allocations"].as_u64().expect("a number");
        for run in report["runs"].as_array().expect("a list") {
            assert!(run["requests"]["made"].as_u64() >= Some(made), "{}", trace.display());
        }
    }
    cases.len()
}

#[test]
fn every_case_runs_and_loses_no_page() {
    if check(u64::MAX, &[]) == 0 {
        println!("skipped: no recorded cases in ../shared/traces");
    }
}

#[test]
fn small_cases_run_with_more_tags() {
    if check(1_500_000, &["--tagged", "10%", "--seed", "3"]) == 0 {
        println!("skipped: no recorded cases in ../shared/traces");
    }
}
