//! The demonstration's report, byte for byte.
//!
//! Whoever changes it on purpose runs, from the root of the repository,
//!
//! ```text
//! PAGELAB_REGENERATE=1 cargo test -p pagelab --test golden
//! ```
//!
//! and looks at the difference before committing it.

use std::path::Path;
use std::process::Command;

const GOLDEN: &str = "tests/golden/demo.txt";
const HOW: &str = "PAGELAB_REGENERATE=1 cargo test -p pagelab --test golden";

#[test]
fn the_demonstration_is_as_it_was() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pagelab"));
    let output = command.output().expect("the command starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report = String::from_utf8(output.stdout).expect("text");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN);
    if std::env::var_os("PAGELAB_REGENERATE").is_some() {
        std::fs::write(&path, &report).expect("the golden file is writable");
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = golden.lines().zip(report.lines()).enumerate().find(|(_, (a, b))| a != b);
    if let Some((line, (old, new))) = differs {
        panic!("lab/{GOLDEN}:{}:\n-{old}\n+{new}\nif that is meant: {HOW}", line + 1);
    }
    assert_eq!(golden.len(), report.len(), "lab/{GOLDEN} ends elsewhere; if that is meant: {HOW}");
}

/// Every line of the README's picture stands in the report.
#[test]
fn the_readme_shows_the_report() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).expect("part of the project");
    let (readme, golden) = (read("../README.md"), read(GOLDEN));
    let picture = readme.split("## The first picture").nth(1).expect("a heading");
    let lines: Vec<_> = picture.split("```").nth(1).expect("a block").lines().skip(1).collect();
    assert!(lines.len() > 10, "the picture is gone");
    for line in lines {
        assert!(golden.lines().any(|known| known == line), "not in lab/{GOLDEN}: {line:?}");
    }
}
