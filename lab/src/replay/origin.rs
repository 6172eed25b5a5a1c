//! Whose run a case is: a recorded kernel's, or the emulator's own under a tag-storage design.

use std::sync::Arc;

use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::page_alloc::AllocRequest;
use pagelab_allocator::units::Order;
use pagelab_migrate::tag_storage::design::{TagStorageDesign, Terms};

use crate::contender::Contender;

/// Who wrote a case.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A kernel.
    Kernel,
    /// The emulator, under a design.
    Emulator(Arc<dyn TagStorageDesign>),
}

impl Origin {
    /// The origin of a case whose `meta.json` names that design, or none.
    #[must_use]
    pub fn new(design: Option<Contender>) -> Self {
        design.map_or(Self::Kernel, |design| Self::Emulator(design.build()))
    }

    /// Whether a kernel wrote it. Then things happen that no event shows: timers tick, interrupts
    /// find lists busy, memory joins and leaves zones.
    #[must_use]
    pub const fn is_kernel(&self) -> bool {
        matches!(self, Self::Kernel)
    }

    /// A request with these flags: as the design makes it, if there is one.
    #[must_use]
    pub fn request(&self, order: Order, gfp: GfpFlags) -> AllocRequest {
        let terms = match self {
            Self::Kernel => Terms::unchanged(gfp),
            Self::Emulator(design) => design.terms(gfp),
        };
        terms.request(order)
    }
}
