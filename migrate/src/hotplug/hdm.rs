//! Who keeps memory of a device coherent. CXL: HDM-H, HDM-D, HDM-DB.

use core::fmt;

/// How host and device agree on the content of a cache line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HdmType {
    /// HDM-H: only the host caches it.
    HostOnly,
    /// HDM-D: the device caches it too, and asks by way of CXL.cache.
    Device,
    /// HDM-DB: the device caches it too, and the host hears back-invalidations.
    DeviceBackInvalidate,
}

impl HdmType {
    /// The kind of decoder target. Linux: `enum cxl_decoder_type`.
    #[must_use]
    pub const fn decoder_type(self) -> u8 {
        match self {
            Self::HostOnly => 3,
            Self::Device | Self::DeviceBackInvalidate => 2,
        }
    }
}

impl fmt::Display for HdmType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HostOnly => "HDM-H",
            Self::Device => "HDM-D",
            Self::DeviceBackInvalidate => "HDM-DB",
        })
    }
}
