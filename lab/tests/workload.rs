//! Workloads: streams that are well formed and depend on the seed alone, machines that stay
//! consistent under them, and results that have to come out.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Output};

use clap::Parser;
use pagelab::cli::Cli;
use pagelab::logical::process::{AreaId, PinId, ProcessId, ProcessOp};
use pagelab::logical::{Op, PageId, PageSpan};
use pagelab::plan::{Plan, TraceChoice};
use pagelab::report::RunReport;
use pagelab::run::run;
use pagelab::workload::{
    AdversaryParams, GuestParams, KbuildParams, Kind, PhoneParams, Scale, ServerParams, Stream,
    WorkloadPlan,
};
use pagelab_allocator::units::PageCount;

const SMALL: u64 = 256 << 20;

fn plan(words: &str) -> Plan {
    let words = ["pagelab", "run"].into_iter().chain(words.split_whitespace());
    let cli = Cli::try_parse_from(words).expect("words that clap accepts");
    Plan::new(&cli).expect("a possible plan")
}

fn load(words: &str) -> WorkloadPlan {
    match plan(&format!("--design cma-v3 {words}")).scenes.remove(0).trace {
        TraceChoice::Workload(load) => load,
        other => panic!("{other} is no workload"),
    }
}

fn stream(words: &str, seed: u64) -> Vec<Op> {
    let pages = |bytes: u64| PageCount::new(bytes / 4096);
    Stream::new(&load(words), pages(SMALL), pages(SMALL / 64), seed).map(|step| step.op).collect()
}

#[track_caller]
fn report(words: &str) -> RunReport {
    let outcome = run(&plan(words)).expect("it runs");
    assert!(outcome.violations.is_empty(), "{words}: {:?}", outcome.violations);
    outcome.reports.into_iter().next().expect("one design, one report")
}

// ---- streams -----------------------------------------------------------------------------------

/// What a stream has made and not yet ended; says what is wrong with an operation.
#[derive(Default)]
struct Ledger {
    pages: BTreeMap<PageId, (u32, BTreeSet<u32>)>,
    areas: BTreeMap<ProcessId, BTreeMap<AreaId, u32>>,
    seen: BTreeSet<ProcessId>,
    pins: BTreeSet<PinId>,
}

impl Ledger {
    fn book(&mut self, op: Op) -> Result<(), String> {
        let wrong = Err(format!("{op:?}"));
        let fine = match op {
            Op::Alloc { id, order, .. } => self.begin(id, order.pages()),
            Op::AllocContig { id, pages, .. } => self.begin(id, pages),
            Op::Free { id, span } => self.free(id, span),
            Op::Process(op) => self.process(op),
            _ => false,
        };
        if fine { Ok(()) } else { wrong }
    }

    fn begin(&mut self, id: PageId, pages: PageCount) -> bool {
        let pages = u32::try_from(pages.get()).expect("a block");
        pages > 0 && self.pages.insert(id, (pages, BTreeSet::new())).is_none()
    }

    fn free(&mut self, id: PageId, span: PageSpan) -> bool {
        let Some((pages, freed)) = self.pages.get_mut(&id) else { return false };
        let whole = *pages;
        let fine = (span.first..span.first + span.pages).all(|p| p < whole && freed.insert(p));
        if freed.len() == usize::try_from(whole).expect("a block") {
            self.pages.remove(&id);
        }
        fine
    }

    fn inside(&self, process: ProcessId, area: AreaId, span: PageSpan) -> bool {
        let pages = self.areas.get(&process).and_then(|areas| areas.get(&area));
        span.pages > 0 && pages.is_some_and(|pages| span.first + span.pages <= *pages)
    }

