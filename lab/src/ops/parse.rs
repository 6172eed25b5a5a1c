//! From words to operations.

use core::fmt;
use core::str::{FromStr, SplitWhitespace};

use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::units::{Order, PageCount};

use super::line::{ACCESSES, Line, OWNERS, PHASES, TERMS};
use crate::logical::process::{AreaId, AreaTags, FileNumber, Hold, PinId, ProcessId, ProcessOp};
use crate::logical::{Op, PageId, PageSpan};
use crate::place::in_file;
use crate::size::Share;

/// A line that is no operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpsError {
    /// The file as the user named it.
    pub file: String,
    /// Line, from 1; 0 for the file as a whole.
    pub line: u64,
    /// The field, and what is wrong with it.
    pub wrong: Wrong,
}

/// What is wrong with a field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wrong {
    /// The field; empty for the line as a whole.
    pub field: &'static str,
    /// Its word; empty when it is missing.
    pub word: String,
    /// Why.
    pub why: String,
}

impl fmt::Display for OpsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        in_file(f, &self.file, self.line)?;
        self.wrong.fmt(f)
    }
}

impl std::error::Error for OpsError {}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, "field `{}`: ", self.field)?;
        }
        if !self.word.is_empty() {
            write!(f, "{:?}: ", self.word)?;
        }
        f.write_str(&self.why)
    }
}

impl Wrong {
    pub(super) fn new(field: &'static str, word: impl fmt::Display, why: &str) -> Self {
        // A line of a file that is no text may be long.
        let word = word.to_string().chars().take(80).collect();
        Self { field, word, why: why.to_owned() }
    }
}

impl OpsError {
    pub(super) fn unreadable(file: &str, why: &std::io::Error) -> Self {
        Self { file: file.to_owned(), line: 0, wrong: Wrong::new("", "", &why.to_string()) }
    }
}

impl FromStr for Line {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let mut words = Words(text.split_whitespace());
        let verb = words.word("operation")?;
        let line = words.anything(verb)?;
        match words.0.next() {
            Some(more) => Err(Wrong::new("end of line", more, "one word too many")),
            None => Ok(line),
        }
    }
}

/// The words of a line that were not read yet.
struct Words<'t>(SplitWhitespace<'t>);

