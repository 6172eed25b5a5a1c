//! Whatever is typed or read, the command answers: an exit code, one clear line on stderr, and
//! never a panic.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

const DESIGNS: [&str; 3] = ["compare", "--designs", "all"];

fn pagelab(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pagelab"));
    command.args(words).output().expect("the command starts")
}

/// A folder with a trace in it.
struct Case {
    folder: TempDir,
    trace: PathBuf,
}

impl Case {
    fn new(trace: impl AsRef<[u8]>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("trace.txt");
        fs::write(&path, trace).expect("a file");
        Self { folder, trace: path }
    }

    fn with(self, name: &str, text: &str) -> Self {
        fs::write(self.folder.path().join(name), text).expect("a file");
        self
    }

    fn run(&self, words: &[&str]) -> Output {
        let trace = self.trace.to_str().expect("a name in UTF-8");
        pagelab(&[&DESIGNS, words, &["--trace", trace]].concat())
    }
}

/// Exit code 2, the words on stderr, nothing on stdout.
#[track_caller]
fn refused(output: &Output, expected: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(expected), "{said}");
    assert!(said.starts_with("pagelab: ") && said.lines().count() == 1, "{said}");
    assert!(output.stdout.is_empty());
}

/// Exit code 0 with a report, or 2 with one line; anything else is a bug.
#[track_caller]
fn answered(output: &Output, what: &str) -> bool {
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => assert!(said.is_empty() && !output.stdout.is_empty(), "{what}: {said}"),
        Some(2) => assert!(said.lines().count() == 1 && output.stdout.is_empty(), "{what}: {said}"),
        code => panic!("{what}: {code:?}: {said}"),
    }
    output.status.success()
}

#[track_caller]
fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// An event of task 7 at second `at`.
fn event(at: usize, event: &str) -> String {
    format!("            task-7       [000] .....  {at}.000000: {event}\n")
}

fn alloc(at: usize, pfn: u64, order: u32, gfp: &str) -> String {
    let fields = format!("page=0 pfn={pfn:#x} order={order} migratetype=1 gfp_flags={gfp}");
    event(at, &format!("mm_page_alloc: {fields}"))
}

fn free(at: usize, pfn: u64, order: u32) -> String {
    event(at, &format!("mm_page_free: page=0 pfn={pfn:#x} order={order}"))
}

const META: &str = r#"{ "name": "c", "mem_mib": 64, "kernel": "6.1.0",
 "zones": [{ "name": "DMA", "start_pfn": 262144, "spanned": 16384, "present": 16384,
 "managed": 16000, "cma": 0 }] }"#;

#[test]
fn a_trace_that_is_no_file_is_named() {
    refused(&pagelab(&[&DESIGNS[..], &["--trace", "no/such"]].concat()), "no/such: ");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    refused(&pagelab(&[&DESIGNS[..], &["--trace", path]].concat()), ": Is a directory");
    let case = Case::new("");
    let inside = case.trace.join("x");
    let words = [&DESIGNS[..], &["--trace", inside.to_str().unwrap()]].concat();
    refused(&pagelab(&words), "trace.txt/x: Not a directory");
}

#[test]
fn an_empty_trace_is_a_run() {
    assert!(text(&Case::new("").run(&[])).contains("operations    none"));
}

#[test]
fn compressed_data_that_end_early_are_named() {
    let mut lines: Vec<u8> = Vec::new();
    for n in 0..20_000 {
        lines.extend(alloc(n, 0x100 + n as u64, 0, "GFP_KERNEL").bytes());
    }
    let packed = zstd::encode_all(&lines[..], 3).unwrap();
    let half = Case::new(&packed[..packed.len() / 2]);
    refused(&half.run(&[]), "the compressed data end early; this is the last good line");
    refused(&half.run(&["--lenient"]), "the compressed data end early");
    let whole = text(&Case::new(&packed).run(&[]));
    assert!(whole.contains("20000 allocations"), "{whole}");
}

