//! The trace reader against lines of every kind, every recorded case, and noise.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use pagelab::trace::{
    Marker, Record, SnapPhase, Strictness, TraceError, TraceEvent, TraceReader, Why,
};
use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::units::{Order, PageCount, Pfn, PfnRange};
use proptest::prelude::*;

const FTRACE: &str = "            init-1       [000] .....     5.274065: ";
const PERF: &str = "            init       1 [000]     5.274065: kmem:";

fn read(text: &[u8], strictness: Strictness) -> Vec<Result<Record, TraceError>> {
    TraceReader::new("t", Cursor::new(text), strictness).expect("memory can be read").collect()
}

#[track_caller]
fn check(event: &str, expected: &TraceEvent) {
    for prefix in [FTRACE, PERF] {
        let text = format!("# tracer: nop\n#\n{prefix}{event}\n");
        let records: Vec<_> = read(text.as_bytes(), Strictness::Strict);
        let [Ok(record)] = records.as_slice() else { panic!("{records:?}") };
        assert_eq!(record.event, *expected);
        assert_eq!((record.comm.as_bytes(), record.pid, record.cpu), (&b"init"[..], 1, 0));
        assert_eq!((record.line, record.timestamp), (3, 5_274_065_000));
    }
}

#[test]
fn allocations() {
    let gfp = GfpFlags::KERNEL_ACCOUNT | GfpFlags::ZERO | GfpFlags::COMP;
    let (order, migratetype) = (Order::of(2), 0);
    let alloc = TraceEvent::PageAlloc { pfn: Pfn::new(0x439ee), order, migratetype, gfp };
    for line in [
        "mm_page_alloc: page=fffffc00000e7b80 pfn=0x439ee order=2 migratetype=0 \
         gfp_flags=GFP_KERNEL_ACCOUNT|__GFP_COMP|__GFP_ZERO",
        "mm_page_alloc: page=0x439ee pfn=0x439ee order=2 migratetype=0 \
         gfp_flags=GFP_KERNEL_ACCOUNT|__GFP_ZERO|__GFP_COMP",
        "mm_page_alloc:     page=00000000deadbeef pfn=276974 order=2 migratetype=0 \
         gfp_flags=__GFP_ZERO|__GFP_COMP|GFP_KERNEL|__GFP_ACCOUNT",
    ] {
        check(line, &alloc);
    }
    let failed = TraceEvent::PageAllocFailed { order, migratetype, gfp };
    check(
        "mm_page_alloc: page=(nil) pfn=0x0 order=2 migratetype=0 \
         gfp_flags=GFP_KERNEL_ACCOUNT|__GFP_COMP|__GFP_ZERO",
        &failed,
    );
}

#[test]
fn names_of_6_18_flags() {
    for (text, gfp) in [
        ("GFP_NOWAIT", GfpFlags::NOWAIT),
        ("GFP_HIGHUSER_MOVABLE|__GFP_ZEROTAGS", GfpFlags::HIGHUSER_MOVABLE | GfpFlags::TAGGED),
        ("GFP_KERNEL|__GFP_NO_OBJ_EXT", GfpFlags::KERNEL | GfpFlags::NO_OBJ_EXT),
        ("none", GfpFlags::empty()),
    ] {
        let line = format!("mm_page_alloc: page=1 pfn=0x1 order=0 migratetype=0 gfp_flags={text}");
        let (pfn, order) = (Pfn::new(1), Order::ZERO);
        check(&line, &TraceEvent::PageAlloc { pfn, order, migratetype: 0, gfp });
    }
}

