//! Who interrupts the command finds no half-written files, and sees it end by the signal.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// More work than is done before the signal.
const LONG: &str = "--workload phone --memory 1GiB --ticks 100000";

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into()).collect()
}

fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-s", name, &id]).status().expect("kill").success());
}

/// The command in `folder`, as soon as something is there under a temporary name. `hang_up` says
/// what becomes of SIGHUP, however this test was begun: an option of `env`.
fn begin(folder: &Path, words: &str, hang_up: &str) -> Child {
    let mut command = Command::new("env");
    command.args([hang_up, env!("CARGO_BIN_EXE_pagelab")]);
    command.args(words.split_whitespace()).current_dir(folder);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    for _ in 0..6000 {
        if names(folder).iter().any(|name| name.ends_with(".partial")) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(!names(folder).is_empty(), "{words}: nothing is begun");
    child
}

#[test]
fn signals_leave_no_partial_files() {
    for (words, (name, number)) in [
        ("compare --designs carveout,cma --csv a --jsonl b --html c", ("TERM", 15)),
        ("compare --designs carveout,cma --csv a", ("INT", 2)),
        ("compare --designs carveout,cma --csv a", ("HUP", 1)),
        ("run --design cma --ftrace a", ("TERM", 15)),
        ("run --design cma --case a", ("INT", 2)),
        ("shrink --a carveout --b cma-v3 --property contig-failure -o a", ("TERM", 15)),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let words = format!("{words} {LONG}");
        let mut child = begin(folder.path(), &words, "--default-signal=HUP");
        signal(&child, name);
        let ended = child.wait().expect("it ends");
        assert_eq!(ended.signal(), Some(number), "{words}: {ended}");
        assert_eq!(names(folder.path()), [""; 0], "{words}");
    }
}

#[test]
fn what_was_begun_under_nohup_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let words = format!("compare --designs carveout,cma --csv a {LONG}");
    let mut child = begin(folder.path(), &words, "--ignore-signal=HUP");
    signal(&child, "HUP");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(child.try_wait().expect("it can be asked"), None);
    signal(&child, "TERM");
    assert_eq!(child.wait().expect("it ends").signal(), Some(15));
}
