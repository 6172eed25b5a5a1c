//! Static carve-out: what shipping kernels do, and the baseline of every comparison. Linux: a
//! `/reserved-memory` node, or nothing at all.
//!
//! Firmware keeps one 33rd of memory for tags, whether or not anything is tagged. Nothing can fail,
//! nothing ever moves, and the memory is lost. The objection to it is every other design here:
//! Google's prototype and the three series of Alexandru Elisei set out to get that memory back.

use pagelab_allocator::gfp::GfpFlags;

use super::design::{Attempt, FaultVerdict, Reservation, Residence, TagStorageDesign, Terms};

/// The static carve-out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Carveout;

impl TagStorageDesign for Carveout {
    fn name(&self) -> &'static str {
        "carveout"
    }

    fn residence(&self) -> Residence {
        Residence::CarvedOut
    }

    fn terms(&self, gfp: GfpFlags) -> Terms {
        Terms::unchanged(gfp)
    }

    fn reservation(&self) -> Reservation {
        Reservation::NotNeeded
    }

    fn on_reserve_failure(&self, _attempt: Attempt) -> FaultVerdict {
        FaultVerdict::Replay
    }
}
