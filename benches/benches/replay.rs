//! Times the replay of recorded kernels from the compressed text to the verdict, in events a
//! second.
//!
//! Dimensions, as `replay/operation/case`:
//!
//! * `split`: decompression and splitting into lines alone, what any reader has to do;
//! * `records`: the lines as records as well;
//! * `buddy`, `pcp`: the whole of `pagelab replay` at that level, its dumps and snapshots included.
//!
//! Cases: the one in the repository, and those beside it where there are any. The throughput counts
//! the lines of the trace.

use std::fs::File;
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use pagelab::replay::plan::{Level, ReplayOutput, ReplayPlan};
use pagelab::replay::replay;
use pagelab::trace::{Strictness, TraceReader};

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    for case in cases() {
        times_of(&mut criterion, &case);
    }
    criterion.final_summary();
}

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let shared = std::fs::read_dir(root.join("../shared/traces"));
    let mut cases: Vec<_> = shared.into_iter().flatten().flatten().map(|e| e.path()).collect();
    cases.retain(|case| case.join("trace.txt.zst").is_file());
    cases.sort();
    let own = root.join("lab/tests/cases/x86-256-files-s1");
    if cases.iter().all(|case| case.file_name() != own.file_name()) {
        cases.push(own);
    }
    cases
}

/// Lines of a trace.
fn split(trace: &Path) -> u64 {
    let file = File::open(trace).expect("a trace");
    let mut text = BufReader::new(zstd::Decoder::new(file).expect("zstd"));
    let (mut lines, mut line) = (0, Vec::new());
    while text.read_until(b'\n', &mut line).expect("text") > 0 {
        lines += 1;
        black_box(&line);
        line.clear();
    }
    lines
}

fn times_of(criterion: &mut Criterion, case: &Path) {
    let trace = case.join("trace.txt.zst");
    let name = case.file_name().expect("a name").to_string_lossy().into_owned();
    let mut group = criterion.benchmark_group("replay");
    group.throughput(Throughput::Elements(split(&trace)));
    group.bench_function(BenchmarkId::new("split", &name), |b| b.iter(|| split(&trace)));
    group.bench_function(BenchmarkId::new("records", &name), |b| {
        b.iter(|| {
            let reader = TraceReader::open(&trace, Strictness::Strict).expect("a trace");
            reader.map(|record| record.expect("a record")).fold(0, |sum, r| sum + r.line)
        });
    });
    for level in [Level::Buddy, Level::PerCpu] {
        let plan = ReplayPlan {
            case: case.to_owned(),
            level,
            profile: None,
            output: ReplayOutput::Json,
            explain: None,
            until: None,
            require: None,
            require_lists: false,
        };
        group.bench_function(BenchmarkId::new(level.name(), &name), |b| {
            b.iter(|| replay(&plan).expect("a whole case").score);
        });
    }
    group.finish();
}