impl<'t> Words<'t> {
    fn word(&mut self, field: &'static str) -> Result<&'t str, Wrong> {
        self.0.next().ok_or_else(|| Wrong::new(field, "", "missing"))
    }

    fn number<T: FromStr>(&mut self, field: &'static str) -> Result<T, Wrong> {
        number(field, self.word(field)?)
    }

    /// A field's name, then its number.
    fn named<T: FromStr>(&mut self, field: &'static str) -> Result<T, Wrong> {
        self.name(field)?;
        self.number(field)
    }

    /// A field's name, then a share in hundredths of a percent.
    fn share(&mut self, field: &'static str) -> Result<Share, Wrong> {
        self.name(field)?;
        let word = self.word(field)?;
        Share::of_10_000(number(field, word)?)
            .ok_or_else(|| Wrong::new(field, word, "more than 10000, which is everything"))
    }

    fn name(&mut self, field: &'static str) -> Result<(), Wrong> {
        match self.word(field)? {
            word if word == field => Ok(()),
            word => Err(Wrong::new(field, word, "its name is expected here")),
        }
    }

    /// `pages 0..8`.
    fn span(&mut self) -> Result<PageSpan, Wrong> {
        let field = "pages";
        self.name(field)?;
        let word = self.word(field)?;
        let error = |why| Wrong::new(field, word, why);
        let (first, end) = word.split_once("..").ok_or_else(|| error("not first..end"))?;
        let (first, end): (u32, u32) = (number(field, first)?, number(field, end)?);
        match end.checked_sub(first) {
            Some(pages) if pages > 0 => Ok(PageSpan { first, pages }),
            _ => Err(error("no pages")),
        }
    }

    fn some<T: FromStr + PartialEq + Default>(&mut self, field: &'static str) -> Result<T, Wrong> {
        match self.named(field)? {
            none if none == T::default() => Err(Wrong::new(field, "0", "nothing")),
            some => Ok(some),
        }
    }

    fn order(&mut self) -> Result<Order, Wrong> {
        let order: u8 = self.named("order")?;
        Order::new(order).ok_or_else(|| Wrong::new("order", order, "larger than any order"))
    }

    fn gfp(&mut self) -> Result<GfpFlags, Wrong> {
        self.name("gfp")?;
        let word = self.word("gfp")?;
        GfpFlags::parse(word).map_err(|error| Wrong::new("gfp", word, &error.to_string()))
    }

    fn process(&mut self) -> Result<ProcessId, Wrong> {
        self.named("process").map(ProcessId)
    }

    fn place(&mut self) -> Result<(ProcessId, AreaId), Wrong> {
        Ok((self.process()?, AreaId(self.named("area")?)))
    }

    fn one_of<T: Copy>(
        &mut self,
        field: &'static str,
        words: &[(&str, T)],
        why: &str,
    ) -> Result<T, Wrong> {
        let word = self.word(field)?;
        let found = words.iter().find(|(known, _)| *known == word);
        found.map(|(_, value)| *value).ok_or_else(|| Wrong::new(field, word, why))
    }

    fn anything(&mut self, verb: &str) -> Result<Line, Wrong> {
        let op = match verb {
            "alloc" => {
                let id = PageId(self.number("alloc")?);
                let op = Op::Alloc { id, order: self.order()?, gfp: self.gfp()? };
                return Ok(Line { op, task: self.named("task")? });
            }
            "fail" => Op::Failed { order: self.order()?, gfp: self.gfp()? },
            "contig" => Op::AllocContig {
                id: PageId(self.number("contig")?),
                pages: PageCount::new(self.some("pages")?),
                owner: self.one_of("owner", &OWNERS, "not cma or anyone")?,
            },
            "free" => Op::Free { id: PageId(self.number("free")?), span: self.span()? },
            "tag" => Op::Tag { id: PageId(self.number("tag")?), page: self.named("page")? },
            "snapshot" => Op::Snapshot {
                index: self.number("snapshot")?,
                phase: self.one_of("phase", &PHASES, "not begin, end or resume")?,
            },
            _ => Op::Process(self.of_process(verb)?),
        };
        Ok(Line { op, task: 0 })
    }

    fn of_process(&mut self, verb: &str) -> Result<ProcessOp, Wrong> {
        Ok(match verb {
            "spawn" => ProcessOp::Spawn { process: self.process()? },
            "fork" => {
                let parent = self.process()?;
                ProcessOp::Fork { parent, child: ProcessId(self.named("to")?) }
            }
            "exit" => ProcessOp::Exit { process: self.process()? },
            "map" => self.map()?,
            "protect" => {
                let (process, area) = self.place()?;
                ProcessOp::Protect { process, area, span: self.span()? }
            }
            "touch" => self.touch()?,
            "read" => {
                ProcessOp::ReadFile { file: FileNumber(self.named("file")?), span: self.span()? }
            }
            "write" => {
                ProcessOp::WriteFile { file: FileNumber(self.named("file")?), span: self.span()? }
            }
            "remove" => ProcessOp::RemoveFile { file: FileNumber(self.named("file")?) },
            "pin" => {
                let pin = PinId(self.number("pin")?);
                let (process, area) = self.place()?;
                let page = self.named("page")?;
                let term = self.one_of("term", &TERMS, "not short or long")?;
                ProcessOp::Pin { pin, process, area, page, term }
            }
            "unpin" => ProcessOp::Unpin { pin: PinId(self.number("unpin")?) },
            "hold" => ProcessOp::Hold(Hold {
                index: self.share("index")?,
                unmovable: self.share("unmovable")?,
            }),
            "tick" => ProcessOp::Tick,
            _ => return Err(Wrong::new("operation", verb, "no such operation")),
        })
    }

    fn map(&mut self) -> Result<ProcessOp, Wrong> {
        let (process, area) = self.place()?;
        let pages = self.some("pages")?;
        let tags = match self.0.clone().next() {
            Some("tagged") => {
                self.word("tagged")?;
                AreaTags::All
            }
            _ => AreaTags::None,
        };
        Ok(ProcessOp::Map { process, area, pages, tags })
    }

    fn touch(&mut self) -> Result<ProcessOp, Wrong> {
        let (process, area) = self.place()?;
        let span = self.span()?;
        let stride = match self.0.clone().next() {
            Some("every") => self.some("every")?,
            _ => 1,
        };
        let access = self.one_of("access", &ACCESSES, "not read or write")?;
        Ok(ProcessOp::Touch { process, area, span, stride, access })
    }
}

/// Digits only: what is printed is read, and nothing else.
fn number<T: FromStr>(field: &'static str, word: &str) -> Result<T, Wrong> {
    let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let value = if digits { word.parse().ok() } else { None };
    value.ok_or_else(|| Wrong::new(field, word, "not a number, or too large"))
}
