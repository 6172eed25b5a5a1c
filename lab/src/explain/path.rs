//! The paths that an operation's pages took: each kind once, with how many pages took it.

use pagelab_allocator::profile::KernelProfile;
use pagelab_migrate::file_io::FileAccess;

use super::line::Line;
use super::tell::tell;
use super::witness::Fact;
use crate::drive::note::Note;

/// Pages that went the same way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Path {
    /// The pages, counted from the first of their area or file; empty for an operation without.
    pub pages: Vec<u64>,
    /// The way of the first of them.
    pub lines: Vec<Line>,
    /// How it ended.
    pub outcome: Option<Outcome>,
}

/// How a page's access ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// What kind of end.
    pub kind: &'static str,
    /// In words.
    pub text: String,
}

/// What one operation did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Paths {
    /// In the order of their first pages.
    pub paths: Vec<Path>,
    /// What happened before the first and after the last page: kswapd's turn, what was freed.
    pub around: Vec<Line>,
}

impl Paths {
    /// Sorts the facts of an operation; `only` leaves all pages but one out.
    pub fn new(facts: &[Fact], only: Option<u64>, profile: KernelProfile) -> Self {
        let mut paths = Self::default();
        let mut rest = Vec::new();
        let mut left = facts;
        while let Some(begin) = left.iter().position(|fact| page(fact).is_some()) {
            rest.extend(&left[..begin]);
            let Some(number) = page(&left[begin]) else { break };
            let after = &left[begin + 1..];
            let end = after.iter().position(|fact| outcome(fact).is_some());
            let end = end.map_or(after.len(), |end| end + 1);
            if only.is_none_or(|only| only == number) {
                paths.add(number, &after[..end], profile);
            }
            left = &after[end..];
        }
        rest.extend(left);
        paths.around = tell(rest, profile);
        paths
    }

    fn add(&mut self, number: u64, facts: &[Fact], profile: KernelProfile) {
        let outcome = facts.last().and_then(outcome);
        let lines = tell(facts, profile);
        let same = |path: &&mut Path| {
            let end = |outcome: &Option<Outcome>| outcome.as_ref().map(|outcome| outcome.kind);
            end(&path.outcome) == end(&outcome) && kinds(&path.lines).eq(kinds(&lines))
        };
        match self.paths.iter_mut().find(same) {
            Some(path) => path.pages.push(number),
            None => self.paths.push(Path { pages: vec![number], lines, outcome }),
        }
    }
}

/// The kinds of a path's lines; repeats in a row count once.
fn kinds(lines: &[Line]) -> impl Iterator<Item = (&'static str, &'static str)> {
    let kind = |line: &Line| (line.label, line.kind);
    let fresh = move |at: usize| at == 0 || kind(&lines[at]) != kind(&lines[at - 1]);
    (0..lines.len()).filter(move |at| fresh(*at)).map(move |at| kind(&lines[at]))
}

const fn page(fact: &Fact) -> Option<u64> {
    match fact {
        Fact::Drive(Note::Page(number)) => Some(*number),
        _ => None,
    }
}

fn outcome(fact: &Fact) -> Option<Outcome> {
    let (kind, text) = match fact {
        Fact::Drive(Note::Accessed(Ok(done))) => {
            let pfn = done.translation.pfn;
            match done.faults {
                0 => ("present", format!("no fault: the page is there, at {pfn}")),
                1 => ("served", format!("served by one fault, at {pfn}")),
                faults => ("served", format!("served by {faults} faults, at {pfn}")),
            }
        }
        Fact::Drive(Note::Accessed(Err(error))) => ("failed", format!("fails: {error}")),
        Fact::Drive(Note::File(Ok(found))) => {
            let (kind, words) = match found {
                FileAccess::Hit => ("hit", "in the page cache"),
                FileAccess::Miss => ("miss", "not in memory: read from the disk, or new"),
                FileAccess::Refault(_) => ("refault", "dropped before: read from the disk again"),
                FileAccess::Copied(_) => ("copied", "dropped before: a copy was in tag storage"),
            };
            (kind, words.to_owned())
        }
        Fact::Drive(Note::File(Err(error))) => ("failed", format!("fails: {error}")),
        _ => return None,
    };
    Some(Outcome { kind, text })
}

/// Page numbers as runs, the first few of them: `0..5, 7`.
pub(super) fn runs(pages: &[u64]) -> String {
    const SHOWN: usize = 4;
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for &page in pages {
        match runs.last_mut() {
            Some((_, end)) if *end == page => *end += 1,
            _ => runs.push((page, page + 1)),
        }
    }
    let shown = runs.iter().take(SHOWN).map(|(first, end)| match end - first {
        1 => first.to_string(),
        _ => format!("{first}..{end}"),
    });
    let more = if runs.len() > SHOWN { ", .." } else { "" };
    format!("{}{more}", shown.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_named_in_runs() {
        assert_eq!(runs(&[0, 1, 2, 7]), "0..3, 7");
        assert_eq!(runs(&[1, 3, 5, 7, 9]), "1, 3, 5, 7, ..");
    }
}
