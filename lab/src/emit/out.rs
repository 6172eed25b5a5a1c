//! What is written, compressed or as it is.

use core::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};

/// How hard zstd tries; traces are repetitive, so that more effort gains little.
const LEVEL: i32 = 3;

/// `text`, compressed as the trace is.
pub(super) fn packed(text: &str) -> io::Result<Vec<u8>> {
    zstd::encode_all(text.as_bytes(), LEVEL)
}

/// Where the trace goes.
pub(super) enum Out {
    Plain(BufWriter<File>),
    Zstd(zstd::Encoder<'static, BufWriter<File>>),
}

impl Out {
    /// Compressed into `file`.
    pub(super) fn packed(file: BufWriter<File>) -> io::Result<Self> {
        zstd::Encoder::new(file, LEVEL).map(Self::Zstd)
    }

    /// Writes what is left.
    pub(super) fn finish(self) -> io::Result<()> {
        let mut file = match self {
            Self::Plain(file) => file,
            Self::Zstd(encoder) => encoder.finish()?,
        };
        file.flush()
    }
}

impl fmt::Debug for Out {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain",
            Self::Zstd(_) => "Zstd",
        })
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}
