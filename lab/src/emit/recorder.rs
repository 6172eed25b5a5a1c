//! What a run hands its events to.

use pagelab_allocator::event::Sink;

use crate::drive::Driver;
use crate::logical::Step;
use crate::partial::WriteError;

/// Looks on while a machine is driven.
pub trait Recorder<S: Sink> {
    /// The machine is ready for the first operation.
    ///
    /// # Errors
    ///
    /// [`WriteError`] when something cannot be written.
    fn begin(&mut self, driver: &mut Driver<S>) -> Result<(), WriteError>;

    /// An operation was carried out.
    ///
    /// # Errors
    ///
    /// [`WriteError`] when something cannot be written.
    fn step(&mut self, driver: &mut Driver<S>, step: &Step) -> Result<(), WriteError>;

    /// There are no more operations.
    ///
    /// # Errors
    ///
    /// [`WriteError`] when something cannot be written.
    fn end(&mut self, driver: &mut Driver<S>) -> Result<(), WriteError>;
}

/// Writes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRecord;

impl<S: Sink> Recorder<S> for NoRecord {
    fn begin(&mut self, _: &mut Driver<S>) -> Result<(), WriteError> {
        Ok(())
    }

    fn step(&mut self, _: &mut Driver<S>, _: &Step) -> Result<(), WriteError> {
        Ok(())
    }

    fn end(&mut self, _: &mut Driver<S>) -> Result<(), WriteError> {
        Ok(())
    }
}