#[test]
fn garbage_is_named_or_counted() {
    let good = alloc(1, 0x100, 0, "GFP_KERNEL");
    let bad =
        format!("{good}\u{1}\u{2}garbage\n{}", event(2, "mm_page_free: page=0 pfn=zz order=0"));
    let case = Case::new(bad);
    refused(&case.run(&[]), "trace.txt:2: not an ftrace or perf script line");
    let report = text(&case.run(&["--lenient"]));
    assert!(report.contains("skipped lines 1 no header, 1 pfn not a number"), "{report}");
    let json: serde_json::Value =
        serde_json::from_slice(&case.run(&["--lenient", "--json"]).stdout).unwrap();
    let skipped = &json["plan"]["survey"]["skipped_lines"];
    assert_eq!(*skipped, serde_json::json!({ "line: no header": 1, "pfn: not a number": 1 }));
    let bytes: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    refused(&Case::new(&bytes).run(&[]), "trace.txt:1: ");
    assert!(answered(&Case::new(&bytes).run(&["--lenient"]), "bytes"));
}

#[test]
fn lost_events_are_shown() {
    let lost = format!("CPU:0 [LOST 12 EVENTS]\nCPU:0 [LOST 3 EVENTS]\n{}", free(1, 5, 0));
    let case = Case::new(lost);
    let report = text(&case.run(&[]));
    assert!(report.contains("lost events   15 in 2 places"), "{report}");
    assert!(report.contains("1 frees of pages older than the trace"), "{report}");
    let json: serde_json::Value = serde_json::from_slice(&case.run(&["--json"]).stdout).unwrap();
    assert_eq!(json["plan"]["survey"]["lost_events"], 15);
    assert_eq!(json["plan"]["survey"]["lost_places"], 2);
}

#[test]
fn what_lies_beside_the_trace_is_checked() {
    let meta = |from: &str, to: &str| Case::new("").with("meta.json", &META.replace(from, to));
    refused(&meta("\"c\"", "1").run(&[]), "meta.json:1: field `name`: invalid type");
    refused(&meta("}]", "}").run(&[]), "meta.json:3: ");
    refused(&meta("64,", "99999999999999999,").run(&[]), "meta.json:1: field `mem_mib`: ");
    refused(&meta("64,", "0,").run(&[]), "meta.json:1: field `mem_mib`: 0 is not possible");
    refused(&meta("64,", "63,").run(&[]), "memory of 63 MiB (--memory): not a multiple");
    refused(&meta("\"cma\": 0", "\"cma\": 16000").run(&[]), "no room for 2 MiB of tags");
    let zones = |text: &str| {
        Case::new("").with("meta.json", META).with("snap-0.zoneinfo.txt", text).run(&[])
    };
    assert!(answered(&zones("nonsense\n"), "nonsense"));
    refused(&zones("  managed  2x0\n"), "snap-0.zoneinfo.txt:1: field `managed`: ");
    refused(&zones("  managed  20\n"), "snap-0.zoneinfo.txt: field `managed`: ");
    let huge = "  present  18446744073709551615\n";
    refused(&zones(huge), "snap-0.zoneinfo.txt:1: field `present`: ");
    refused(&zones("  present  17000\n  managed  16000\n"), "in use before the trace");
    refused(&zones("  present  16384\n  managed  16000\n"), "in use before the trace");
    refused(&zones("  present  15800\n  managed  15800\n"), "(--memory): no room for 61.7 MiB");
}

#[test]
fn words_that_mean_nothing_are_named() {
    for (words, expected) in [
        (&["--memory", "511MiB"][..], "--memory \"511MiB\": not a multiple of 2MiB"),
        (&["--memory", "1MiB"], "--memory \"1MiB\": not a multiple of 2MiB"),
        (&["--memory", "2MiB"], "--memory \"2MiB\": less than 16MiB"),
        (&["--memory", "0"], "--memory \"0\": less than 16MiB"),
        (&["--memory", "99999999999999999999"], "not a size"),
        (&["--memory", "2TiB"], "--memory \"2TiB\": more than 1TiB"),
        (&["--tagged", "101%"], "--tagged \"101%\": not a share between 0% and 100%"),
        (&["--tagged=-1"], "--tagged \"-1\": not a share"),
        (
            &["--seed", "18446744073709551616"],
            "--seed \"18446744073709551616\": not a whole number",
        ),
        (&["--block-size", "6000"], "--block-size \"6000\": not a multiple of 4096"),
        (&["--block-size", "4MiB"], "--block-size \"4MiB\": more than 2MiB"),
        (&["--cma", "1GiB", "--memory", "1GiB"], "--cma \"1GiB\": not smaller than --memory"),
        (&["--cma", "1GiB"], "no room for 2 MiB of tags, 1024 MiB of CMA"),
        (&["--cma", "3MiB"], "--cma \"3MiB\": not a multiple of 2MiB"),
        (&["--profile", "7.2"], "--profile \"7.2\": not one of"),
    ] {
        refused(&Case::new("").run(words), expected);
    }
    refused(&pagelab(&["run", "--design", "zram"]), "--design \"zram\": not one of");
    refused(&pagelab(&["compare", "--designs", "cma,"]), "--designs \"\": not one of");
}

