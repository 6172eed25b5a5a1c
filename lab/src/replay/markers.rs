//! The marks of snapshots: `begin`, `end` and `resume` of each, one snapshot after the other.

use core::fmt;

use crate::trace::{Marker, SnapPhase, TraceEvent};

/// A mark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// The snapshot's number.
    pub index: u32,
    /// Where in the snapshot.
    pub phase: SnapPhase,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            SnapPhase::Begin => "begin",
            SnapPhase::End => "end",
            SnapPhase::Resume => "resume",
        };
        write!(f, "snapshot {}'s `{phase}`", self.index)
    }
}

/// How far the snapshots of a trace have come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Markers {
    /// What comes next.
    next: Mark,
    /// Number of the last snapshot.
    last: u32,
}

impl Markers {
    /// Nothing was seen of the snapshots up to number `last`.
    #[must_use]
    pub const fn new(last: u32) -> Self {
        Self { next: Mark { index: 0, phase: SnapPhase::Begin }, last }
    }

    /// The first snapshot was taken.
    #[must_use]
    pub const fn are_under_way(&self) -> bool {
        self.next.index > 0 || matches!(self.next.phase, SnapPhase::Resume)
    }

    /// The mark that is missing, if one is.
    #[must_use]
    pub fn missing(&self) -> Option<Mark> {
        (self.next.index <= self.last).then_some(self.next)
    }

    /// Goes on by one event of the trace, which says whether a snapshot's lists were dumped just
    /// now.
    ///
    /// # Errors
    ///
    /// What is wrong: a mark out of order, or an event of the allocator while the lists are dumped.
    pub fn pass(&mut self, event: &TraceEvent) -> Result<Option<u32>, String> {
        match *event {
            TraceEvent::Marker(Marker::Snapshot { index, phase }) => {
                self.mark(Mark { index, phase })?;
                Ok((phase == SnapPhase::End).then_some(index))
            }
            TraceEvent::Marker(_) | TraceEvent::Other(_) => Ok(None),
            _ if self.next.phase == SnapPhase::Resume => {
                Err(format!("an event before {}, while the lists are dumped", self.next))
            }
            _ => Ok(None),
        }
    }

    fn mark(&mut self, mark: Mark) -> Result<(), String> {
        if mark.index > self.last {
            return Err(format!("{mark}, and the case has none after {}", self.last));
        }
        if mark != self.next {
            return Err(format!("{mark} where {} was expected", self.next));
        }
        self.next = match mark.phase {
            SnapPhase::Begin => Mark { phase: SnapPhase::End, ..mark },
            SnapPhase::End => Mark { phase: SnapPhase::Resume, ..mark },
            SnapPhase::Resume => Mark { index: mark.index + 1, phase: SnapPhase::Begin },
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snap(index: u32, phase: SnapPhase) -> TraceEvent {
        TraceEvent::Marker(Marker::Snapshot { index, phase })
    }

    #[test]
    fn marks_come_in_order() {
        let mut marks = Markers::new(1);
        assert_eq!(marks.pass(&TraceEvent::KswapdWake), Ok(None));
        assert_eq!(marks.pass(&snap(0, SnapPhase::Begin)), Ok(None));
        assert!(marks.pass(&snap(0, SnapPhase::Begin)).is_err() && !marks.are_under_way());
        assert_eq!(marks.pass(&TraceEvent::KswapdWake), Ok(None));
        assert_eq!(marks.pass(&snap(0, SnapPhase::End)), Ok(Some(0)));
        assert!(marks.are_under_way() && marks.pass(&TraceEvent::KswapdWake).is_err());
        assert!(marks.pass(&snap(1, SnapPhase::Begin)).is_err());
        assert_eq!(marks.pass(&snap(0, SnapPhase::Resume)), Ok(None));
        assert_eq!(marks.missing().map(|mark| mark.index), Some(1));
        for phase in [SnapPhase::Begin, SnapPhase::End, SnapPhase::Resume] {
            assert!(marks.pass(&snap(1, phase)).is_ok());
        }
        assert_eq!(marks.missing(), None);
        let further = marks.pass(&snap(2, SnapPhase::Begin));
        assert_eq!(further, Err("snapshot 2's `begin`, and the case has none after 1".to_owned()));
    }
}
