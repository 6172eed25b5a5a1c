//! The decoder of a window, and the regions that it can have. Linux: `struct cxl_root_decoder`.

use bitflags::bitflags;
use pagelab_allocator::units::PageCount;

use crate::hotplug::cxl_device::CxlDevice;

bitflags! {
    /// What a root decoder can do. Linux: `CXL_DECODER_F_*`.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct DecoderFlags: u8 {
        /// Volatile regions.
        const RAM = 1;
        /// Persistent regions.
        const PMEM = 1 << 1;
        /// Accelerator memory; `ACPICA` says `DEVMEM` since September 2025.
        const TYPE2 = 1 << 2;
        /// Expander memory, `HOSTONLYMEM`.
        const TYPE3 = 1 << 3;
        /// It cannot be reprogrammed.
        const LOCK = 1 << 4;
    }
}

/// Which memory of its devices a region is. Linux: `enum cxl_decoder_mode`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RegionMode {
    /// Volatile.
    Ram = 1,
    /// Persistent.
    Pmem = 2,
}

impl RegionMode {
    /// What the window has to offer. Linux: `can_create_ram()`, `can_create_pmem()`.
    pub(crate) const fn needs(self) -> DecoderFlags {
        DecoderFlags::TYPE3.union(match self {
            Self::Ram => DecoderFlags::RAM,
            Self::Pmem => DecoderFlags::PMEM,
        })
    }

    /// Memory of this kind on a device.
    pub(crate) const fn capacity(self, device: &CxlDevice) -> PageCount {
        match self {
            Self::Ram => device.volatile,
            Self::Pmem => device.persistent,
        }
    }
}
