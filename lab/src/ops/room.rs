//! What a machine can take.

use pagelab_allocator::units::PageCount;

use super::parse::Wrong;
use crate::logical::Op;
use crate::logical::process::ProcessOp;

/// Pages of memory and swap. No area is larger, and no single operation reads or writes more of a
/// file; a machine would be busy with it for as long as the number says. Linux refuses such areas
/// too: `__vm_enough_memory()`, obvious overcommits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room(pub PageCount);

impl Room {
    /// Whether there is room for an operation.
    ///
    /// # Errors
    ///
    /// [`Wrong`] names the field that says how much it would need.
    pub fn take(self, op: Op) -> Result<(), Wrong> {
        let pages = match op {
            Op::Process(ProcessOp::Map { pages, .. }) => pages,
            Op::Process(ProcessOp::ReadFile { span, .. } | ProcessOp::WriteFile { span, .. }) => {
                span.pages
            }
            _ => return Ok(()),
        };
        let Self(room) = self;
        match u64::from(pages) <= room.get() {
            true => Ok(()),
            false => {
                let why = format!("the machine has {room} pages of memory and swap");
                Err(Wrong::new("pages", pages, &why))
            }
        }
    }
}