#[test]
fn frees_and_lists() {
    let (pfn, order, migratetype) = (Pfn::new(0x41cf1), Order::of(3), 1);
    check("mm_page_free: page=1 pfn=0x41cf1 order=3", &TraceEvent::PageFree { pfn, order });
    check(
        "mm_page_free_batched: page=fffffc0000073c40 pfn=0x41cf1 order=0",
        &TraceEvent::PageFreeBatched { pfn },
    );
    check(
        "mm_page_alloc_zone_locked: page=1 pfn=0x41cf1 order=3 migratetype=1 percpu_refill=1",
        &TraceEvent::ZoneLocked { pfn, order, migratetype, percpu_refill: true },
    );
    check(
        "mm_page_pcpu_drain: page=1 pfn=269553 order=3 migratetype=1",
        &TraceEvent::PcpuDrain { pfn, order, migratetype },
    );
}

#[test]
fn contiguous_memory() {
    let range = PfnRange::new(Pfn::new(0x5b700), Pfn::new(0x5ba00));
    let count = PageCount::new(768);
    for line in [
        "cma_alloc_start: name=reserved count=768 align=8",
        "cma_alloc_start: name=r request_count=768 available_count=9 total_count=9 align=8",
    ] {
        check(line, &TraceEvent::CmaAllocStart { count, align: 8 });
    }
    for (line, pfn) in [
        ("name=r pfn=0x5b700 page=fffffdffc06dc000 count=768 align=8", Some(range.start())),
        ("name=r pfn=0x5b700 page=fffffc count=768 align=8 errorno=0", Some(range.start())),
        ("name=r pfn=0x5b700 page=0000000000000000 count=768 align=8", None),
        ("name=r pfn=0xffffffffffffffff page=(null) count=768 align=8", None),
        ("name=r pfn=0x0 page=0 count=768 align=8 errorno=-12", None),
    ] {
        let finish = TraceEvent::CmaAllocFinish { pfn, count };
        check(&format!("cma_alloc_finish: {line}"), &finish);
    }
    check("cma_release: name=r pfn=0x5b700 page=f count=768", &TraceEvent::CmaRelease { range });
    check(
        "alloc_contig_range: (alloc_contig_range+0x0/0x618) start=0x5b700 end=0x5ba00 mt=4",
        &TraceEvent::ContigEnter { range, migratetype: 4 },
    );
    check(
        "alloc_contig_range_ret: (__cma_alloc+0x17c/0x5e8 <- alloc_contig_range) ret=-16",
        &TraceEvent::ContigExit { ret: -16 },
    );
    check(
        "free_contig_range: (free_contig_range+0x0/0x190) pfn=0x5b700 nr=768",
        &TraceEvent::ContigFree { range },
    );
}

#[test]
fn markers() {
    let snap = |index, phase| TraceEvent::Marker(Marker::Snapshot { index, phase });
    check("tracing_mark_write: SNAP 0 begin start", &snap(0, SnapPhase::Begin));
    check("tracing_mark_write: SNAP 12 resume", &snap(12, SnapPhase::Resume));
    check("print: tracing_mark_write: SNAP 3 end", &snap(3, SnapPhase::End));
    let tags = vec![Pfn::new(0x46ecc), Pfn::new(0x46ecd)];
    check("tracing_mark_write: MTE+ 46ecc,46ecd", &TraceEvent::Marker(Marker::TagsOn(tags)));
    let prot = Marker::ProtMte {
        call: "mprotect".into(),
        address: 0xffff_89b7_1000,
        pages: PageCount::new(10),
    };
    check("tracing_mark_write: MTE mprotect ffff89b71000 10", &TraceEvent::Marker(prot));
    for text in ["MTE prctl 0", "HUGETLB 64kB set 20", "SNAP x", "CMA free all"] {
        let marker = TraceEvent::Marker(Marker::Text(text.into()));
        check(&format!("tracing_mark_write: {text}"), &marker);
    }
}

