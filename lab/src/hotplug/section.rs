//! A table of a scenario file: values by key, each with the place where it stands.

use pagelab_allocator::geometry::Geometry;
use pagelab_allocator::units::{PageCount, Pfn, PfnRange};
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::error::HotplugError;
use super::nearest::unknown;
use crate::place::Place;
use crate::size::{Share, parse_size};
use crate::text_file::line_of;

/// Letters of a name.
const MOST_LETTERS: usize = 32;
/// Letters of words for people.
const MOST_WORDS: usize = 400;

/// The file that errors are about.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its text.
    pub text: &'a str,
}

impl Source<'_> {
    /// Something wrong at a byte of the text.
    #[must_use]
    pub fn error(self, at: usize, key: &str, why: impl Into<String>) -> HotplugError {
        let line = self.line(at);
        let place = Place::File { file: self.name.to_owned(), line };
        HotplugError::Text { place, key: key.to_owned(), why: why.into() }
    }

    /// Line of a byte, from 1.
    #[must_use]
    pub fn line(self, at: usize) -> usize {
        line_of(self.text.as_bytes(), at)
    }
}

/// A value and the byte where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub at: usize,
}

/// A table. Whoever has asked it for every key that there may be calls [`finish`](Self::finish).
#[derive(Debug)]
pub struct Section<'a> {
    /// The file.
    pub source: Source<'a>,
    what: &'static str,
    /// Where the table begins.
    pub at: usize,
    table: &'a DeTable<'a>,
    asked: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// A table that errors call `what`; the top of a file has no name.
    #[must_use]
    pub const fn new(
        source: Source<'a>,
        what: &'static str,
        at: usize,
        table: &'a DeTable<'a>,
    ) -> Self {
        Self { source, what, at, table, asked: Vec::new() }
    }

    fn name(&self, key: &str) -> String {
        if self.what.is_empty() { key.to_owned() } else { format!("{}.{key}", self.what) }
    }

    /// Something wrong with the value of `key` at a byte.
    #[must_use]
    pub fn error(&self, at: usize, key: &str, why: impl Into<String>) -> HotplugError {
        self.source.error(at, &self.name(key), why)
    }

    /// Something wrong with a value that may or may not stand in this table.
    #[must_use]
    pub fn lacks(&self, key: &str, why: impl Into<String>) -> HotplugError {
        self.error(self.at, key, why)
    }

    /// A value that has to be there.
    ///
    /// # Errors
    ///
    /// With the place of the table when it is not.
    pub fn need<T>(&self, key: &str, value: Option<T>) -> Result<T, HotplugError> {
        value.ok_or_else(|| self.lacks(key, "needed"))
    }

    /// Where the value of a key stands, or the table if there is none.
    #[must_use]
    pub fn place(&self, key: &str) -> usize {
        self.table.get(key).map_or(self.at, |value| value.span().start)
    }

    /// Whether the value of a key is a text.
    #[must_use]
    pub fn is_text(&self, key: &str) -> bool {
        let value = self.table.get(key);
        value.is_some_and(|value| matches!(value.get_ref(), DeValue::String(_)))
    }

    fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.push(key);
        self.table.get(key)
    }

    /// A text.
    ///
    /// # Errors
    ///
    /// When the value is something else.
    pub fn word(&mut self, key: &'static str) -> Result<Option<Found<&'a str>>, HotplugError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let at = value.span().start;
        match value.get_ref() {
            DeValue::String(text) => Ok(Some(Found { value: &**text, at })),
            _ => Err(self.error(at, key, "not a text")),
        }
    }

    /// Words for people: no control characters, not too long.
    ///
    /// # Errors
    ///
    /// When the value is something else.
    pub fn words(&mut self, key: &'static str) -> Result<Option<String>, HotplugError> {
        let Some(found) = self.word(key)? else { return Ok(None) };
        self.line_of_words(key, found).map(Some)
    }

    /// A list of words for people.
    ///
    /// # Errors
    ///
    /// When the value is something else.
    pub fn many_words(&mut self, key: &'static str) -> Result<Vec<String>, HotplugError> {
        let found = self.list(key)?.unwrap_or_default().into_iter();
        found.map(|one| self.line_of_words(key, one)).collect()
    }

    fn line_of_words(
        &self,
        key: &str,
        Found { value, at }: Found<&str>,
    ) -> Result<String, HotplugError> {
        let text = value.split_whitespace().collect::<Vec<_>>().join(" ");
        if text.is_empty() || text.contains(char::is_control) || text.len() > MOST_WORDS {
            return Err(self.error(at, key, format!("not 1 to {MOST_WORDS} letters of text")));
        }
        Ok(text)
    }

    /// A name: letters, digits, dashes.
    ///
    /// # Errors
    ///
    /// When the value is something else.
    pub fn ident(&mut self, key: &'static str) -> Result<Option<Found<&'a str>>, HotplugError> {
        let Some(found) = self.word(key)? else { return Ok(None) };
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let Found { value, at } = found;
        if value.is_empty() || value.len() > MOST_LETTERS || !value.chars().all(plain) {
            let why = format!("not a name of up to {MOST_LETTERS} letters, digits and dashes");
            return Err(self.error(at, key, why));
        }
        Ok(Some(found))
    }

    /// One word of those that there are.
    ///
    /// # Errors
    ///
    /// When it is another.
    pub fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, HotplugError> {
        let Some(Found { value, at }) = self.word(key)? else { return Ok(None) };
        let found = choices.iter().find(|(name, _)| *name == value);
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let found = found.ok_or_else(|| self.error(at, key, unknown(value, &names)))?;
        Ok(Some(found.1))
    }

    /// A text or a list of texts.
    ///
    /// # Errors
    ///
    /// When the value is something else.
    pub fn list(&mut self, key: &'static str) -> Result<Option<Vec<Found<&'a str>>>, HotplugError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let one = |value: &'a Spanned<DeValue<'a>>| match value.get_ref() {
            DeValue::String(text) => Ok(Found { value: &**text, at: value.span().start }),
            _ => Err(self.error(value.span().start, key, "not a text")),
        };
        match value.get_ref() {
            DeValue::Array(values) => values.iter().map(one).collect::<Result<_, _>>().map(Some),
            _ => Ok(Some(vec![one(value)?])),
        }
    }

    /// True or false.
    ///
    /// # Errors
    ///
    /// When the value is something else.
    pub fn switch(&mut self, key: &'static str) -> Result<Option<bool>, HotplugError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::Boolean(on) => Ok(Some(*on)),
            _ => Err(self.error(value.span().start, key, "not true or false")),
        }
    }

    /// A whole number from `least` to `most`.
    ///
    /// # Errors
    ///
    /// When the value is something else.
    pub fn number(
        &mut self,
        key: &'static str,
        (least, most): (u64, u64),
    ) -> Result<Option<Found<u64>>, HotplugError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let at = value.span().start;
        let number = match value.get_ref() {
            DeValue::Integer(number) => whole(number),
            _ => None,
        };
        match number {
            Some(value) if (least..=most).contains(&value) => Ok(Some(Found { value, at })),
            _ => Err(self.error(at, key, format!("not a whole number from {least} to {most}"))),
        }
    }

    /// A size or an address in bytes: a number, or a text such as `64GiB` or `0x1_0000_0000`.
    ///
    /// # Errors
    ///
    /// When the value is something else.
    pub fn bytes(&mut self, key: &'static str) -> Result<Option<Found<u64>>, HotplugError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let at = value.span().start;
        let bytes = match value.get_ref() {
            DeValue::Integer(number) => whole(number),
            DeValue::String(text) => bytes_of(text),
            _ => None,
        };
        let why = "not a size such as \"64GiB\" or 0x1000000000";
        bytes.map(|value| Some(Found { value, at })).ok_or_else(|| self.error(at, key, why))
    }

    /// A size or an address in whole pages.
    ///
    /// # Errors
    ///
    /// When the value is something else.
    pub fn pages(
        &mut self,
        key: &'static str,
        geometry: Geometry,
    ) -> Result<Option<Found<PageCount>>, HotplugError> {
        let Some(Found { value, at }) = self.bytes(key)? else { return Ok(None) };
        if !value.is_multiple_of(geometry.page_size()) {
            let why = format!("not whole pages of {} bytes", geometry.page_size());
            return Err(self.error(at, key, why));
        }
        Ok(Some(Found { value: geometry.pages_in(value), at }))
    }

    /// A share such as `50%`.
    ///
    /// # Errors
    ///
    /// When the value is something else.
    pub fn share(&mut self, key: &'static str) -> Result<Option<Share>, HotplugError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let share = match value.get_ref() {
            DeValue::String(text) => Share::parse(text),
            _ => None,
        };
        let why = "not a share such as \"50%\" or \"0.1%\"";
        share.map(Some).ok_or_else(|| self.error(value.span().start, key, why))
    }

    /// A text for all gates, or a table with one for each.
    ///
    /// # Errors
    ///
    /// When the value is something else.
    pub fn by_gate(&mut self, key: &'static str) -> Result<Vec<ByGate<'a>>, HotplugError> {
        let Some(value) = self.value(key) else { return Ok(Vec::new()) };
        let word = |value: &'a Spanned<DeValue<'a>>| match value.get_ref() {
            DeValue::String(text) => Ok(Found { value: &**text, at: value.span().start }),
            _ => Err(self.error(value.span().start, key, "not a text")),
        };
        match value.get_ref() {
            DeValue::Table(table) => {
                let gates = table.iter().map(|(gate, value)| {
                    let found = Found { value: &**gate.get_ref(), at: gate.span().start };
                    Ok((Some(found), word(value)?))
                });
                gates.collect()
            }
            _ => Ok(vec![(None, word(value)?)]),
        }
    }

    /// A table inside this one.
    ///
    /// # Errors
    ///
    /// When the value is something else.
    pub fn section(&mut self, key: &'static str) -> Result<Option<Self>, HotplugError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let at = value.span().start;
        match value.get_ref() {
            DeValue::Table(table) => Ok(Some(Self::new(self.source, key, at, table))),
            _ => Err(self.error(at, key, format!("not a table; [{key}] begins one"))),
        }
    }

    /// A list of tables, none if it is not there.
    ///
    /// # Errors
    ///
    /// When the value is something else, or there are more than `most`.
    pub fn sections(&mut self, key: &'static str, most: usize) -> Result<Vec<Self>, HotplugError> {
        let Some(value) = self.value(key) else { return Ok(Vec::new()) };
        let not_tables = format!("not a list of tables; [[{key}]] begins one of them");
        let DeValue::Array(values) = value.get_ref() else {
            return Err(self.error(value.span().start, key, not_tables));
        };
        let one = |value: &'a Spanned<DeValue<'a>>| match value.get_ref() {
            DeValue::Table(table) => Ok(Self::new(self.source, key, value.span().start, table)),
            _ => Err(self.error(value.span().start, key, not_tables.clone())),
        };
        if values.len() > most {
            return Err(self.error(value.span().start, key, format!("more than {most}")));
        }
        values.iter().map(one).collect()
    }

    /// Nothing else stands in the table.
    ///
    /// # Errors
    ///
    /// With the first key that nobody has asked for.
    pub fn finish(self) -> Result<(), HotplugError> {
        let strange = self.table.iter().find(|(key, _)| !self.asked.contains(&&**key.get_ref()));
        match strange {
            None => Ok(()),
            Some((key, _)) => {
                let at = key.span().start;
                let why = format!("no such key: {}", unknown(key.get_ref(), &self.asked));
                Err(self.error(at, key.get_ref(), why))
            }
        }
    }
}

