//! Recorded cases that are spoilt: refused with file and line, or counted as misses.

mod fixture;
mod replayed;

use std::fs;
use std::path::Path;

use fixture::{FIXTURE, copy};
use replayed::{edit, replay, summary};
use serde_json::Value;

#[track_caller]
fn check_refused(spoil: impl Fn(&Path), expected: &[&str]) {
    let copy = copy();
    spoil(copy.path());
    let output = replay(copy.path(), &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    for words in expected {
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn a_spoilt_case_is_refused_with_file_and_line() {
    let remove =
        |name: &'static str| move |case: &Path| fs::remove_file(case.join(name)).expect("removed");
    check_refused(remove("meta.json"), &["meta.json: "]);
    check_refused(remove("trace.txt"), &["trace.txt: "]);
    check_refused(remove("freelists-begin.json"), &["freelists-begin.json: "]);
    check_refused(remove("pageblocks-2.txt"), &["pageblocks-2.txt: "]);
    check_refused(remove("snap-1.pagetypeinfo.txt"), &["snap-1.pagetypeinfo.txt: "]);
    check_refused(remove("snap-6.pagetypeinfo.txt"), &["snap-6.pagetypeinfo.txt: "]);
    check_refused(
        |case| edit(case, "freelists-begin.json", |text| text[..text.len() / 2].to_owned()),
        &["freelists-begin.json:", "EOF"],
    );
    check_refused(
        |case| edit(case, "freelists-begin.json", |text| text.replace("[1024,", "[104857600,")),
        &["freelists-begin.json:", "field `lists`: block 0x6400000 of order 10 does not fit"],
    );
    check_refused(
        |case| edit(case, "freelists-begin.json", |text| text.replace("[1024,2048", "[1024,1024")),
        &["freelists-begin.json:", "overlaps another listed block"],
    );
    check_refused(
        |case| {
            edit(case, "freelists-begin.json", |text| {
                let (before, page) = text.split_once("\"MOVABLE\": [12615]").expect("a page");
                let (before, area) = before.rsplit_once("\"nr_free\": 2,").expect("their count");
                format!("{before}\"nr_free\": 3,{area}\"MOVABLE\": [12615,12614]{page}")
            });
        },
        &["freelists-begin.json:89: field `lists`: block 0x3146 of order 0 lies beside"],
    );
    check_refused(
        |case| edit(case, "pageblocks-begin.txt", |text| text.replace("0x400 ", "zebra ")),
        &["pageblocks-begin.txt:", "field `first_pfn`: \"zebra\" is no frame"],
    );
    check_refused(
        |case| edit(case, "trace.txt", |text| text.replacen("order=0", "order=x", 1)),
        &["trace.txt:", "field `order`"],
    );
    check_refused(
        |case| {
            edit(case, "trace.txt", |text| {
                text.split_inclusive('\n').take(40_000).collect::<String>()
            });
        },
        &["trace.txt:40000: the trace ends before snapshot"],
    );
}

#[test]
fn a_truncated_trace_is_refused() {
    check_refused(
        |case| {
            let packed = fs::read(Path::new(FIXTURE).join("trace.txt.zst")).expect("a trace");
            fs::write(case.join("trace.txt.zst"), &packed[..packed.len() / 2]).expect("written");
        },
        &["trace.txt.zst:", "compressed data end early"],
    );
}

/// Edits one file and expects these words.
#[track_caller]
fn check_edit_refused(name: &str, from: &str, to: &str, expected: &str) {
    check_refused(
        |case| edit(case, name, |text| text.replacen(from, to, 1)),
        &[&format!("{name}:"), expected],
    );
}

#[test]
fn numbers_that_no_kernel_has_are_refused() {
    let lists = "freelists-begin.json";
    check_edit_refused(lists, "\"spanned\": 61399", "\"spanned\": 2147483647", "field `spanned`");
    let boost = ("\"watermark_boost\": 0", "\"watermark_boost\": 18446744073709551615");
    check_edit_refused(lists, boost.0, boost.1, "field `watermark_boost`");
    check_edit_refused(lists, "\"batch\": 1,", "\"batch\": 4000000000,", "field `pcp.batch`");
    check_edit_refused(lists, "\"batch\": 1,", "\"batch\": 1048577,", "field `pcp.batch`");
    check_edit_refused(lists, "\"managed\": ", "\"managed\": 9", "field `managed`");
    check_edit_refused(lists, "\"order\": 3", "\"order\": 2", "field `order`");
    check_edit_refused(lists, "\"MOVABLE\": [", "\"CMA\": [", "no migratetype of this kernel");
    let pageblock = "\"pageblock_order\": 9";
    for (order, why) in [(0, "a pageblock of order 0"), (11, "pageblock order 11 is larger")] {
        let (order, why) =
            (format!("\"pageblock_order\": {order}"), format!("1: field `pageblock_order`: {why}"));
        check_edit_refused(lists, pageblock, &order, &why);
    }
    check_edit_refused("meta.json", "\"6.1.0-", "\"5.1.0-", "is not modelled");
}

#[test]
fn pageblocks_are_those_of_the_zones() {
    for name in ["pageblocks-begin.txt", "pageblocks-2.txt"] {
        check_edit_refused(name, "DMA32 0x2000 ", "DMA32 0x2001 ", "field `first_pfn`");
        check_edit_refused(name, "DMA32 0xfe00 MOVABLE 0\n", "", "zone DMA32 has 61399 pages");
        check_edit_refused(
            name,
            "DMA32 0xfe00 MOVABLE",
            "Normal 0xfe00 MOVABLE",
            "zone DMA32 has 61399 pages",
        );
        check_edit_refused(name, "DMA32 0xfe00 MOVABLE", "DMA32 0xfe00 CMA", "no migratetype");
        check_refused(|case| edit(case, name, |_| String::new()), &["zone DMA has 3998 pages"]);
    }
}

#[test]
fn lost_events_are_an_error() {
    let marker = "SNAP 1 resume\n";
    let lost = format!("{marker}CPU:0 [LOST 12 EVENTS]\n");
    check_edit_refused("trace.txt", marker, &lost, "events were lost before this line");
}

/// A page of the per-CPU lists at a snapshot that is not where it was foreseen.
#[test]
fn other_per_cpu_lists_at_a_snapshot_are_a_miss() {
    let copy = copy();
    let swapped = |text: String| text.replacen("[30968,30980,", "[30980,30968,", 1);
    edit(copy.path(), "freelists-2.json", swapped);
    let (_, value) = summary(copy.path(), &["--level", "pcp"]);
    assert_eq!(value["snapshots"][2]["pcp_equal"], false);
    assert_eq!(value["snapshots"][2]["lists_equal"], true);
    assert!(value["unexplained"].as_u64() >= Some(1), "{value:#}");
    assert!(value["resyncs"].as_u64() >= Some(1), "{value:#}");
}

/// What does not fit the machine is counted at both levels, and can be explained.
#[test]
fn an_event_that_fits_no_zone_or_type_is_a_miss() {
    let line =
        |event: &str| format!("SNAP 1 resume\n       task-7       [000] .....    12.1: {event}\n");
    for event in [
        "mm_page_free: page=0 pfn=0xff00000 order=0",
        "mm_page_alloc: page=0 pfn=0xff00000 order=0 migratetype=0 gfp_flags=GFP_KERNEL",
        "mm_page_pcpu_drain: page=0 pfn=0x2000 order=0 migratetype=9",
        "mm_page_alloc_extfrag: page=0 pfn=0x2000 alloc_order=0 fallback_order=3 \
         pageblock_order=9 alloc_migratetype=9 fallback_migratetype=1 fragmenting=1 \
         change_ownership=0",
        "isolate_free_page_ret: (a <- b) ret=0x1",
        "set_pageblock_migratetype: (a) page=0xffffea0000080000 mt=99",
    ] {
        let copy = copy();
        edit(copy.path(), "trace.txt", |text| text.replacen("SNAP 1 resume\n", &line(event), 1));
        for level in ["buddy", "pcp"] {
            let (_, value) = summary(copy.path(), &["--level", level]);
            let misses = value["misses"].as_object().expect("an object");
            assert!(!misses.is_empty(), "{level} {event}: {value:#}");
        }
        let said = replay(copy.path(), &["--explain", "1"]);
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.contains("before:\n") && said.contains("after:\n"), "{event}: {said}");
    }
}

#[test]
fn a_zone_that_the_dump_does_not_have_is_a_difference() {
    let copy = copy();
    for name in ["freelists-2.json", "pageblocks-2.txt"] {
        edit(copy.path(), name, |text| {
            if name.ends_with("txt") {
                return text
                    .lines()
                    .filter(|l| !l.starts_with("DMA "))
                    .map(|l| format!("{l}\n"))
                    .collect();
            }
            let mut value: Value = serde_json::from_str(&text).expect("JSON");
            value["zones"].as_array_mut().expect("zones").remove(0);
            format!("{value:#}")
        });
    }
    let (code, value) = summary(copy.path(), &["--require-lists"]);
    assert_eq!(code, Some(1));
    assert_eq!(value["snapshots"][2]["lists_equal"], false);
    assert!(value["unexplained"].as_u64() >= Some(1), "{value:#}");
}

/// Adds lines right after the first line that has `after`.
#[track_caller]
fn check_inserted_refused(after: &str, lines: &str, expected: &str) {
    check_refused(
        |case| {
            edit(case, "trace.txt", |text| {
                let at = text.find(after).expect("a line");
                let at = at + text[at..].find('\n').expect("its end") + 1;
                format!("{}{lines}{}", &text[..at], &text[at..])
            });
        },
        &["trace.txt:", expected],
    );
}

/// A line of the trace as the recording program prints its marks.
fn mark(words: &str) -> String {
    format!("        workload-120     [000] .....    12.079036: tracing_mark_write: SNAP {words}\n")
}

#[test]
fn marks_of_snapshots_are_complete_and_in_order() {
    let drop = |words: &'static str, expected: &str| {
        check_refused(
            |case| {
                edit(case, "trace.txt", |text| {
                    let kept = text.split_inclusive('\n').filter(|line| !line.contains(words));
                    kept.collect()
                });
            },
            &["trace.txt:", expected],
        );
    };
    drop("SNAP 2 begin", "snapshot 2's `end` where snapshot 2's `begin` was expected");
    drop("SNAP 2 resume", "an event before snapshot 2's `resume`, while the lists are dumped");
    drop("SNAP 6 resume", "the trace ends before snapshot 6's `resume`");
    for (after, again, expected) in [
        ("SNAP 1 begin", "1 begin x", "snapshot 1's `begin` where snapshot 1's `end` was expected"),
        ("SNAP 1 resume", "1 resume", "`resume` where snapshot 2's `begin` was expected"),
        ("SNAP 6 resume", "7 begin x", "snapshot 7's `begin`, and the case has none after 6"),
    ] {
        check_inserted_refused(after, &mark(again), expected);
    }
}

#[test]
fn events_while_the_lists_are_dumped_are_an_error() {
    let event = "task-7 [000] .....    12.1: mm_page_free: page=0 pfn=0x2000 order=0\n";
    check_inserted_refused("SNAP 2 end", event, "an event before snapshot 2's `resume`");
    let copy = copy();
    let text = "task-7 [000] .....    12.1: tracing_mark_write: anything\n";
    edit(copy.path(), "trace.txt", |trace| {
        trace.replacen("SNAP 2 end\n", &format!("SNAP 2 end\n{text}"), 1)
    });
    assert_eq!(summary(copy.path(), &["--require", "1"]).0, Some(0), "no list has changed");
}

/// Spoils the lines of the trace after the first snapshot that has `event`; both levels notice.
#[track_caller]
fn check_noticed(event: &str, spoil: impl Fn(&str) -> String) {
    let copy = copy();
    edit(copy.path(), "trace.txt", |text| {
        let start = text.find("SNAP 1 resume").expect("a mark");
        let at = start + text[start..].find(event).expect("an event");
        let line = text[..at].rfind('\n').expect("a line before") + 1;
        let end = at + text[at..].find('\n').expect("its end") + 1;
        format!("{}{}{}", &text[..line], spoil(&text[line..end]), &text[end..])
    });
    for level in ["buddy", "pcp"] {
        let (code, value) = summary(copy.path(), &["--level", level, "--require", "1"]);
        assert_eq!(code, Some(1), "{level} {event}: {value:#}");
        assert!(value["unexplained"].as_u64() >= Some(1), "{level} {event}: {value:#}");
    }
}

#[test]
fn events_that_are_missing_or_twice_in_a_trace_are_misses() {
    let twice = |line: &str| format!("{line}{line}");
    for event in [" mm_page_free: ", " mm_page_alloc: ", " mm_page_alloc_zone_locked: "] {
        check_noticed(event, twice);
        check_noticed(event, |_| String::new());
    }
    check_noticed(" mm_page_free_batched: ", twice);
    check_noticed(" mm_page_pcpu_drain: ", twice);
    check_noticed(" mm_page_pcpu_drain: ", |_| String::new());
}

/// Probes: no block is isolated twice at once, and none goes to the lists without a free.
#[test]
fn probe_events_twice_are_misses() {
    let line = |event: &str| format!("task-7 [000] .....    12.1: {event}\n");
    let isolate = line("isolate_free_page: (a) page=0xffffea0000080000 order=0");
    let past = line("free_one_page: (a) page=0xffffea0000080000 pfn=0x2000 order=0 arg5=0");
    for events in [format!("{isolate}{isolate}"), past] {
        let copy = copy();
        let marked = format!("SNAP 1 resume\n{events}");
        edit(copy.path(), "trace.txt", |text| text.replacen("SNAP 1 resume\n", &marked, 1));
        for level in ["buddy", "pcp"] {
            let (code, value) = summary(copy.path(), &["--level", level, "--require", "1"]);
            assert_eq!(code, Some(1), "{level} {events}: {value:#}");
        }
    }
}

#[test]
fn a_type_that_is_not_that_of_the_flags_is_a_miss() {
    let other = |from: &'static str, to: &'static str| {
        move |line: &str| {
            assert!(line.contains(from), "{line}");
            line.replacen(from, to, 1)
        }
    };
    let movable = " migratetype=1 gfp_flags=GFP_HIGHUSER_MOVABLE";
    check_noticed(movable, other("migratetype=1", "migratetype=2"));
    check_noticed(movable, other("migratetype=1", "migratetype=99"));
    check_noticed(movable, other("GFP_HIGHUSER_MOVABLE", "GFP_KERNEL"));
}

/// The lists of the first snapshot are given, and its texts are what they print as.
#[test]
fn texts_of_the_first_snapshot_are_compared() {
    for name in ["snap-0.pagetypeinfo.txt", "snap-0.buddyinfo.txt"] {
        let copy = copy();
        edit(copy.path(), name, |text| text.replacen(" 1 ", " 7 ", 1));
        for level in ["buddy", "pcp"] {
            let (code, value) = summary(copy.path(), &["--level", level, "--require-lists"]);
            assert_eq!(code, Some(1), "{name} {level}: {value:#}");
            assert_eq!(value["snapshots"][0]["id"], 0);
            assert_eq!(value["snapshots"][0]["pagetypeinfo_equal"], false);
            assert_eq!(value["unexplained"], 1, "{value:#}");
        }
    }
}

#[test]
fn lines_and_misses_that_are_not_there_are_refused() {
    let end = 58_203;
    for (words, expected) in [
        (["--explain", "1"], "--explain 1: there are 0 misses".to_owned()),
        (["--until", "99999999"], format!("--until 99999999: the trace ends at line {end}")),
    ] {
        let output = replay(Path::new(FIXTURE), &words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
        assert!(said.contains(&expected), "{said}");
    }
    let last = replay(Path::new(FIXTURE), &["--until", &end.to_string()]);
    assert_eq!(last.status.code(), Some(0), "there is such a line");
    for other in ["--json", "--table"] {
        let output = replay(Path::new(FIXTURE), &["--explain", "1", other]);
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("cannot be used with"));
    }
}

#[test]
fn meta_and_lists_tell_of_the_same_machine() {
    let contradicts = |from: &str, to: &str, field: &str| {
        check_edit_refused("meta.json", from, to, &format!("field `{field}`"));
    };
    contradicts("\"mem_mib\": 256", "\"mem_mib\": 254", "mem_mib");
    contradicts("\"mem_mib\": 256", "\"mem_mib\": 512", "mem_mib");
    contradicts("\"spanned\": 61399", "\"spanned\": 61400", "spanned");
    contradicts("\"managed\": 52059", "\"managed\": 52058", "managed");
    contradicts("\"DMA32\"", "\"Normal\"", "zones");
    contradicts("\"kernel\": \"6.1.0", "\"kernel\": \"6.12.0", "kernel");
}

#[test]
fn a_name_does_not_break_a_table() {
    let copy = copy();
    let name = "\"name\": \"x86-256-files-s1\"";
    edit(copy.path(), "meta.json", |text| text.replacen(name, "\"name\": \"a|b\"", 1));
    let row = String::from_utf8(replay(copy.path(), &["--table"]).stdout).expect("text");
    assert!(row.starts_with("| a\\|b | ") && row.lines().count() == 1, "{row}");
    check_edit_refused("meta.json", name, r#""name": "a\nb""#, "field `name`");
}

/// A refill that was foreseen and not recorded is not put down to the tuning of the lists.
#[test]
fn a_refill_that_is_missing_is_not_explained() {
    let copy = copy();
    edit(copy.path(), "trace.txt", |text| {
        let start = text.find("SNAP 1 resume").expect("a mark");
        let is_refill = |line: &&str| line.contains(" mm_page_alloc_zone_locked: ");
        let lines = text[start..].split_inclusive('\n');
        let before: usize = lines.clone().take_while(|line| !is_refill(line)).map(str::len).sum();
        let refill = lines.skip_while(|line| !is_refill(line)).take_while(is_refill);
        let refill: usize = refill.map(str::len).sum();
        format!("{}{}", &text[..start + before], &text[start + before + refill..])
    });
    let (_, value) = summary(copy.path(), &["--level", "pcp"]);
    assert!(value["unexplained"].as_u64() >= Some(1), "{value:#}");
    assert_eq!(value["misses"]["per-CPU tuning"], Value::Null);
}

/// A trace line about a request that failed.
fn refused(gfp: &str) -> String {
    let event = "mm_page_alloc: page=0000000000000000 pfn=0x0 order=0 migratetype=0 gfp_flags=";
    format!("task-7 [000] .....    12.1: {event}{gfp}\n")
}

#[test]
fn a_request_that_failed_is_predicted() {
    let with = |case: &Path, line: &str| {
        let marked = format!("SNAP 1 resume\n{line}");
        edit(case, "trace.txt", |text| text.replacen("SNAP 1 resume\n", &marked, 1));
    };
    let first = copy();
    with(first.path(), &refused("GFP_KERNEL"));
    let (_, value) = summary(first.path(), &["--level", "pcp"]);
    assert_eq!(value["misses"]["unexplained"], 1, "there was memory: {value:#}");
    assert_eq!(value["resyncs"], 1);

    // No zone that the request may use has as much as its marks want.
    let second = copy();
    with(second.path(), &refused("GFP_DMA|GFP_KERNEL"));
    let (_, whole) = summary(Path::new(FIXTURE), &["--level", "pcp"]);
    edit(second.path(), "freelists-begin.json", |text| {
        let mut value: Value = serde_json::from_str(&text).expect("JSON");
        value["zones"][0]["watermark"] = serde_json::json!([3990, 3991, 3992, 3993]);
        format!("{value:#}")
    });
    let (code, value) = summary(second.path(), &["--level", "pcp", "--require", "1"]);
    assert_eq!(code, Some(0), "{value:#}");
    let exact = |value: &Value| value["exact"].as_u64().expect("a number");
    assert_eq!(exact(&value), exact(&whole) + 1);
}
