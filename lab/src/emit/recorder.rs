//! What a run hands its events to.

use pagelab_allocator::event::Sink;

use super::partial::EmitError;
use crate::drive::Driver;
use crate::logical::Step;

/// Looks on while a machine is driven.
pub trait Recorder<S: Sink> {
    /// The machine is ready for the first operation.
    ///
    /// # Errors
    ///
    /// [`EmitError`] when something cannot be written.
    fn begin(&mut self, driver: &mut Driver<S>) -> Result<(), EmitError>;

    /// An operation was carried out.
    ///
    /// # Errors
    ///
    /// [`EmitError`] when something cannot be written.
    fn step(&mut self, driver: &mut Driver<S>, step: &Step) -> Result<(), EmitError>;

    /// There are no more operations.
    ///
    /// # Errors
    ///
    /// [`EmitError`] when something cannot be written.
    fn end(&mut self, driver: &mut Driver<S>) -> Result<(), EmitError>;
}

/// Writes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRecord;

impl<S: Sink> Recorder<S> for NoRecord {
    fn begin(&mut self, _: &mut Driver<S>) -> Result<(), EmitError> {
        Ok(())
    }

    fn step(&mut self, _: &mut Driver<S>, _: &Step) -> Result<(), EmitError> {
        Ok(())
    }

    fn end(&mut self, _: &mut Driver<S>) -> Result<(), EmitError> {
        Ok(())
    }
}
