//! Why a trace could not be read.

use core::fmt;
use std::io;

use pagelab_allocator::gfp::UnknownGfpFlag;

use crate::place::in_file;

/// A place in a trace that could not be read, and why.
#[derive(Debug)]
pub struct TraceError {
    /// The trace as the user named it.
    pub file: String,
    /// Line, from 1; for an error between lines, the last good one; 0 for the file as a whole.
    pub line: u64,
    /// The field that is wrong; empty when it is the line as a whole.
    pub field: &'static str,
    /// What is wrong with it.
    pub why: Why,
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        in_file(f, &self.file, self.line)?;
        if !self.field.is_empty() {
            write!(f, "field `{}`: ", self.field)?;
        }
        fmt::Display::fmt(&self.why, f)
    }
}

impl std::error::Error for TraceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.why {
            Why::Io(cause) => Some(cause),
            _ => None,
        }
    }
}

/// What is wrong with a line or a field.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Why {
    /// The line does not begin as ftrace or `perf script` begin one.
    #[error("not an ftrace or perf script line: {0:?}")]
    NoHeader(String),
    /// The field is not there.
    #[error("missing")]
    Missing,
    /// The field is not a number of the expected kind.
    #[error("not a number: {0:?}")]
    NotANumber(String),
    /// The number is outside what the field may hold.
    #[error("out of range: {0:?}")]
    OutOfRange(String),
    /// A flag's name is not known.
    #[error("{0}")]
    Gfp(#[from] UnknownGfpFlag),
    /// The line is longer than any that the kernel writes.
    #[error("longer than {0} bytes")]
    TooLong(u64),
    /// The compressed data end in the middle of a frame.
    #[error("the compressed data end early; this is the last good line")]
    Truncated,
    /// The file could not be opened or read.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Why {
    /// A short name for counting.
    #[must_use]
    pub const fn cause(&self) -> &'static str {
        match self {
            Self::NoHeader(_) => "no header",
            Self::Missing => "missing",
            Self::NotANumber(_) => "not a number",
            Self::OutOfRange(_) => "out of range",
            Self::Gfp(_) => "unknown flag",
            Self::TooLong(_) => "too long",
            Self::Truncated => "truncated",
            Self::Io(_) => "unreadable",
        }
    }

    /// Whether nothing can be read after this.
    pub(super) const fn is_final(&self) -> bool {
        matches!(self, Self::Truncated | Self::Io(_))
    }

    /// The first bytes of `text`, fit for a message.
    pub(super) fn excerpt(text: &[u8]) -> String {
        const SHOWN: usize = 60;
        String::from_utf8_lossy(&text[..text.len().min(SHOWN)]).into_owned()
    }
}

/// A field and what is wrong with it; the reader adds file and line.
pub(super) type Fault = (&'static str, Why);
