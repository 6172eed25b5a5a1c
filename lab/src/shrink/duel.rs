//! Two designs, the same operations: who shows the property.

use pagelab_allocator::event::Silent;

use super::property::Property;
use crate::contender::Contender;
use crate::drive::Driver;
use crate::logical::Op;
use crate::run::RunError;
use crate::run::boot::boot;
use crate::run::stage::Stage;

/// An operation and the task that asks for memory.
pub type Act = (Op, u32);

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

/// Which of the two designs shows the property.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shows {
    /// The first.
    First,
    /// The second.
    Second,
}

impl Shows {
    /// The one that does, if one does and the other does not.
    #[must_use]
    pub const fn of([first, second]: [u64; 2]) -> Option<Self> {
        match (first > 0, second > 0) {
            (true, false) => Some(Self::First),
            (false, true) => Some(Self::Second),
            _ => None,
        }
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

    /// How often the property is shown by each, after all operations.
    ///
    /// # Errors
    ///
    /// [`RunError`] when the machine is impossible.
    pub fn counts(&self, acts: &[Act]) -> Result<[u64; 2], RunError> {
        let count = |design| -> Result<u64, RunError> {
            let mut driver = self.machine(design)?;
            for step in crate::ops::steps(acts.iter().copied()) {
                driver.step(&step);
            }
            Ok(self.property.count(&driver))
        };
        Ok([count(0)?, count(1)?])
    }

    /// The scene's operations up to the first after which one design shows the property and the
    /// other does not, and how many there are at all. `None`: they never differ.
    ///
    /// # Errors
    ///
    /// [`RunError`] when machine or operations are impossible.
    pub fn first_difference(&self) -> Result<Option<(Vec<Act>, Shows)>, RunError> {
        let (mut first, mut second) = (self.machine(0)?, self.machine(1)?);
        let mut acts = Vec::new();
        for step in self.stage.steps()? {
            let step = step?;
            acts.push((step.op, step.pid));
            first.step(&step);
            second.step(&step);
            let counts = [self.property.count(&first), self.property.count(&second)];
            if let Some(shows) = Shows::of(counts) {
                return Ok(Some((acts, shows)));
            }
        }
        Ok(None)
    }
}
