//! A request for pages, as its caller makes it.

use crate::frame::Movability;
use crate::gfp::{AllocFlags, GfpFlags};
use crate::units::{NodeId, Order};

/// What a caller asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AllocRequest {
    /// Block size wanted.
    pub order: Order,
    /// Wishes.
    pub gfp: GfpFlags,
    /// Node to prefer, or to insist on with [`GfpFlags::THISNODE`].
    pub node: NodeId,
    /// Flags that this request never gets, whatever its gfp says. Stripping
    /// [`AllocFlags::CMA`] from tagged requests is the hook `arch_alloc_cma()` of RFC v2.
    pub barred: AllocFlags,
    /// Flags that this request gets besides those of its gfp.
    pub granted: AllocFlags,
}

impl AllocRequest {
    /// A request of node 0 with the flags that its gfp implies.
    #[must_use]
    pub const fn new(order: Order, gfp: GfpFlags) -> Self {
        Self {
            order,
            gfp,
            node: NodeId::new(0),
            barred: AllocFlags::empty(),
            granted: AllocFlags::empty(),
        }
    }

    /// The same request without `flags`.
    #[must_use]
    pub const fn barring(self, flags: AllocFlags) -> Self {
        Self { barred: self.barred.union(flags), ..self }
    }

    /// The same request with `flags`.
    #[must_use]
    pub const fn granting(self, flags: AllocFlags) -> Self {
        Self { granted: self.granted.union(flags), ..self }
    }

    /// Whether the holder of the block can be migrated, whatever the type of its pageblock.
    #[inline]
    pub(crate) const fn movability(&self) -> Movability {
        match self.gfp.contains(GfpFlags::MOVABLE) {
            true => Movability::Movable,
            false => Movability::Unmovable,
        }
    }

    /// The flags with which a walk of the zones that starts from `flags` is made.
    fn effective(&self, flags: AllocFlags) -> AllocFlags {
        (flags | self.granted).difference(self.barred)
    }

    /// Flags of the fast path before the preferred zone is known.
    #[inline]
    pub(crate) fn fast_flags(&self) -> AllocFlags {
        let mut flags = AllocFlags::WMARK_LOW | AllocFlags::CPUSET | self.gfp.cma_flag();
        flags.set(AllocFlags::KSWAPD, self.gfp.contains(GfpFlags::KSWAPD_RECLAIM));
        self.effective(flags)
    }

    /// Flags of the slow path. Linux: `gfp_to_alloc_flags()` and the reserve flags.
    #[must_use]
    pub fn slow_flags(&self) -> AllocFlags {
        let mut flags = self.gfp.slow_path_flags(self.order);
        let memalloc = GfpFlags::MEMALLOC;
        if self.gfp.contains(memalloc) && !self.gfp.contains(GfpFlags::NOMEMALLOC) {
            flags |= AllocFlags::NO_WATERMARKS;
        }
        self.effective(flags)
    }
}