    fn process(&mut self, op: ProcessOp) -> bool {
        match op {
            ProcessOp::Spawn { process } => {
                self.seen.insert(process) && self.areas.insert(process, BTreeMap::new()).is_none()
            }
            ProcessOp::Fork { parent, child } => {
                let Some(areas) = self.areas.get(&parent).cloned() else { return false };
                self.seen.insert(child) && self.areas.insert(child, areas).is_none()
            }
            ProcessOp::Exit { process } => self.areas.remove(&process).is_some(),
            ProcessOp::Map { process, area, pages, .. } => {
                let areas = self.areas.get_mut(&process);
                pages > 0 && areas.is_some_and(|areas| areas.insert(area, pages).is_none())
            }
            ProcessOp::Protect { process, area, span } => self.inside(process, area, span),
            ProcessOp::Touch { process, area, span, stride, .. } => {
                stride > 0 && self.inside(process, area, span)
            }
            ProcessOp::Pin { pin, process, area, page, .. } => {
                let span = PageSpan { first: page, pages: 1 };
                self.pins.insert(pin) && self.inside(process, area, span)
            }
            ProcessOp::Unpin { pin } => self.pins.remove(&pin),
            ProcessOp::ReadFile { span, .. } | ProcessOp::WriteFile { span, .. } => span.pages > 0,
            ProcessOp::RemoveFile { .. } | ProcessOp::Hold(_) | ProcessOp::Tick => true,
        }
    }

    /// What the script has to remember.
    fn live(&self) -> usize {
        self.pages.len() + self.areas.values().map(BTreeMap::len).sum::<usize>()
    }
}

#[track_caller]
fn well_formed(ops: &[Op]) -> Ledger {
    let mut ledger = Ledger::default();
    for (at, op) in ops.iter().enumerate() {
        ledger.book(*op).unwrap_or_else(|what| panic!("operation {at} is impossible: {what}"));
    }
    ledger
}

#[test]
fn streams_name_only_what_lives_and_forget_what_does_not() {
    for kind in Kind::ALL {
        let words = |ticks| format!("--workload {} --ticks {ticks} --tagged 30%", kind.name());
        let short = well_formed(&stream(&words(2000), 1)).live();
        let long = well_formed(&stream(&words(6000), 1)).live();
        assert!(long <= short + short / 4 + 100, "{}: {short} grew to {long}", kind.name());
    }
}

#[test]
fn canary_impossible_operations() {
    let ops = stream("--workload kbuild --ticks 40", 1);
    let exit = |op: &Op| matches!(op, Op::Process(ProcessOp::Exit { .. }));
    let free = |op: &Op| matches!(op, Op::Free { .. });
    for twice in [ops.iter().find(|op| exit(op)), ops.iter().find(|op| free(op))] {
        let mut ledger = well_formed(&ops);
        ledger.book(*twice.expect("there are some")).unwrap_err();
    }
}

#[test]
fn the_seed_decides_and_nothing_else() {
    for kind in Kind::ALL {
        let words = format!("--workload {} --ticks 60", kind.name());
        assert_eq!(stream(&words, 1), stream(&words, 1));
        assert_ne!(stream(&words, 1), stream(&words, 2), "{}", kind.name());
    }
}

/// Common random numbers: what is not about tags is the same for every share of them.
#[test]
fn the_tagged_share_changes_tags_only() {
    let plain = |op: &Op| match *op {
        Op::Process(ProcessOp::Protect { .. }) => None,
        Op::Process(ProcessOp::Map { process, area, pages, .. }) => {
            Some(format!("{process:?} {area:?} {pages}"))
        }
        other => Some(format!("{other:?}")),
    };
    for kind in Kind::ALL {
        let ops = |share, by| {
            let words =
                format!("--workload {} --ticks 60 --tagged {share} --tag-by {by}", kind.name());
            stream(&words, 3).iter().filter_map(plain).collect::<Vec<_>>()
        };
        let none = ops("0%", "memory");
        for (share, by) in
            [("25%", "memory"), ("100%", "memory"), ("50%", "process"), ("50%", "vma")]
        {
            assert_eq!(ops(share, by), none, "{} {share} {by}", kind.name());
        }
    }
}

// ---- parameters --------------------------------------------------------------------------------