#[test]
fn plans_and_cost_models_are_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("a file");
        path.to_str().expect("a name in UTF-8").to_owned()
    };
    let bytes = file("bytes.toml", b"name = \"a\"\nunit = \"\xff\"\n");
    refused(&pagelab(&["compare", "--plan", &bytes]), "bytes.toml:2: not UTF-8");
    refused(&Case::new("").run(&["--costs", &bytes]), "bytes.toml:2: not UTF-8");
    refused(&pagelab(&["compare", "--plan", "no/such"]), "pagelab: no/such: No such file");
    let empty = file("empty.toml", b"");
    refused(&pagelab(&["compare", "--plan", &empty]), "empty.toml: --designs \"\": needed, here");
    refused(&Case::new("").run(&["--costs", &empty]), "empty.toml:1: missing field `name`");
    // A device that never ends is left alone.
    refused(&pagelab(&["compare", "--plan", "/dev/zero"]), "/dev/zero: more than 1 MiB");
    refused(&Case::new("").run(&["--costs", "/dev/zero"]), "/dev/zero: more than 1 MiB");
    refused(&pagelab(&[&DESIGNS[..], &["--ops", "no/such"]].concat()), "pagelab: no/such: No such");
}

#[test]
fn what_is_read_is_not_written_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("in").display().to_string();
    fs::write(&path, alloc(0, 7, 0, "GFP_KERNEL")).expect("a file");
    let run = ["run", "--design", "cma", "--trace", &path, "--ftrace", &path];
    refused(&pagelab(&run), "in: is read or written already");
    let shrink = ["shrink", "--a", "cma", "--b", "carveout", "--property", "migration"];
    for source in ["--trace", "--ops"] {
        let words = [&shrink[..], &[source, &path, "-o", &path]].concat();
        refused(&pagelab(&words), "in: is read or written already");
    }
    assert_eq!(fs::read_to_string(&path).expect("text"), alloc(0, 7, 0, "GFP_KERNEL"));
}

#[test]
fn a_full_device_is_named() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a device of Linux");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pagelab"));
    let output = command.arg("metrics").stdout(full).output().expect("the command starts");
    refused(&output, "pagelab: cannot print: No space left on device");
}

