//! Times resident pages becoming `PROT_MTE`, as three tables.
//!
//! Machine: 512 MiB of data behind 16 MiB of tag storage in blocks of one page, design RFC v3,
//! kernel 6.12, one CPU. A row is a state of the blocks that hold the tags, and which pages are
//! taken: `Dense` pages lie one after the other and share blocks, `Scattered` ones have a block
//! each. A program has called `mprotect(PROT_MTE)` on all its memory; an operation is a write to
//! each of about a thousand pages, which faults. Columns, in nanoseconds of one page unless they
//! say otherwise:
//!
//! * `mprotect`: the call, for one of all pages that the program has.
//! * `metadata`: the write; no byte of a page is copied.
//! * `moved`: pages that moved, for one page that got tags; `per moved` nanoseconds for one of
//!   them.
//! * `copies`: the same write where frames have bytes, and every move copies 4 KiB and 128 B of
//!   tags by `memcpy()`.
//! * `raw`: just those copies, in the same order, on the same bytes; both for one page that got
//!   tags. `ratio` is `copies` as a multiple of `raw`.
//!
//! The first table is the emulator's. The second is of the memory that threads share, driven by one
//! thread: `faults` is `metadata` there, `populate` the same pages by one `populate_tags()`, as are
//! the columns behind it.
//!
//! The third is of the second's `populate` where frames have bytes, as `copies`. They are copied by
//! one CPU, the one that moves the pages, or by two: another, which does nothing else, copies while
//! that one does all the rest, and both while it would have to wait. These copies go past the
//! caches, as those of arm64, and ask for the next page's lines, which Linux does not
//! (`copy_page.rs`). `bare` is just these copies by as many CPUs, and `raw` is `memcpy()` of the
//! same pages in the same order by one; `of raw` and `of bare` are `copies` as a multiple of
//! either.
//!
//! Every operation starts on a clone of the machine, or where there is none on a new one after the
//! caches were filled with something else, so that it finds it outside the caches.
//!
//! `cargo bench -p pagelab-benches --bench prot_mte`; with `-- --test` everything runs once,
//! `-- --shared` leaves out the first table, `-- --shared Lent` all but some rows of the others,
//! and with `--warm` their caches keep what making the machine has left in them.

mod copier;
mod copy_page;
mod engine;
mod frames;
mod recorder;
mod scene;
mod threads;

use criterion::measurement::{Measurement, WallTime};
use pagelab_migrate::prelude::*;
use pagelab_migrate::smp::{Contents, Copies};

use crate::{
    copier::Copier,
    engine::Engine,
    recorder::{Moves, Recorder, SharedRecorder},
    scene::{Block, Scene, Spread},
    threads::{Manner, Shared},
};

/// Which blocks, and which pages.
type Case = (Block, Spread);

const CASES: [Case; 7] = [
    (Block::Reserved, Spread::Dense),
    (Block::Reserved, Spread::Scattered),
    (Block::Free, Spread::Dense),
    (Block::Free, Spread::Scattered),
    (Block::Lent, Spread::Dense),
    (Block::Lent, Spread::Scattered),
    (Block::Inside, Spread::Dense),
];

fn asked(for_this: &str) -> bool {
    std::env::args().any(|argument| argument == for_this)
}

/// Operations of a cell.
fn turns() -> usize {
    if asked("--test") { 1 } else { 11 }
}

/// Fills the caches with something else.
fn evict() {
    if asked("--warm") {
        return;
    }
    const BYTES: usize = 64 << 20;
    std::hint::black_box(vec![1_u8; BYTES]);
}

fn nanoseconds(operation: impl FnOnce()) -> f64 {
    let start = WallTime.start();
    operation();
    WallTime.end(start).as_secs_f64() * 1e9
}

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A thousand faults on a clone of `scene`, in nanoseconds.
fn faults<S: Sink + Clone>(scene: &Scene<S>) -> f64 {
    let mut scene = scene.clone();
    nanoseconds(|| scene.touch())
}

/// A cell with its unit behind it, or "-" where there is nothing to divide by.
fn cell(value: f64) -> String {
    if value.is_finite() { format!("{value:.0}") } else { "-".to_owned() }
}

