//! Recorded kernels: ftrace text and `perf script` text, plain or zstd, as a stream of records.
//!
//! One line is held at a time. Text is bytes until a field says otherwise: a task may call itself
//! anything, so a command name need not be UTF-8.

mod comm;
mod cursor;
mod error;
mod event;
mod fields;
mod header;
mod marker;
mod page_map;
mod reader;
mod record;
mod source;

pub use comm::Comm;
pub use error::{TraceError, Why};
pub use marker::{BlockState, Marker, SnapPhase};
pub use page_map::PageMap;
pub use reader::{Seen, Strictness, TraceReader};
pub use record::{
    EventName, Extfrag, Isolator, Migration, Record, Scanned, Scanners, TO_TAIL, TraceEvent,
    VmapPages,
};
