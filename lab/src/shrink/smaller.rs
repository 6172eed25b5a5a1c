//! Smaller operations: the numbers in them, and accesses that are joined.

use pagelab_allocator::units::{Order, PageCount};

use crate::logical::process::ProcessOp;
use crate::logical::{Op, PageSpan};
use crate::ops::{Line, Scope};

/// A number of an operation that may be smaller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Size {
    /// How many pages.
    Pages,
    /// Which page comes first.
    First,
    /// How far apart accessed pages are.
    Stride,
    /// Order of a block.
    Order,
}

/// All of them.
pub(super) const SIZES: [Size; 4] = [Size::Pages, Size::First, Size::Stride, Size::Order];

/// The number and the least that it may be; `None` where an operation has none, or it is least.
pub(super) fn size(mut op: Op, size: Size) -> Option<(u64, u64)> {
    let least = if matches!(size, Size::Pages | Size::Stride) { 1 } else { 0 };
    let value = access(&mut op, size, None)?;
    (value > least).then_some((value, least))
}

/// The operations with one number changed. What does not fit its area then is cut.
pub(super) fn with_size(lines: &[Line], at: usize, (size, value): (Size, u64)) -> Vec<Line> {
    let mut lines = lines.to_vec();
    access(&mut lines[at].op, size, Some(value));
    fit(lines)
}

/// Reads a number of an operation, and sets it if there is a value.
fn access(op: &mut Op, size: Size, value: Option<u64>) -> Option<u64> {
    let number = |number: &mut u32| {
        let before = *number;
        *number = value.map_or(before, |value| u32::try_from(value).unwrap_or(u32::MAX));
        Some(u64::from(before))
    };
    match (size, op) {
        (Size::Pages, Op::Process(ProcessOp::Map { pages, .. })) => number(pages),
        (Size::Pages, Op::AllocContig { pages, .. }) => {
            let before = pages.get();
            *pages = value.map_or(*pages, PageCount::new);
            Some(before)
        }
        (Size::Order, Op::Alloc { order, .. }) => {
            let before = u64::from(order.get());
            let smaller = value.and_then(|value| u8::try_from(value).ok()).and_then(Order::new);
            *order = smaller.unwrap_or(*order);
            Some(before)
        }
        (Size::Stride, Op::Process(ProcessOp::Touch { stride, .. })) => number(stride),
        (Size::First, Op::Process(ProcessOp::Pin { page, .. })) => number(page),
        (Size::Pages, Op::Process(op)) => number(&mut span_of(op)?.pages),
        (Size::First, Op::Process(op)) => number(&mut span_of(op)?.first),
        _ => None,
    }
}

const fn span_of(op: &mut ProcessOp) -> Option<&mut PageSpan> {
    match op {
        ProcessOp::Protect { span, .. }
        | ProcessOp::Touch { span, .. }
        | ProcessOp::ReadFile { span, .. }
        | ProcessOp::WriteFile { span, .. } => Some(span),
        _ => None,
    }
}

/// Cuts what lies outside of its area, and drops what is all outside.
fn fit(lines: Vec<Line>) -> Vec<Line> {
    let mut scope = Scope::default();
    let mut fitting = Vec::with_capacity(lines.len());
    for Line { mut op, task } in lines {
        if let Op::Process(process) = &mut op
            && !fits(&scope, process)
        {
            continue;
        }
        // Identities stay as they were; only pages may not fit, and now they do.
        let _ = scope.enter(op);
        fitting.push(Line { op, task });
    }
    fitting
}

/// Whether something is left after the operation was cut to its area.
fn fits(scope: &Scope, op: &mut ProcessOp) -> bool {
    match *op {
        ProcessOp::Protect { process, area, .. } | ProcessOp::Touch { process, area, .. } => {
            let (Some(span), Some(pages)) = (span_of(op), scope.area(process, area)) else {
                return true;
            };
            span.pages = span.pages.min(pages.saturating_sub(span.first));
            span.pages > 0
        }
        ProcessOp::Pin { process, area, page, .. } => {
            scope.area(process, area).is_none_or(|pages| page < pages)
        }
        _ => true,
    }
}

/// How many operations may lie between two accesses that are joined.
const NEAR: usize = 32;

/// Pairs of accesses that can be joined, the second into the first.
pub(super) fn pairs(lines: &[Line]) -> impl Iterator<Item = (usize, usize)> {
    lines.iter().enumerate().filter_map(|(at, line)| {
        let mut later = lines[at + 1..].iter().take(NEAR);
        let next = later.position(|other| union(line.op, other.op).is_some())?;
        Some((at, at + 1 + next))
    })
}

/// The operations with the second of a pair joined into the first.
pub(super) fn joined(lines: &[Line], (at, next): (usize, usize)) -> Vec<Line> {
    let mut fewer = lines.to_vec();
    let second = fewer.remove(next);
    if let Some(op) = union(fewer[at].op, second.op) {
        fewer[at].op = op;
    }
    fewer
}

/// The operations with all pairs joined.
pub(super) fn all_joined(lines: &[Line]) -> Vec<Line> {
    let mut fewer: Vec<Line> = Vec::new();
    for &line in lines {
        let near = fewer.len().saturating_sub(NEAR);
        let earlier = fewer[near..].iter_mut().rev();
        let into = earlier.into_iter().find_map(|first| {
            let joined = union(first.op, line.op)?;
            Some((first, joined))
        });
        match into {
            Some((first, joined)) => first.op = joined,
            None => fewer.push(line),
        }
    }
    fewer
}

/// One access in place of two to the same area or file, if they are alike and in a row.
fn union(first: Op, second: Op) -> Option<Op> {
    let (Op::Process(mut joined), Op::Process(mut other)) = (first, second) else { return None };
    let (one, two) = (*span_of(&mut joined)?, *span_of(&mut other)?);
    *span_of(&mut other)? = one;
    if joined != other || one.first + one.pages != two.first {
        return None;
    }
    *span_of(&mut joined)? = PageSpan { first: one.first, pages: one.pages + two.pages };
    Some(Op::Process(joined))
}
