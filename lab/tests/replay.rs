//! A real kernel's lists, replayed: every frame predicted, every list equal; and what breaks it is
//! noticed.

mod fixture;
mod replayed;

use std::fs;
use std::path::{Path, PathBuf};

use fixture::{FIXTURE, copy};
use replayed::{edit, replay, summary};
use serde_json::Value;

const KERNEL: &str = "6.1.0-56-cloud-amd64";

/// Cases beside the repository. Most checkouts do not have them.
fn shared() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/traces");
    let Ok(folder) = fs::read_dir(folder) else { return Vec::new() };
    let mut cases: Vec<_> = folder.flatten().map(|entry| entry.path()).collect();
    cases.retain(|case| case.join("trace.txt.zst").is_file());
    cases.sort();
    cases
}

#[track_caller]
fn check_exact(case: &Path, level: &str, least: &str) {
    let words = ["--level", level, "--require", least, "--require-lists"];
    let (code, value) = summary(case, &words);
    assert_eq!(code, Some(0), "{value:#}");
    assert_eq!(value["unexplained"], 0);
    let count = |name: &str| value[name].as_u64().expect("a number");
    let misses = value["misses"].as_object().expect("an object").values();
    let missed: u64 = misses.map(|count| count.as_u64().expect("a number")).sum();
    assert_eq!(count("predictions"), count("exact") + missed);
    let snapshots = value["snapshots"].as_array().expect("a list");
    for snapshot in snapshots {
        for what in ["lists_equal", "pageblocks_equal", "pagetypeinfo_equal"] {
            assert_eq!(snapshot[what], true, "{} {snapshot}", case.display());
        }
        assert_eq!(snapshot["pcp_equal"] == true, level == "pcp", "{snapshot}");
    }
    assert!(snapshots.len() >= 5);
}

#[test]
fn the_fixture_is_exact_at_the_buddy_level() {
    check_exact(Path::new(FIXTURE), "buddy", "1");
}

#[test]
fn the_fixture_is_exact_at_the_per_cpu_level() {
    check_exact(Path::new(FIXTURE), "pcp", "1");
}

#[test]
fn every_case_is_exact_at_the_buddy_level() {
    let cases = shared();
    if cases.is_empty() {
        println!("skipped: no recorded cases in ../shared/traces");
    }
    cases.iter().for_each(|case| check_exact(case, "buddy", "1"));
}

#[test]
fn every_case_is_nearly_exact_at_the_per_cpu_level() {
    let cases = shared();
    if cases.is_empty() {
        println!("skipped: no recorded cases in ../shared/traces");
    }
    cases.iter().for_each(|case| check_exact(case, "pcp", "0.99"));
}

#[test]
fn another_page_in_the_trace_is_a_miss() {
    let copy = copy();
    // The first two removals after the start change places.
    edit(copy.path(), "trace.txt", |text| {
        let start = text.find("SNAP 0 resume").expect("a start");
        let (before, after) = text.split_at(start);
        let mut lines: Vec<_> = after.lines().collect();
        let removals = lines.iter().enumerate().filter(|(_, l)| l.contains("_zone_locked"));
        let at: Vec<_> = removals.map(|(at, _)| at).take(2).collect();
        lines.swap(at[0], at[1]);
        format!("{before}{}\n", lines.join("\n"))
    });
    let (code, value) = summary(copy.path(), &["--require", "1"]);
    assert_eq!(code, Some(1));
    assert_eq!(value["misses"]["unexplained"], 2, "{value:#}");
    assert_eq!(value["resyncs"], 2);
    let said = replay(copy.path(), &["--explain", "1"]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("before:\nDMA32 order 0") && said.contains("after:"), "{said}");
}

/// Two heads of the longest movable list of a dump change places.
fn swap_heads(folder: &Path, name: &str) {
    let lists = fs::read_to_string(folder.join(name)).expect("lists");
    let line = lists.lines().filter(|l| l.contains("\"MOVABLE\": [")).max_by_key(|l| l.len());
    let line = line.expect("a list");
    let open = line.find('[').expect("a list") + 1;
    let mut heads = line[open..].splitn(3, ',');
    let (first, second) = (heads.next().expect("one"), heads.next().expect("two"));
    let swapped = line.replacen(&format!("{first},{second}"), &format!("{second},{first}"), 1);
    edit(folder, name, |text| text.replacen(line, &swapped, 1));
}

