//! One operation in words.

use core::fmt;

use pagelab_allocator::profile::KernelProfile;
use pagelab_migrate::fault::Access;
use pagelab_migrate::folio::PinTerm;

use crate::logical::process::{AreaTags, Hold, ProcessOp};
use crate::logical::{ContigOwner, Op, PageSpan, Step};
use crate::trace::SnapPhase;

/// An operation as a file of operations has it, with the task that asks for memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line {
    /// What happens.
    pub op: Op,
    /// The task; only [`Op::Alloc`] says it.
    pub task: u32,
}

impl From<Step> for Line {
    fn from(step: Step) -> Self {
        Self { op: step.op, task: step.pid }
    }
}

struct Span(PageSpan);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PageSpan { first, pages } = self.0;
        write!(f, "pages {first}..{}", u64::from(first) + u64::from(pages))
    }
}

/// The words of snapshots.
pub(super) const PHASES: [(&str, SnapPhase); 3] =
    [("begin", SnapPhase::Begin), ("end", SnapPhase::End), ("resume", SnapPhase::Resume)];

/// The words of pins.
pub(super) const TERMS: [(&str, PinTerm); 2] = [("short", PinTerm::Short), ("long", PinTerm::Long)];

/// The words of accesses.
pub(super) const ACCESSES: [(&str, Access); 2] = [("read", Access::Read), ("write", Access::Write)];

/// The words of contiguous ranges.
pub(super) const OWNERS: [(&str, ContigOwner); 2] =
    [("cma", ContigOwner::Cma), ("anyone", ContigOwner::Anyone)];

/// The word of a value.
fn word<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
    words.iter().find(|(_, known)| known == value).map_or("?", |(word, _)| word)
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Bits without a name in 6.1 are written in hexadecimal, and read.
        let text = |gfp: pagelab_allocator::gfp::GfpFlags| gfp.text(KernelProfile::V6_1);
        match self.op {
            Op::Alloc { id, order, gfp } => {
                write!(f, "alloc {} order {order} gfp {} task {}", id.0, text(gfp), self.task)
            }
            Op::Failed { order, gfp } => write!(f, "fail order {order} gfp {}", text(gfp)),
            Op::AllocContig { id, pages, owner } => {
                write!(f, "contig {} pages {pages} {}", id.0, word(&OWNERS, &owner))
            }
            Op::Free { id, span } => write!(f, "free {} {}", id.0, Span(span)),
            Op::Tag { id, page } => write!(f, "tag {} page {page}", id.0),
            Op::Snapshot { index, phase } => {
                write!(f, "snapshot {index} {}", word(&PHASES, &phase))
            }
            Op::Process(op) => process(op, f),
        }
    }
}

fn process(op: ProcessOp, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match op {
        ProcessOp::Spawn { process } => write!(f, "spawn process {}", process.0),
        ProcessOp::Fork { parent, child } => write!(f, "fork process {} to {}", parent.0, child.0),
        ProcessOp::Exit { process } => write!(f, "exit process {}", process.0),
        ProcessOp::Map { process, area, pages, tags } => {
            let tags = if tags == AreaTags::All { " tagged" } else { "" };
            write!(f, "map process {} area {} pages {pages}{tags}", process.0, area.0)
        }
        ProcessOp::Protect { process, area, span } => {
            write!(f, "protect process {} area {} {}", process.0, area.0, Span(span))
        }
        ProcessOp::Touch { process, area, span, stride, access } => {
            write!(f, "touch process {} area {} {}", process.0, area.0, Span(span))?;
            if stride != 1 {
                write!(f, " every {stride}")?;
            }
            write!(f, " {}", word(&ACCESSES, &access))
        }
        ProcessOp::ReadFile { file, span } => write!(f, "read file {} {}", file.0, Span(span)),
        ProcessOp::WriteFile { file, span } => write!(f, "write file {} {}", file.0, Span(span)),
        ProcessOp::RemoveFile { file } => write!(f, "remove file {}", file.0),
        ProcessOp::Pin { pin, process, area, page, term } => {
            let term = word(&TERMS, &term);
            write!(f, "pin {} process {} area {} page {page} {term}", pin.0, process.0, area.0)
        }
        ProcessOp::Unpin { pin } => write!(f, "unpin {}", pin.0),
        ProcessOp::Hold(Hold { index, unmovable }) => {
            let (index, unmovable) = (index.per_10_000(), unmovable.per_10_000());
            write!(f, "hold index {index} unmovable {unmovable}")
        }
        ProcessOp::Tick => f.write_str("tick"),
    }
}
