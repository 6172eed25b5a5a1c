//! A scene's machine under one design, ready for the first operation.

use pagelab_allocator::event::Sink;
use pagelab_migrate::emulator::Emulator;

use super::RunError;
use super::stage::{Stage, turn_swap_on};
use crate::contender::Contender;
use crate::drive::Driver;
use crate::machine::{self, Layout};
use crate::plan::TraceChoice;
use crate::tagger::Tagger;

/// Boots the machine of `stage` under `design`, with what it has in use before the first operation;
/// its events go to `sink`.
///
/// # Errors
///
/// [`RunError`] when the machine is impossible.
pub fn boot<S: Sink>(
    stage: &Stage<'_>,
    design: Contender,
    sink: S,
) -> Result<(Layout, Driver<S>), RunError> {
    let (scene, machine) = (stage.scene, &stage.machine);
    let memory = machine.memory;
    let layout_error = |why| RunError::Layout { memory, why };
    let layout = machine::layout(machine, design.carve_out_tags()).map_err(layout_error)?;
    let spec = machine::spec(machine, design.build()).map_err(layout_error)?;
    let emulator = Emulator::new(&spec, sink).map_err(|why| RunError::Spec { memory, why });
    let mut emulator = emulator?;
    let tagger = match &scene.trace {
        TraceChoice::Workload(load) => {
            turn_swap_on(&mut emulator, scene, load);
            None
        }
        _ => scene.tagged.map(|share| Tagger::new(share, scene.seed)),
    };
    let driver = Driver::new(emulator, &machine.background, tagger);
    let driver = driver.map_err(|why| RunError::NoRoom { memory, why })?;
    Ok((layout, driver))
}
