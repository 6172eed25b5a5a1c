//! The command as it is typed: exit codes and what it says.

use std::process::{Command, Output, Stdio};

fn pagelab(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pagelab"));
    command.args(words).output().expect("the command starts")
}

#[track_caller]
fn check_error(words: &[&str], expected: &str) {
    let output = pagelab(words);
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(expected), "{said}");
    assert!(output.stdout.is_empty());
}

#[test]
fn without_words_it_shows_the_demonstration() {
    let output = pagelab(&[]);
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(said.contains("recorded on 512 MiB, kernel 6.1.0-56-arm64\n"), "{said}");
    assert!(said.contains(", seed 42\n"), "{said}");
    assert_eq!(said.as_bytes(), pagelab(&[]).stdout, "the same plan gives the same bytes");
}

#[test]
fn errors_go_to_stderr_with_code_2() {
    check_error(&["walk"], "unrecognized subcommand 'walk'");
    check_error(&["run"], "--design");
    check_error(&["run", "--design", "zfs"], "pagelab: --design \"zfs\": not one of");
    check_error(&["run", "--design", "cma", "--trace", "no/such"], "pagelab: no/such:0: ");
}

#[test]
fn a_bad_line_or_a_bad_meta_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("trace.txt");
    let trace = path.to_str().expect("a name in UTF-8");
    std::fs::write(&path, "a-1 [000] 1.0: mm_page_free: pfn=1\n").expect("a file");
    let words = ["run", "--design", "cma", "--trace", trace];
    check_error(&words, "trace.txt:1: field `order`: missing");
    let lenient = pagelab(&[&words[..], &["--lenient", "--json"]].concat());
    assert!(lenient.status.success());
    let said = String::from_utf8(lenient.stdout).expect("text");
    assert!(said.contains("\"skipped: order missing\": 1"), "{said}");
    std::fs::write(folder.path().join("meta.json"), "{\n\"name\": 1}").expect("a file");
    check_error(&words, "meta.json:2: field `name`: invalid type");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pagelab"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    assert!(output.stderr.is_empty());
}

#[test]
fn help_is_success() {
    let output = pagelab(&["--help"]);
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).expect("text").contains("compare"));
}
