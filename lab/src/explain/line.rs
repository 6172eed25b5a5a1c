//! One line of an explanation.

/// Something that happened, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// What it is about.
    pub label: &'static str,
    /// What kind of thing happened: paths with the same kinds in the same order are one path.
    pub kind: &'static str,
    /// In words; lines after the first are continued below it.
    pub text: String,
    /// Whether it is the page asked for, or memory that is moved for its sake.
    pub depth: Depth,
}

/// For whose sake something happens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Depth {
    /// The request's own path.
    Own,
    /// Work that the request has others do: emptying a range, compacting, reclaiming.
    Inside,
}

impl Line {
    /// A line of the request's own path.
    pub fn new(label: &'static str, kind: &'static str, text: impl Into<String>) -> Self {
        Self { label, kind, text: text.into(), depth: Depth::Own }
    }
}
