//! Experiments: the same bytes on any number of threads, files that are whole or not there, tables
//! that fit a mail, and results that have to come out.

use std::path::Path;
use std::process::{Command, Output};

use clap::Parser;
use pagelab::cli::Cli;
use pagelab::experiment::{Results, carry_out, csv, jsonl, metrics, table};
use pagelab::plan::{Design, Plan};

fn results(words: &str) -> Results {
    let words = ["pagelab", "compare"].into_iter().chain(words.split_whitespace());
    let cli = Cli::try_parse_from(words).expect("words that clap accepts");
    let results = carry_out(&Plan::new(&cli).expect("a possible plan"), None).expect("it runs");
    assert!(results.violations.is_empty(), "{:?}", results.violations);
    results
}

fn pagelab(words: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pagelab"));
    command.args(words.split_whitespace()).output().expect("the command starts")
}

fn as_csv(results: &Results) -> String {
    let mut out = Vec::new();
    csv::write(results, &mut out).expect("a vector takes everything");
    String::from_utf8(out).expect("text")
}

const SMALL: &str = "--workload phone --memory 256MiB --ticks 60";

#[test]
fn threads_change_nothing() {
    let run = |threads| {
        let words = format!(
            "--designs carveout,cma-v3,cleancache {SMALL} --tagged 0,40% --seeds 3 \
             --threads {threads}"
        );
        let results = results(&words);
        let mut lines = Vec::new();
        jsonl::write(&results, &mut lines).expect("a vector takes everything");
        (table::render(&results), as_csv(&results), lines)
    };
    let one = run(1);
    for threads in [2, 5] {
        assert!(one == run(threads), "{threads} threads");
    }
}

#[test]
fn rows_are_long_and_begin_with_the_plan() {
    let results = results(&format!("--designs carveout,cma-v3 {SMALL} --tagged 0,40% --seeds 2"));
    let text = as_csv(&results);
    let (plan, rest) = text.split_once('\n').expect("lines");
    let plan: serde_json::Value = serde_json::from_str(&plan[2..]).expect("JSON");
    assert_eq!((&plan["first_seed"], &plan["seeds"]), (&42.into(), &2.into()));
    assert_eq!(plan["tagged_shares"], serde_json::json!(["0 %", "40 %"]));
    assert_eq!(plan["version"], env!("CARGO_PKG_VERSION"));
    let mut rows = rest.lines();
    let header = "design,memory_mib,tagged_percent,seed,time_s,metric,unit,value";
    assert_eq!(rows.next(), Some(header));
    let rows: Vec<Vec<&str>> = rows.map(|row| row.split(',').collect()).collect();
    assert!(rows.iter().all(|row| row.len() == 8 && row[7].parse::<f64>().is_ok()));
    let of = |design: &str, tagged: &str, seed: &str, metric: &str| {
        let mut found = rows.iter().filter(|row| {
            row[0] == design && row[2] == tagged && row[3] == seed && row[5] == metric
        });
        let value = found.next().map(|row| row[7].parse::<f64>().expect("a number"));
        assert!(found.next().is_none(), "{design} {tagged} {seed} {metric} stands twice");
        value
    };
    assert_eq!(of("carveout", "40", "42", "given_back"), Some(0.0));
    assert_eq!(of("carveout", "40", "42", "fast_path_hit_rate"), None);
    // All but the page of tags of the page of zeroes.
    assert_eq!(of("cma-v3", "0", "43", "given_back"), Some(8.0 - 1.0 / 256.0));
    assert!(of("cma-v3", "40", "43", "given_back") < Some(8.0));
    assert!(of("cma-v3", "40", "42", "pgmigrate_success").is_some());
    // Moments: evenly spread over the six seconds, the last at the end.
    let times: Vec<f64> = rows
        .iter()
        .filter(|row| row[..4] == ["cma-v3", "256", "40", "42"] && row[5] == "at_tagged_pages")
        .map(|row| row[4].parse().expect("a number"))
        .collect();
    assert!(times.len() > 35 && times.is_sorted() && times.last() == Some(&6.0), "{times:?}");
}

#[test]
fn all_designs_are_asked_the_same() {
    let results = results(&format!("--designs all {SMALL} --tagged 30% --seeds 2"));
    let at = |name| metrics().find(|(_, metric)| metric.name == name).expect("a metric").0;
    let asked = |design: usize, seed: usize| {
        let cell = &results.groups[0].cells[design][seed];
        cell.moments.iter().map(|moment| moment.nanoseconds).collect::<Vec<_>>()
    };
    for design in 0..results.designs.len() {
        assert_eq!(asked(design, 1), asked(0, 1));
        let peak = results.groups[0].estimate(design, at("tagged_pages_peak")).expect("tagged");
        assert!(peak.mean > 3000.0, "{}: {}", results.designs[design], peak.mean);
    }
}

