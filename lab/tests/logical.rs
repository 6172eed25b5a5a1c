//! The logical stream of every recorded case against the free lists dumped from that kernel.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use pagelab::logical::{Logical, Op};
use pagelab::trace::{SnapPhase, Strictness, TraceReader};
use pagelab_allocator::units::Pfn;

/// Every recorded case beside the repository; none when it was cloned alone.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn cases() -> Vec<PathBuf> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/traces"));
    let Ok(entries) = std::fs::read_dir(root) else {
        println!("skipped: no recorded cases at {}", root.display());
        return Vec::new();
    };
    let folders = entries.flatten().map(|entry| entry.path());
    let mut cases: Vec<_> = folders.filter(|p| p.join("trace.txt.zst").is_file()).collect();
    cases.sort();
    cases
}

/// Every free frame of a recorded snapshot: on the buddy lists and on the per-CPU lists.
fn free_frames(path: &Path) -> BTreeSet<u64> {
    let mut text = String::new();
    let file = File::open(path).expect("a snapshot");
    zstd::Decoder::new(file).expect("zstd").read_to_string(&mut text).expect("text");
    let dump: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let mut free = BTreeSet::new();
    let mut block = |pfn: &serde_json::Value, order: u64| {
        let pfn = pfn.as_u64().expect("a frame");
        free.extend(pfn..pfn + (1 << order));
    };
    for zone in dump["zones"].as_array().expect("zones") {
        for area in zone["free_area"].as_array().expect("orders") {
            let order = area["order"].as_u64().expect("an order");
            let lists = area["lists"].as_object().expect("lists");
            let heads = lists.values().filter_map(|list| list.as_array()).flatten();
            heads.for_each(|pfn| block(pfn, order));
        }
        for list in zone["pcp"]["lists"].as_array().into_iter().flatten() {
            let order = list["order"].as_u64().unwrap_or(9);
            list["pfns"].as_array().into_iter().flatten().for_each(|pfn| block(pfn, order));
        }
    }
    free
}

/// At every snapshot: no page that the stream holds live is on the recorded kernel's lists, and
/// every page that left the lists is live, except for what the stream says it does not know.
fn check_snapshots(case: &Path) {
    let reader = TraceReader::open(&case.join("trace.txt.zst"), Strictness::Strict)
        .expect("a recorded case is sound");
    let mut stream = Logical::new(reader);
    let begin = free_frames(&case.join("freelists-begin.json.zst"));
    while let Some(step) = stream.next() {
        let Op::Snapshot { index, phase: SnapPhase::End } =
            step.expect("a recorded case is sound").op
        else {
            continue;
        };
        let path = case.join(format!("freelists-{index}.json.zst"));
        let free = match (index, path.is_file()) {
            (0, _) => begin.clone(),
            (_, true) => free_frames(&path),
            (_, false) => free_frames(&case.join("freelists-end.json.zst")),
        };
        let live = |pfn: &u64| stream.page_at(Pfn::new(*pfn)).is_some();
        assert_eq!(free.iter().find(|pfn| live(pfn)), None, "{} {index}", case.display());
        let lost = begin.iter().filter(|pfn| !free.contains(pfn) && !live(pfn)).count();
        let unknown = stream.unused().moved_unknown + stream.unused().hotplug;
        assert!(lost as u64 <= unknown, "{} {index}: {lost}", case.display());
    }
    let unused = stream.unused();
    assert_eq!((unused.realloc, unused.tag_unknown, unused.bulk_unlocated), (0, 0, 0));
}

#[test]
fn live_pages_are_those_that_left_the_lists() {
    cases().iter().for_each(|case| check_snapshots(case));
}
