//! Which operation of which run is to be explained.

use core::fmt;

use crate::cli::ExplainWords;
use crate::contender::Contender;
use crate::plan::{Output, Plan, PlanError, Scene};

/// What was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExplainPlan {
    /// The run.
    pub scene: Scene,
    /// Under which design.
    pub design: Contender,
    /// Which operation.
    pub at: At,
    /// Which of its pages; `None`: each kind of path once.
    pub page: Option<u64>,
    /// How to print.
    pub output: Output,
}

/// Where in a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum At {
    /// The operation of that number, from 1.
    Operation(u64),
    /// The last operation that comes from that line of the trace.
    Line(u64),
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operation(number) => write!(f, "{number}"),
            Self::Line(line) => write!(f, "line:{line}"),
        }
    }
}

impl ExplainPlan {
    /// The plan that the words ask for.
    ///
    /// # Errors
    ///
    /// [`PlanError`] names the first flag whose value is impossible.
    pub fn new(words: &ExplainWords) -> Result<Self, PlanError> {
        let (design, scene, output) = Plan::one("--design", &words.design, &words.common)?;
        let at = parse_at(&words.at)?;
        if matches!(at, At::Line(_)) && !scene.has_lines() {
            return Err(PlanError::new("--at", &words.at, "only traces have lines"));
        }
        let page = words.page.as_deref().map(|text| number("--page", text)).transpose()?;
        Ok(Self { scene, design, at, page, output })
    }
}

fn parse_at(text: &str) -> Result<At, PlanError> {
    let (number, at): (_, fn(u64) -> At) = match text.strip_prefix("line:") {
        Some(line) => (line, At::Line),
        None => (text, At::Operation),
    };
    match number.parse() {
        Ok(0) => Err(PlanError::new("--at", text, "counted from 1")),
        Ok(number) => Ok(at(number)),
        Err(_) => Err(PlanError::new("--at", text, "not a number, or line: and a number")),
    }
}

fn number(flag: &'static str, text: &str) -> Result<u64, PlanError> {
    text.parse().map_err(|_| PlanError::new(flag, text, "not a number"))
}
