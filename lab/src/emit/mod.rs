//! The emulator's own run as a recorded case: ftrace text, dumped lists, /proc files.
//!
//! What is written is what a kernel of the profile would have recorded of itself, in the same field
//! formats: tracepoints and probes of its functions. Some of the probes no recording has, so that a
//! replay need not guess: see notes/recording.md. Differences from a recording:
//!
//! * Time is a counter: every line is one microsecond after the line before.
//! * Pages are freed one by one, so `mm_page_free_batched` does not occur; kswapd has its turns in
//!   the task that woke it, so `mm_vmscan_wakeup_kswapd` names what would wake it.
//! * The trace begins at `SNAP 0`; how the machine came to be as it was then is not part of it.

mod event;
mod freelists;
mod kernel;
mod meta;
mod out;
mod proc_text;
mod recorder;
mod recording;
mod snapshot;
mod writer;

pub use freelists::freelists;
pub use kernel::Kernel;
pub use meta::{Provenance, meta};
pub use proc_text::{vmstat, zoneinfo};
pub use recorder::{NoRecord, Recorder};
pub use recording::{Destination, Recording};
pub use snapshot::{Snap, pageblocks, write_snapshot};
pub use writer::{Task, TraceWriter};
