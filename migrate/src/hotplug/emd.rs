//! Extended metadata: bits that a host may store with each cache line of a device. CXL 3.1,
//! component capability 10h; Linux does not use it.
//!
//! The bits travel in a trailer behind the data, so flits of 256 bytes are needed. What they mean
//! is the host's business: tags of arm64 would be 16 of them.

/// A cache line has at most so many bits of metadata.
pub const MOST_BITS: u8 = 32;
/// Bit of the control register that lets metadata travel.
pub const ENABLE: u32 = 1 << 31;
/// Bits of the control register that hold the size of the field.
pub const FIELD_MASK: u32 = 0x3f;
/// What a read of a line gives when the trust boundary forbids it.
pub const DENIED: u32 = u32::MAX;

/// Length of the units in which a link sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flits {
    /// 68 bytes: no room for a trailer.
    Bytes68,
    /// 256 bytes.
    Bytes256,
}

/// Whether the control register takes writes. CXL: `CONFIG_LOCK`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ConfigLock {
    /// It does.
    #[default]
    Open,
    /// It keeps what it has until the next reset.
    Locked,
}

/// Why metadata cannot be set up so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmdError {
    /// No device has so many, or none at all.
    #[error("{0} bits of metadata: 1 to {MOST_BITS} exist")]
    MaxBits(u8),
    /// The device has fewer bits, or a field of none is to be enabled.
    #[error("a field of {field} bits where there may be 1 to {max}")]
    Field {
        /// What was asked for.
        field: u32,
        /// What the device has.
        max: u8,
    },
    /// Hardware ignores the write; here the writer is told.
    #[error("the configuration is locked")]
    Locked,
}

/// The capability of one device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Emd {
    max_bits: u8,
    control: u32,
    lock: ConfigLock,
}

impl Emd {
    /// A device with room for `max_bits` a line, switched off.
    ///
    /// # Errors
    ///
    /// [`EmdError::MaxBits`] when there are no such devices.
    pub const fn new(max_bits: u8) -> Result<Self, EmdError> {
        if max_bits == 0 || max_bits > MOST_BITS {
            return Err(EmdError::MaxBits(max_bits));
        }
        Ok(Self { max_bits, control: 0, lock: ConfigLock::Open })
    }

    /// Bits that the device has room for.
    #[must_use]
    pub const fn max_bits(self) -> u8 {
        self.max_bits
    }

    /// The control register: size of the field in the low bits, bit 31 lets it travel.
    #[must_use]
    pub const fn register(self) -> u32 {
        self.control
    }

    /// Whether it takes writes.
    #[must_use]
    pub const fn config_lock(self) -> ConfigLock {
        self.lock
    }

    /// Writes the control register; bits without meaning are dropped.
    ///
    /// # Errors
    ///
    /// [`EmdError`] when the field is too wide, none is to be enabled, or the lock is set. Nothing
    /// changes then.
    pub const fn write(&mut self, control: u32) -> Result<(), EmdError> {
        let field = control & FIELD_MASK;
        if matches!(self.lock, ConfigLock::Locked) {
            return Err(EmdError::Locked);
        }
        if field > self.max_bits as u32 || (field == 0 && control & ENABLE != 0) {
            return Err(EmdError::Field { field, max: self.max_bits });
        }
        self.control = control & (ENABLE | FIELD_MASK);
        Ok(())
    }

    /// Keeps the control register as it is.
    pub const fn lock(&mut self) {
        self.lock = ConfigLock::Locked;
    }

    /// Off and unlocked, as after a reset.
    pub const fn reset(&mut self) {
        (self.control, self.lock) = (0, ConfigLock::Open);
    }

    /// Bits that travel with each line over a link with such flits; none unless enabled.
    #[must_use]
    pub const fn bits(self, flits: Flits) -> u8 {
        match flits {
            Flits::Bytes256 if self.control & ENABLE != 0 => {
                (self.control & FIELD_MASK).to_le_bytes()[0]
            }
            Flits::Bytes256 | Flits::Bytes68 => 0,
        }
    }
}

/// Whether the trust boundary allows an access to a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TeeCheck {
    /// It does.
    Allowed,
    /// It does not: the line is in another state.
    Denied,
}

/// The metadata of a line, as it is stored and as it is seen through the trust boundary.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stored(pub u32);

impl Stored {
    /// What a read gives: all ones when it is denied.
    #[must_use]
    pub const fn read(self, check: TeeCheck) -> u32 {
        match check {
            TeeCheck::Allowed => self.0,
            TeeCheck::Denied => DENIED,
        }
    }

    /// A write, which changes nothing when it is denied.
    pub const fn write(&mut self, bits: u32, check: TeeCheck) {
        if matches!(check, TeeCheck::Allowed) {
            self.0 = bits;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_19_metadata_has_to_be_enabled() {
        let mut emd = Emd::new(32).unwrap();
        assert_eq!(emd.bits(Flits::Bytes256), 0);
        emd.write(16).unwrap();
        assert_eq!(emd.bits(Flits::Bytes256), 0, "a size alone does not make it travel");
        emd.write(ENABLE | 0xff40 | 16).unwrap();
        assert_eq!(emd.register(), ENABLE | 16);
        assert_eq!((emd.bits(Flits::Bytes256), emd.bits(Flits::Bytes68)), (16, 0));
    }

    #[test]
    fn fields_fit_the_device() {
        for bits in [0, 33, 255] {
            assert_eq!(Emd::new(bits), Err(EmdError::MaxBits(bits)));
        }
        for max in 1..=MOST_BITS {
            let mut emd = Emd::new(max).unwrap();
            for field in 0..=FIELD_MASK {
                let before = emd;
                let fits = (1..=u32::from(max)).contains(&field);
                assert_eq!(emd.write(ENABLE | field).is_ok(), fits, "{field} of {max}");
                let expected = if fits { ENABLE | field } else { before.register() };
                assert_eq!(emd.register(), expected);
            }
            assert_eq!((emd.write(0), emd.bits(Flits::Bytes256)), (Ok(()), 0));
        }
    }

    #[test]
    fn the_lock_keeps_the_configuration() {
        let mut emd = Emd::new(8).unwrap();
        emd.write(ENABLE | 8).unwrap();
        emd.lock();
        assert_eq!(emd.write(0), Err(EmdError::Locked));
        assert_eq!((emd.register(), emd.config_lock()), (ENABLE | 8, ConfigLock::Locked));
        emd.reset();
        assert_eq!(emd, Emd::new(8).unwrap());
    }

    #[test]
    fn the_trust_boundary_hides_metadata() {
        let mut line = Stored(0x1234);
        line.write(0xffff, TeeCheck::Denied);
        assert_eq!((line.read(TeeCheck::Allowed), line.read(TeeCheck::Denied)), (0x1234, DENIED));
        line.write(0x4321, TeeCheck::Allowed);
        assert_eq!(line.read(TeeCheck::Allowed), 0x4321);
    }
}
