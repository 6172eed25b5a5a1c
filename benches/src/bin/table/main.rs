//! The comparison as one table: allocators for several threads, at one thread and at two.
//!
//! `cargo run --release -p pagelab-benches --bin table`; with `-- --quick` everything runs once and
//! the times mean nothing, with `-- --only a,c3` only those workloads are measured, with `-- --row
//! NAME` only that allocator, for a profiler to look at. The pool is 4 GiB of 4 KiB pages, metadata
//! only, in one zone for all threads. Cells are nanoseconds of one
//! operation of one thread, medians of rounds in which the rows take turns. The workloads:
//!
//! * `a`: an order-0 page and back, on a fresh pool; `a'` where every page was allocated and a
//!   random half of them freed. Counted as one.
//! * `b`: half of the pool page by page, then freed in order of allocation.
//! * `c`: half of the pool allocated; a random page is freed and one allocated at once (flatters
//!   caches that give the last page back); `c2` the same by 1024. A free counts as one.
//! * `c3`: everything allocated, then freed in random order.
//! * `o9`: an order-9 block and back, counted as one.
//! * `d2`: blocks of orders 0 to 10, each half as likely as the one below, come and go at 75 %. The
//!   floor is part of it.
//! * `f`: a random free block is chosen, taken and given back, of order 9 and of order 0.
//!
//! Threads have a share of the pool each. Allocators that are not made for threads are behind a
//! parking_lot mutex.

mod cells;
mod clock;
mod column;
mod crew;
mod host;
mod machines;
mod print;
mod row;
mod work;
mod zones;

use std::env;

use pagelab_benches::workload::SEED;

use crate::{
    cells::{Cells, Size},
    column::Column,
    row::Row,
};

const THREADS: [usize; 2] = [1, 2];

fn main() {
    let mut arguments = env::args().skip(1);
    let (mut size, mut only, mut row) = (Size::FULL, None, None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            machines::BUILD => return machines::build(arguments),
            "--only" => only = arguments.next(),
            "--row" => row = arguments.next(),
            "--quick" => size = Size::QUICK,
            _ => {}
        }
    }
    table(size, only.as_deref(), row.as_deref());
}

#[expect(clippy::print_stdout, reason = "the table is the result")]
fn table(size: Size, only: Option<&str>, row: Option<&str>) {
    println!("{}\nseed {SEED:#x}, up to {} rounds\n", host::describe(), size.rounds);
    let wanted =
        |column: &Column| only.is_none_or(|only| only.split(',').any(|name| name == column.name()));
    let mut rows = Row::all();
    rows.retain(|known| row.is_none_or(|row| row == known.name));
    let measure = |column| THREADS.map(|n| Cells::measure(&rows, column, n, size)).into();
    let columns: Vec<Vec<Cells>> = Column::ALL.into_iter().filter(wanted).map(measure).collect();
    print::times(&rows, &columns);
    print::failures(&rows, &columns);
    if row.is_some() {
        return;
    }
    print::ratios(&rows, &columns);
    if let Some(pairs) = columns.iter().find(|cells| cells[0].column == Column::Pair) {
        print::pair(&rows, pairs);
    }
    if only.is_none() {
        zones::print(size);
        machines::print(size);
    }
}