#[test]
fn migrations_of_both_kernels() {
    for (extra, split) in [("", None), ("nr_split=6 ", Some(6))] {
        let line = format!(
            "{FTRACE}mm_migrate_pages: nr_succeeded=1 nr_failed=2 nr_thp_succeeded=3 \
             nr_thp_failed=4 nr_thp_split=5 {extra}mode=MIGRATE_SYNC reason=contig_range"
        );
        let records = read(line.as_bytes(), Strictness::Strict);
        let [Ok(Record { event: TraceEvent::MigratePages(m), .. })] = records.as_slice() else {
            panic!("{records:?}")
        };
        let counts = (m.succeeded, m.failed, m.thp_succeeded, m.thp_failed, m.thp_split);
        assert_eq!((counts, m.split, m.reason.as_ref()), ((1, 2, 3, 4, 5), split, "contig_range"));
    }
}

#[test]
fn pages_of_a_mapping_become_frames() {
    let text = format!(
        "{FTRACE}mm_page_alloc: page=fffffc00000e8ac0 pfn=0x43a2b order=0 migratetype=0 \
         gfp_flags=GFP_KERNEL\n\
         {FTRACE}mm_page_alloc: page=fffffc00000e8b80 pfn=0x43a2e order=0 migratetype=0 \
         gfp_flags=GFP_KERNEL\n\
         {FTRACE}bulk_enter: (f+0x0/0x6c0) gfp=0x2dc2 nr=4\n\
         {FTRACE}bulk_exit: (f+0xac/0x22c <- g) got=4\n\
         {FTRACE}vmap_pages: (f+0x0/0x3d0) addr=0xffff80000a278000 end=0xffff80000a27c000 \
         pages={{0xfffffc00001af240,0xfffffc00003524c0,0x0,0x1,0x0,0x0,0x0,0x0}}\n"
    );
    let records = read(text.as_bytes(), Strictness::Strict);
    let events: Vec<_> = records.into_iter().skip(2).map(|r| r.unwrap().event).collect();
    let [enter, exit, TraceEvent::VmapPages(map)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(*enter, TraceEvent::BulkEnter { gfp: 0x2dc2, asked: 4 });
    assert_eq!(*exit, TraceEvent::BulkExit { got: 4 });
    assert_eq!(map.bytes, 4 * 4096);
    assert_eq!(map.pages[..3], [Some(Pfn::new(0x46bc9)), Some(Pfn::new(0x4d493)), None]);
}

#[test]
fn errors_name_file_line_and_field() {
    for (event, expected) in [
        ("mm_page_free: page=1 pfn=0x1", "t:2: field `order`: missing"),
        ("mm_page_free: page=1 pfn=zz order=0", "t:2: field `pfn`: not a number: \"zz\""),
        ("mm_page_free: page=1 pfn=0x1 order=16", "t:2: field `order`: out of range: \"16\""),
        (
            "mm_page_free: pfn=0xffffffffffffffff order=0",
            "t:2: field `pfn`: out of range: \"0xffffffffffffffff\"",
        ),
        (
            "mm_page_alloc: pfn=1 order=0 migratetype=0 gfp_flags=GFP_HUH",
            "t:2: field `gfp_flags`: unknown gfp flag \"GFP_HUH\"",
        ),
        ("tracing_mark_write: MTE+ 12,xyz", "t:2: field `MTE+`: not a number: \"xyz\""),
    ] {
        let text = format!("#\n{FTRACE}{event}\n");
        let error = read(text.as_bytes(), Strictness::Strict).remove(0).unwrap_err();
        assert_eq!(error.to_string(), expected);
        let error = read(text.as_bytes(), Strictness::Lenient);
        assert!(error.is_empty(), "{error:?}");
    }
    let error = read(b"hello\n", Strictness::Strict).remove(0).unwrap_err();
    assert_eq!(error.to_string(), "t:1: not an ftrace or perf script line: \"hello\"");
    let error = TraceReader::open(Path::new("no/such"), Strictness::Strict).err().unwrap();
    assert!(error.to_string().starts_with("no/such: "), "{error}");
}

#[test]
fn losses_and_bad_lines_are_counted() {
    let text = format!(
        "cpus=1\nCPU:0 [LOST 17 EVENTS]\nCPU:1 [EVENTS DROPPED]\n\
         cc1 12 [003] 1.5: PERF_RECORD_LOST lost 5\nhello\nhello\n{FTRACE}mm_page_free: pfn=1\n"
    );
    let mut reader = TraceReader::new("t", text.as_bytes(), Strictness::Lenient).unwrap();
    assert!(reader.next().is_none());
    let seen = reader.seen();
    assert_eq!((seen.lines, seen.lost_events, seen.lost_lines), (7, 22, 3));
    let skipped: Vec<_> = seen.skipped.iter().map(|(cause, n)| (*cause, *n)).collect();
    assert_eq!(skipped, [(("", "no header"), 2), (("order", "missing"), 1)]);
}

#[test]
fn compressed_text_and_its_early_end() {
    let line = format!("{FTRACE}mm_page_free: page=1 pfn=0x1 order=0\n");
    let text = line.repeat(5000);
    let packed = zstd::encode_all(text.as_bytes(), 1).unwrap();
    assert_eq!(read(&packed, Strictness::Strict).iter().filter(|r| r.is_ok()).count(), 5000);
    let mut results = read(&packed[..packed.len() - 5], Strictness::Lenient);
    let error = results.pop().unwrap().unwrap_err();
    assert!(matches!(error.why, Why::Truncated), "{error}");
    assert_eq!(error.line, u64::try_from(results.len()).unwrap());
    assert!(results.iter().all(Result::is_ok));
}

#[test]
fn a_line_without_end_is_not_held() {
    let mut text = vec![b'x'; 1 << 20];
    text.extend_from_slice(format!("\n{FTRACE}mm_page_free: pfn=1 order=0\n").as_bytes());
    let results = read(&text, Strictness::Strict);
    let [Err(long), Ok(record)] = results.as_slice() else { panic!("{results:?}") };
    assert_eq!(long.to_string(), "t:1: longer than 65536 bytes");
    assert_eq!(record.line, 2);
}

/// Every recorded case beside the repository; none when it was cloned alone.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn cases() -> Vec<PathBuf> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/traces"));
    let Ok(entries) = std::fs::read_dir(root) else {
        println!("skipped: no recorded cases at {}", root.display());
        return Vec::new();
    };
    let traces = entries.flatten().map(|entry| entry.path().join("trace.txt.zst"));
    let mut traces: Vec<_> = traces.filter(|path| path.is_file()).collect();
    traces.sort();
    traces
}

