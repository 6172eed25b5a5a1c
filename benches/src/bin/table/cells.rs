//! Filling the table: all rows of a column take turns, so that a slow moment of the machine slows
//! all of them.

use std::time::Duration;

use crate::{clock::Stopwatch, column::Column, crew::Round, row::Row};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Rounds of a cell, an odd number.
    pub(crate) rounds: usize,
    /// Length of a round where the workload can be cut anywhere.
    pub(crate) slice: Duration,
    /// A cell that has taken this long has no further round.
    pub(crate) patience: Duration,
}

impl Size {
    pub(crate) const FULL: Self =
        Self { rounds: 15, slice: Duration::from_millis(3), patience: Duration::from_millis(400) };

    pub(crate) const QUICK: Self =
        Self { rounds: 1, slice: Duration::from_micros(200), patience: Duration::ZERO };
}

/// A column at one number of threads: rounds by row.
#[derive(Debug)]
pub(crate) struct Cells {
    pub(crate) column: Column,
    pub(crate) threads: usize,
    rounds: Vec<Vec<Round>>,
}

impl Cells {
    pub(crate) fn measure(rows: &[Row], column: Column, threads: usize, size: Size) -> Self {
        let mut cells: Vec<_> = rows.iter().map(|row| row.cell(column, threads)).collect();
        let mut rounds = vec![Vec::new(); rows.len()];
        let mut spent = vec![Duration::ZERO; rows.len()];
        for turn in 0..size.rounds {
            for (row, cell) in cells.iter_mut().enumerate() {
                if let Some(cell) =
                    cell.as_mut().filter(|_| turn == 0 || spent[row] < size.patience)
                {
                    let watch = Stopwatch::start();
                    rounds[row].push(cell(size.slice));
                    spent[row] += watch.elapsed();
                }
            }
        }
        Self { column, threads, rounds }
    }

    /// Nanoseconds of one operation, the median of the rounds.
    pub(crate) fn time(&self, row: usize) -> Option<f64> {
        median(self.rounds[row].iter().filter_map(|round| round.time).collect())
    }

    /// The median of the quotients of two rows in the same turns.
    pub(crate) fn ratio(&self, row: usize, to: usize) -> Option<f64> {
        let turns = self.rounds[row].iter().zip(&self.rounds[to]);
        median(turns.filter_map(|(a, b)| Some(a.time? / b.time?)).collect())
    }

    /// Failed requests of a million.
    pub(crate) fn failures(&self, row: usize) -> Option<u64> {
        self.rounds[row].last().map(|round| round.failures)
    }

    /// The fastest of some rows.
    pub(crate) fn best(&self, rows: impl Iterator<Item = usize>) -> Option<usize> {
        let timed = rows.filter_map(|row| Some((row, self.time(row)?)));
        timed.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(row, _)| row)
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
