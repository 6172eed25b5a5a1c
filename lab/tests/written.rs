//! `pagelab run --ftrace` and `--case`, as they are typed: what is there afterwards, that it is
//! read back, and that it suffices to follow every page.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use pagelab::background::Background;
use pagelab::case::meta::CaseMeta;
use pagelab::survey::Survey;
use pagelab::trace::{Marker, SnapPhase, Strictness, TraceEvent, TraceReader};
use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::{PageCount, Pfn, PfnRange};
use serde_json::Value;

fn pagelab(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pagelab"));
    command.args(words).output().expect("the command starts")
}

#[track_caller]
fn ran(words: &[&str]) {
    let output = pagelab(words);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*said), (Some(0), ""), "{words:?}");
}

/// Allocations of all kinds and frees, some of parts of blocks; a range; tags.
fn small_trace() -> String {
    let mut text = String::new();
    let mut say = |event: String| {
        let at = text.lines().count();
        text += &format!("            task-7       [000] .....  {at}.000000: {event}\n");
    };
    let gfps = ["GFP_HIGHUSER_MOVABLE|__GFP_ZERO", "GFP_KERNEL", "GFP_NOFS|__GFP_RECLAIMABLE"];
    let alloc = |n: u64, order: u64, gfp: &str| {
        let pfn = 0x1000 + 16 * n;
        format!("mm_page_alloc: page=0 pfn={pfn:#x} order={order} migratetype=1 gfp_flags={gfp}")
    };
    let free = |n: u64, order: u64| {
        format!("mm_page_free: page=0 pfn={:#x} order={order}", 0x1000 + 16 * n)
    };
    for n in 0..3000_u64 {
        say(alloc(n, if n % 17 == 1 { 2 } else { 0 }, gfps[usize::from(n % 5 == 1)]));
        if n % 3 == 0 {
            say(alloc(n + 5000, n % 5, gfps[2]));
        }
        if n % 2 == 1 {
            say(free(n / 2, 0));
        }
    }
    say("tracing_mark_write: SNAP 0 begin x".to_owned());
    say("tracing_mark_write: MTE+ 8d00".to_owned());
    say("alloc_contig_range: (f+0x0) start=0x80000 end=0x80200 mt=1".to_owned());
    say("alloc_contig_range_ret: (f+0x0) ret=0".to_owned());
    for n in 1500..2500 {
        say(free(n, 0));
    }
    text
}

/// A folder with a trace in it, and a machine for it.
struct Setup {
    folder: tempfile::TempDir,
}

