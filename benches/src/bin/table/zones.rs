//! What a second thread gains: on one zone, and on a zone each.
#![expect(clippy::print_stdout, reason = "the table is the result")]

use pagelab_benches::{OneZone, PagelabShared, ZoneEach};
use pagelab_percpu::Asymmetric;

use crate::{
    cells::{Cells, Size},
    column::Column,
    row::{Role, Row},
};

const COLUMNS: [Column; 5] =
    [Column::Pair, Column::BulkAlloc, Column::BulkFree, Column::HugePair, Column::Mixed];

/// Prints how many times the work of one thread two threads do.
pub(crate) fn print(size: Size) {
    let rows = [
        Row::of::<PagelabShared<Asymmetric, OneZone>>(Role::Ours),
        Row::of::<PagelabShared<Asymmetric, ZoneEach>>(Role::Ours),
    ];
    let names: String = COLUMNS.map(|column| format!(" {} |", column.name())).concat();
    println!("| two threads / one |{names}\n|---|{}", "---|".repeat(COLUMNS.len()));
    let columns = COLUMNS.map(|column| [1, 2].map(|n| Cells::measure(&rows, column, n, size)));
    for (at, row) in rows.iter().enumerate() {
        let gain = |[one, two]: &[Cells; 2]| {
            2.0 * one.time(at).zip(two.time(at)).map_or(0.0, |(a, b)| a / b)
        };
        let gains: String = columns.iter().map(|cells| format!(" {:.2} |", gain(cells))).collect();
        println!("| {} |{gains}", row.name);
    }
    println!();
}
