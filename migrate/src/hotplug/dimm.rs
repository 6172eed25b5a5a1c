//! Virtual DIMMs: memory that a guest gets by hotplug, and what its host sets aside for it.

use pagelab_allocator::event::Sink;
use pagelab_allocator::gfp::GfpFlags;
use pagelab_allocator::hotplug::caps::Caps;
use pagelab_allocator::hotplug::errno::Errno;
use pagelab_allocator::units::{CpuId, NodeId, Order, PageCount};

use crate::folio::FolioId;
use crate::hotplug::host::Host;
use crate::hotplug::placement::Binding;
use crate::hotplug::tag_space::{TagRange, carve_out};

/// A DIMM that is plugged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VirtualDimm {
    /// The host's pages that hold its tags.
    tags: Vec<FolioId>,
    /// How many those are.
    pages: PageCount,
}

impl VirtualDimm {
    /// Pages of the host that hold its tags.
    #[must_use]
    pub const fn tag_pages(&self) -> PageCount {
        self.pages
    }
}

impl<S: Sink> Host<S> {
    /// Plugs a DIMM of `memory` pages into a guest that uses tags and knows nothing of where they
    /// are: the host sets 1/32 of it aside, in pages that stay where they are. Nothing in mainline.
    ///
    /// # Errors
    ///
    /// [`Errno::NoMem`]; nothing stays allocated then.
    pub fn plug_dimm(&mut self, memory: PageCount, near: NodeId) -> Result<VirtualDimm, Errno> {
        let pages = carve_out(memory, TagRange::Untagged);
        let largest = self.emulator.page_alloc().geometry().pageblock_order();
        let nodes = self.nodes_for(Binding::Near(near), Caps::empty());
        let mut dimm = VirtualDimm { tags: Vec::new(), pages: PageCount::ZERO };
        while dimm.pages < pages {
            let left = pages.saturating_sub(dimm.pages);
            let order = if left >= largest.pages() { largest } else { Order::ZERO };
            match self.allocate(order, GfpFlags::KERNEL | GfpFlags::NOWARN, &nodes) {
                Ok(folio) => {
                    dimm.tags.push(folio);
                    dimm.pages += order.pages();
                    self.hot.count_tables(order.pages());
                }
                Err(errno) => {
                    self.unplug_dimm(dimm);
                    return Err(errno);
                }
            }
        }
        Ok(dimm)
    }

    /// Unplugs a DIMM; the host has its pages again.
    pub fn unplug_dimm(&mut self, dimm: VirtualDimm) {
        for folio in dimm.tags {
            self.emulator.free(CpuId::BOOT, folio);
        }
        self.hot.uncount_tables(dimm.pages);
    }
}