impl Setup {
    fn new(trace: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("in.txt"), trace).expect("a file");
        fs::create_dir(folder.path().join("out")).expect("a folder");
        Self { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    /// The words of a run, and where it is to be written.
    fn words(&self, flag: &str, out: &str, design: &str, profile: &str) -> Vec<String> {
        let words = ["run", "--design", design, "--profile", profile, "--memory", "64MiB"];
        let words = words.into_iter().chain(["--cma", "4MiB", "--trace"]).map(str::to_owned);
        words.chain([self.path("in.txt"), flag.to_owned(), self.path(out)]).collect()
    }

    fn run(&self, flag: &str, out: &str, design: &str, profile: &str) -> Output {
        let words = self.words(flag, out, design, profile);
        pagelab(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path().join(folder)).expect("a folder");
        let names = entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

/// Operations of a trace but snapshot marks, of which a written run has its own.
fn operations(trace: &str) -> BTreeMap<&'static str, u64> {
    let reader = TraceReader::open(Path::new(trace), Strictness::Strict).expect("it opens");
    let mut all = Survey::new(reader).expect("it is read").operations;
    all.remove("snapshot_marks");
    all
}

const PROFILES: [&str; 2] = ["6.1", "6.12"];

#[test]
fn the_written_trace_asks_for_the_same() {
    let setup = Setup::new(&small_trace());
    let asked = operations(&setup.path("in.txt"));
    assert!(asked.len() == 4 && asked.values().all(|n| *n > 0), "{asked:?}");
    for profile in PROFILES {
        assert_eq!(setup.run("--ftrace", "out/a.txt", "carveout", profile).status.code(), Some(0));
        assert_eq!(operations(&setup.path("out/a.txt")), asked, "{profile}");
    }
    let output = pagelab(&["run", "--design", "carveout", "--trace", &setup.path("out/a.txt")]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("skipped lines none"), "{said}");
}

#[test]
fn the_demonstration_asks_for_the_same() {
    let setup = Setup::new("");
    let out = setup.path("out/demo.txt");
    ran(&["run", "--design", "carveout", "--ftrace", &out]);
    let reader = TraceReader::new(pagelab::demo::NAME, pagelab::demo::TRACE, Strictness::Strict);
    let mut asked = Survey::new(reader.expect("it opens")).expect("it is read").operations;
    asked.remove("snapshot_marks");
    assert_eq!(operations(&out), asked);
}

#[test]
fn the_same_plan_gives_the_same_bytes() {
    let setup = Setup::new(&small_trace());
    for (flag, design) in [("--ftrace", "cma-v3"), ("--case", "cma-v3"), ("--case", "carveout")] {
        // The name of a case is part of it.
        let (one, two) = (format!("out/{design}{flag}/x"), format!("out/{design}{flag}/y/x"));
        fs::create_dir_all(setup.path(&two[..two.len() - 2])).expect("a folder");
        for out in [&one, &two] {
            let output = setup.run(flag, out, design, "6.1");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let files = match flag {
            "--case" => setup.names(&one).iter().map(|name| format!("/{name}")).collect(),
            _ => vec![String::new()],
        };
        for file in files {
            let bytes = |out: &str| fs::read(setup.path(out) + &file).expect("a file");
            assert_eq!(bytes(&one), bytes(&two), "{flag} {file}");
        }
    }
}

fn unpack(path: &str) -> String {
    let bytes = fs::read(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    String::from_utf8(zstd::decode_all(&bytes[..]).expect("zstd")).expect("text")
}

#[test]
fn a_case_has_its_files() {
    let setup = Setup::new(&small_trace());
    assert!(setup.run("--case", "out/c", "cma-v3", "6.12").status.success());
    let mut expected = vec!["meta.json".to_owned(), "trace.txt.zst".to_owned()];
    for word in ["begin", "1", "end"] {
        expected.push(format!("freelists-{word}.json.zst"));
        expected.push(format!("pageblocks-{word}.txt.zst"));
    }
    for (k, what) in (0..3)
        .flat_map(|k| ["buddyinfo", "pagetypeinfo", "vmstat", "zoneinfo"].map(|what| (k, what)))
    {
        expected.push(format!("snap-{k}.{what}.txt"));
    }
    expected.sort();
    assert_eq!(setup.names("out/c"), expected);
    assert_eq!(setup.names("out"), ["c"], "nothing else is left");
    let trace = setup.path("out/c/trace.txt.zst");
    let meta = CaseMeta::beside(Path::new(&trace)).unwrap().expect("it is there");
    assert_eq!((meta.mem_mib, meta.profile), (64, Some(KernelProfile::V6_12)));
    assert_eq!((&*meta.name, &*meta.kernel), ("c", "6.12.117-pagelab"));
    let background = Background::beside(Path::new(&trace)).unwrap().expect("it is there");
    assert_eq!(meta.managed(), PageCount::new(16_384) - background.reserved);
    assert!(background.allocated() > PageCount::ZERO, "the page of zeroes");
    let pageblocks = unpack(&setup.path("out/c/pageblocks-begin.txt.zst"));
    assert_eq!(pageblocks.lines().nth(20), Some("DMA 0x42600 MOVABLE 0"));
    assert_eq!(pageblocks.lines().count(), 33);
    assert_eq!(pageblocks.lines().filter(|line| line.contains(" CMA ")).count(), 3);
}

/// The frames that a dump lists: as free or as kept by a CPU.
fn listed(dump: &Value) -> (BTreeSet<Pfn>, BTreeSet<Pfn>) {
    let (mut free, mut kept) = (BTreeSet::new(), BTreeSet::new());
    let block = |pfn: &Value, order: u64| {
        let pfn = Pfn::new(pfn.as_u64().expect("a frame"));
        PfnRange::from_len(pfn, PageCount::new(1 << order)).iter()
    };
    for zone in dump["zones"].as_array().expect("zones") {
        for area in zone["free_area"].as_array().expect("orders") {
            let order = area["order"].as_u64().expect("an order");
            for list in area["lists"].as_object().expect("types").values() {
                free.extend(list.as_array().expect("a list").iter().flat_map(|p| block(p, order)));
            }
        }
        for list in zone["pcp"]["lists"].as_array().expect("lists") {
            let order = list["order"].as_u64().unwrap_or(9);
            kept.extend(
                list["pfns"].as_array().expect("a list").iter().flat_map(|p| block(p, order)),
            );
        }
    }
    (free, kept)
}

/// Follows every page by the events of a case, starting from its first dump, and compares both sets
/// with each later dump. Knows nothing of buddies and lists: a second opinion. Says where it first
/// disagrees, and how many dumps agreed.
fn follow(case: &str, skip: Option<usize>) -> (usize, Option<String>) {
    let dump = |word: &str| -> Value {
        serde_json::from_str(&unpack(&format!("{case}/freelists-{word}.json.zst"))).expect("JSON")
    };
    let last = fs::read_dir(case).expect("a folder").flatten();
    let last = last.filter(|e| e.file_name().to_string_lossy().ends_with("buddyinfo.txt")).count();
    let (mut free, mut kept) = listed(&dump("begin"));
    let trace = TraceReader::open(Path::new(&format!("{case}/trace.txt.zst")), Strictness::Strict);
    let (mut agreed, mut asked) = (0, None);
    for (at, record) in trace.expect("it opens").enumerate() {
        let event = record.expect("it is read").event;
        if Some(at) == skip {
            continue;
        }
        let frames = |pfn: Pfn, order| PfnRange::block(pfn, order).iter();
        match event {
            TraceEvent::ZoneLocked { pfn, order, .. } => frames(pfn, order).for_each(|pfn| {
                free.remove(&pfn);
                kept.insert(pfn);
            }),
            TraceEvent::PageAlloc { pfn, order, .. } => frames(pfn, order).for_each(|pfn| {
                free.remove(&pfn);
                kept.remove(&pfn);
            }),
            TraceEvent::PageFree { pfn, order } if order.get() < 4 => {
                kept.extend(frames(pfn, order));
            }
            TraceEvent::PageFree { pfn, order } => free.extend(frames(pfn, order)),
            TraceEvent::PcpuDrain { pfn, order, .. } => frames(pfn, order).for_each(|pfn| {
                kept.remove(&pfn);
                free.insert(pfn);
            }),
            TraceEvent::IsolateFreePage { pfn, order } => asked = pfn.map(|pfn| (pfn, order)),
            TraceEvent::IsolateFreePageExit { pages, .. } if pages > 0 => {
                let (pfn, order) = asked.take().expect("pages have addresses");
                free.retain(|free| !PfnRange::block(pfn, order).contains(*free));
            }
            TraceEvent::Marker(Marker::Snapshot { index, phase: SnapPhase::End }) => {
                let index = usize::try_from(index).expect("few");
                let word = match index {
                    0 => "begin".to_owned(),
                    _ if index + 1 == last => "end".to_owned(),
                    _ => index.to_string(),
                };
                if listed(&dump(&word)) != (free.clone(), kept.clone()) {
                    return (agreed, Some(format!("snapshot {index}")));
                }
                agreed += 1;
            }
            _ => {}
        }
    }
    (agreed, None)
}

#[test]
fn a_case_suffices_to_follow_every_page() {
    let setup = Setup::new(&small_trace());
    for profile in PROFILES {
        let out = format!("out/{profile}");
        assert!(setup.run("--case", &out, "carveout", profile).status.success());
        let case = setup.path(&out);
        assert_eq!(follow(&case, None), (3, None), "{profile}");
        // Canary: without one of its events, the case is another.
        let text = unpack(&format!("{case}/trace.txt.zst"));
        let events: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        for name in [": mm_page_alloc: ", ": mm_page_alloc_zone_locked: ", ": mm_page_pcpu_drain: "]
        {
            let at = events.iter().rposition(|line| line.contains(name)).expect(name);
            assert!(follow(&case, Some(at)).1.is_some(), "{profile} without {}", events[at]);
        }
    }
}

#[track_caller]
fn refused(output: &Output, expected: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(expected) && output.stdout.is_empty(), "{said}");
}

#[test]
fn what_cannot_be_written_is_named_and_leaves_nothing() {
    let bad = small_trace() + "task-7 [000] ..... 9.0: mm_page_free: pfn=zz order=0\n";
    for (flag, trace, out, expected) in [
        ("--ftrace", "", "no/such", "no/such: No such file"),
        ("--ftrace", "", "out", "out: is a directory"),
        ("--ftrace", "", "out/", "out/\": a folder; --case writes one"),
        ("--case", "", "no/such", "no/such: No such file"),
        ("--case", "", "in.txt", "in.txt: not a directory"),
        ("--case", "", "", ": directory not empty"),
        ("--ftrace", &bad, "out/a", "field `pfn`: not a number"),
        ("--case", &bad, "out/a", "field `pfn`: not a number"),
    ] {
        let setup = Setup::new(trace);
        refused(&setup.run(flag, out, "carveout", "6.1"), expected);
        assert_eq!(setup.names("."), ["in.txt", "out"], "{flag} {out}");
        assert!(setup.names("out").is_empty(), "{flag} {out}");
    }
    let setup = Setup::new("");
    let mut words = setup.words("--ftrace", "out/a", "carveout", "6.1");
    words.extend(["--case".to_owned(), setup.path("out/b")]);
    let output = pagelab(&words.iter().map(String::as_str).collect::<Vec<_>>());
    refused(&output, "cannot be used with");
}

#[test]
fn an_older_file_stays_until_the_new_one_is_whole() {
    let setup = Setup::new("nonsense\n");
    fs::write(setup.path("out/a"), "old").expect("a file");
    refused(&setup.run("--ftrace", "out/a", "carveout", "6.1"), "in.txt:1: ");
    assert_eq!(fs::read(setup.path("out/a")).expect("a file"), b"old");
    let setup = Setup::new("");
    fs::write(setup.path("out/a"), "old").expect("a file");
    assert!(setup.run("--ftrace", "out/a", "carveout", "6.1").status.success());
    assert!(fs::read_to_string(setup.path("out/a")).expect("text").starts_with("# tracer"));
    assert_eq!(setup.names("out"), ["a"]);
    fs::create_dir(setup.path("empty")).expect("a folder");
    assert!(setup.run("--case", "empty/", "carveout", "6.1").status.success());
    assert!(setup.names("empty").contains(&"meta.json".to_owned()));
}