#[test]
fn every_line_of_every_case() {
    for path in cases() {
        let mut reader = TraceReader::open(&path, Strictness::Strict).unwrap();
        let mut records = 0_u64;
        for record in &mut reader {
            record.unwrap();
            records += 1;
        }
        println!("{}: {records} records, {:?}", path.display(), reader.page_map());
        assert_eq!(reader.seen().lost_events, 0);
        assert!(reader.seen().lines - records < 20, "only header lines are no records");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn noise_never_panics(text in proptest::collection::vec(any::<u8>(), 0..400)) {
        read(&text, Strictness::Lenient);
        read(&text, Strictness::Strict);
    }

    #[test]
    fn noise_in_fields_never_panics(
        event in "(mm_page_alloc|mm_page_free|cma_release|vmap_pages|alloc_contig_range|cma_alloc_finish|tracing_mark_write|bulk_enter)",
        noise in proptest::collection::vec(
            "(pfn|order|page|count|start|end|nr|gfp_flags|migratetype|mt|addr|pages|SNAP|MTE\\+)[= ](-?[0-9a-fx]{0,20}|\\{[0-9x,]*\\}|\\PC{0,9})",
            0..7,
        ),
    ) {
        let text = format!("{FTRACE}{event}: {}\n", noise.join(" "));
        read(text.as_bytes(), Strictness::Strict);
        read(text.as_bytes(), Strictness::Lenient);
    }
}
