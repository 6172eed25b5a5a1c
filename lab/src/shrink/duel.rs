//! Two designs, the same operations: who shows the property.

use pagelab_allocator::event::Silent;

use super::property::Property;
use crate::contender::Contender;
use crate::drive::Driver;
use crate::logical::Step;
use crate::ops::{self, Line};
use crate::run::RunError;
use crate::run::boot::boot;
use crate::run::stage::Stage;
use crate::trace::TraceError;

/// Two designs on one machine.
#[derive(Debug)]
pub struct Duel<'a> {
    /// The machine.
    pub stage: &'a Stage<'a>,
    /// The designs.
    pub designs: [Contender; 2],
    /// In what they are to differ.
    pub property: Property,
}

/// How often a property was shown by the first and the second design.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// By all operations.
    pub all: [u64; 2],
    /// By the last one alone.
    pub last: [u64; 2],
}

/// Which of the two designs shows the property.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shows {
    /// The first.
    First,
    /// The second.
    Second,
}

/// Where a difference is looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Where {
    /// One design never shows the property.
    Ever,
    /// One design does not show it in the last operation, whatever both did before.
    Last,
}

/// How two designs differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Differ {
    /// Who shows the property.
    pub shows: Shows,
    /// And where the other does not.
    pub within: Where,
}

impl Counts {
    /// Whether one shows the property there, and the other does not.
    #[must_use]
    pub fn differ(&self, within: Where) -> Option<Differ> {
        let [first, second] = match within {
            Where::Ever => self.all,
            Where::Last => self.last,
        };
        let shows = match (first > 0, second > 0) {
            (true, false) => Shows::First,
            (false, true) => Shows::Second,
            _ => return None,
        };
        Some(Differ { shows, within })
    }

    fn add(&mut self, design: usize, now: u64) {
        self.last[design] = now - self.all[design];
        self.all[design] = now;
    }
}

impl Duel<'_> {
    /// The machine under the first or second design, without an operation carried out.
    ///
    /// # Errors
    ///
    /// [`RunError`] when the machine is impossible.
    pub fn machine(&self, design: usize) -> Result<Driver<Silent>, RunError> {
        Ok(boot(self.stage, self.designs[design], Silent)?.1)
    }

    /// How often the property is shown by each.
    ///
    /// # Errors
    ///
    /// [`RunError`] when the machine is impossible.
    pub fn counts(&self, lines: &[Line]) -> Result<Counts, RunError> {
        let mut counts = Counts::default();
        for design in 0..2 {
            let mut driver = self.machine(design)?;
            for step in ops::steps(lines.iter().copied()) {
                driver.step(&step);
                counts.add(design, self.property.count(&driver));
            }
        }
        Ok(counts)
    }

    /// The first operations, at most `limit`, of the scene.
    ///
    /// # Errors
    ///
    /// [`RunError`] when they cannot be read.
    pub fn lines(&self, limit: usize) -> Result<Vec<Line>, RunError> {
        let steps = self.stage.steps()?.take(limit);
        let lines = steps.map(|step| step.map(Line::from));
        Ok(lines.collect::<Result<_, _>>()?)
    }

    /// After how many operations one design has shown the property and the other has not, or, when
    /// both have, in which one does and the other does not. `None`: they never differ.
    ///
    /// # Errors
    ///
    /// [`RunError`] when machine or operations are impossible.
    pub fn first_difference(
        &self,
        steps: impl Iterator<Item = Result<Step, TraceError>>,
    ) -> Result<Option<(usize, Differ)>, RunError> {
        let mut drivers = [self.machine(0)?, self.machine(1)?];
        let mut counts = Counts::default();
        for (number, step) in (1..).zip(steps) {
            let step = step?;
            for (design, driver) in drivers.iter_mut().enumerate() {
                driver.step(&step);
                counts.add(design, self.property.count(driver));
            }
            let differ = [Where::Ever, Where::Last].into_iter().find_map(|at| counts.differ(at));
            if let Some(differ) = differ {
                return Ok(Some((number, differ)));
            }
        }
        Ok(None)
    }
}
