//! Files of operations: what is printed is read, and whatever is read is answered.

use std::path::Path;

use clap::Parser;
use pagelab::cli::Cli;
use pagelab::logical::process::{AreaId, AreaTags, FileNumber, Hold, PinId, ProcessId, ProcessOp};
use pagelab::logical::{ContigOwner, Op, PageId, PageSpan};
use pagelab::ops::{Line, OpsError, OpsFile, Room};
use pagelab::plan::{Design, Plan, Scene};
use pagelab::run::boot::boot;
use pagelab::run::stage::Stage;
use pagelab::size::Share;
use pagelab_allocator::event::Silent;
use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::units::{Order, PageCount};
use pagelab_migrate::fault::Access;
use pagelab_migrate::folio::PinTerm;
use proptest::prelude::*;

fn span() -> impl Strategy<Value = PageSpan> {
    (any::<u32>(), 1..=u32::MAX)
        .prop_map(|(first, pages)| PageSpan { first: first.min(u32::MAX - pages), pages })
}

fn process_op() -> impl Strategy<Value = ProcessOp> {
    let (process, area) = (any::<u32>().prop_map(ProcessId), any::<u32>().prop_map(AreaId));
    let place = (process.clone(), area);
    let access = prop_oneof![Just(Access::Read), Just(Access::Write)];
    let term = prop_oneof![Just(PinTerm::Short), Just(PinTerm::Long)];
    let tags = prop_oneof![Just(AreaTags::All), Just(AreaTags::None)];
    let file = any::<u32>().prop_map(FileNumber);
    let pin = any::<u32>().prop_map(PinId);
    prop_oneof![
        process.clone().prop_map(|process| ProcessOp::Spawn { process }),
        (process.clone(), process.clone())
            .prop_map(|(parent, child)| ProcessOp::Fork { parent, child }),
        process.prop_map(|process| ProcessOp::Exit { process }),
        (place.clone(), 1..=u32::MAX, tags).prop_map(|((process, area), pages, tags)| {
            ProcessOp::Map { process, area, pages, tags }
        }),
        (place.clone(), span()).prop_map(|((process, area), span)| ProcessOp::Protect {
            process,
            area,
            span
        }),
        (place.clone(), span(), 1..=u32::MAX, access).prop_map(
            |((process, area), span, stride, access)| {
                ProcessOp::Touch { process, area, span, stride, access }
            }
        ),
        (file.clone(), span()).prop_map(|(file, span)| ProcessOp::ReadFile { file, span }),
        (file.clone(), span()).prop_map(|(file, span)| ProcessOp::WriteFile { file, span }),
        file.prop_map(|file| ProcessOp::RemoveFile { file }),
        (pin.clone(), place, any::<u32>(), term).prop_map(|(pin, (process, area), page, term)| {
            ProcessOp::Pin { pin, process, area, page, term }
        }),
        pin.prop_map(|pin| ProcessOp::Unpin { pin }),
        (0u16..=10_000, 0u16..=10_000).prop_map(|(index, unmovable)| {
            let share = |parts| Share::of_10_000(parts).expect("at most everything");
            ProcessOp::Hold(Hold { index: share(index), unmovable: share(unmovable) })
        }),
        Just(ProcessOp::Tick),
    ]
}

fn line() -> impl Strategy<Value = Line> {
    let id = any::<u64>().prop_map(PageId);
    let order = (0..=15_u8).prop_map(Order::of);
    let gfp = any::<u32>().prop_map(GfpFlags::from_bits_retain);
    let owner = prop_oneof![Just(ContigOwner::Cma), Just(ContigOwner::Anyone)];
    let plain = |op| Line { op, task: 0 };
    prop_oneof![
        process_op().prop_map(move |op| plain(Op::Process(op))),
        (id.clone(), order.clone(), gfp.clone(), any::<u32>())
            .prop_map(|(id, order, gfp, task)| Line { op: Op::Alloc { id, order, gfp }, task }),
        (order, gfp).prop_map(move |(order, gfp)| plain(Op::Failed { order, gfp })),
        (id.clone(), 1..=u64::MAX, owner).prop_map(move |(id, pages, owner)| {
            plain(Op::AllocContig { id, pages: PageCount::new(pages), owner })
        }),
        (id.clone(), span()).prop_map(move |(id, span)| plain(Op::Free { id, span })),
        (id, any::<u32>()).prop_map(move |(id, page)| plain(Op::Tag { id, page })),
    ]
}

