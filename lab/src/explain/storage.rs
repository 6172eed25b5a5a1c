//! What migration, reclaim and tag storage did, in words.

use pagelab_allocator::profile::KernelProfile;
use pagelab_allocator::units::PfnRange;
use pagelab_migrate::mover::Moved;
use pagelab_migrate::note::{BlockCount, ClaimCost, Note, TagFaultEnd};
use pagelab_migrate::reclaim::Balanced;
use pagelab_migrate::tag_storage::design::{FaultVerdict, Refused};
use pagelab_migrate::tag_storage::map::TagBlockId;

use super::flags;
use super::line::{Depth, Line};

/// The lines of a note.
pub(super) fn lines(note: &Note, profile: KernelProfile) -> Vec<Line> {
    match note {
        Note::Request { asked, request } => flags::request(*asked, request, profile),
        Note::References(counts) => counts.iter().map(references).collect(),
        other => one(other).into_iter().collect(),
    }
}

/// Of memory at large.
fn one(note: &Note) -> Option<Line> {
    Some(match note {
        Note::Compacted { order, priority, result } => {
            let text = format!("for order {order}, {}: {}", priority.word(), result.word());
            Line::new("compaction", "compacted", text)
        }
        Note::Reclaimed(pages) => {
            Line::new("reclaim", "reclaim", format!("direct reclaim: {pages} pages"))
        }
        Note::Kswapd(run) => {
            let end = match run.outcome {
                Balanced::Yes => "the high mark is reached",
                Balanced::No => "the high mark is not reached",
            };
            Line::new("kswapd", "kswapd", format!("{} pages reclaimed; {end}", run.reclaimed))
        }
        Note::Failed(failure) => Line::new("failed", "failed", failure.to_string()),
        Note::Moved(moved) => moving(moved),
        Note::Busy { range, error } => {
            Line::new("in the way", "in the way", format!("{error} (of {range})"))
        }
        Note::CopyOnWrite(pfn) => Line::new("fault", "cow", format!("a copy of {pfn} is made")),
        Note::SwapIn => Line::new("fault", "swap in", "the page comes back from swap"),
        other => return of_tags(other),
    })
}

/// Of tag storage.
fn of_tags(note: &Note) -> Option<Line> {
    Some(match note {
        Note::Claimed { block, frames, cost } => claimed(*block, *frames, *cost),
        Note::NotReserved { pfn, error } => {
            Line::new("tag block", "not reserved", format!("{pfn} gets none: {error}"))
        }
        Note::GivenBack { block, frames } => {
            let text = format!("{} at {frames} is data again", block.get());
            Line::new("tag block", "given back", text)
        }
        Note::Refused { pages, to } => {
            let to = match to {
                Refused::ToTail => "to its list's tail",
                Refused::SetAside => "aside until the request ends",
            };
            let text = format!("{} goes {to}; another is tried", pages.start());
            Line::new("refused", "refused", text)
        }
        Note::TagFault { pfn, end } => {
            let (kind, text) = fault(*end);
            Line::new("fault", kind, format!("on {pfn}, which lacks tag storage: {text}"))
        }
        _ => return None,
    })
}

fn moving(moved: &Moved) -> Line {
    let (from, to) = (moved.from, moved.to);
    let text = format!("{from} -> {to}, order {}, {}", moved.order, moved.folio);
    Line { depth: Depth::Inside, ..Line::new("moved", "moved", text) }
}

fn claimed(block: TagBlockId, frames: PfnRange, cost: ClaimCost) -> Line {
    let left = [
        (cost.displaced, "pages of data moved out"),
        (cost.dropped, "pages of clean page cache were dropped"),
        (cost.copies, "clean copies were dropped"),
    ];
    let left: Vec<_> = left.iter().filter(|(pages, _)| *pages > 0).collect();
    let how = match left.is_empty() {
        true => "it was free".to_owned(),
        false => left.iter().map(|(n, what)| format!("{n} {what}")).collect::<Vec<_>>().join(", "),
    };
    let kind = if left.is_empty() { "was free" } else { "had data" };
    let text = format!("{} at {frames}, {} pages: {how}", block.get(), frames.len());
    Line::new("tag block", kind, text)
}

fn references(count: &BlockCount) -> Line {
    let BlockCount { block, frames, before, after } = count;
    let kind = if *before == 0 { "reserved" } else { "shared" };
    let text = format!("{} at {frames}: {before} -> {after} references", block.get());
    Line::new("tag block", kind, text)
}

const fn fault(end: TagFaultEnd) -> (&'static str, &'static str) {
    match end {
        TagFaultEnd::Repaired => ("repaired", "reserved now, the access goes on"),
        TagFaultEnd::Isolated => ("isolated", "its pageblock is isolated: fault again"),
        TagFaultEnd::Verdict(FaultVerdict::Retry) => ("retry", "fault again, marked as tried"),
        TagFaultEnd::Verdict(FaultVerdict::Migrate) => ("migrate", "the page is to move"),
        TagFaultEnd::Verdict(FaultVerdict::Replay) => ("replay", "back to the program, replayed"),
        TagFaultEnd::Migrated => ("migrated", "it has moved there"),
        TagFaultEnd::NotMigrated => ("not migrated", "it could not be moved"),
    }
}