#[test]
fn sizes_in_words_are_those_of_16_gib() {
    let scale = Scale::new(PageCount::new(16 << 18));
    let phone = PhoneParams::new(scale, PageCount::new(64 << 8));
    let mib = |pages: u32| pages / 256;
    for (pages, words) in [
        (phone.service_pages, 80),
        (phone.zygote_pages, 40),
        (phone.app_pages.0, 60),
        (phone.app_pages.1, 320),
        (phone.app_files.1, 220),
        (phone.graphics_pages, 40),
        (phone.media_pages, 4),
        (phone.system_files, 2000),
        (phone.camera_pages * phone.camera_buffers, 48),
        (ServerParams::new(scale).process_pages, 1600),
        (ServerParams::new(scale).file_pages, 12),
        (KbuildParams::new(scale).job_pages.1, 96),
        (AdversaryParams::new(scale).filler_pages, 9000),
        (GuestParams::new(scale).guest_pages, 8192),
    ] {
        // The camera's buffers are rounded down.
        assert!(mib(pages + 256) > words && mib(pages) <= words, "{pages} pages, not {words} MiB");
    }
    assert_eq!(KbuildParams::new(scale).jobs, 32);
    // A quarter of the machine has a quarter of the sizes.
    let quarter = Scale::new(PageCount::new(4 << 18));
    assert_eq!(4 * quarter.mib(80), scale.mib(80));
}

// ---- machines ----------------------------------------------------------------------------------

/// Every workload under every design, tags chosen in every way: no invariant breaks, every page
/// comes back, and the same words give the same report.
#[test]
fn machines_stay_consistent() {
    let ways = [
        ("carveout", "--tag-by process --tag-when mprotect"),
        ("cma-v2", "--tag-by memory --tag-when mprotect --tag-layout scattered"),
        ("cma-v3", "--tag-by vma --tag-when mmap"),
    ];
    for kind in Kind::ALL {
        for (design, tags) in ways {
            let name = kind.name();
            let words = format!(
                "--design {design} --workload {name} --memory 256MiB --ticks 150 --tagged 40% {tags}"
            );
            let first = report(&words);
            assert!(first.requests.made > 1000, "{words}");
            if design == "cma-v2" {
                assert_eq!(first, report(&words), "{words}");
            }
        }
    }
}

#[test]
fn under_pressure_memory_is_reclaimed_and_swapped() {
    let words = "--design cma-v3 --workload phone --memory 256MiB --ticks 1500 --tagged 25%";
    let reclaim = report(words).reclaim;
    assert!(
        reclaim.kswapd_wakes > 0 && reclaim.file > 0 && reclaim.refault_file > 0,
        "{reclaim:?}"
    );
    assert_eq!(reclaim.swap_memory_end, reclaim.swapped_end.div_ceil(3));
    let none = report(&format!("{words} --swap 0")).reclaim;
    assert_eq!((none.anon, none.swapped_end), (0, 0));
}

#[test]
fn without_tags_all_tag_storage_is_given_back() {
    for kind in [Kind::Phone, Kind::Server, Kind::Kbuild] {
        let words = format!("--workload {} --memory 256MiB --ticks 600", kind.name());
        for design in ["cma-v2", "cma-v3"] {
            let report = report(&format!("--design {design} {words}"));
            let lent = report.lent.expect("the design lends");
            // The page of zeroes keeps its block.
            assert!(lent.reserved_peak_pages <= 1 && report.tagging.asked == 0);
            // CMA is not taken first while most free memory is not CMA; the phone fills its memory.
            assert!(lent.occupied_end_pages > 0 || kind != Kind::Phone, "movable data uses it");
        }
        assert_eq!(report(&format!("--design carveout {words}")).lent, None);
    }
}

#[test]
fn the_injector_reaches_its_target_and_holds_it() {
    for (share, expected) in [("30%", 300), ("75%", 750), ("90%", 900)] {
        // What can move is compacted away now and then, and the load takes its place.
        for (design, unmovable, slack) in
            [("carveout", "0%", 60), ("cma-v3", "50%", 10), ("metadata", "100%", 10)]
        {
            let words = format!(
                "--design {design} --workload fragment --memory 1GiB --ticks 120 --index {share} \
                 --unmovable {unmovable}"
            );
            let report = report(&words);
            let moments = report.moments.iter().skip(1).map(|moment| moment.unusable_index);
            for found in moments.chain([report.after.unusable_index]) {
                assert!(found.abs_diff(expected) <= slack, "{words}: {found} of 1000");
            }
        }
    }
}

