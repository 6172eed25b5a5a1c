//! The table as text, in pieces of at most 100 columns.
#![expect(clippy::print_stdout, reason = "the table is the result")]

use crate::{
    cells::Cells,
    column::Column,
    row::{Role, Row},
};

/// Columns of a piece.
const PIECE: usize = 5;

/// Three digits, or "-".
pub(crate) fn number(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value >= 99.95 => format!("{value:.0}"),
        Some(value) => format!("{value:.1}"),
    }
}

/// Every row: nanoseconds of an operation at each number of threads.
pub(crate) fn times(rows: &[Row], columns: &[Vec<Cells>]) {
    for piece in columns.chunks(PIECE) {
        let names: String = piece.iter().map(|cells| heading(cells[0].column.name())).collect();
        println!("| {:24} |{names}\n|---|{}", "", "---|".repeat(piece.len()));
        for (at, row) in rows.iter().enumerate() {
            let cell = |cells: &Vec<Cells>| {
                let times: Vec<_> = cells.iter().map(|cells| number(cells.time(at))).collect();
                heading(&times.join(" / "))
            };
            println!("| {:24} |{}", row.name, piece.iter().map(cell).collect::<String>());
        }
        println!();
    }
}

fn heading(text: &str) -> String {
    format!(" {text:11} |")
}

/// Ours against the fastest of the others, workload by workload.
pub(crate) fn ratios(rows: &[Row], columns: &[Vec<Cells>]) {
    println!("| workload | threads | ours | ns | fastest published | ns | ours / it |");
    println!("|---|---|---|---|---|---|---|");
    let of = |role| move |row: &usize| rows[*row].role == role;
    for cells in columns.iter().flatten() {
        let ours = (0..rows.len()).find(of(Role::Ours)).expect("we are in the table");
        let Some(other) = cells.best((0..rows.len()).filter(of(Role::Published))) else { continue };
        let (column, threads) = (cells.column.name(), cells.threads);
        let ratio = cells.ratio(ours, other).map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
        let (own, its) = (number(cells.time(ours)), number(cells.time(other)));
        let (name, other) = (rows[ours].name, rows[other].name);
        println!("| {column} | {threads} | {name} | {own} | {other} | {its} | {ratio} |");
    }
    println!();
}

/// The pair beside the two read-modify-writes of a lock.
pub(crate) fn pair(rows: &[Row], pair: &[Cells]) {
    let swaps = rows.iter().position(|row| row.name == "two swaps").expect("a row");
    println!("| order-0 pair / two swaps | 1 thread | 2 threads |\n|---|---|---|");
    for (at, row) in rows.iter().enumerate().filter(|(_, row)| row.role == Role::Ours) {
        let ratios = pair.iter().filter_map(|cells| cells.ratio(at, swaps));
        let ratios: String = ratios.map(|ratio| format!(" {ratio:.2} |")).collect();
        println!("| {} |{ratios}", row.name);
    }
    println!();
}

/// Failed requests of a million in the mixed workload, at each number of threads.
pub(crate) fn failures(rows: &[Row], columns: &[Vec<Cells>]) {
    let Some(mixed) = columns.iter().find(|cells| cells[0].column == Column::Mixed) else { return };
    let of = |at: usize| {
        let counts = mixed.iter().filter_map(|cells| cells.failures(at));
        counts.map(|count| count.to_string()).collect::<Vec<_>>().join(" / ")
    };
    let failed = rows.iter().enumerate().filter(|(_, row)| row.role != Role::Yardstick);
    let failed: Vec<_> = failed.map(|(at, row)| format!("{} {}", row.name, of(at))).collect();
    println!("Failed requests of a million in d2 (1 / 2 threads):\n{}\n", failed.join(",\n"));
}