/// One row of the first table.
fn row((block, spread): Case) -> String {
    let plain = Scene::new(block, spread, Silent);
    let pages = f64::from(plain.len());
    let mprotect = || {
        let mut scene = plain.clone();
        nanoseconds(|| scene.protect())
    };
    let mprotect = median((0..turns()).map(|_| mprotect()));

    let mut plain = plain.clone();
    plain.protect();
    let metadata = median((0..turns()).map(|_| faults(&plain)));

    let mut recording = Scene::new(block, spread, Recorder::default());
    recording.protect();
    recording.emulator.sink_mut().0.clear();
    recording.touch();
    let moves = recording.emulator.sink_mut().0.clone();
    let moved = f64::from(u32::try_from(moves.len()).expect("a small machine"));

    let (copies, raw) = with_bytes((block, spread), &moves);
    let resident = f64::from(plain.resident_len());
    let (copies, raw) = (median(copies), median(raw));
    format!(
        "| {block:?} | {spread:?} | {} | {} | {:.2} | {} | {} | {} | {} |",
        if block == Block::Reserved { "-".to_owned() } else { cell(mprotect / resident) },
        cell(metadata / pages),
        moved / pages,
        cell(metadata / moved),
        cell(copies / pages),
        cell(raw / pages),
        if raw > 0.0 && moved > 0.0 { format!("{:.2}", copies / raw) } else { "-".to_owned() },
    )
}

/// Faults that copy, and the raw copies, taking turns.
fn with_bytes((block, spread): Case, moves: &[(Pfn, Pfn)]) -> (Vec<f64>, Vec<f64>) {
    if moves.is_empty() {
        return (vec![f64::NAN], vec![f64::NAN]);
    }
    let copier = Copier::new();
    let mut copying = Scene::new(block, spread, copier.clone());
    copying.protect();
    (0..turns()).map(|_| (faults(&copying), raw(moves, &copier))).unzip()
}

/// Pages copied by `memcpy()`, one after the other, in nanoseconds.
fn raw(moves: &[(Pfn, Pfn)], copier: &Copier) -> f64 {
    nanoseconds(|| moves.iter().for_each(|&(from, to)| copier.copy(from, to)))
}

/// `mprotect` of the program's pages in memory that threads share, and their tags, in nanoseconds.
fn shared((block, spread): Case, manner: Manner, contents: Box<dyn Contents>) -> (f64, f64) {
    let mut scene = Shared::new(block, spread, contents);
    evict();
    let protect = nanoseconds(|| scene.protect());
    evict();
    (protect, nanoseconds(|| scene.touch(manner)))
}

/// One row of the second table.
fn shared_row(case: Case) -> String {
    let (block, spread) = case;
    let pages = pages_of(case);
    let turn = |manner| shared(case, manner, Box::new(()));
    let faults = median((0..turns()).map(|_| turn(Manner::Faults).1));
    let (mprotect, populate): (Vec<_>, Vec<_>) =
        (0..turns()).map(|_| turn(Manner::Populate)).unzip();
    let (mprotect, populate) = (median(mprotect), median(populate));
    let moved = count(moves_of(case).iter().map(Vec::len).sum());
    format!(
        "| {block:?} | {spread:?} | {} | {} | {} | {:.2} | {} |",
        cell(mprotect / pages),
        cell(faults / pages),
        cell(populate / pages),
        moved / pages,
        cell(populate / moved),
    )
}

/// A count as something to divide by.
fn count(things: usize) -> f64 {
    f64::from(u32::try_from(things).expect("a small machine"))
}

/// Pages that get tags in one operation.
fn pages_of((block, spread): Case) -> f64 {
    count(Shared::new(block, spread, Box::new(())).len())
}

/// The moves of one operation, as they happen together.
fn moves_of(case: Case) -> Vec<Moves> {
    let recorder = SharedRecorder::default();
    shared(case, Manner::Populate, Box::new(recorder.clone()));
    core::mem::take(&mut *recorder.0.lock())
}