#[test]
fn spread_tags_take_a_block_each_and_a_guest_takes_dense_ones() {
    let efficiency = |workload: &str| {
        let report =
            report(&format!("--design cma-v3 --workload {workload} --memory 512MiB --ticks 100"));
        report.lent.and_then(|lent| lent.efficiency()).expect("something was tagged")
    };
    let (spread, dense) = (efficiency("adversary"), efficiency("guest"));
    assert!((0.031..0.05).contains(&spread), "{spread}");
    assert!(dense > 0.8, "{dense}");
}

// ---- the command -------------------------------------------------------------------------------

fn pagelab(words: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pagelab"));
    command.args(words.split_whitespace()).output().expect("the command starts")
}

#[test]
fn the_command_shows_plan_reclaim_and_source_of_sizes() {
    let words =
        "run --workload phone --memory 256MiB --tagged 25% --seed 3 --design cma-v3 --ticks 50";
    let output = pagelab(words);
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success() && output.stderr.is_empty());
    for part in ["seed 3", "Workload phone, 50 ticks", "25 % by memory", "assumed", "kswapd woken"]
    {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(
        text.split("/proc/").next().expect("a report").lines().all(|l| l.chars().count() <= 100)
    );
    let again = String::from_utf8(pagelab(words).stdout).expect("text");
    assert_eq!(text, again, "the same plan gives the same bytes");
    let json = pagelab(&format!("{words} --json"));
    let all: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(all["plan"]["workload"]["name"], "phone");
    assert_eq!(all["plan"]["workload"]["ticks"], 50);
    assert!(all["runs"][0]["counters"]["pgscan_kswapd"].is_u64());
}

#[test]
fn impossible_workloads_are_refused() {
    for (words, expected) in [
        ("--workload tablet", "--workload \"tablet\": not one of phone, server,"),
        ("--workload phone --trace a", "--trace \"a\": not together with --workload"),
        ("--workload phone --memory 128MiB", "--memory \"128MiB\": less than 256MiB"),
        ("--workload phone --memory 128GiB", "--memory \"128GiB\": more than 64GiB"),
        ("--workload phone --tagged 101%", "--tagged \"101%\": not a share"),
        ("--workload phone --ticks 0", "--ticks \"0\": zero"),
        ("--workload phone --ticks x", "--ticks \"x\": not a whole number"),
        ("--workload phone --ticks 99999999", "--ticks \"99999999\": more than a week"),
        (
            "--workload phone --tag-by thread",
            "--tag-by \"thread\": not one of process, memory, vma",
        ),
        ("--workload phone --tag-when later", "--tag-when \"later\": not one of mmap, mprotect"),
        ("--workload phone --tag-layout odd", "--tag-layout \"odd\": not one of clustered,"),
        ("--workload phone --swap 5", "--swap \"5\": not a multiple of 4KiB"),
        ("--workload phone --index 50%", "--index \"50%\": only with --workload fragment"),
        ("--workload fragment --index 120%", "--index \"120%\": not a share"),
        ("--workload phone --cma 300MiB --memory 256MiB", "--cma \"300MiB\": not smaller"),
        ("--workload phone --cma 252MiB --memory 256MiB", "no room for"),
        ("--workload trace --ticks 5", "--ticks \"5\": only with a workload that is made up"),
        ("--ticks 5", "--ticks \"5\": only with a workload that is made up"),
        ("--swap 1GiB", "--swap \"1GiB\": only with a workload that is made up"),
    ] {
        let output = pagelab(&format!("run --design cma-v3 {words}"));
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{words}: {said}");
        assert!(said.contains(expected) && said.lines().count() == 1, "{words}: {said}");
        assert!(output.stdout.is_empty());
    }
}
