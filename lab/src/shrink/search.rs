//! Delta debugging: fewer operations, and smaller ones, while two designs still differ.

use super::budget::{Budget, Spent};
use super::smaller;
use crate::ops::Line;

/// A search for fewer and smaller operations; `differs` is asked as often as the budget allows.
#[derive(Debug)]
pub struct Search<F> {
    differs: F,
    budget: Budget,
}

/// What a search found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// The operations.
    pub lines: Vec<Line>,
    /// Runs, those before the search included.
    pub runs: u64,
    /// Whether the search ended by itself.
    pub end: End,
}

/// Why a search ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Without any one of the operations the difference vanishes.
    Minimal,
    /// The budget was spent before that was known.
    Spent,
}

impl<F: FnMut(&[Line]) -> bool> Search<F> {
    /// A search with what is left of a budget.
    pub fn new(budget: Budget, differs: F) -> Self {
        Self { differs, budget }
    }

    /// Shrinks `lines`, on which the designs differ.
    pub fn shrink(mut self, mut lines: Vec<Line>) -> Found {
        let ended = self.run_passes(&mut lines);
        let end = if ended.is_ok() { End::Minimal } else { End::Spent };
        Found { lines, runs: self.budget.runs(), end }
    }

    /// Every pass, until none changes anything. The last to pass is that of single operations.
    fn run_passes(&mut self, lines: &mut Vec<Line>) -> Result<(), Spent> {
        loop {
            let before = lines.clone();
            self.join(lines)?;
            self.drop_chunks(lines)?;
            self.join(lines)?;
            self.shrink_sizes(lines)?;
            self.drop_chunks(lines)?;
            if *lines == before {
                return Ok(());
            }
        }
    }

    /// Takes the candidate if the designs differ on it.
    fn accept(&mut self, lines: &mut Vec<Line>, candidate: Vec<Line>) -> Result<bool, Spent> {
        if candidate == *lines {
            return Ok(false);
        }
        self.budget.spend()?;
        let differs = (self.differs)(&candidate);
        if differs {
            *lines = candidate;
        }
        Ok(differs)
    }

    /// Leaves out halves, quarters, and so on down to single operations, from the end: later
    /// operations need earlier ones.
    fn drop_chunks(&mut self, lines: &mut Vec<Line>) -> Result<(), Spent> {
        let mut size = lines.len().div_ceil(2).max(1);
        loop {
            let mut dropped = false;
            let mut end = lines.len();
            while end > 0 {
                let start = end.saturating_sub(size);
                let candidate = [&lines[..start], &lines[end..]].concat();
                dropped |= self.accept(lines, candidate)?;
                end = start;
            }
            match (size, dropped) {
                (1, false) => return Ok(()),
                (1, true) => {}
                _ => size = size.div_ceil(2),
            }
        }
    }

    /// Joins accesses to one area or file into one operation: all that can be joined, then two by
    /// two.
    fn join(&mut self, lines: &mut Vec<Line>) -> Result<(), Spent> {
        if self.accept(lines, smaller::all_joined(lines))? {
            return Ok(());
        }
        let mut at = 0;
        loop {
            let pair = smaller::pairs(lines).nth(at);
            let Some(pair) = pair else { return Ok(()) };
            if !self.accept(lines, smaller::joined(lines, pair))? {
                at += 1;
            }
        }
    }

    /// Makes every number of every operation as small as it can be, by halves.
    fn shrink_sizes(&mut self, lines: &mut Vec<Line>) -> Result<(), Spent> {
        let mut at = 0;
        while at < lines.len() {
            for size in smaller::SIZES {
                let Some((value, least)) = smaller::size(lines[at].op, size) else { continue };
                self.shrink_size(lines, (at, size), (value, least))?;
                if at >= lines.len() {
                    return Ok(());
                }
            }
            at += 1;
        }
        Ok(())
    }

    /// From `value` to `least` in steps that are halved when they are too large.
    fn shrink_size(
        &mut self,
        lines: &mut Vec<Line>,
        (at, size): (usize, smaller::Size),
        (mut value, least): (u64, u64),
    ) -> Result<(), Spent> {
        let mut step = value - least;
        while step > 0 {
            if value - least >= step {
                let candidate = smaller::with_size(lines, at, (size, value - step));
                let kept = candidate.len() == lines.len();
                if self.accept(lines, candidate)? {
                    value -= step;
                    if !kept {
                        return Ok(());
                    }
                    continue;
                }
            }
            step /= 2;
        }
        Ok(())
    }
}