/// A compaction explains what differs at the next snapshot, and nothing at the one after that.
#[test]
fn a_compaction_explains_until_the_lists_are_known_again() {
    let zone = "zone_start=0x1000 migrate_pfn=0x1000 free_pfn=0xfe00 zone_end=0xffd7, mode=async";
    let line = |event: &str| format!("task-7 [000] .....    12.1: {event}\n");
    let begun = line(&format!("mm_compaction_begin: {zone}"));
    let ended = line(&format!("mm_compaction_end: {zone} status=complete"));
    for (name, explained) in [("freelists-2.json", true), ("freelists-3.json", false)] {
        let copy = copy();
        let marked = format!("SNAP 1 resume\n{begun}{ended}");
        edit(copy.path(), "trace.txt", |text| text.replacen("SNAP 1 resume\n", &marked, 1));
        assert_eq!(summary(copy.path(), &["--require", "1"]).0, Some(0));
        swap_heads(copy.path(), name);
        let (_, value) = summary(copy.path(), &[]);
        let turned = &value["misses"]["compaction list rotation"];
        assert_eq!(turned.as_u64() >= Some(1), explained, "{name}: {value:#}");
        assert!(value["exact_ratio"].as_f64() < Some(1.0));
    }
}

#[test]
fn another_order_of_a_list_is_noticed() {
    let copy = copy();
    let folder = copy.path();
    swap_heads(folder, "freelists-3.json");
    let (code, value) = summary(folder, &["--require-lists"]);
    assert_eq!(code, Some(1));
    let unequal = value["snapshots"].as_array().expect("a list");
    let unequal: Vec<_> = unequal.iter().filter(|s| s["lists_equal"] == false).collect();
    assert_eq!(unequal[0]["id"], 3, "{value:#}");
    assert!(value["unexplained"].as_u64() >= Some(1), "{value:#}");
    let (code, _) = summary(folder, &[]);
    assert_eq!(code, Some(0), "nothing was required");
}

#[test]
fn a_text_that_differs_in_a_byte_is_noticed() {
    let copy = copy();
    edit(copy.path(), "snap-2.pagetypeinfo.txt", |text| text.replacen("Movable", "movable", 1));
    let (code, value) = summary(copy.path(), &["--require-lists"]);
    assert_eq!(code, Some(1));
    assert_eq!(value["snapshots"][2]["pagetypeinfo_equal"], false);
    assert_eq!(value["snapshots"][2]["lists_equal"], true);
}

#[test]
fn a_wrong_profile_does_not_match() {
    let words = ["--profile", "6.12", "--level", "pcp", "--require", "0.99"];
    let (code, value) = summary(Path::new(FIXTURE), &words);
    assert_eq!(code, Some(1), "{value:#}");
    // However much is foreseen wrongly, a request counts for one miss more than it recorded.
    let (_, right) = summary(Path::new(FIXTURE), &["--level", "pcp"]);
    let predictions = |value: &Value| value["predictions"].as_u64().expect("a number");
    assert!(predictions(&value) < predictions(&right) * 11 / 10, "{value:#}");
    assert!(value["misses"]["per-CPU tuning"].as_u64() > Some(100), "{value:#}");
    assert_eq!((&value["profile"], &value["kernel"]), (&"6.12.117".into(), &KERNEL.into()));
}

#[test]
fn a_wrong_profile_is_named_where_its_rules_agree() {
    let note = "these are not the rules of that kernel";
    let said = |words: &[&str]| {
        let run = replay(Path::new(FIXTURE), words);
        String::from_utf8(run.stdout).expect("UTF-8").contains(note)
    };
    assert!(said(&["--profile", "6.12"]));
    assert!(!said(&[]));
}

#[test]
fn a_wrong_profile_does_not_match_under_pressure() {
    let Some(case) = shared().into_iter().find(|case| case.ends_with("x86-256-pressure-s3")) else {
        println!("skipped: no recorded cases in ../shared/traces");
        return;
    };
    let (code, value) = summary(&case, &["--profile", "6.12", "--require", "0.99"]);
    assert_eq!(code, Some(1));
    assert!(value["unexplained"].as_u64() > Some(1000), "{value:#}");
}

#[test]
fn a_replay_can_stop_and_show_the_lists() {
    let copy = copy();
    let trace = fs::read_to_string(copy.path().join("trace.txt")).expect("a trace");
    let line = trace.lines().position(|line| line.contains("SNAP 4 resume")).expect("a marker");
    let output = replay(copy.path(), &["--until", &(line + 1).to_string()]);
    let said = String::from_utf8(output.stdout).expect("text");
    for name in ["snap-4.pagetypeinfo.txt", "snap-4.buddyinfo.txt"] {
        let text = fs::read_to_string(copy.path().join(name)).expect("text");
        assert!(said.contains(&text), "{name}");
    }
    assert!(!said.contains("snapshot 5"), "it went on");
}

#[test]
fn words_without_meaning_are_refused() {
    for words in [
        ["--level", "page"],
        ["--require", "2"],
        ["--explain", "0"],
        ["--until", "x"],
        ["--profile", "5.4"],
    ] {
        let output = replay(Path::new(FIXTURE), &words);
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(words[0]), "{said}");
    }
}
