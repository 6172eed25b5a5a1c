//! Where the table was measured.

use std::{fs, process::Command, thread};

/// Lines about machine, compiler and commit; what cannot be had is "unknown".
pub(crate) fn describe() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown", |(_, model)| model);
    let processors = thread::available_parallelism().map_or(1, |count| count.get());
    let rustc = first_line("rustc", &["--version"]);
    let commit = first_line("git", &["describe", "--always", "--dirty", "--abbrev=10"]);
    format!("{model}, {processors} processors, {rustc}, commit {commit}")
}

fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.ok().filter(|output| output.status.success());
    let text = text.and_then(|output| String::from_utf8(output.stdout).ok());
    text.and_then(|text| text.lines().next().map(str::to_owned)).unwrap_or("unknown".to_owned())
}
