//! A fence in two halves.

use crate::{
    membarrier,
    sync::atomic::{Ordering, compiler_fence, fence},
};

/// How a store stays before a load, on the owner's side and on the remote's. A slot's two sides use
/// the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fence(Kind);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// The remote has the kernel run a barrier on every CPU that runs a thread of the process.
    Kernel,
    /// Both sides execute one.
    Full,
}

impl Fence {
    /// A full fence on both sides, on every system.
    pub const PORTABLE: Self = Self(Kind::Full);

    /// The kernel's barrier where there is one (Linux, unless it is forbidden), else
    /// [`Fence::PORTABLE`]. The first call registers the process with the kernel.
    #[must_use]
    pub fn cheapest() -> Self {
        Self(if membarrier::is_granted() { Kind::Kernel } else { Kind::Full })
    }

    /// Whether the owner's half is no instruction.
    #[inline]
    pub(crate) const fn is_light(self) -> bool {
        matches!(self.0, Kind::Kernel)
    }

    /// The owner's half: at most the compiler is kept from moving the load up.
    #[inline]
    pub(crate) fn light(self) {
        match self.0 {
            Kind::Kernel => compiler_fence(Ordering::SeqCst),
            Kind::Full => fence(Ordering::SeqCst),
        }
    }

    /// The remote's half.
    ///
    /// # Panics
    ///
    /// Panics if the kernel refuses what it granted before.
    pub(crate) fn heavy(self) {
        match self.0 {
            Kind::Kernel => membarrier::barrier(),
            Kind::Full => fence(Ordering::SeqCst),
        }
    }
}
