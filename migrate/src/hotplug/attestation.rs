//! How a device's memory comes to be trusted by confidential guests. CXL: Trusted Security Protocol
//! (TSP), chapter 11.5. No Linux counterpart yet.

use core::fmt;

/// Version of the Security Protocol and Data Model that a device speaks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SpdmVersion {
    /// Major number.
    pub major: u8,
    /// Minor number.
    pub minor: u8,
}

impl SpdmVersion {
    /// The oldest that will do.
    pub const NEEDED: Self = Self { major: 1, minor: 2 };
}

impl fmt::Display for SpdmVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// How far a device is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Attestation {
    /// Nobody has asked it who it is.
    #[default]
    Unknown,
    /// It has shown its certificate and measurements in a secure session.
    Attested,
    /// Its configuration is locked: its memory is inside the trust boundary.
    Locked,
    /// Something happened to it that must not; its content is not to be trusted until a reset.
    Error,
}

/// Why a step is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttestationError {
    /// The device speaks an old protocol.
    #[error("SPDM {0} is older than {needed}", needed = SpdmVersion::NEEDED)]
    Version(SpdmVersion),
    /// The step belongs elsewhere.
    #[error("a device that is {0} cannot do that")]
    Order(Attestation),
}

impl Attestation {
    /// A session with a device that speaks `version`, in which it is attested.
    ///
    /// # Errors
    ///
    /// [`AttestationError`] when the version is too old, or the device is past this step or broken.
    pub fn attest(self, version: SpdmVersion) -> Result<Self, AttestationError> {
        match self {
            Self::Unknown if version < SpdmVersion::NEEDED => {
                Err(AttestationError::Version(version))
            }
            Self::Unknown => Ok(Self::Attested),
            other => Err(AttestationError::Order(other)),
        }
    }

    /// Locks the configuration of an attested device.
    ///
    /// # Errors
    ///
    /// [`AttestationError::Order`] when it is not attested, or locked already.
    pub const fn lock(self) -> Result<Self, AttestationError> {
        match self {
            Self::Attested => Ok(Self::Locked),
            other => Err(AttestationError::Order(other)),
        }
    }

    /// A link that lost its encryption, or a configuration that changed under the lock.
    #[must_use]
    pub const fn fail(self) -> Self {
        Self::Error
    }

    /// A reset of the device: whatever was known of it is void.
    #[must_use]
    pub const fn reset(self) -> Self {
        Self::Unknown
    }
}

impl fmt::Display for Attestation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "not attested",
            Self::Attested => "attested, not locked",
            Self::Locked => "locked",
            Self::Error => "in error",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPDM_1_1: SpdmVersion = SpdmVersion { major: 1, minor: 1 };

    #[test]
    fn attested_then_locked() {
        let attested = Attestation::default().attest(SpdmVersion::NEEDED).unwrap();
        assert_eq!(attested.lock(), Ok(Attestation::Locked));
        let newer = SpdmVersion { major: 2, minor: 0 };
        assert_eq!(Attestation::Unknown.attest(newer), Ok(Attestation::Attested));
    }

    #[test]
    fn no_step_is_left_out() {
        use Attestation::{Attested, Error, Locked, Unknown};
        assert_eq!(Unknown.attest(SPDM_1_1), Err(AttestationError::Version(SPDM_1_1)));
        for state in [Attested, Locked, Error] {
            let again = state.attest(SpdmVersion::NEEDED);
            assert_eq!(again, Err(AttestationError::Order(state)));
        }
        for state in [Unknown, Locked, Error] {
            assert_eq!(state.lock(), Err(AttestationError::Order(state)));
        }
        for state in [Unknown, Attested, Locked, Error] {
            assert_eq!((state.fail(), state.reset()), (Error, Unknown));
        }
        let said = AttestationError::Version(SPDM_1_1).to_string();
        assert_eq!(said, "SPDM 1.1 is older than 1.2");
    }
}