/// CPUs that copy.
#[derive(Clone, Copy, Debug)]
enum CopiedBy {
    One,
    Two,
}

impl CopiedBy {
    /// Where pages move to and fro in `copier`.
    fn contents(self, copier: &Copier) -> Box<dyn Contents> {
        match self {
            Self::One => Box::new(copier.clone()),
            Self::Two => Box::new(Engine::start(copier.clone(), evict)),
        }
    }
}

/// What copies take in one turn, in nanoseconds.
struct CopyTimes {
    /// An operation whose moves copy.
    copies: f64,
    /// Its copies alone.
    bare: f64,
    /// The same pages in the same order, by `memcpy()`.
    raw: f64,
}

impl CopyTimes {
    fn of_turn(case: Case, moves: &[Moves], by: CopiedBy, copier: &Copier) -> Self {
        let checked = |time: &dyn Fn() -> f64| {
            copier.write_anew(moves);
            let time = time();
            assert!(copier.has_copied(moves), "all pages were copied");
            time
        };
        Self {
            copies: checked(&|| shared(case, Manner::Populate, by.contents(copier)).1),
            bare: checked(&|| bare(moves, &*by.contents(copier))),
            raw: checked(&|| {
                let moves = moves.concat();
                evict_twice();
                raw(&moves, copier)
            }),
        }
    }
}

/// Copies as an operation makes them, but nothing else, in nanoseconds.
fn bare(moves: &[Moves], contents: &dyn Contents) -> f64 {
    // Each batch is started before the one before it is waited for.
    let next = |before: Copies, batch: &Moves| {
        let next = contents.start_copies(&mut batch.iter().copied());
        before.wait();
        next
    };
    evict_twice();
    nanoseconds(|| moves.iter().fold(Copies::DONE, next).wait())
}

/// As often as before an operation, so that copies alone start on bytes that are in no cache, too.
fn evict_twice() {
    evict();
    evict();
}

/// The rows of one case in the third table, whose cells take turns.
fn copy_rows(case: Case, copier: &Copier) -> Vec<String> {
    let (pages, moves) = (pages_of(case), moves_of(case));
    if moves.is_empty() {
        return Vec::new();
    }
    let turn = |_| {
        let times = |by| CopyTimes::of_turn(case, &moves, by, copier);
        (times(CopiedBy::One), times(CopiedBy::Two))
    };
    let (one, two): (Vec<_>, Vec<_>) = (0..turns()).map(turn).unzip();
    let raw = median(one.iter().chain(&two).map(|times| times.raw));
    let row = |by: CopiedBy, turns: &[CopyTimes]| {
        let (block, spread) = case;
        let copies = median(turns.iter().map(|times| times.copies));
        let bare = median(turns.iter().map(|times| times.bare));
        format!(
            "| {block:?} | {spread:?} | {by:?} | {} | {} | {} | {:.2} | {:.2} |",
            cell(copies / pages),
            cell(bare / pages),
            cell(raw / pages),
            copies / raw,
            copies / bare,
        )
    };
    vec![row(CopiedBy::One, &one), row(CopiedBy::Two, &two)]
}

#[expect(clippy::print_stdout, reason = "the tables are the result")]
fn main() {
    if !asked("--shared") {
        println!(
            "| block | pages | mprotect | metadata | moved | per moved | copies | raw | ratio |"
        );
        println!("|---|---|---|---|---|---|---|---|---|");
        for case in CASES {
            println!("{}", row(case));
        }
        println!();
    }
    let all = CASES.iter().all(|(block, _)| !asked(&format!("{block:?}")));
    let cases = CASES.into_iter().filter(|(block, _)| all || asked(&format!("{block:?}")));
    println!("| block | pages | mprotect | faults | populate | moved | per moved |");
    println!("|---|---|---|---|---|---|---|");
    for case in cases.clone() {
        println!("{}", shared_row(case));
    }
    println!();
    println!("| block | pages | copied by | copies | bare | raw | of raw | of bare |");
    println!("|---|---|---|---|---|---|---|---|");
    let copier = Copier::new();
    for row in cases.flat_map(|case| copy_rows(case, &copier)) {
        println!("{row}");
    }
}
