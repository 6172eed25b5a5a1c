//! Gates that are wrong on purpose, made of one or two answers.

use pagelab_allocator::hotplug::caps::Caps;
use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::hotplug::gate::{Candidate, Checked, Driver, Extends, Gate, Verdict, View};
use pagelab_allocator::hotplug::printk::{Level, Line};
use pagelab_allocator::hotplug::veto::Why;

type Probe = fn(View<'_>, &Candidate, Driver) -> (Driver, Option<Line>);

/// Answers as it is told to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fake {
    pub(crate) name: &'static str,
    pub(crate) add: fn(View<'_>, &Candidate) -> Verdict,
    pub(crate) online: fn(View<'_>, &Candidate) -> Verdict,
    pub(crate) probe: Probe,
    pub(crate) place: fn(Caps, Caps) -> Verdict,
    pub(crate) extends: Extends,
    pub(crate) checked: Checked,
}

impl Fake {
    /// Allows everything.
    pub(crate) const OPEN: Self = Self {
        name: "open",
        add: |_, _| Verdict::Allow,
        online: |_, _| Verdict::Allow,
        probe: |_, _, wanted| (wanted, None),
        place: |_, _| Verdict::Allow,
        extends: Extends::No,
        checked: Checked::BeforeLock,
    };

    /// Has its own mind about additions only.
    pub(crate) const fn adding(
        name: &'static str,
        add: fn(View<'_>, &Candidate) -> Verdict,
    ) -> Self {
        Self { name, add, ..Self::OPEN }
    }
}

impl Gate for Fake {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        "wrong on purpose"
    }

    fn probe(&self, view: View<'_>, of: &Candidate, wanted: Driver) -> (Driver, Option<Line>) {
        (self.probe)(view, of, wanted)
    }

    fn add(&self, view: View<'_>, of: &Candidate) -> Verdict {
        (self.add)(view, of)
    }

    fn add_checked(&self) -> Checked {
        self.checked
    }

    fn extends(&self, _view: View<'_>, _of: &Candidate) -> Extends {
        self.extends
    }

    fn online(&self, view: View<'_>, of: &Candidate) -> Verdict {
        (self.online)(view, of)
    }

    fn place(&self, _view: View<'_>, caps: Caps, needs: Caps) -> Verdict {
        (self.place)(caps, needs)
    }
}

/// A no as an addition gets it.
pub(crate) fn refused(why: Why) -> Verdict {
    Verdict::refuse(why, Errno::Inval)
}

pub(crate) fn refused_if(wrong: bool, why: Why) -> Verdict {
    if wrong { refused(why) } else { Verdict::Allow }
}

pub(crate) fn warning(text: String) -> Line {
    Line::new(Level::Warn, text)
}