/// Results are asked for in three files; nothing of them is there.
#[test]
fn impossible_runs_leave_no_files() {
    let folder = tempfile::tempdir().expect("a folder");
    for (words, expected) in [
        ("--designs zfs", "--designs \"zfs\": not one of"),
        ("--designs cma,cma", "--designs \"cma,cma\": names a design twice"),
        ("--designs all --memory 0", "--memory \"0\": less than 16MiB"),
        ("--designs all --memory 1", "--memory \"1\": not a multiple of 2MiB"),
        ("--designs all --memory 16MiB", "memory of 16 MiB (--memory): no room"),
        ("--designs all --workload phone --memory 16MiB", "less than 256MiB, too little"),
        ("--designs all --memory 32MiB,32MiB", "names a value twice"),
        ("--designs all --tagged 101%", "--tagged \"101%\": not a share between"),
        ("--designs all --tagged nan", "--tagged \"nan\": not a share between"),
        ("--designs all --tagged 1e1", "--tagged \"1e1\": not a share between"),
        ("--designs all --tagged 5,5%", "names a value twice"),
        ("--designs all --seeds 0", "--seeds \"0\": zero"),
        ("--designs all --seeds 2.0", "--seeds \"2.0\": not a whole number up to 100000"),
        ("--designs all --threads 0", "--threads \"0\": zero"),
        ("--designs all --workload phone --lenient", "--lenient \"\": only with a trace"),
        ("--designs all --ops no/such", "no/such: No such file"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pagelab"));
        command.current_dir(folder.path()).arg("compare").args(words.split_whitespace());
        let output = command.args(["--csv", "a", "--jsonl", "b", "--html", "c"]).output();
        refused(&output.expect("the command starts"), expected);
        let left: Vec<_> = fs::read_dir(folder.path()).expect("a folder").collect();
        assert!(left.is_empty(), "{words}: {left:?}");
    }
    for words in [&["walk"][..], &["compare", "--wat"], &["compare", "--csv"], &["run"]] {
        let output = pagelab(words);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{words:?}");
    }
}

#[test]
fn every_size_is_answered() {
    let case = Case::new(alloc(1, 0x100, 0, "GFP_HIGHUSER_MOVABLE|__GFP_ZEROTAGS"));
    let check = |mib: u64, block: &str, cma: &str| {
        let memory = format!("{mib}MiB");
        let words = ["--memory", &memory, "--block-size", block, "--cma", cma];
        let ran = answered(&case.run(&words), &words.join(" "));
        assert!(ran || mib <= 24, "{words:?}");
    };
    for mib in (16..40).step_by(2) {
        for block in ["4KiB", "12KiB", "64KiB", "2MiB"] {
            check(mib, block, "0");
            check(mib, block, "16MiB");
        }
    }
    // Memory that ends where ZONE_DMA does, or a little above, so that tag storage is in the way.
    for mib in [3072, 3074, 3166, 3174, 6144] {
        check(mib, "8KiB", "64MiB");
        check(mib, "12KiB", "0");
    }
}

#[test]
fn the_background_may_nearly_fill_the_machine() {
    let case = Case::new(alloc(1, 0x100, 0, "GFP_HIGHUSER_MOVABLE")).with("meta.json", META);
    for used in (10_000..16_384).step_by(500) {
        let text = format!("  present  {used}\n  managed  {used}\n  nr_zone_active_anon 5000\n");
        let case = Case { folder: tempfile::tempdir().unwrap(), trace: case.trace.clone() };
        fs::write(case.trace.with_file_name("snap-0.zoneinfo.txt"), text).unwrap();
        for words in [&[][..], &["--cma", "8MiB", "--tagged", "50%"]] {
            answered(&case.run(words), &format!("{used} pages, {words:?}"));
        }
    }
}

#[test]
fn strange_traces_are_driven() {
    let gfp = "GFP_HIGHUSER_MOVABLE";
    let mut trace = String::new();
    for order in 0..=15 {
        trace += &alloc(1, 0x10_0000 << order, order, gfp);
        trace += &alloc(2, (0x10_0000 << order) + (1 << order), order, "GFP_KERNEL");
    }
    // Part of a block, a page twice, pages never seen, tags on pages of a block.
    trace += &free(3, 0x10_0000 << 9, 3);
    trace += &free(4, 0x10_0000 << 9, 3);
    trace += &free(5, 0x7, 10);
    trace += &event(6, "tracing_mark_write: MTE+ 8000001,8000002,3,20000200");
    let contig = |at, start: u64, pages: u64| {
        event(
            at,
            &format!("alloc_contig_range: (f+0x0) start={start:#x} end={:#x} mt=1", start + pages),
        ) + &event(at, "alloc_contig_range_ret: (f+0x0) ret=0")
    };
    for (n, pages) in [1_u64, 3, 512, 1000, 1 << 16, (1 << 31) - 1].into_iter().enumerate() {
        trace += &contig(7 + n, 0x8000_0000 + n as u64 * (1 << 32), pages);
    }
    trace += &free(20, 0x8000_0000 + 2 * (1 << 32) + 16, 4);
    let case = Case::new(trace);
    let report = text(&case.run(&["--memory", "256MiB", "--tagged", "30%"]));
    assert!(report.contains("6 contiguous ranges"), "{report}");
    assert!(report.contains("not tried: memory that cannot be PROT_MTE"), "{report}");
    answered(&case.run(&["--memory", "256MiB", "--profile", "6.12", "--lenient"]), "6.12");
}

#[test]
fn numbers_that_overflow_are_out_of_range() {
    for bad in [
        event(1, "mm_page_free: page=0 pfn=0xffffffffffffffff order=0"),
        alloc(1, 0x100, 16, "GFP_KERNEL"),
        alloc(1, 0x100, 4_294_967_295, "GFP_KERNEL"),
        event(1, "bulk_exit: (f+0x0) got=18446744073709551615"),
        event(1, "alloc_contig_range: (f+0x0) start=0x0 end=0xffffffffff mt=1"),
        event(1, "alloc_contig_range: (f+0x0) start=0x10 end=0x10 mt=1"),
    ] {
        refused(&Case::new(&bad).run(&[]), "trace.txt:1: field `");
        assert!(answered(&Case::new(&bad).run(&["--lenient"]), &bad));
    }
}
