//! A trace as an iterator of records.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::error::{TraceError, Why};
use super::event::EventParser;
use super::fields::{decimal, words};
use super::header::Line;
use super::page_map::PageMap;
use super::record::Record;
use super::source::Source;

/// Lines longer than this are no lines of a trace: the kernel's buffer page holds 4 KiB.
const LINE_LIMIT: u64 = 1 << 16;

/// What to do with a line that cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Strictness {
    /// Report it.
    #[default]
    Strict,
    /// Skip and count it.
    Lenient,
}

/// What the reader has met besides records.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// Lines read, of every kind.
    pub lines: u64,
    /// Events that the recording lost, as far as the recorder said so.
    pub lost_events: u64,
    /// Lines that said that events were lost; some recorders do not say how many.
    pub lost_lines: u64,
    /// Lines skipped under [`Strictness::Lenient`], by field (empty: the whole line) and cause.
    pub skipped: BTreeMap<(&'static str, &'static str), u64>,
}

/// A trace, line by line. Linux: the `trace` file of tracefs, or the output of `perf script`.
///
/// Memory use does not depend on the length of the trace. After an error that leaves no way to go
/// on (the file cannot be read, the compressed data end early) the iterator ends.
#[derive(Debug)]
pub struct TraceReader<R: Read> {
    file: String,
    source: Source<R>,
    strictness: Strictness,
    line: Vec<u8>,
    parser: EventParser,
    seen: Seen,
    ended: bool,
}

impl TraceReader<Box<dyn Read>> {
    /// Opens the trace at `path`.
    ///
    /// # Errors
    ///
    /// [`TraceError`] with line 0 when the file cannot be opened or read.
    pub fn open(path: &Path, strictness: Strictness) -> Result<Self, TraceError> {
        let name = path.display().to_string();
        match File::open(path) {
            Ok(file) => Self::new(&name, Box::new(file), strictness),
            Err(cause) => Err(TraceError { file: name, line: 0, field: "", why: cause.into() }),
        }
    }
}

impl<R: Read> TraceReader<R> {
    /// Reads the trace in `source`; `file` is what errors call it.
    ///
    /// # Errors
    ///
    /// [`TraceError`] with line 0 when the first bytes cannot be read.
    pub fn new(file: &str, source: R, strictness: Strictness) -> Result<Self, TraceError> {
        let file = file.to_owned();
        match Source::new(source) {
            Ok(source) => Ok(Self {
                file,
                source,
                strictness,
                line: Vec::with_capacity(256),
                parser: EventParser::default(),
                seen: Seen::default(),
                ended: false,
            }),
            Err(cause) => Err(TraceError { file, line: 0, field: "", why: cause.into() }),
        }
    }

    /// The trace as the user named it.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// What was met so far.
    #[must_use]
    pub const fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Where the recorded kernel kept its `struct page` array, as far as it is known by now.
    #[must_use]
    pub const fn page_map(&self) -> PageMap {
        self.parser.page_map()
    }

    /// Says where the recorded kernel kept its `struct page` array, so that pointers can be
    /// converted from the first line on.
    pub const fn set_page_map(&mut self, pages: PageMap) {
        self.parser.set_page_map(pages);
    }

    /// Reads the next line into `self.line`; `false` at the end.
    fn read_line(&mut self) -> Result<bool, Why> {
        self.line.clear();
        let read = self.source.read_line(LINE_LIMIT, &mut self.line).map_err(from_io)?;
        if read == 0 {
            return Ok(false);
        }
        self.seen.lines += 1;
        let whole = self.line.pop_if(|last| *last == b'\n').is_some();
        self.line.pop_if(|last| *last == b'\r');
        if !whole && read as u64 == LINE_LIMIT {
            self.source.skip_line().map_err(from_io)?;
            return Err(Why::TooLong(LINE_LIMIT));
        }
        Ok(true)
    }

    /// The record of the line at hand, if it is no header, loss or empty line.
    fn parse_line(&mut self) -> Result<Option<Record>, (&'static str, Why)> {
        if self.line.first().is_none_or(|b| *b == b'#') || is_preamble(&self.line) {
            return Ok(None);
        }
        let Some(line) = Line::parse(&self.line) else {
            if let Some(lost) = lost_events(&self.line) {
                self.seen.lost_lines += 1;
                self.seen.lost_events = self.seen.lost_events.saturating_add(lost);
                return Ok(None);
            }
            return Err(("", Why::NoHeader(Why::excerpt(&self.line))));
        };
        let event = self.parser.parse(line.name, line.text)?;
        Ok(Some(Record {
            line: self.seen.lines,
            comm: line.comm,
            pid: line.pid,
            cpu: line.cpu,
            timestamp: line.timestamp,
            need_resched: line.need_resched,
            event,
        }))
    }

    fn error(&self, field: &'static str, why: Why) -> TraceError {
        TraceError { file: self.file.clone(), line: self.seen.lines, field, why }
    }
}

impl<R: Read> Iterator for TraceReader<R> {
    type Item = Result<Record, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            let parsed = match self.read_line() {
                Ok(false) => break,
                Ok(true) => self.parse_line(),
                Err(why) => Err(("", why)),
            };
            match parsed {
                Ok(Some(record)) => return Some(Ok(record)),
                Ok(None) => {}
                Err((field, why)) => {
                    self.ended = why.is_final();
                    if self.ended || self.strictness == Strictness::Strict {
                        return Some(Err(self.error(field, why)));
                    }
                    *self.seen.skipped.entry((field, why.cause())).or_default() += 1;
                }
            }
        }
        self.ended = true;
        None
    }
}

/// zstd reports a frame that ends early as an unexpected end.
fn from_io(cause: io::Error) -> Why {
    match cause.kind() {
        io::ErrorKind::UnexpectedEof => Why::Truncated,
        _ => Why::Io(cause),
    }
}

/// The first lines of `trace-cmd report`.
fn is_preamble(line: &[u8]) -> bool {
    line.starts_with(b"cpus=") || line.starts_with(b"version =")
}

/// How many events a line says were lost, 0 when it does not say how many; `None` for other lines.
///
/// ```text
/// CPU:1 [LOST 123 EVENTS]      ftrace
/// CPU:1 [EVENTS DROPPED]       trace-cmd
/// cc1 12 [003] 1.5: PERF_RECORD_LOST lost 5      perf script
/// ```
fn lost_events(line: &[u8]) -> Option<u64> {
    let after = |word: &[u8]| {
        let mut words = words(line).skip_while(|w| *w != word);
        words.next()?;
        Some(words.next().and_then(decimal).unwrap_or(0))
    };
    if line.starts_with(b"CPU:") {
        let lost = line.windows(6).any(|w| w == b"EVENTS");
        return lost.then(|| after(b"[LOST").unwrap_or(0));
    }
    after(b"PERF_RECORD_LOST")?;
    Some(after(b"lost").unwrap_or(0))
}
