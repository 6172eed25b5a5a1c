//! Operations as text: a file of them is a source beside traces and workloads.
//!
//! One operation a line, in words; empty lines and those that begin with `#` say nothing. Numbers
//! are identities, as in every stream: an operation on something that was never made, or that the
//! machine refused, is passed over. Pages are counted from the first of their area, file or
//! allocation; `0..256` does not include 256.
//!
//! ```text
//! spawn process 3
//! fork process 3 to 4
//! map process 3 area 0 pages 256 tagged
//! protect process 3 area 0 pages 0..1
//! touch process 3 area 0 pages 0..256 every 32 write
//! pin 7 process 3 area 0 page 5 short
//! unpin 7
//! exit process 3
//! read file 2 pages 0..64
//! write file 2 pages 0..64
//! remove file 2
//! tick
//! alloc 12 order 3 gfp GFP_KERNEL task 1
//! fail order 4 gfp GFP_KERNEL
//! contig 13 pages 64 cma
//! free 12 pages 0..8
//! tag 12 page 0
//! snapshot 0 begin
//! ```

mod file;
mod line;
mod parse;
mod room;
mod scope;

use pagelab_allocator::units::CpuId;

use crate::logical::process::ProcessOp;
use crate::logical::{Op, Step};
use crate::workload::{TICK, pid};

pub use file::OpsFile;
pub use line::Line;
pub use parse::{OpsError, Wrong};
pub use room::Room;
pub use scope::Scope;

/// The same operations as steps: numbered from 1, a tenth of a second passing with every tick.
#[must_use]
pub fn steps(ops: impl IntoIterator<Item = Line>) -> Vec<Step> {
    let mut timestamp = 0;
    let numbered = (1..).zip(ops);
    numbered
        .map(|(line, Line { op, task })| {
            let pid = if matches!(op, Op::Alloc { .. }) { task } else { pid(op) };
            let step = Step { line, timestamp, cpu: CpuId::BOOT, pid, op };
            timestamp += if op == Op::Process(ProcessOp::Tick) { TICK } else { 0 };
            step
        })
        .collect()
}
