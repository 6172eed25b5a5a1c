//! Scenarios of memory that comes and goes: every one gives the numbers that it promises, the
//! command says so, and what is no scenario is refused with file, line and key.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pagelab::hotplug::results::Ran;
use pagelab::hotplug::scenario::Scenario;
use pagelab::hotplug::{csv, html, jsonl, list, measure, shipped, step, table};
use pagelab_migrate::allocator::hotplug::gate::catalogue;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/hotplug")
}

/// Scenarios of full size take seconds, or minutes without optimisation; each has a small twin.
fn is_full(name: &str) -> bool {
    name.ends_with("-full")
}

fn pagelab(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pagelab"));
    command.arg("hotplug").args(words).output().expect("the command starts")
}

#[track_caller]
fn text(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.is_empty(), "{said}");
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn ran(name: &str) -> Ran {
    let (name, text) = shipped::named(name).expect("it is part of the program")[0];
    let scenario = Scenario::parse(&format!("{name}.toml"), text).expect("a scenario");
    Ran::carry_out(scenario, None).expect("it runs")
}

/// Those of a part of the alphabet, so that parts run side by side.
fn all_keep_their_promises(part: fn(&str) -> bool) {
    let mut promises = 0;
    for (name, _) in shipped::ALL.iter().filter(|(name, _)| part(name)) {
        if is_full(name) && cfg!(debug_assertions) {
            continue;
        }
        let ran = ran(name);
        assert_eq!(ran.complaints(), Vec::<String>::new());
        promises += ran.verdicts().len();
    }
    assert!(promises > 20, "{promises}");
}

#[test]
fn questions_up_to_5_are_answered() {
    all_keep_their_promises(|name| ("q01".."q06").contains(&name));
}

#[test]
fn questions_from_6_on_are_answered() {
    all_keep_their_promises(|name| ("q06".."r").contains(&name));
}

#[test]
fn rows_and_traps_are_as_the_facts_say() {
    all_keep_their_promises(|name| name >= "r");
}

#[test]
fn the_program_has_every_file_of_the_folder() {
    let entries = std::fs::read_dir(folder()).expect("the folder is there");
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.expect("an entry").file_name().to_string_lossy().into_owned()
    };
    let mut files: Vec<_> = entries.map(name).collect();
    files.sort();
    let mut known: Vec<_> = shipped::ALL.iter().map(|(name, _)| format!("{name}.toml")).collect();
    known.sort();
    assert_eq!(known, files);
    assert_eq!(shipped::named("all").unwrap().len(), files.len());
    assert_eq!(shipped::named("q02").unwrap()[0].0, "q02-cost-of-late");
    assert!(shipped::named("q1").unwrap_err().starts_with("no file, and scenario \"q1\""));
}

#[test]
fn every_question_has_a_scenario_and_every_word_is_listed() {
    let mut answers = Vec::new();
    for (name, text) in shipped::ALL {
        answers.extend(Scenario::parse(name, text).unwrap().answers);
    }
    for question in 1..=13 {
        assert!(answers.contains(&format!("Q{question}")), "Q{question}");
    }
    let steps = step::STEPS.iter().map(|(name, _)| *name);
    for name in steps.chain(measure::ALL.iter().map(|one| one.name)) {
        let known = list::render().unwrap();
        assert!(known.contains(&format!("  {name} ")), "{name}");
    }
}

