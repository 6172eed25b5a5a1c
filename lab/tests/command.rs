//! The command as it is typed: exit codes and what it says.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

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
    check_error(&["run", "--design", "cma", "--trace", "no/such"], "pagelab: no/such: ");
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
    assert!(said.contains("\"order: missing\": 1"), "{said}");
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

/// Output of a run on a trace of user pages, of which `--tagged` chooses some.
fn run_on_pages(words: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("trace.txt");
    let line = |n: usize| {
        let fields = format!("page=0 pfn={n} order=0 migratetype=1 gfp_flags=GFP_HIGHUSER_MOVABLE");
        format!("task-7 [000] ..... {n}.000000: mm_page_alloc: {fields}\n")
    };
    let trace: String = (1..2000).map(line).collect();
    std::fs::write(&path, trace).expect("a file");
    let trace = path.to_str().expect("a name in UTF-8");
    let designs = words.contains(&"--designs");
    let designs: &[&str] = if designs { &[] } else { &["--designs", "carveout,cma"] };
    pagelab(&[&["compare", "--trace", trace], designs, words].concat())
}

#[test]
fn the_seed_chooses_the_tagged_pages() {
    let json = |seed: &str| {
        let output = run_on_pages(&["--tagged", "20%", "--seed", seed, "--json"]);
        let all: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        all["runs"].clone()
    };
    let asked = |runs: &Value| runs[1]["tagging"]["asked"].as_u64().expect("a number");
    let (one, two) = (json("1"), json("2"));
    assert!((300..500).contains(&asked(&one)), "{}", asked(&one));
    assert_eq!(one, json("1"), "the same seed gives the same bytes");
    assert_ne!(one, two);
    assert_eq!(asked(&one), one[0]["tagging"]["asked"], "all designs see the same choice");
}

#[test]
fn json_has_the_documented_fields() {
    let output = pagelab(&["run", "--design", "cma", "--json"]);
    let all: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let keys = |value: &Value| -> Vec<String> {
        value.as_object().expect("an object").keys().cloned().collect()
    };
    let plan = "block_size_bytes cma_bytes designs kernel memory_bytes recorded_on seed survey \
                tagged_share trace version workload";
    let run = "after barred_cma before census claims counters design extfrag lent machine moments \
               reclaim requests tagged_peak_pages tagging";
    let picture = "blocks buddyinfo fragmentation_index free_cma_pages free_pages huge_available \
                   pagetypeinfo unusable_index";
    assert_eq!(keys(&all), ["plan", "runs"]);
    assert_eq!(keys(&all["plan"]).join(" "), plan);
    assert_eq!(keys(&all["runs"][0]).join(" "), run);
    assert_eq!(keys(&all["runs"][0]["after"]).join(" "), picture);
    let blocks = all["runs"][0]["after"]["blocks"].as_str().expect("a string");
    assert_eq!(blocks.len(), 256, "the recorded machine has 512 MiB");
    let carveout = pagelab(&["run", "--design", "carveout", "--json"]);
    let all: Value = serde_json::from_slice(&carveout.stdout).expect("JSON");
    for field in ["lent", "claims", "barred_cma"] {
        assert_eq!(all["runs"][0][field], Value::Null, "{field}");
    }
}

#[test]
fn only_terminals_get_colours() {
    for no_color in ["", "1"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pagelab"));
        let output = command.env("NO_COLOR", no_color).output().expect("the command starts");
        assert!(!output.stdout.contains(&0x1b) && output.stderr.is_empty());
    }
}

#[test]
fn tables_are_not_wide() {
    for designs in ["carveout,cma", "all,cma+taggable-hw"] {
        let said = String::from_utf8(run_on_pages(&["--designs", designs]).stdout).expect("text");
        let (report, _) = said.split_once("/proc/").expect("kernel files at the end");
        let trace_name = |line: &&str| !line.starts_with("Trace ");
        let widest = report.lines().filter(trace_name).map(|line| line.chars().count()).max();
        assert!(widest <= Some(100), "{widest:?}");
    }
    let words = ["run", "--design", "cma", "--design", "cma"];
    assert_eq!(pagelab(&words).status.code(), Some(2), "a flag given twice");
}

#[test]
fn help_and_readme_know_every_design() {
    use pagelab::plan::Design;
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = std::fs::read_to_string(readme).expect("part of the project");
    for command in ["run", "compare"] {
        let help = String::from_utf8(pagelab(&[command, "--help"]).stdout).expect("text");
        for design in Design::ALL {
            assert!(help.contains(design.name()), "{command} --help: {design}");
            assert!(readme.contains(&format!("| `{design}`")), "README: {design}");
        }
        assert!(help.contains("+taggable-hw"), "{command} --help");
    }
}

#[test]
fn help_is_success() {
    let output = pagelab(&["--help"]);
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).expect("text").contains("compare"));
}