/// Pages carry tags while these are aside, as in a carve-out, which keeps none aside.
#[test]
fn tags_kept_aside_are_counted() {
    let words = "--designs carveout,cma-v3 --workload phone --memory 256MiB --cma 64MiB \
                 --ticks 450 --tagged 100% --tag-when mprotect";
    let results = results(words);
    let at = |name| metrics().find(|(_, metric)| metric.name == name).expect("a metric").0;
    let cells = [0, 1].map(|design| &results.groups[0].cells[design][0]);
    let aside = cells.map(|cell| cell.counters["tag_stashed_pages"]);
    assert!(aside[0] == 0 && aside[1] > 1000, "{aside:?}");
    let peak = at("tagged_pages_peak");
    assert_eq!(cells[0].values[peak], cells[1].values[peak]);
    let tagged = cells.map(|cell| cell.moments.iter().map(|m| m.tagged_pages).collect::<Vec<_>>());
    assert_eq!(tagged[0], tagged[1]);
}

/// A workload tags nothing unasked, and says so in every file, unless it always tags something.
#[test]
fn what_is_tagged_unasked_is_said() {
    let said = |workload: &str| {
        let words = format!("--workload {workload} --memory 256MiB --ticks 5 --designs cma-v3");
        let results = results(&words);
        let group = &results.groups[0];
        let row = as_csv(&results).lines().nth(2).expect("a row").to_owned();
        (group.tagged(), group.tagged_percent(), row.starts_with("cma-v3,256,0,42,"))
    };
    assert_eq!(said("phone"), ("0 %".to_owned(), Some(0.0), true));
    assert_eq!(said("guest"), ("its own".to_owned(), None, false));
}

#[test]
fn tables_fit_a_mail() {
    let words = format!("--designs all,cma+taggable-hw {SMALL} --tagged 0,1,2,3,4,5,100%");
    let text = table::render(&results(&words));
    let widest = text.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(100), "{widest:?}");
    for design in Design::ALL {
        assert!(text.contains(&format!("\n  {design} ")), "{design}");
    }
    assert!(text.contains("\n  cma-v3+taggable-hw\n") && text.contains("(+0.0%)"));
    // Values of neighbouring columns do not touch.
    assert!(!text.contains(")~") && !text.lines().any(|line| line.contains(")(")));
}

#[test]
fn cost_models_are_named_where_they_are_used() {
    let costs = concat!(env!("CARGO_MANIFEST_DIR"), "/costs/copies.toml");
    let words = format!("compare --designs carveout,cma-v3 {SMALL} --tagged 60% --costs {costs}");
    let output = pagelab(&words);
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("\ncost by the model copies-epyc-2026, ns\n"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    let without = pagelab(&words[..words.find(" --costs").expect("there")]);
    assert!(!String::from_utf8(without.stdout).expect("text").contains("cost"));
}

#[test]
fn files_are_whole_or_not_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let entries = || std::fs::read_dir(folder.path()).expect("a folder").count();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let words = |more: &str| {
        format!("compare --designs carveout,cma --workload phone --memory 256MiB --ticks 9 {more}")
    };
    // Nothing of it: a folder that is not there, a machine that is none.
    for (more, expected) in [
        (format!("--csv {} --jsonl {}", path("a"), path("no/b")), "no/b: No such file"),
        (format!("--csv {} --cma 250MiB", path("a")), "no room for"),
        (format!("--csv {} --tagged 101%", path("a")), "--tagged \"101%\""),
        (format!("--csv {} --costs {}", path("a"), path("none")), "none: No such file"),
        (format!("--csv {} --html {}", path("a"), path("./a")), "a: is read or written already"),
        (format!("--csv {}", path("")), "a folder"),
    ] {
        let output = pagelab(&words(&more));
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expected) && said.lines().count() == 1, "{said}");
        assert!(output.stdout.is_empty());
        assert_eq!(entries(), 0, "{more}");
    }
    let output = pagelab(&words(&format!("--csv {} --jsonl {}", path("a"), path("b"))));
    assert!(output.status.success() && entries() == 2);
    for name in ["a", "b"] {
        let size = std::fs::metadata(Path::new(&path(name))).expect("it is there").len();
        assert!(size > 1000, "{name}");
    }
}

#[test]
fn the_metrics_note_is_the_catalogue() {
    let note = concat!(env!("CARGO_MANIFEST_DIR"), "/../notes/metrics.md");
    let note = std::fs::read_to_string(note).expect("part of the project");
    let printed = String::from_utf8(pagelab("metrics").stdout).expect("text");
    assert!(note.ends_with(&format!("\n\n{printed}")), "notes/metrics.md ends with\n{printed}");
}

/// The vendor's question at its ends: without tags every lending design gives back all of tag
/// storage but the zero page's, and the carve-out nothing.
#[test]
fn without_tags_everything_comes_back() {
    let results = results(&format!("--designs all {SMALL} --tagged 0% --seeds 2"));
    let (at, _) = metrics().find(|(_, metric)| metric.name == "given_back").expect("a metric");
    for (design, contender) in results.designs.iter().enumerate() {
        let given_back = results.groups[0].estimate(design, at).expect("always there").mean;
        let all = if contender.design == Design::Carveout { 0.0 } else { 8.0 };
        assert!((given_back - all).abs() < 0.01, "{contender}: {given_back} MiB");
    }
}