/// What is said for one gate, or for all.
pub type ByGate<'a> = (Option<Found<&'a str>>, Found<&'a str>);

fn whole(number: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// A size or an address as text.
#[must_use]
pub fn bytes_of(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(&digits.replace('_', ""), 16).ok(),
        None => parse_size(text),
    }
}

/// `start+size` or `start-end` in bytes, as frames.
#[must_use]
pub fn range_of(text: &str, geometry: Geometry) -> Option<PfnRange> {
    let (start, end) = match (text.split_once('+'), text.split_once('-')) {
        (Some((start, size)), _) => {
            let start = bytes_of(start)?;
            (start, start.checked_add(bytes_of(size)?)?)
        }
        (None, Some((start, end))) => (bytes_of(start)?, bytes_of(end)?),
        (None, None) => return None,
    };
    let size = geometry.page_size();
    if start >= end || !start.is_multiple_of(size) || !end.is_multiple_of(size) {
        return None;
    }
    Some(PfnRange::new(Pfn::new(start / size), Pfn::new(end / size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_told_by_their_ends_or_by_their_size() {
        let range =
            |text| range_of(text, Geometry::PAGES_4K).map(|r| (r.start().get(), r.end().get()));
        assert_eq!(range("0x100000+1MiB"), Some((0x100, 0x200)));
        assert_eq!(range("1MiB-0x20_0000"), Some((0x100, 0x200)));
        for text in ["", "1MiB", "2MiB-1MiB", "1-4096", "4096+0", "x+1MiB", "16777215T+16777215T"] {
            assert_eq!(range(text), None, "{text}");
        }
    }
}
