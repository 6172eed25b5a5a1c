//! What a window of host addresses may be used for. CXL: Window Restrictions of a CFMWS.
//!
//! None of the bits speaks of tags, of metadata or of trust.

use bitflags::bitflags;

use crate::hotplug::hdm::HdmType;
use crate::hotplug::root_decoder::DecoderFlags;

bitflags! {
    /// What a window may be used for. Linux: `ACPI_CEDT_CFMWS_RESTRICT_*`.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Restrictions: u16 {
        /// Memory that the device keeps coherent.
        const DEVICE_COHERENT = 1;
        /// Memory that only the host caches.
        const HOST_ONLY = 1 << 1;
        /// Volatile memory.
        const VOLATILE = 1 << 2;
        /// Persistent memory.
        const PERSISTENT = 1 << 3;
        /// Firmware's configuration stays.
        const FIXED = 1 << 4;
        /// Devices may invalidate the host's caches.
        const BACK_INVALIDATE = 1 << 5;
    }
}

/// Restrictions that rule each other out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Contradiction {
    /// Back-invalidation of memory that only the host caches.
    #[error("restrictions {0:#06x}: back-invalidate with host-only coherence")]
    HostOnly(u16),
    /// Back-invalidation of memory that no device caches.
    #[error("restrictions {0:#06x}: back-invalidate without device coherence")]
    Alone(u16),
}

impl Restrictions {
    /// The bits that mean something.
    ///
    /// # Errors
    ///
    /// [`Contradiction`]; Linux does not look for it.
    pub const fn parse(raw: u16) -> Result<Self, Contradiction> {
        let known = Self::from_bits_truncate(raw);
        if !known.contains(Self::BACK_INVALIDATE) {
            return Ok(known);
        }
        if known.contains(Self::HOST_ONLY) {
            return Err(Contradiction::HostOnly(raw));
        }
        if known.contains(Self::DEVICE_COHERENT) {
            Ok(known)
        } else {
            Err(Contradiction::Alone(raw))
        }
    }

    /// What a root decoder with such a window can do. Linux: `cfmws_to_decoder_flags()`.
    #[must_use]
    pub fn decoder_flags(self) -> DecoderFlags {
        let of = [
            (Self::DEVICE_COHERENT, DecoderFlags::TYPE2),
            (Self::HOST_ONLY, DecoderFlags::TYPE3),
            (Self::VOLATILE, DecoderFlags::RAM),
            (Self::PERSISTENT, DecoderFlags::PMEM),
            (Self::FIXED, DecoderFlags::LOCK),
        ];
        let set = of.into_iter().filter(|(bit, _)| self.contains(*bit));
        set.map(|(_, flag)| flag).collect()
    }

    /// Whether memory of this type may be decoded here.
    #[must_use]
    pub const fn admits(self, hdm: HdmType) -> bool {
        self.contains(match hdm {
            HdmType::HostOnly => Self::HOST_ONLY,
            HdmType::Device => Self::DEVICE_COHERENT,
            HdmType::DeviceBackInvalidate => Self::DEVICE_COHERENT.union(Self::BACK_INVALIDATE),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits on which a reader disagrees with the rule, which is decided bit by bit.
    fn disagreements(accepts: impl Fn(u16) -> bool) -> Vec<u16> {
        let meaningful = |raw: u16| {
            let bit = |n: u16| raw >> n & 1 == 1;
            !bit(5) || bit(0) && !bit(1)
        };
        (0..=u16::MAX).filter(|raw| accepts(*raw) != meaningful(*raw)).collect()
    }

    #[test]
    fn row_21_which_bits_go_together() {
        assert_eq!(disagreements(|raw| Restrictions::parse(raw).is_ok()), []);
        assert_eq!(Restrictions::parse(0x22), Err(Contradiction::HostOnly(0x22)));
        assert_eq!(Restrictions::parse(0x23), Err(Contradiction::HostOnly(0x23)));
        assert_eq!(Restrictions::parse(0x20), Err(Contradiction::Alone(0x20)));
    }

    #[test]
    fn canary_readers_of_restrictions() {
        assert_eq!(disagreements(|_| true).len(), 24 * 1024, "one that takes all");
        let host_only = |raw: u16| raw & 0x22 != 0x22;
        assert_eq!(disagreements(host_only).len(), 8 * 1024, "one that lets the bit stand alone");
    }

    #[test]
    fn row_21_what_a_window_admits() {
        use HdmType::{Device, DeviceBackInvalidate, HostOnly};
        let admits = |raw| {
            let of = Restrictions::parse(raw).unwrap();
            [HostOnly, Device, DeviceBackInvalidate].map(|hdm| of.admits(hdm))
        };
        assert_eq!(admits(0x0006), [true, false, false]);
        assert_eq!(admits(0x0021), [false, true, true]);
        assert_eq!(admits(0x0003), [true, true, false]);
        assert_eq!(admits(0xffc0), [false; 3]);
        let flags = |raw| Restrictions::parse(raw).unwrap().decoder_flags().bits();
        assert_eq!([0x01, 0x02, 0x04, 0x08, 0x10].map(flags), [4, 8, 1, 2, 16]);
    }
}
