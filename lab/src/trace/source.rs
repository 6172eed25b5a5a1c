//! Bytes of a trace, decompressed when they begin as zstd does.

use core::fmt;
use std::io::{self, BufRead, BufReader, Read};

/// A zstd frame begins with these bytes.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Text, out of a plain or compressed stream.
pub(super) enum Source<R: Read> {
    Plain(BufReader<R>),
    Zstd(Box<BufReader<zstd::Decoder<'static, BufReader<R>>>>),
}

impl<R: Read> fmt::Debug for Source<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain",
            Self::Zstd(_) => "Zstd",
        })
    }
}

impl<R: Read> Source<R> {
    /// Looks at the first bytes of `raw` and decides.
    pub(super) fn new(raw: R) -> io::Result<Self> {
        let mut raw = BufReader::with_capacity(1 << 16, raw);
        if raw.fill_buf()?.starts_with(&ZSTD_MAGIC) {
            let decoder = zstd::Decoder::with_buffer(raw)?;
            Ok(Self::Zstd(Box::new(BufReader::with_capacity(1 << 16, decoder))))
        } else {
            Ok(Self::Plain(raw))
        }
    }

    /// Appends to `line` up to `limit` bytes, through the next newline.
    pub(super) fn read_line(&mut self, limit: u64, line: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Plain(text) => text.take(limit).read_until(b'\n', line),
            Self::Zstd(text) => text.take(limit).read_until(b'\n', line),
        }
    }

    /// Skips through the next newline.
    pub(super) fn skip_line(&mut self) -> io::Result<usize> {
        match self {
            Self::Plain(text) => text.skip_until(b'\n'),
            Self::Zstd(text) => text.skip_until(b'\n'),
        }
    }
}
