//! A memory device behind a CXL link. Linux: `struct cxl_memdev`, `struct cxl_dev_state`.

use core::fmt;

use pagelab_allocator::units::PageCount;

use crate::hotplug::attestation::Attestation;
use crate::hotplug::emd::{Emd, Flits};
use crate::hotplug::hdm::HdmType;
use crate::hotplug::root_port::{Atomics, Metadata};

/// Number of a memory device. Linux: the number in `mem0`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DeviceId(u16);

impl DeviceId {
    /// Device number `raw`.
    #[must_use]
    pub const fn new(raw: u16) -> Self {
        Self(raw)
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mem{}", self.0)
    }
}

/// How the device is built.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceKind {
    /// One logical device.
    Sld,
    /// One logical device for each of several hosts that are attached directly.
    MultiHeadedSld,
    /// Several logical devices behind one link; needs a switch.
    Mld,
    /// Fabric-attached memory of many hosts; needs a switch.
    Gfd,
}

/// What lies between device and root port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attachment {
    /// A cable.
    Direct,
    /// A switch.
    Switch(Switch),
}

/// A switch, as far as it lets things through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Switch {
    /// Whether metadata passes.
    pub metadata: Metadata,
    /// Whether atomic accesses pass.
    pub atomics: Atomics,
}

/// Whether other hosts see the same memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sharing {
    /// One host at a time; pooled and dynamic capacity are that.
    Exclusive,
    /// Several at once.
    Shared,
}

/// A device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CxlDevice {
    /// Its number.
    pub id: DeviceId,
    /// How it is built.
    pub kind: DeviceKind,
    /// Who keeps its memory coherent.
    pub hdm: HdmType,
    /// What lies between it and the host.
    pub attachment: Attachment,
    /// What its link sends.
    pub flits: Flits,
    /// Whether other hosts see its memory.
    pub sharing: Sharing,
    /// Memory that loses its content with power, in pages of 4 KiB.
    pub volatile: PageCount,
    /// Memory that keeps it.
    pub persistent: PageCount,
    /// Metadata, where it has the capability.
    pub emd: Option<Emd>,
    /// Whether atomic accesses reach its memory.
    pub atomics: Atomics,
    /// How far it is trusted.
    pub attestation: Attestation,
}

/// Why a device's memory is outside of the trust boundary.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoTee {
    /// The protocol covers devices that are attached directly.
    #[error("behind a switch")]
    Switch,
    /// Devices that need a switch are out of scope.
    #[error("a device of this kind needs a switch")]
    Kind,
    /// So is device-coherent memory without back-invalidation.
    #[error("HDM-D memory is out of scope")]
    HdmD,
    /// So are short flits.
    #[error("68-byte flits are out of scope")]
    Flits,
    /// So is memory that several hosts see.
    #[error("shared memory is out of scope")]
    Shared,
    /// In scope, and not there yet.
    #[error("{0}")]
    State(Attestation),
}

impl CxlDevice {
    /// A device for memory of this host alone: attached directly, 256-byte flits, no metadata.
    #[must_use]
    pub const fn expander(id: DeviceId, volatile: PageCount) -> Self {
        Self {
            id,
            kind: DeviceKind::Sld,
            hdm: HdmType::HostOnly,
            attachment: Attachment::Direct,
            flits: Flits::Bytes256,
            sharing: Sharing::Exclusive,
            volatile,
            persistent: PageCount::ZERO,
            emd: None,
            atomics: Atomics::Passed,
            attestation: Attestation::Unknown,
        }
    }

    /// Bits of metadata that each line brings to the host's end of its link.
    #[must_use]
    pub fn emd_bits(&self) -> u8 {
        self.emd.map_or(0, |emd| emd.bits(self.flits))
    }

    /// Whether its memory is inside the trust boundary.
    ///
    /// # Errors
    ///
    /// [`NoTee`], the first reason against it.
    pub fn tee(&self) -> Result<(), NoTee> {
        match self.attachment {
            Attachment::Switch(_) => return Err(NoTee::Switch),
            Attachment::Direct => {}
        }
        match self.kind {
            DeviceKind::Mld | DeviceKind::Gfd => return Err(NoTee::Kind),
            DeviceKind::Sld | DeviceKind::MultiHeadedSld => {}
        }
        match (self.hdm, self.flits, self.sharing, self.attestation) {
            (HdmType::Device, ..) => Err(NoTee::HdmD),
            (_, Flits::Bytes68, ..) => Err(NoTee::Flits),
            (_, _, Sharing::Shared, _) => Err(NoTee::Shared),
            (.., Attestation::Locked) => Ok(()),
            (.., state) => Err(NoTee::State(state)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hotplug::attestation::SpdmVersion;
    use crate::hotplug::emd::ENABLE;

    fn trusted() -> CxlDevice {
        let device = CxlDevice::expander(DeviceId::new(0), PageCount::new(1 << 24));
        let attestation = Attestation::Unknown.attest(SpdmVersion::NEEDED);
        let attestation = attestation.and_then(Attestation::lock).unwrap();
        CxlDevice { attestation, ..device }
    }

    #[track_caller]
    fn refused(change: impl Fn(&mut CxlDevice), why: NoTee) {
        let mut device = trusted();
        change(&mut device);
        assert_eq!(device.tee(), Err(why));
    }

    #[test]
    fn row_6_trust_of_devices_that_are_attached_directly() {
        assert_eq!(trusted().tee(), Ok(()));
        let switch = Switch { metadata: Metadata::Carried, atomics: Atomics::Passed };
        refused(|device| device.attachment = Attachment::Switch(switch), NoTee::Switch);
        refused(|device| device.attestation = Attestation::Unknown, {
            NoTee::State(Attestation::Unknown)
        });
        refused(|device| device.attestation = Attestation::Attested, {
            NoTee::State(Attestation::Attested)
        });
        refused(|device| device.attestation = device.attestation.fail(), {
            NoTee::State(Attestation::Error)
        });
    }

    #[test]
    fn row_6_scope_of_the_protocol() {
        for kind in [DeviceKind::Sld, DeviceKind::MultiHeadedSld] {
            for hdm in [HdmType::HostOnly, HdmType::DeviceBackInvalidate] {
                assert_eq!(CxlDevice { kind, hdm, ..trusted() }.tee(), Ok(()));
            }
        }
        for kind in [DeviceKind::Mld, DeviceKind::Gfd] {
            refused(|device| device.kind = kind, NoTee::Kind);
        }
        refused(|device| device.hdm = HdmType::Device, NoTee::HdmD);
        refused(|device| device.flits = Flits::Bytes68, NoTee::Flits);
        refused(|device| device.sharing = Sharing::Shared, NoTee::Shared);
    }

    #[test]
    fn metadata_needs_capability_enable_and_long_flits() {
        let mut device = trusted();
        assert_eq!(device.emd_bits(), 0);
        let mut emd = Emd::new(32).unwrap();
        device.emd = Some(emd);
        assert_eq!(device.emd_bits(), 0);
        emd.write(ENABLE | 16).unwrap();
        device.emd = Some(emd);
        assert_eq!(device.emd_bits(), 16);
        device.flits = Flits::Bytes68;
        assert_eq!(device.emd_bits(), 0);
    }
}
