//! Error numbers. Linux: include/uapi/asm-generic/errno-base.h, errno.h.

use core::fmt;

/// Why a call into the kernel failed, as the kernel says it: a negative number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Errno {
    /// `EPERM`, what a notifier's `NOTIFY_BAD` becomes.
    Perm = 1,
    /// `EINTR`
    Intr = 4,
    /// `EIO`
    Io = 5,
    /// `ENXIO`
    NxIo = 6,
    /// `E2BIG`
    TooBig = 7,
    /// `ENOMEM`
    NoMem = 12,
    /// `EFAULT`
    Fault = 14,
    /// `EBUSY`
    Busy = 16,
    /// `EEXIST`
    Exist = 17,
    /// `EINVAL`
    Inval = 22,
    /// `ENOSPC`
    NoSpc = 28,
    /// `EOPNOTSUPP`
    OpNotSupp = 95,
    /// `EHWPOISON`
    HwPoison = 133,
}

impl Errno {
    /// What the call returns.
    #[must_use]
    pub const fn number(self) -> i32 {
        -(self as i32)
    }

    /// The symbol, without a sign.
    #[must_use]
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Perm => "EPERM",
            Self::Intr => "EINTR",
            Self::Io => "EIO",
            Self::NxIo => "ENXIO",
            Self::TooBig => "E2BIG",
            Self::NoMem => "ENOMEM",
            Self::Fault => "EFAULT",
            Self::Busy => "EBUSY",
            Self::Exist => "EEXIST",
            Self::Inval => "EINVAL",
            Self::NoSpc => "ENOSPC",
            Self::OpNotSupp => "EOPNOTSUPP",
            Self::HwPoison => "EHWPOISON",
        }
    }

    /// What a shell prints. Linux: `strerror(3)`.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Perm => "Operation not permitted",
            Self::Intr => "Interrupted system call",
            Self::Io => "Input/output error",
            Self::NxIo => "No such device or address",
            Self::TooBig => "Argument list too long",
            Self::NoMem => "Cannot allocate memory",
            Self::Fault => "Bad address",
            Self::Busy => "Device or resource busy",
            Self::Exist => "File exists",
            Self::Inval => "Invalid argument",
            Self::NoSpc => "No space left on device",
            Self::OpNotSupp => "Operation not supported",
            Self::HwPoison => "Memory page has hardware error",
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "-{}", self.symbol())
    }
}

impl core::error::Error for Errno {}