/// Text that looks like operations more often than bytes do.
fn wordy() -> impl Strategy<Value = String> {
    let words = "alloc order gfp GFP_KERNEL task map process area pages tagged touch every write \
                 0 1 7 0..8 8..0 .. 4294967296 -1 pin short page fork to # tick x";
    let words: Vec<_> = words.split_whitespace().map(str::to_owned).collect();
    let word = prop_oneof![proptest::sample::select(words), Just("\n".to_owned())];
    proptest::collection::vec(word, 0..40).prop_map(|words| words.join(" "))
}

/// Short streams on few identities, many of them impossible.
fn small() -> impl Strategy<Value = String> {
    let few = 0..3_u32;
    let line = (0..14_u8, few.clone(), few, 1..70_u32, 0..5_u32, 0..12_u8).prop_map(
        |(verb, a, b, pages, first, order)| {
            let span = format!("pages {first}..{}", first + pages);
            match verb {
                0 => format!("spawn process {a}"),
                1 => format!("fork process {a} to {}", 3 + b),
                2 => format!("exit process {a}"),
                3 => format!("map process {a} area {b} pages {pages} tagged"),
                4 => format!("map process {a} area {b} pages {pages}"),
                5 => format!("protect process {a} area {b} {span}"),
                6 => format!("touch process {a} area {b} {span} write"),
                7 => format!("write file {a} {span}"),
                8 => format!("pin {pages} process {a} area {b} page {first} long"),
                9 => format!("unpin {pages}"),
                10 => format!("alloc {pages} order {order} gfp GFP_HIGHUSER_MOVABLE task {a}"),
                11 => format!("contig {pages} pages {pages} cma"),
                12 => format!("free {pages} {span}"),
                _ => format!("tag {pages} page {first}"),
            }
        },
    );
    // What a file may not say is left out, as a person would.
    proptest::collection::vec(line, 0..80).prop_map(|lines| {
        let add = |mut text: String, line: String| {
            let longer = format!("{text}{line}\n");
            if parse("f", longer.as_bytes()).is_ok() {
                text = longer;
            }
            text
        };
        lines.into_iter().fold(String::new(), add)
    })
}

/// The scene of a file, on the machine that files have when nothing else is said.
fn scene(file: &Path) -> Scene {
    let ops = file.to_str().expect("a name in UTF-8");
    let words = ["pagelab", "run", "--design", "cma-v3", "--ops", ops];
    let plan = Plan::new(&Cli::try_parse_from(words).expect("words")).expect("a plan");
    plan.scenes.into_iter().next().expect("a scene")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_stream_that_is_read_can_be_carried_out(text in small()) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ops");
        std::fs::write(&file, &text).expect("a file");
        let scene = scene(&file);
        let stage = Stage::new(&scene).expect("a machine");
        for design in [Design::CmaV2, Design::CmaV3, Design::Metadata] {
            let (_, mut driver) = boot(&stage, design.into(), Silent).expect("a machine");
            for step in stage.steps().expect("operations") {
                driver.step(&step.expect("an operation"));
            }
            driver.emulator().check().expect("a sound machine");
            driver.release_all().expect("every page comes back");
        }
    }
}

proptest! {
    #[test]
    fn what_is_printed_is_read(line in line()) {
        prop_assert_eq!(line.to_string().parse::<Line>(), Ok(line));
    }

    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse("f", &bytes);
    }

    #[test]
    fn any_words_are_answered(text in wordy()) {
        let _ = parse("f", text.as_bytes());
    }
}

fn parse(file: &str, text: &[u8]) -> Result<OpsFile, OpsError> {
    OpsFile::parse(file, text)
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    assert_eq!(parse("f", text.as_bytes()).expect_err("a bad line").to_string(), expected);
}

