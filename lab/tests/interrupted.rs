//! Who interrupts the command finds no half-written files, and sees it end by the signal.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

/// More work than is done before the signal.
const LONG: &str = "--workload phone --memory 1GiB --ticks 100000";

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into()).collect()
}

/// The command in `folder`, interrupted as soon as something is there under a temporary name.
fn interrupt(folder: &Path, words: &str, signal: &str) -> ExitStatus {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pagelab"));
    command.args(words.split_whitespace()).current_dir(folder);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    for _ in 0..6000 {
        if names(folder).iter().any(|name| name.ends_with(".partial")) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(!names(folder).is_empty(), "{words}: nothing is begun");
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-s", signal, &id]).status().expect("kill").success());
    child.wait().expect("it ends")
}

#[test]
fn signals_leave_no_partial_files() {
    for (words, (signal, number)) in [
        ("compare --designs carveout,cma --csv a --jsonl b --html c", ("TERM", 15)),
        ("compare --designs carveout,cma --csv a", ("INT", 2)),
        ("run --design cma --ftrace a", ("TERM", 15)),
        ("run --design cma --case a", ("INT", 2)),
        ("shrink --a carveout --b cma-v3 --property contig-failure -o a", ("TERM", 15)),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let ended = interrupt(folder.path(), &format!("{words} {LONG}"), signal);
        assert_eq!(ended.signal(), Some(number), "{words}: {ended}");
        assert_eq!(names(folder.path()), [""; 0], "{words}");
    }
}
