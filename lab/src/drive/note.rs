//! What an operation is about to do, and how it went, for whoever wants it explained: see
//! [`Sink::note`](pagelab_allocator::event::Sink::note).

use pagelab_migrate::fault::{AccessError, Accessed};
use pagelab_migrate::file_io::{FileAccess, FileError};

/// One fact, in the order of events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Note {
    /// The operation goes on to this page, counted from the first of its area or file.
    Page(u64),
    /// How its access went.
    Accessed(Result<Accessed, AccessError>),
    /// How reading or writing it went.
    File(Result<FileAccess, FileError>),
}