#[test]
fn errors_name_file_line_and_field() {
    refused("jump 3", "f:1: field `operation`: \"jump\": no such operation");
    refused("# said\n\ntick tick", "f:3: field `end of line`: \"tick\": one word too many");
    refused("spawn process", "f:1: field `process`: missing");
    refused("spawn task 3", "f:1: field `process`: \"task\": its name is expected here");
    refused("exit process -1", "f:1: field `process`: \"-1\": not a number, or too large");
    refused("free 1 pages 5..5", "f:1: field `pages`: \"5..5\": no pages");
    refused("free 1 pages 5", "f:1: field `pages`: \"5\": not first..end");
    refused("fail order 99 gfp none", "f:1: field `order`: \"99\": larger than any order");
    refused("fail order 0 gfp GFP_X", "f:1: field `gfp`: \"GFP_X\": unknown gfp flag \"GFP_X\"");
    refused("contig 1 pages 0 cma", "f:1: field `pages`: \"0\": nothing");
    refused("contig 1 pages 1 me", "f:1: field `owner`: \"me\": not cma or anyone");
    let twice = "spawn process 1\nspawn process 1";
    refused(twice, "f:2: field `process`: \"1\": that number was used before");
    let outside = "spawn process 1\nmap process 1 area 0 pages 4\n\
                   touch process 1 area 0 pages 0..5 write";
    refused(outside, "f:3: field `pages`: \"5\": the area has 4 pages");
    let error = parse("f", b"tick\n\xff").unwrap_err().to_string();
    assert_eq!(error, "f:2: not UTF-8");
}

#[test]
fn time_passes_with_ticks() {
    let file = parse("f", b"tick\n# a remark\ntick\nspawn process 4\n").unwrap();
    let steps = file.fit(Room(PageCount::ZERO)).unwrap();
    let seen: Vec<_> = steps.iter().map(|step| (step.line, step.timestamp, step.pid)).collect();
    assert_eq!(seen, [(1, 0, 1), (2, 100_000_000, 1), (3, 200_000_000, 6)]);
}

#[test]
fn no_operation_takes_more_than_memory_and_swap() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("large.ops");
    let carried = |op: &str| {
        std::fs::write(&file, format!("# large\nspawn process 1\n{op}\n")).expect("a file");
        Stage::new(&scene(&file)).map(|stage| stage.operations()).map_err(|e| e.to_string())
    };
    let why = "the machine has 65536 pages of memory and swap";
    for op in ["map process 1 area 0 pages ", "read file 1 pages 7..", "write file 1 pages 7.."] {
        let pages = |pages: u32| match op.ends_with("..") {
            true => format!("{op}{}", u64::from(pages) + 7),
            false => format!("{op}{pages}"),
        };
        assert_eq!(carried(&pages(65_536)), Ok(2));
        for large in [65_537, u32::MAX - 7] {
            let expected = format!("large.ops:3: field `pages`: \"{large}\": {why}");
            let error = carried(&pages(large)).expect_err("too large");
            assert!(error.ends_with(&expected), "{error}");
        }
    }
}

/// What shrink writes is read: no workload wants more at once than its machine has.
#[test]
fn workloads_stay_within_the_bounds() {
    for workload in ["phone", "server", "kbuild", "fragment", "adversary", "guest"] {
        let words = ["pagelab", "run", "--design", "cma", "--workload", workload];
        let words = words.into_iter().chain(["--memory", "256MiB", "--tagged", "50%"]);
        let plan = Plan::new(&Cli::try_parse_from(words).expect("words")).expect("a plan");
        let stage = Stage::new(&plan.scenes[0]).expect("a machine");
        let mut text = String::new();
        for step in stage.steps().expect("operations") {
            text += &format!("{}\n", Line::from(step.expect("an operation")));
        }
        let file = parse(workload, text.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        file.fit(Room(PageCount::new(65_536))).unwrap_or_else(|error| panic!("{error}"));
    }
}