/// What stands in the notes' table about a row of the facts: every word between backquotes.
fn places_of_row(notes: &str, row: u32) -> Vec<&str> {
    let mut lines = notes.lines().filter(|line| line.starts_with(&format!("| {row} |")));
    let line = lines.next().unwrap_or_else(|| panic!("row {row} has no line"));
    assert_eq!(lines.next(), None, "row {row} has two lines");
    let words = line.rsplit_once(" | ").expect("columns").1;
    words.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_row_has_a_line_in_the_notes_that_says_where_it_is_tested() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let notes = std::fs::read_to_string(root.join("notes/hotplug-scenarios.md")).expect("notes");
    let read = |(name, text): &(&'static str, &str)| (*name, Scenario::parse(name, text).unwrap());
    let scenarios: Vec<(&str, Scenario)> = shipped::ALL.iter().map(read).collect();
    for row in 1..=43 {
        let places = places_of_row(&notes, row);
        assert!(!places.is_empty(), "row {row}");
        for place in &places {
            let is_scenario = scenarios.iter().any(|(name, _)| name == place);
            let test = std::fs::read_to_string(root.join(place)).unwrap_or_default();
            let tests = [format!("row_{row}_"), format!("row_{row:02}_")];
            let is_test = tests.iter().any(|name| test.contains(name));
            assert!(is_scenario || is_test, "row {row}: {place}");
        }
        let answer = format!("row {row}");
        for (name, _) in scenarios.iter().filter(|(_, read)| read.answers.contains(&answer)) {
            assert!(places.contains(name), "row {row} is answered by {name}");
        }
    }
}

#[test]
fn without_tags_no_guest_has_them() {
    let gate = catalogue::by_name("feature-off").expect("it is a gate");
    let (name, text) = shipped::named("q09-lost-tags").expect("it is part of the program")[0];
    let scenario = Scenario::parse(name, text).expect("a scenario");
    let ran = Ran::carry_out(scenario, Some(&[gate])).expect("it runs");
    let end = &ran.outcomes[0].end;
    let measured = |name| (measure::by_name(name).expect("a measure").of)(end);
    assert_eq!((measured("refused_einval"), measured("lost_tags")), (2, 0));
}

#[test]
fn columns_of_a_table_stand_apart() {
    let table = table::render(&[ran("q09-lost-tags")], 0);
    let heads = table.lines().find(|line| line.contains("demoted")).expect("it demotes");
    let heads: Vec<&str> = heads.split_whitespace().collect();
    assert_eq!(heads, ["gate", "demoted", "barred", "untagged", "lacking"]);
}

#[test]
fn the_same_file_gives_the_same_bytes() {
    for name in ["q06-pins-128mib", "q03-capacity-mte"] {
        let rendered = || {
            let all = [ran(name)];
            let mut out = table::render(&all, 20).into_bytes();
            csv::write(&all, &mut out).unwrap();
            jsonl::write(&all, &mut out).unwrap();
            html::write(&all, &mut out).unwrap();
            out
        };
        assert!(rendered() == rendered(), "{name}");
    }
}

const GOLDEN: &str = "tests/golden/hotplug.txt";

/// `PAGELAB_REGENERATE=1 cargo test -p pagelab --test hotplug` writes it anew.
#[test]
fn the_report_of_a_scenario_is_as_it_was() {
    let report = text(&pagelab(&["q05-race-a1-t-a2-a3"]));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN);
    if std::env::var_os("PAGELAB_REGENERATE").is_some() {
        std::fs::write(&path, &report).expect("the golden file is writable");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(golden, report, "if that is meant: PAGELAB_REGENERATE=1");
}

#[test]
fn without_a_scenario_there_is_a_list() {
    let said = text(&pagelab(&[]));
    for gate in catalogue::all() {
        assert!(said.contains(gate.name()), "{}", gate.name());
    }
    for part in ["q01-log-volume ", "tdx-init", "log_suppressed"] {
        assert!(said.contains(part), "{part}");
    }
    assert!(said.lines().all(|line| line.chars().count() <= 100), "{said}");
}

#[test]
fn reports_fit_a_mail_under_every_gate() {
    let output = pagelab(&["row20", "q09", "row18", "--gate", "all", "--log", "20"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    let said = text(&output);
    assert!(said.lines().all(|line| line.chars().count() <= 100), "{said}");
    for gate in catalogue::all() {
        let rows = said.matches(&format!("\n  {} ", gate.name())).count();
        assert!(rows >= 3, "{}: {said}", gate.name());
    }
    assert!(said.ends_with("\n3 scenarios, 3 as expected\n"), "{said}");
}

/// A small machine.
const SMALL: &str = "title = \"t\"\ngates = [\"ungated\"]\n\n[[memory]]\nname = \"dram\"\n\
                     start = \"1GiB\"\nsize = \"256MiB\"\n\n[[memory]]\nname = \"cxl\"\nnode = 1\n\
                     start = \"4GiB\"\nsize = \"256MiB\"\norigin = \"cxl\"\n\n[[step]]\n\
                     do = \"kmem\"\nof = \"cxl\"\nname = \"k\"\n";

#[test]
fn a_number_that_does_not_come_is_told() {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().expect("a file");
    let path = file.path().to_str().expect("a name in UTF-8");
    let more = "[[expect]]\nwhat = \"offline\"\nis = \"1GiB\"\n\n[[step]]\ndo = \"online\"\n\
                of = \"cxl\"\nfails = \"EPERM\"\n";
    std::fs::write(path, format!("{SMALL}\n{more}")).expect("it is written");
    let output = pagelab(&[path]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output).replace('\n', " ");
    let line = SMALL.lines().count() + 2;
    let promise = format!("{path}:{line}: ungated: offline: is 0 bytes, expected 1 GiB");
    assert!(said.contains(&promise), "{said}");
    let step = format!("{path}:{}: ungated: online cxl by udev to default:", line + 4);
    assert!(said.contains(&step) && said.contains("no error, expected EPERM"), "{said}");
    assert!(said.contains("expected numbers: 0 of 1 met"), "{said}");
    // Under a gate that the file is not about, nothing was promised.
    let output = pagelab(&[path, "--gate", "documented"]);
    assert!(text(&output).contains("expected numbers: 0 of 0 met"));
    assert!(output.status.success());
}

#[test]
fn files_hold_every_value_and_the_page_loads_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let (csv, jsonl, html) = (file("a.csv"), file("a.jsonl"), file("a.html"));
    let words = ["q02", "row14", "--csv", &csv, "--jsonl", &jsonl, "--html", &html];
    assert!(pagelab(&words).status.success());
    let read = |path: &str| std::fs::read_to_string(path).expect("it was written");
    let rows = read(&csv);
    assert_eq!(rows.lines().next(), Some("scenario,gate,after,of,measure,unit,value"));
    assert!(rows.lines().all(|row| row.split(',').count() == 7));
    let row = "q02-cost-of-late,tdx-range,end,cxl,devdax,pages,16777216";
    assert!(rows.lines().any(|line| line == row));
    for line in read(&jsonl).lines() {
        let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert!(value["expected"].as_array().is_some_and(|all| !all.is_empty()), "{line}");
        assert!(value["expected"].as_array().unwrap().iter().all(|one| one["met"] == true));
        assert_eq!(value["measures"].as_object().unwrap().len(), measure::ALL.len());
    }
    let page = read(&html);
    for load in ["http:", "https:", "<script", "url(", "<link", "<img", "@import"] {
        assert!(!page.contains(load), "{load}");
    }
    assert_eq!(page.matches("<svg role=\"img\"").count(), 2 + 3);
    for part in
        ["prefers-color-scheme: dark", "class=\"limbo\"", "q02-cost-of-late under tdx-range"]
    {
        assert!(page.contains(part), "{part}");
    }
    let twice = pagelab(&["q02", "--csv", &csv, "--jsonl", &csv]);
    assert_eq!(twice.status.code(), Some(2));
}

/// The text of a scenario that is none, and what is said of it after the name of the file.
#[track_caller]
fn refused(text: &str, expected: &str) {
    let read = Scenario::parse("s.toml", text).map(drop);
    let said = read.expect_err("it is no scenario").to_string();
    assert!(said.starts_with(&format!("s.toml:{expected}")), "{said}");
}

#[test]
fn what_is_no_scenario_is_refused_with_line_and_key() {
    Scenario::parse("s.toml", SMALL).expect("the small one is");
    let changed = |from: &str, to: &str, expected: &str| {
        assert!(SMALL.contains(from), "{from}");
        refused(&SMALL.replacen(from, to, 1), expected);
    };
    changed(
        "start = \"4GiB\"",
        "start = \"1152MiB\"",
        "9: memory.start: \"cxl\" overlaps \"dram\"",
    );
    changed("\"4GiB\"", "\"4GiB", "12: TOML: ");
    changed("\"4GiB\"", "\"4097MiB\"", "12: memory.start: not a multiple of 2MiB");
    changed("\"4GiB\"", "4.5", "12: memory.start: not a size");
    changed("\"4GiB\"", "\"64TiB\"", "13: memory.size: nothing, or past the last address");
    changed("name = \"cxl\"", "name = \"dram\"", "9: memory.name: \"dram\" is taken");
    changed("node = 1", "node = 64", "11: memory.node: not a whole number from 0 to 63");
    changed("node = 1", "nod = 1", "11: memory.nod: no such key: \"nod\" is unknown; \"node\" is");
    changed(
        "origin = \"cxl\"",
        "origin = \"clx\"",
        "14: memory.origin: \"clx\" is unknown; \"cxl\"",
    );
    changed(
        "origin = \"cxl\"",
        "caps = [\"tga\"]",
        "14: memory.caps: capability \"tga\" is unknown;",
    );
    changed("\"ungated\"", "\"ungatd\"", "2: gates: gate \"ungatd\" is unknown; \"ungated\" is");
    changed("\"ungated\"", "\"all\", \"ungated\"", "2: gates: gate \"ungated\" stands there twice");
    changed("do = \"kmem\"", "do = \"kmen\"", "17: step.do: step \"kmen\" is unknown; \"kmem\" is");
    changed("do = \"kmem\"", "do = \"tdx-init\"", "17: step.do: there is no [tdx]");
    changed("of = \"cxl\"", "of = \"dram\"", "16: step.of: boot memory has no driver");
    changed("of = \"cxl\"", "of = \"x\"", "18: step.of: memory \"x\" is unknown;");
    changed("name = \"k\"", "fails = \"EPREM\"", "19: step.fails: error \"EPREM\" is unknown;");
    let about = "19: step.fails: gate \"documented\" is not one of the file's";
    changed("name = \"k\"", "fails = { documented = \"none\" }", about);
    changed("title = \"t\"", "title = \"t\"\nanswers = [\"\\u001b[31m\"]", "2: answers: not 1");
    changed("title = \"t\"", "title = \"t\"\nanswers = [\"\"]", "2: answers: not 1 to 400");
    changed("size = \"256MiB\"", "size = \"32MiB\"", "1: memory: less than 64MiB at boot");
    changed("title = \"t\"", "", "1: title: needed");
    refused("", "1: title: needed");
    refused("title = 3", "1: title: not a text");
}

#[test]
fn promises_need_a_measure_and_a_unit() {
    let lines = SMALL.lines().count() + 2;
    let expect = |keys: &str, at: usize, expected: &str| {
        let text = format!("{SMALL}\n[[expect]]\n{keys}");
        refused(&text, &format!("{}: expect.{expected}", lines + at));
    };
    expect("what = \"limob\"\nis = 0", 1, "what: measure \"limob\" is unknown; \"limbo\" is meant");
    expect("what = \"limbo\"\nis = 5", 2, "is: without a unit");
    expect("what = \"limbo\"\nis = \"5 bytes\"", 2, "is: not a size");
    expect("what = \"vetoes\"\nis = \"5\"", 2, "is: not a whole number");
    expect("what = \"vetoes\"", 0, "is: needed, or \"least\" and \"most\"");
    expect("what = \"vetoes\"\nleast = 2\nmost = 1", 0, "least: more than \"most\"");
    expect("what = \"vetoes\"\nof = \"cxl\"\nis = 1", 2, "of: \"vetoes\" is of the whole machine");
    expect("what = \"vetoes\"\nafter = \"q\"\nis = 1", 2, "after: step \"q\" is unknown");
    expect("what = \"vetoes\"\ngate = \"x\"\nis = 1", 2, "gate: gate \"x\" is unknown");
    expect("what = \"vetoes\"\ngate = []\nis = 1", 2, "gate: none");
    let other = "gate: gate \"documented\" is not one of the file's";
    expect("what = \"vetoes\"\ngate = \"documented\"\nis = 1", 2, other);
    let twice = "gate: gate \"ungated\" stands there twice";
    expect("what = \"vetoes\"\ngate = [\"ungated\", \"ungated\"]\nis = 1", 2, twice);
    let same = "what = \"vetoes\"\nafter = \"k\"\nsince = \"k\"\nis = 0";
    expect(same, 3, "since: not before \"after\"");
}

#[test]
fn steps_that_nothing_leads_to_are_refused() {
    let lines = SMALL.lines().count() + 2;
    let step = |text: &str, at: usize, expected: &str| {
        let text = format!("{SMALL}\n[[step]]\n{text}\n");
        refused(&text, &format!("{}: step.{expected}", lines + at));
    };
    step("do = \"add-commit\"\nof = \"cxl\"", 0, "of: no step before has checked that");
    step("do = \"memunmap\"\nof = \"cxl\"", 0, "of: no step before has remapped that");
    step("do = \"free\"\nof = \"cxl\"", 0, "of: no step before has filled that");
    let guest = "do = \"guest\"\nguest = \"g\"\nsize = \"2MiB\"\nnode = 0\n[[step]]\n";
    step(&format!("{guest}{guest}do = \"unpin\""), 7, "guest: guest \"g\" runs already");
    let stopped = "do = \"stop-guest\"\nguest = \"g\"\n[[step]]\n";
    let demote = "do = \"demote\"\nsize = \"2MiB\"\nguest = \"g\"";
    step(&format!("{guest}{stopped}{demote}"), 11, "guest: guest \"g\" is unknown; there");
}

const WINDOW: &str = "\n[[window]]\nname = \"w\"\nbase-hpa = \"512GiB\"\nwindow-size = \"64GiB\"\n\
                      restrictions = 0x0006\n\n[[port]]\nname = \"p\"\n\n[[device]]\nname = \"d\"\n\
                      port = \"p\"\nvolatile = \"32GiB\"\nemd-bits = 16\n\n[[region]]\n\
                      name = \"r\"\nwindow = \"w\"\ndevices = [\"d\"]\nsize = \"32GiB\"\nnode = 2\n";

#[test]
fn windows_and_regions_that_cannot_be_are_refused() {
    let base = SMALL.lines().count();
    Scenario::parse("s.toml", &format!("{SMALL}{WINDOW}")).expect("it is one");
    let changed = |from: &str, to: &str, at: usize, expected: &str| {
        assert!(WINDOW.contains(from), "{from}");
        let text = format!("{SMALL}{}", WINDOW.replacen(from, to, 1));
        refused(&text, &format!("{}: {expected}", base + at));
    };
    changed(
        "\"512GiB\"",
        "\"524416MiB\"",
        4,
        "window.base-hpa: base 0x8008000000 is not a multiple",
    );
    changed("\"64GiB\"", "\"65664MiB\"", 5, "window.window-size: window size 0x1008000000 is not");
    changed(
        "0x0006",
        "0x0022",
        6,
        "window.restrictions: restrictions 0x0022: back-invalidate with",
    );
    changed("0x0006", "0x0020", 6, "window.restrictions: restrictions 0x0020: back-invalidate");
    changed("0x0006", "0x10006", 6, "window.restrictions: not a whole number from 0 to 65535");
    changed("0x0006", "0x0002", 17, "region.mode: the window has no regions of Ram memory");
    changed("port = \"p\"", "port = \"q\"", 13, "device.port: \"q\" is unknown; \"p\" is meant?");
    changed(
        "emd-bits = 16",
        "emd-bits = 33",
        15,
        "device.emd-bits: not a whole number from 0 to 32",
    );
    changed("size = \"32GiB\"", "size = \"48GiB\"", 20, "region.devices: mem0 has 8388608 pages");
    changed("size = \"32GiB\"", "size = \"128GiB\"", 21, "region.size: frames ");
    changed("[\"d\"]", "[\"d\", \"d\"]", 20, "region.devices: mem0 is in the set twice");
    changed("name = \"r\"", "name = \"cxl\"", 17, "memory.name: \"cxl\" is taken");
    changed("\"512GiB\"", "\"64TiB\"", 21, "region.size: past the last address");
    changed("emd-bits = 16", "emd-enabled = true", 15, "device.emd-enabled: of no emd-bits");
}

#[test]
fn regions_lie_where_their_windows_are_for_pages_of_64k() {
    let platform = "[platform]\narch = \"arm64-64k\"\n\n[[memory]]\nname = \"dram\"";
    let text = SMALL.replacen("[[memory]]\nname = \"dram\"", platform, 1);
    let text = text.replace("256MiB", "1GiB");
    let read = Scenario::parse("s.toml", &format!("{text}{WINDOW}")).expect("it is one");
    let region = read.memories.iter().find(|memory| memory.name == "r").expect("the region");
    let bytes = |frames: u64| frames << 16;
    assert_eq!(bytes(region.range.start().get()), 512 << 30);
    assert_eq!(bytes(region.range.len().get()), 32 << 30);
}

#[test]
fn nothing_exhausts_the_machine() {
    let large = SMALL.replacen("size = \"256MiB\"\norigin", "size = \"3TiB\"\norigin", 1);
    refused(&large, "9: memory.node: node 1 reaches over more than 2TiB");
    let fill = "[[step]]\ndo = \"fill\"\nof = \"cxl\"\nshare = \"100%\"\n";
    let large = SMALL.replacen("size = \"256MiB\"\norigin", "size = \"128GiB\"\norigin", 1);
    let at = SMALL.lines().count() + 1;
    refused(
        &format!("{large}{}", fill.repeat(3)),
        &format!("{}: step: more than 67108864", at + 8),
    );
    let steps = "[[step]]\ndo = \"unpin\"\n".repeat(300);
    refused(&format!("{SMALL}{steps}"), "16: step: more than 256");
    let output = pagelab(&["/dev/zero"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said, "pagelab: /dev/zero: more than 1 MiB\n");
}

#[test]
fn words_that_mean_nothing_are_refused() {
    for (words, expected) in [
        (&["no/such.toml"][..], "pagelab: no/such.toml: "),
        (&["q99"][..], "pagelab: SCENARIO \"q99\": no file, and scenario \"q99\" is unknown"),
        (&["q02", "--gate", "tdx_rnage"][..], "pagelab: --gate \"tdx_rnage\": gate \"tdx_rnage\""),
        (&["q02", "--log", "21"][..], "pagelab: --log \"21\": not a whole number up to 20"),
        (&["q02", "--csv", ""][..], "pagelab: --csv \"\": a file name is needed"),
        (&["--gate", "all"][..], "pagelab: --gate \"all\": only with a scenario"),
    ] {
        let output = pagelab(words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.starts_with(expected) && said.lines().count() == 1, "{said}");
        assert!(output.stdout.is_empty());
    }
    let empty = tempfile::tempdir().expect("a folder");
    let output = pagelab(&[empty.path().to_str().expect("UTF-8")]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("a folder without .toml files"));
}

proptest::proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in ".{0,200}", line in "[a-z-]{1,9} = .{0,20}") {
        let _ = Scenario::parse("s", &text);
        let _ = Scenario::parse("s", &format!("{SMALL}\n[[step]]\n{line}"));
        let _ = Scenario::parse("s", &format!("{SMALL}\n[[expect]]\n{line}"));
        let _ = Scenario::parse("s", &format!("{SMALL}\n[platform]\n{line}"));
        let _ = Scenario::parse("s", &format!("{SMALL}\n[[window]]\n{line}"));
    }
}
