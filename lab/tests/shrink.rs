//! Shrinking: short, minimal, the same every time, and reproduced by the command that is printed.

use std::process::{Command, Output};

use clap::Parser;
use pagelab::cli::{Cli, Command as Words};
use pagelab::ops::Line;
use pagelab::run::stage::Stage;
use pagelab::shrink::plan::ShrinkPlan;
use pagelab::shrink::{Duel, End, Property, Shrunk, shrink};

const MOVES: &str = "shrink --a carveout --b cma-v3 --property migration --workload adversary";
const TAGS: &str = "shrink --a cma-v2 --b cma-v3 --property tagged-failure --workload adversary \
                    --cma 128MiB";

fn pagelab<'w>(words: impl Iterator<Item = &'w str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pagelab"));
    command.args(words).output().expect("the command starts")
}

fn plan(words: &str) -> ShrinkPlan {
    let words = core::iter::once("pagelab").chain(words.split_whitespace());
    let cli = Cli::try_parse_from(words).expect("words that clap accepts");
    let Some(Words::Shrink(words)) = cli.command else { panic!("a shrink") };
    ShrinkPlan::new(&words).expect("a plan")
}

/// Without any one operation the designs do not differ in that way.
#[track_caller]
fn check_minimal(words: &str) -> Shrunk {
    let plan = plan(words);
    let shrunk = shrink(&plan).expect("a machine");
    let found = shrunk.difference.as_ref().expect("a difference");
    assert!(found.end == End::Minimal && found.steps.len() < 20, "{found:?}");
    let stage = Stage::new(&plan.scene).expect("a machine");
    let duel = Duel { stage: &stage, designs: plan.designs, property: plan.property };
    let lines: Vec<Line> = found.steps.iter().copied().map(Line::from).collect();
    let differ = |lines: &[Line]| {
        let counts = duel.counts(lines).expect("a machine");
        counts.differ(found.differ.within) == Some(found.differ)
    };
    assert!(differ(&lines));
    for gone in 0..lines.len() {
        let without = [&lines[..gone], &lines[gone + 1..]].concat();
        assert!(!differ(&without), "operation {gone} is not needed: {:?}", lines[gone]);
    }
    shrunk
}

#[test]
fn a_migration_takes_few_operations_the_same_every_time() {
    let first = check_minimal(MOVES);
    assert_eq!(first, shrink(&plan(MOVES)).expect("a machine"));
}

#[test]
fn a_page_that_cannot_be_tagged_takes_few_operations() {
    let shrunk = check_minimal(TAGS);
    let found = shrunk.difference.expect("a difference");
    assert_eq!(found.counts.all, [1, 0]);
}

#[test]
fn the_printed_command_shows_the_difference() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("found.ops");
    let name = file.to_str().expect("a name in UTF-8");
    let output = pagelab(TAGS.split_whitespace().chain(["-o", name]));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(said.lines().take_while(|line| !line.starts_with("To see")).all(|l| l.len() <= 100));
    let command = said.lines().last().expect("a command").trim();
    let words = command.strip_prefix("pagelab ").expect("a command of this program");
    let output = pagelab(words.split_whitespace());
    let report = String::from_utf8(output.stdout).expect("text");
    let failed = report.lines().find(|line| line.trim().starts_with("pages that could not"));
    let failed: Vec<_> = failed.expect("a line").split_whitespace().rev().take(2).collect();
    assert_eq!(failed, ["0", "1"], "{report}");
}

/// Neither design can fail to tag a page when nothing is tagged.
#[test]
fn designs_that_never_differ_are_said_to() {
    let words = "shrink --a carveout --b cma-v3 --property tagged-failure --workload kbuild \
                 --ticks 5";
    let output = pagelab(words.split_whitespace());
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(said.contains("do carveout and cma-v3 differ in pages that could not be"), "{said}");
}

#[test]
fn a_spent_budget_is_said() {
    let shrunk = shrink(&plan(&format!("{MOVES} --budget 3"))).expect("a machine");
    let found = shrunk.difference.expect("a difference");
    assert_eq!((found.end, shrunk.runs), (End::Spent, 3));
}

#[test]
fn help_errors_and_notes_know_every_property() {
    let names = Property::ALL.map(Property::name);
    let help = pagelab(["shrink", "--help"].into_iter());
    let help = String::from_utf8(help.stdout).expect("text");
    let (_, help) = help.rsplit_once("--property <NAME>").expect("it is there");
    let (help, _) = help.split_once("--budget").expect("it is next");
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let (_, list) = help.split_once(": ").expect("a list");
    let listed = list.split("; ").map(|entry| entry.split([',', '.']).next().expect("a name"));
    assert_eq!(listed.collect::<Vec<_>>(), names);
    let error = pagelab("shrink --a cma --b carveout --property x".split_whitespace());
    let error = String::from_utf8(error.stderr).expect("text");
    assert!(error.ends_with(&format!("not one of {}\n", names.join(", "))), "{error}");
    let note = concat!(env!("CARGO_MANIFEST_DIR"), "/../notes/ops.md");
    let note = std::fs::read_to_string(note).expect("part of the project");
    let rows = note.lines().skip_while(|line| !line.starts_with("| property |")).skip(2);
    let rows: Vec<_> = rows.take_while(|line| line.starts_with('|')).collect();
    let listed: Vec<_> = rows.iter().map(|row| row.split('`').nth(1).expect("a name")).collect();
    assert_eq!(listed, names);
}

#[test]
fn impossible_words_are_named() {
    for (more, expected) in [
        ("--b carveout --property migration", "--b \"carveout\": the same design as --a"),
        ("--b zfs --property migration", "--b \"zfs\": not one of carveout"),
        ("--b cma --property speed", "--property \"speed\": not one of tagged-failure"),
        ("--b cma --property migration --budget 0", "--budget \"0\": zero"),
        ("--b cma --property migration --workload phone --lenient", "--lenient \"\": only with"),
        ("--b cma --property migration -o a/", "--output \"a/\": a folder"),
        ("--b cma --property migration --json", "--json \"\": shrink prints text only"),
        ("--b cma --property migration --ops no/such", "no/such: "),
    ] {
        let words = format!("shrink --a carveout {more}");
        let output = pagelab(words.split_whitespace());
        let error = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{words}: {error}");
        assert!(error.starts_with(&format!("pagelab: {expected}")), "{words}: {error}");
    }
}
