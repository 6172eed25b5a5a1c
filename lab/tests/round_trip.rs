//! The emulator's own runs, written as cases and replayed: every event foreseen, every list equal,
//! under every design; and not without the design's rules.

mod replayed;

use std::path::{Path, PathBuf};
use std::process::Command;

use pagelab::plan::Design;
use replayed::{edit, summary};
use serde_json::Value;

const PROFILES: [&str; 2] = ["6.1", "6.12"];
const LEVELS: [&str; 2] = ["buddy", "pcp"];

/// More than 64 MiB hold, so that they are reclaimed: anonymous memory, page cache, blocks of the
/// kernel, frees of every other page, a range.
fn trace() -> String {
    let mut text = String::new();
    let mut say = |event: String| {
        let at = text.lines().count();
        text += &format!("            task-7       [000] .....  {at}.000000: {event}\n");
    };
    let gfps = [
        "GFP_HIGHUSER_MOVABLE|__GFP_ZERO",
        "GFP_KERNEL",
        "GFP_HIGHUSER_MOVABLE|__GFP_NORETRY|__GFP_NOWARN",
        "GFP_KERNEL|__GFP_RECLAIMABLE",
    ];
    let pfn = |n: u64| 0x1000 + 16 * n;
    for n in 0..16_000_u64 {
        let (order, gfp) = match n {
            _ if n % 40 == 1 => (3, gfps[1]),
            _ if n % 40 == 3 => (1, gfps[3]),
            _ if n % 3 == 0 => (0, gfps[2]),
            _ => (0, gfps[0]),
        };
        let pfn = pfn(n);
        say(format!(
            "mm_page_alloc: page=0 pfn={pfn:#x} order={order} migratetype=1 gfp_flags={gfp}"
        ));
        if n % 9 == 8 {
            say(format!("mm_page_free: page=0 pfn={:#x} order=0", pfn - 16 * 4));
        }
        if n == 8000 {
            say("alloc_contig_range: (f+0x0) start=0x80000 end=0x80200 mt=1".to_owned());
            say("alloc_contig_range_ret: (f+0x0) ret=0".to_owned());
        }
    }
    text
}

/// Writes a run as a case, into a folder that does not exist yet.
fn written(folder: &Path, words: &[&str], design: &str, profile: &str) -> PathBuf {
    let case = folder.join(format!("{design}-{profile}"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_pagelab"));
    command.args(["run", "--design", design, "--profile", profile, "--case"]).arg(&case);
    let output = command.args(words).output().expect("the command starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{design} {profile} {words:?}: {said}");
    case
}

/// What is not as in the case: `None` when all is.
fn flaw(summary: &Value) -> Option<String> {
    let missed = summary["misses"].as_object().expect("an object");
    let missed = missed.values().any(|count| *count != 0);
    let snapshots = summary["snapshots"].as_array().expect("a list");
    let alike = |snapshot: &Value| {
        let all = ["lists_equal", "pageblocks_equal", "pagetypeinfo_equal"];
        all.iter().all(|what| snapshot[what] == true) && snapshot["pcp_equal"] != false
    };
    let exact = summary["exact_ratio"] == 1.0 && summary["exact"] == summary["predictions"];
    let good = exact && !missed && summary["resyncs"] == 0 && snapshots.iter().all(alike);
    (!good || snapshots.is_empty()).then(|| format!("{summary:#}"))
}

/// Runs, writes and replays under both profiles, at both levels.
#[track_caller]
fn check(words: &[&str], design: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    for profile in PROFILES {
        let case = written(folder.path(), words, design, profile);
        for level in LEVELS {
            let (code, summary) = summary(&case, &["--level", level]);
            let what = format!("{design} {profile} {level} {words:?}");
            assert_eq!((code, flaw(&summary)), (Some(0), None), "{what}");
        }
    }
}

#[test]
fn every_design_is_exact() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("trace.txt");
    std::fs::write(&file, trace()).expect("a file");
    let file = file.to_str().expect("UTF-8");
    let words =
        ["--memory", "64MiB", "--cma", "4MiB", "--tagged", "60%", "--lenient", "--trace", file];
    let names = Design::ALL.iter().map(|design| design.name().to_owned());
    let taggable = ["cma-v3", "metadata"].map(|name| format!("{name}+taggable-hw"));
    for design in names.chain(taggable) {
        check(&words, &design);
    }
}

#[test]
fn the_demonstration_is_exact() {
    for design in ["cma-v2", "cma-v3"] {
        check(&[], design);
    }
}

/// kswapd, direct reclaim, swap, compaction.
#[test]
fn workloads_are_exact() {
    for (workload, ticks, design) in [
        ("phone", "60", "cma-filter"),
        ("server", "30", "metadata"),
        ("kbuild", "30", "cma-v2"),
        ("fragment", "60", "drop-movable"),
        ("adversary", "60", "cma-v3"),
        ("guest", "60", "zone-movable"),
        // Pageblocks are set aside for high-order atomic requests, and given back.
        ("server", "2000", "cma-v2"),
    ] {
        let words = ["--workload", workload, "--ticks", ticks, "--memory", "256MiB"];
        check(&[&words[..], &["--tagged", "60%"]].concat(), design);
    }
}

#[test]
fn canary_without_its_design_a_case_is_not_exact() {
    let folder = tempfile::tempdir().expect("a folder");
    for profile in PROFILES {
        let case = written(folder.path(), &[], "cma-v3", profile);
        edit(&case, "meta.json", |text| text.replace("\"design\": \"cma-v3\",", ""));
        let (_, summary) = summary(&case, &["--level", "pcp"]);
        assert!(flaw(&summary).is_some(), "{summary:#}");
        let ratio = summary["exact_ratio"].as_f64().expect("a number");
        assert!(ratio < 0.99, "{profile}: {ratio}");
    }
}
