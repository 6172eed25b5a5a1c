//! Delta debugging: fewer operations, and smaller ones, while two designs still differ.

use super::duel::Act;
use super::smaller;

/// A search for fewer and smaller operations; `differs` is asked at most `budget` times.
#[derive(Debug)]
pub struct Search<F> {
    differs: F,
    budget: u64,
    runs: u64,
}

/// What a search found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// The operations.
    pub acts: Vec<Act>,
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

/// The budget is spent.
#[derive(Clone, Copy, Debug)]
struct Spent;

impl<F: FnMut(&[Act]) -> bool> Search<F> {
    /// A search that goes on after so many runs of its budget.
    pub fn new((runs, budget): (u64, u64), differs: F) -> Self {
        Self { differs, budget, runs }
    }

    /// Shrinks `acts`, on which the designs differ.
    pub fn shrink(mut self, mut acts: Vec<Act>) -> Found {
        let ended = self.run_passes(&mut acts);
        let end = if ended.is_ok() { End::Minimal } else { End::Spent };
        Found { acts, runs: self.runs, end }
    }

    /// Every pass, until none changes anything. The last to pass is that of single operations.
    fn run_passes(&mut self, acts: &mut Vec<Act>) -> Result<(), Spent> {
        loop {
            let before = acts.clone();
            self.join(acts)?;
            self.drop_chunks(acts)?;
            self.join(acts)?;
            self.shrink_sizes(acts)?;
            self.drop_chunks(acts)?;
            if *acts == before {
                return Ok(());
            }
        }
    }

    /// Takes the candidate if the designs differ on it.
    fn accept(&mut self, acts: &mut Vec<Act>, candidate: Vec<Act>) -> Result<bool, Spent> {
        if candidate == *acts {
            return Ok(false);
        }
        if self.runs == self.budget {
            return Err(Spent);
        }
        self.runs += 1;
        let differs = (self.differs)(&candidate);
        if differs {
            *acts = candidate;
        }
        Ok(differs)
    }

    /// Leaves out halves, quarters, and so on down to single operations, from the end: later
    /// operations need earlier ones.
    fn drop_chunks(&mut self, acts: &mut Vec<Act>) -> Result<(), Spent> {
        let mut size = acts.len().div_ceil(2).max(1);
        loop {
            let mut dropped = false;
            let mut end = acts.len();
            while end > 0 {
                let start = end.saturating_sub(size);
                let candidate = [&acts[..start], &acts[end..]].concat();
                dropped |= self.accept(acts, candidate)?;
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
    fn join(&mut self, acts: &mut Vec<Act>) -> Result<(), Spent> {
        if self.accept(acts, smaller::all_joined(acts))? {
            return Ok(());
        }
        let mut at = 0;
        loop {
            let pair = smaller::pairs(acts).nth(at);
            let Some(pair) = pair else { return Ok(()) };
            if !self.accept(acts, smaller::joined(acts, pair))? {
                at += 1;
            }
        }
    }

    /// Makes every number of every operation as small as it can be, by halves.
    fn shrink_sizes(&mut self, acts: &mut Vec<Act>) -> Result<(), Spent> {
        let mut at = 0;
        while at < acts.len() {
            for size in smaller::SIZES {
                let Some((value, least)) = smaller::size(acts[at].0, size) else { continue };
                self.shrink_size(acts, (at, size), (value, least))?;
                if at >= acts.len() {
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
        acts: &mut Vec<Act>,
        (at, size): (usize, smaller::Size),
        (mut value, least): (u64, u64),
    ) -> Result<(), Spent> {
        let mut step = value - least;
        while step > 0 {
            if value - least >= step {
                let candidate = smaller::with_size(acts, at, (size, value - step));
                let kept = candidate.len() == acts.len();
                if self.accept(acts, candidate)? {
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
